//! `ltr-trainer train-daily`: runs all steps in order and stops at the first failure or rejection.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Parser;
use serde::Serialize;
use settings::Settings;

use crate::console;
use crate::etl::{self, training_days};
use crate::evaluate::{Evaluation, evaluate, print_evaluation};
use crate::gate::{GATE, GateResult, gate, print_gate};
use crate::lineage::{Dataset, Record};
use crate::night::{days_path, run_dir, version_of};
use crate::outcome::Outcome;
use crate::publish::{PublishOutcome, Published, check_deliveries, print_published, publish};
use crate::train::{Training, print_training, train_matrix};

const EXAMPLES: &str = "Examples:
  ltr-trainer train-daily
  ltr-trainer train-daily --as-of 2026-11-23T02:15:00Z --json";

/// Runs etl, train, evaluate, gate and publish, in this order.
///
/// All results except the matrix go to {lake}/ltr/runs/{version}/. If the gate rejects the model,
/// nothing is published and the exit code is 3.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Time that counts as now (RFC 3339); names the version; default: the current time
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<DateTime<Utc>>,
    /// Print one JSON object at the end instead of tables
    #[arg(long)]
    pub json: bool,
}

/// The result of all steps, printed with `--json`.
#[derive(Debug, Serialize)]
struct Report {
    version: String,
    run: PathBuf,
    etl: etl::Report,
    training: Training,
    evaluation: Evaluation,
    gate: GateResult,
    published: Option<Published>,
}

/// Runs the command.
///
/// # Errors
/// The error of the first step that failed.
pub async fn run(args: &Args, settings: &Settings, record: &mut Record) -> anyhow::Result<Outcome> {
    #[expect(clippy::disallowed_methods, reason = "a run without --as-of is as of now")]
    let as_of = args.as_of.unwrap_or_else(Utc::now);
    let version = version_of(as_of);
    let dir = run_dir(&settings.lake.dir, as_of);
    let matrix = days_path(&settings.lake.dir, as_of.date_naive());
    let people = !args.json;
    let step = |number: u8, name: &str| {
        if people {
            println!("[{number}/5] {name}");
        }
    };

    step(1, "etl");
    let etl = etl::build(&training_days(as_of, settings), as_of, &matrix, settings).await?;
    etl.record(settings, record);
    if people {
        etl::print_report(&etl);
    }
    step(2, "train");
    let training = train_matrix(&matrix, None, settings, &dir)?;
    training.record(&dir, record);
    if people {
        print_training(&training, &dir);
    }
    step(3, "evaluate");
    let evaluation = evaluate(&dir, &matrix, settings)?;
    evaluation.record(&dir, record);
    if people {
        print_evaluation(&evaluation);
    }
    step(4, "gate");
    let gate = gate(&dir, settings)?;
    record.wrote(Dataset::file(&dir.join(GATE)));
    if people {
        print_gate(&gate);
    }
    let mut published = None;
    if gate.passed {
        step(5, "publish");
        if let PublishOutcome::Published(done) = publish(&dir, &matrix, as_of, settings).await? {
            done.record(record);
            if people {
                print_published(&done);
            }
            published = Some(done);
        }
    }
    let report = Report {
        version,
        run: dir,
        etl,
        training,
        evaluation,
        gate,
        published,
    };
    if args.json {
        console::json(&report)?;
    }
    match &report.published {
        None => Ok(Outcome::Refused),
        Some(published) => check_deliveries(published, settings).map(|()| Outcome::Done),
    }
}

#[cfg(test)]
mod tests;

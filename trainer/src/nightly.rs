//! `ltr-trainer train-daily`: runs all steps in order and stops at the first failure or rejection.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::Parser;
use serde::Serialize;
use settings::Settings;

use crate::checks::{DataChecks, check, print_checks, record_checks};
use crate::console;
use crate::etl::{self, Extent};
use crate::evaluate::{Choice, Evaluation, evaluate, print_evaluation};
use crate::gate::{GATE, GateResult, gate, print_gate};
use crate::lineage::{Dataset, Record};
use crate::night::{days_path, run_dir, version_of};
use crate::outcome::Outcome;
use crate::publish::{PublishOutcome, Published, check_deliveries, print_published, publish};
use crate::train::{Training, print_training, train_matrix};

const EXAMPLES: &str = "Examples:
  ltr-trainer train-daily
  ltr-trainer train-daily --as-of 2026-11-23T02:15:00Z --json";

/// Runs etl, check, train, evaluate, gate and publish, in this order.
///
/// All results except the matrix go to {lake}/ltr/runs/{version}/. If the checks refuse the data, or the
/// gate rejects the model, nothing is published and the exit code is 3.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Time that counts as now (RFC 3339); names the version; default: the current time
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<DateTime<Utc>>,
    /// Compare the data with no earlier run: the change is meant, and later runs compare with this one
    #[arg(long)]
    pub no_reference: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap takes a doc comment for help")]
    pub champion: Choice,
    /// Print one JSON object at the end instead of tables
    #[arg(long)]
    pub json: bool,
}

/// The result of all steps, printed with `--json`; `null` from the first that was not run.
#[derive(Debug, Serialize)]
struct Report {
    version: String,
    run: PathBuf,
    etl: etl::Report,
    checks: DataChecks,
    training: Option<Training>,
    evaluation: Option<Evaluation>,
    gate: Option<GateResult>,
    published: Option<Published>,
}

/// Runs the command.
///
/// # Errors
/// The error of the first step that failed.
pub async fn run(args: &Args, settings: &Settings, record: &mut Record) -> anyhow::Result<Outcome> {
    #[expect(clippy::disallowed_methods, reason = "a run without --as-of is as of now")]
    let as_of = args.as_of.unwrap_or_else(Utc::now);
    let report = night(args, as_of, settings, record).await?;
    if args.json {
        console::json(&report)?;
    }
    match &report.published {
        None => Ok(Outcome::Refused),
        Some(published) => check_deliveries(published, settings).map(|()| Outcome::Done),
    }
}

async fn night(args: &Args, as_of: DateTime<Utc>, settings: &Settings, record: &mut Record) -> anyhow::Result<Report> {
    let version = version_of(as_of);
    let dir = run_dir(&settings.lake.dir, as_of);
    let matrix = days_path(&settings.lake.dir, as_of.date_naive());
    let people = !args.json;
    announce(people, 1, "etl");
    let etl = etl::build(&Extent::night(as_of, settings), as_of, Some(&matrix), settings).await?;
    etl.record(settings, record);
    if people {
        etl::print_report(&etl);
    }
    announce(people, 2, "check");
    let (profile, checks) = check(&matrix, &dir, !args.no_reference, settings)?;
    record_checks(&dir, record);
    if people {
        print_checks(&profile, &checks);
    }
    let mut report = Report {
        version,
        run: dir.clone(),
        etl,
        checks,
        training: None,
        evaluation: None,
        gate: None,
        published: None,
    };
    if report.checks.passed {
        model(args, &mut report, &matrix, as_of, settings, record).await?;
    }
    Ok(report)
}

fn announce(people: bool, number: u8, step: &str) {
    if people {
        println!("[{number}/6] {step}");
    }
}

/// The steps from a matrix that passed its checks to a published model.
async fn model(
    args: &Args,
    report: &mut Report,
    matrix: &Path,
    as_of: DateTime<Utc>,
    settings: &Settings,
    record: &mut Record,
) -> anyhow::Result<()> {
    let (dir, people) = (&report.run, !args.json);
    announce(people, 3, "train");
    let training = report.training.insert(train_matrix(matrix, None, settings, dir)?);
    training.record(dir, record);
    if people {
        print_training(training, dir);
    }
    announce(people, 4, "evaluate");
    let champion = args.champion.find(settings).await?;
    let evaluation = evaluate(dir, matrix, champion.as_ref(), settings)?;
    let evaluation = report.evaluation.insert(evaluation);
    evaluation.record(dir, &settings.models.dir, record);
    if people {
        print_evaluation(evaluation);
    }
    announce(people, 5, "gate");
    let gate = report.gate.insert(gate(dir, settings)?);
    record.wrote(Dataset::file(&dir.join(GATE)));
    if people {
        print_gate(gate);
    }
    if gate.passed {
        announce(people, 6, "publish");
        if let PublishOutcome::Published(done) = publish(dir, matrix, as_of, settings).await? {
            done.record(record);
            if people {
                print_published(&done);
            }
            report.published = Some(done);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! `ltr-trainer gate`: passes or rejects an evaluated model, criterion by criterion.

mod champion;

use std::path::{Path, PathBuf};

use anyhow::ensure;
use chrono::{DateTime, Utc};
use clap::Parser;
use comfy_table::{Cell, Table};
use ranking::Interval;
use ranking::criterion::{Criterion, all_passed, failed};
use ranking::release::replacement::GateAgainst;
use runtime::artefact;
use serde::{Deserialize, Serialize};
use settings::{Gate, Settings};

use crate::evaluate::{EVALUATION, Evaluation, Weighted, how_weighted};
use crate::lineage::{Dataset, Record};
use crate::night::{given_or, run_dir};
use crate::outcome::{Outcome, Permanent};
use crate::training_run::TrainingRun;
use crate::{console, files};

/// File name beside the model.
pub const GATE: &str = "gate.json";

const EXAMPLES: &str = "Examples:
  ltr-trainer gate --as-of 2026-11-23T02:15:00Z
  ltr-trainer gate --model var/runs/today
  ltr-trainer gate --model var/runs/today --json";

/// Checks an evaluated model against the [gate] thresholds.
///
/// Writes gate.json beside the model. Exit code 3 when a criterion fails. If the model was compared with a
/// champion, also says whether it may replace it without a trial; this does not change the exit code.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Time of the night's run (RFC 3339): sets --model unless it is given
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<DateTime<Utc>>,
    /// The directory `train` and `evaluate` wrote
    #[arg(long, value_name = "DIR", required_unless_present = "as_of")]
    pub model: Option<PathBuf>,
    /// Print the result as JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// The gate's verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    /// Whether every criterion is met.
    pub passed: bool,
    /// `ndcg5`, `mrr5`, `fair_gap` and `latency_p95`.
    pub criteria: Vec<Criterion>,
    /// Whether the model is no worse than the champion, so that it may replace it without a trial; `None`: there is none to
    /// compare with. It decides nothing here: a model that is worse may still be compared in shadow.
    #[serde(default)]
    pub champion: Option<GateAgainst>,
    /// `weighted_ndcg5` and `weighted_mrr5`: shown beside the criteria, and decide nothing.
    #[serde(default)]
    pub informative: Vec<Informative>,
}

/// A figure that decides nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Informative {
    /// Short, snake_case.
    pub name: String,
    /// What was measured; `not known` where it was not.
    pub value: String,
    /// What the figure is, or why it is not known.
    pub reason: String,
}

/// Judges an evaluation. A NaN fails its criterion.
pub fn judge(evaluation: &Evaluation, gate: &Gate) -> GateResult {
    let (ltr, legacy) = (&evaluation.ltr, &evaluation.legacy);
    let (ndcg, mrr) = (ltr.ndcg5.estimate, ltr.mrr5.estimate);
    let (ndcg_legacy, mrr_legacy) = (legacy.ndcg5.estimate, legacy.mrr5.estimate);
    let (gap, p95) = (ltr.fair_gap.gap, evaluation.latency.p95_ms);
    let worst = ltr
        .fair_gap
        .attribute
        .as_deref()
        .unwrap_or("no attribute with two groups");
    let criteria = vec![
        Criterion {
            name: "ndcg5".into(),
            passed: ndcg - ndcg_legacy >= gate.ndcg5_gain,
            value: format!("{ndcg:.4} ({:+.4})", ndcg - ndcg_legacy),
            required: format!(">= legacy {ndcg_legacy:.4} + {}", gate.ndcg5_gain),
            ..Criterion::default()
        },
        Criterion {
            name: "mrr5".into(),
            passed: mrr - mrr_legacy > gate.mrr5_gain,
            value: format!("{mrr:.4} ({:+.4})", mrr - mrr_legacy),
            required: format!("> legacy {mrr_legacy:.4} + {}", gate.mrr5_gain),
            ..Criterion::default()
        },
        Criterion {
            name: "fair_gap".into(),
            passed: gap <= gate.fair_gap,
            value: format!("{gap:.4} ({worst})"),
            required: format!("<= {}", gate.fair_gap),
            ..Criterion::default()
        },
        Criterion {
            name: "latency_p95".into(),
            passed: p95 < gate.latency_p95_ms,
            value: format!("{p95:.3} ms"),
            required: format!("< {} ms", gate.latency_p95_ms),
            ..Criterion::default()
        },
    ];
    GateResult {
        passed: all_passed(&criteria),
        criteria,
        champion: champion::judge(evaluation, gate),
        informative: informative(evaluation),
    }
}

/// The gains as they are once actions are weighted by how often their rank is looked at.
fn informative(evaluation: &Evaluation) -> Vec<Informative> {
    let reason = how_weighted(&evaluation.propensities);
    let figure = |name: &str, of: fn(&Weighted) -> Interval| {
        let known = evaluation.ltr.weighted.zip(evaluation.over_legacy.weighted);
        Informative {
            name: name.to_owned(),
            value: known.map_or_else(
                || "not known".to_owned(),
                |(ltr, over)| {
                    let (ltr, over) = (of(&ltr), of(&over));
                    format!(
                        "{:.4} ({:+.4} [{:+.4}, {:+.4}])",
                        ltr.estimate, over.estimate, over.low, over.high
                    )
                },
            ),
            reason: reason.clone(),
        }
    };
    vec![
        figure("weighted_ndcg5", |weighted| weighted.ndcg5),
        figure("weighted_mrr5", |weighted| weighted.mrr5),
    ]
}

/// Runs the command.
///
/// # Errors
/// See [`gate`].
pub fn run(args: &Args, settings: &Settings, record: &mut Record) -> anyhow::Result<Outcome> {
    let of_night = args.as_of.map(|as_of| run_dir(&settings.lake.dir, as_of));
    let dir = given_or(args.model.as_deref(), "--model", of_night)?;
    record.read(Dataset::file(&dir.join(artefact::MODEL)));
    record.read(Dataset::file(&dir.join(EVALUATION)));
    let result = gate(&dir, settings)?;
    record.wrote(Dataset::file(&dir.join(GATE)));
    if args.json {
        console::json(&result)?;
    } else {
        print_gate(&result);
    }
    Ok(if result.passed { Outcome::Done } else { Outcome::Refused })
}

/// Judges the model in `dir` by its `evaluation.json` and writes `gate.json`.
///
/// # Errors
/// A missing evaluation, or one of other files.
pub fn gate(dir: &Path, settings: &Settings) -> anyhow::Result<GateResult> {
    let run = TrainingRun::open(dir, &settings.schema())?;
    let evaluation = evaluation_of(&run)?;
    let result = judge(&evaluation, &settings.gate);
    files::write_json(&dir.join(GATE), &result)?;
    Ok(result)
}

/// Reads a model's evaluation and checks that it is of exactly this model, feature map and matrix.
///
/// # Errors
/// A missing evaluation, or one of other files.
pub fn evaluation_of(run: &TrainingRun) -> anyhow::Result<Evaluation> {
    let path = run.dir.join(EVALUATION);
    let evaluation: Evaluation = files::read_json(&path)?;
    for (key, found, expected) in [
        ("model_sha256", &evaluation.model_sha256, &run.training.model_sha256),
        (
            "feature_map_sha256",
            &evaluation.feature_map_sha256,
            &run.matrix.feature_map_sha256,
        ),
        ("matrix_sha256", &evaluation.matrix_sha256, &run.matrix.sha256),
    ] {
        ensure!(
            found == expected,
            Permanent::Refused(format!(
                "{}: {key} {found}; allowed: {expected}, the hash of this model's file; run `ltr-trainer evaluate` again",
                path.display()
            ))
        );
    }
    Ok(evaluation)
}

/// Prints which criterion passed and which failed, and how the model stands to the champion.
pub fn print_gate(result: &GateResult) {
    let mut table = criteria_table("gate", &result.criteria);
    for figure in &result.informative {
        table.add_row(vec![figure.name.as_str(), &figure.value, "-", "decides nothing"]);
    }
    println!("{table}");
    if let Some(figure) = result.informative.first() {
        println!("{}", figure.reason);
    }
    if result.passed {
        println!("gate: passed");
    } else {
        println!(
            "gate: FAILED on {}; nothing is published",
            failed(&result.criteria).join(", ")
        );
    }
    champion::print(result.champion.as_ref());
}

fn criteria_table(title: &str, criteria: &[Criterion]) -> Table {
    let mut table = console::table(&[title, "value", "required", ""]);
    for criterion in criteria {
        table.add_row(vec![
            Cell::new(criterion.name.as_ref()),
            Cell::new(&criterion.value),
            Cell::new(&criterion.required),
            console::verdict(criterion.passed),
        ]);
    }
    table
}

#[cfg(test)]
pub(crate) mod tests;

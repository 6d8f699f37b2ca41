//! `ltr-trainer publish`: publishes a model that passes the gate as a signed artefact.

mod golden;
mod notify;
mod publication;

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use chrono::{DateTime, Utc};
use clap::Parser;
use runtime::artefact;
use serde::Serialize;
use settings::Settings;

use crate::console;
use crate::evaluate::{EVALUATION, Evaluation, matrix_of};
use crate::gate::{GateResult, evaluation_of, judge, print_gate};
use crate::lineage::{Dataset, Record};
use crate::night::{days_path, given_or, run_dir};
use crate::outcome::Outcome;
use crate::training_run::TrainingRun;

pub use publication::{Bypass, Publication};

const EXAMPLES: &str = "Examples:
  ltr-trainer publish --as-of 2026-11-23T02:15:00Z
  ltr-trainer publish --model var/runs/today --matrix var/lake/ltr/processed/2026-11-23/days.json
  ltr-trainer publish --model var/runs/today --matrix matrix.parquet --as-of 2026-11-23T02:15:00Z";

/// Compiles, signs and publishes a model, then notifies the gateway.
///
/// Rejects a model whose evaluation does not pass the `[gate]` thresholds (exit code 3). The artefact
/// appears atomically in {models.dir}/ltr/{version}/, where {version} is --as-of in the form
/// 20261123T021500Z.
///
/// If the gateway cannot be notified, the artefact stays and the exit code is 1. Repeated, the command
/// finds the artefact of the same model and notifies the gateway again.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Directory written by `train` and `evaluate`; default: that of the night of --as-of
    #[arg(long, value_name = "DIR", required_unless_present = "as_of")]
    pub model: Option<PathBuf>,
    /// List of days, or matrix, that the model was trained on; golden rows come from its test part.
    /// Default: that of the night of --as-of
    #[arg(long, value_name = "FILE", required_unless_present = "as_of")]
    pub matrix: Option<PathBuf>,
    /// Time that counts as now (RFC 3339); names the version; default: the current time
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<DateTime<Utc>>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// A published artefact.
#[derive(Debug, Clone, Serialize)]
pub struct Published {
    /// The artefact's version.
    pub version: String,
    /// The artefact's directory.
    pub dir: PathBuf,
    /// Size of `scorer.wasm`.
    pub scorer_bytes: usize,
    /// Rows whose scores a gateway checks before it uses the component.
    pub golden_rows: usize,
    /// Whether the gateway was notified; `None`: no webhook is configured.
    pub notified: Option<bool>,
}

impl Published {
    /// Records the files of the artefact.
    pub fn record(&self, record: &mut Record) {
        let names = [
            artefact::MODEL,
            artefact::FEATURE_MAP,
            artefact::SCORER,
            artefact::EDGE_FILTER,
        ];
        for name in names.into_iter().chain([artefact::MANIFEST]) {
            record.wrote(Dataset::file(&self.dir.join(name)));
        }
    }
}

/// How publishing ended.
#[derive(Debug)]
pub enum PublishOutcome {
    /// The artefact was written.
    Published(Published),
    /// The gate rejected the model; nothing was written.
    Refused(GateResult),
}

/// Runs the command.
///
/// # Errors
/// See [`publish`] and [`check_deliveries`].
pub async fn run(args: &Args, settings: &Settings, record: &mut Record) -> anyhow::Result<Outcome> {
    let lake = &settings.lake.dir;
    let of_night = args.as_of.map(|as_of| days_path(lake, as_of.date_naive()));
    let dir = given_or(
        args.model.as_deref(),
        "--model",
        args.as_of.map(|as_of| run_dir(lake, as_of)),
    )?;
    let matrix = given_or(args.matrix.as_deref(), "--matrix", of_night)?;
    #[expect(clippy::disallowed_methods, reason = "a run without --as-of is as of now")]
    let as_of = args.as_of.unwrap_or_else(Utc::now);
    for name in [artefact::MODEL, artefact::FEATURE_MAP, EVALUATION] {
        record.read(Dataset::file(&dir.join(name)));
    }
    record.read(Dataset::file(&matrix));
    match publish(&dir, &matrix, as_of, settings).await? {
        PublishOutcome::Refused(result) => {
            if args.json {
                console::json(&result)?;
            } else {
                print_gate(&result);
            }
            Ok(Outcome::Refused)
        }
        PublishOutcome::Published(published) => {
            published.record(record);
            if args.json {
                console::json(&published)?;
            } else {
                print_published(&published);
            }
            check_deliveries(&published, settings)?;
            Ok(Outcome::Done)
        }
    }
}

/// Fails if the gateway was to be notified but could not be.
///
/// # Errors
/// A failed notification; the artefact is published nevertheless.
pub fn check_deliveries(published: &Published, settings: &Settings) -> anyhow::Result<()> {
    if published.notified == Some(false) {
        return Err(anyhow!(
            "{} is published, but the gateway at {} (publish.notify_url) could not be notified; it will find the version at its next start, or POST {{\"version\": {:?}}} to that URL",
            published.dir.display(),
            settings.publish.notify_url,
            published.version
        ));
    }
    Ok(())
}

/// Publishes the model in `dir` as the version of `as_of`, and notifies the gateway.
///
/// # Errors
/// Files that do not belong together, an unreadable key, a component whose scores differ from
/// LightGBM's in any bit, or a version that exists with another model. Nothing is published then.
pub async fn publish(
    dir: &Path,
    matrix: &Path,
    as_of: DateTime<Utc>,
    settings: &Settings,
) -> anyhow::Result<PublishOutcome> {
    let run = TrainingRun::open(dir, &settings.schema())?;
    let evaluation = evaluation_of(&run)?;
    let result = judge(&evaluation, &settings.gate);
    if !result.passed {
        return Ok(PublishOutcome::Refused(result));
    }
    let published = write_artefact(&run, &evaluation, &result, matrix, as_of, settings)?;
    Ok(PublishOutcome::Published(announced(published, settings).await))
}

/// Publishes a model that no gate has seen, by name: the manifest says which, and so does the ledger of every fleet that
/// loads it. For simulations alone, whose models are not trained on what was logged.
///
/// # Errors
/// As [`publish`].
pub async fn publish_around_gate(
    publication: &Publication<'_>,
    bypass: &Bypass,
    as_of: DateTime<Utc>,
    settings: &Settings,
) -> anyhow::Result<Published> {
    tracing::warn!("publishing a model around the gate, as {:?}", bypass.bypassed_as);
    let published = publication.write(serde_json::to_value(bypass)?, as_of, settings)?;
    Ok(announced(published, settings).await)
}

/// Notifies the gateway, if one is configured.
async fn announced(mut published: Published, settings: &Settings) -> Published {
    if !settings.publish.notify_url.is_empty() {
        let notified = notify::notify(&settings.publish.notify_url, &settings.client, &published.version).await;
        if let Err(error) = &notified {
            tracing::error!("notifying the gateway failed: {error:#}");
        }
        published.notified = Some(notified.is_ok());
    }
    published
}

fn write_artefact(
    run: &TrainingRun,
    evaluation: &Evaluation,
    result: &GateResult,
    matrix: &Path,
    as_of: DateTime<Utc>,
    settings: &Settings,
) -> anyhow::Result<Published> {
    let (stored, split) = matrix_of(run, matrix, settings)?;
    let test = stored.cases(split.test)?;
    let rows = test.iter().flat_map(|case| &case.rows);
    let publication = Publication {
        model: &run.model,
        feature_map_json: &run.feature_map_json,
        feature_map: &run.feature_map,
        training_window: run.training_window(),
        data_sha256: &run.matrix.sha256,
        metrics: serde_json::to_value(evaluation)?,
        rows: rows.map(|row| row.features.clone()).collect(),
    };
    publication.write(serde_json::to_value(result)?, as_of, settings)
}

/// Prints where the artefact is and whether the gateway was notified.
pub fn print_published(published: &Published) {
    let mut table = console::table(&["published", ""]);
    let notified = match published.notified {
        Some(true) => "notified",
        Some(false) => "NOT notified",
        None => "no webhook configured",
    };
    table.add_row(vec!["version".to_owned(), published.version.clone()]);
    table.add_row(vec!["artefact".to_owned(), published.dir.display().to_string()]);
    table.add_row(vec![
        "scorer.wasm".to_owned(),
        format!("{} bytes", published.scorer_bytes),
    ]);
    table.add_row(vec!["golden rows".to_owned(), published.golden_rows.to_string()]);
    table.add_row(vec!["gateway".to_owned(), notified.to_owned()]);
    println!("{table}");
}

#[cfg(test)]
mod tests;

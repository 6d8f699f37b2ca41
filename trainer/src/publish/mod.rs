//! `ltr-trainer publish`: a model that has passed the gate becomes a signed artefact.

mod edge;
mod golden;
mod notify;

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Parser;
use runtime::artefact::{self, Manifest, keys};
use runtime::{CONTRACT_VERSION, Engine};
use serde::Serialize;
use settings::Settings;

use crate::console;
use crate::evaluate::{Evaluation, cases_of, limits};
use crate::gate::{GateResult, evaluation_of, judge, print_gate};
use crate::outcome::Outcome;
use crate::publish::edge::EdgeDir;
use crate::training_run::TrainingRun;

const EXAMPLES: &str = "Examples:
  ltr-trainer publish --model var/runs/today --matrix var/lake/ltr/processed/2026-11-23/matrix.parquet
  ltr-trainer publish --model var/runs/today --matrix matrix.parquet --as-of 2026-11-23T02:15:00Z";

/// Compiles, signs and publishes a model, then tells the gateway.
///
/// Refuses (exit code 3) a model whose evaluation does not pass the [gate] thresholds. The artefact
/// appears whole in {models.dir}/ltr/{version}/, {version} being --as-of as 20261123T021500Z. If the
/// gateway, or the Envoys that watch publish.edge_dir, then cannot be told, the artefact stays and the exit code is 1.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The directory `train` and `evaluate` wrote
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// The matrix it was trained on; golden rows come from its test part
    #[arg(long, value_name = "PARQUET")]
    pub matrix: PathBuf,
    /// What counts as now (RFC 3339); names the version
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<DateTime<Utc>>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What was published.
#[derive(Debug, Clone, Serialize)]
pub struct Published {
    /// The artefact's name.
    pub version: String,
    /// Where it is.
    pub dir: PathBuf,
    /// Size of `scorer.wasm`.
    pub scorer_bytes: usize,
    /// Rows a gateway checks before it believes the component.
    pub golden_rows: usize,
    /// Whether the gateway was told; `None`: no webhook is configured.
    pub notified: Option<bool>,
    /// Whether Envoys were; `None`: they watch no directory (`publish.edge_dir`).
    pub offered: Option<bool>,
}

/// What came of an attempt to publish.
#[derive(Debug)]
pub enum PublishOutcome {
    /// The artefact is there.
    Published(Published),
    /// The gate said no; nothing was written.
    Refused(GateResult),
}

/// Runs the command.
///
/// # Errors
/// See [`publish`]; also a webhook that failed, with the artefact published.
pub async fn run(args: &Args, settings: &Settings) -> anyhow::Result<Outcome> {
    let as_of = args.as_of.unwrap_or_else(Utc::now);
    match publish(&args.model, &args.matrix, as_of, settings).await? {
        PublishOutcome::Refused(result) => {
            if args.json {
                console::json(&result)?;
            } else {
                print_gate(&result);
            }
            Ok(Outcome::Refused)
        }
        PublishOutcome::Published(published) => {
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

/// An error if somebody should have been told and was not.
///
/// # Errors
/// That.
pub fn check_deliveries(published: &Published, settings: &Settings) -> anyhow::Result<()> {
    if published.notified == Some(false) {
        return Err(anyhow!(
            "{} is published, but the gateway at {} (publish.notify_url) was not told; it finds the version at its next start, or POST {{\"version\": {:?}}} there",
            published.dir.display(),
            settings.publish.notify_url,
            published.version
        ));
    }
    if published.offered == Some(false) {
        return Err(anyhow!(
            "{} is published, but {} (publish.edge_dir) could not be written; Envoys stay with the filter they have",
            published.dir.display(),
            settings.publish.edge_dir.display()
        ));
    }
    Ok(())
}

/// Publishes the model in `dir` as the version of `as_of`, and tells the gateway and Envoys.
///
/// # Errors
/// Files that do not belong together, an unreadable key, a component whose scores differ from
/// LightGBM's in any bit, an existing version. Nothing is published then.
pub async fn publish(
    dir: &Path,
    matrix: &Path,
    as_of: DateTime<Utc>,
    settings: &Settings,
) -> anyhow::Result<PublishOutcome> {
    let run = TrainingRun::open(dir, &settings.schema())?;
    let edge_dir = settings.publish.edge_dir();
    let edge_dir = edge_dir.map(EdgeDir::open).transpose()?;
    let evaluation = evaluation_of(&run)?;
    let result = judge(&evaluation, &settings.gate);
    if !result.passed {
        return Ok(PublishOutcome::Refused(result));
    }
    let filter = run.edge_filter(&version_of(as_of))?;
    let mut published = write_artefact(&run, &filter, &evaluation, &result, matrix, as_of, settings)?;
    if !settings.publish.notify_url.is_empty() {
        let told = notify::notify(&settings.publish.notify_url, &settings.client, &published.version).await;
        if let Err(error) = &told {
            tracing::error!("telling the gateway: {error:#}");
        }
        published.notified = Some(told.is_ok());
    }
    if let Some(edge_dir) = edge_dir {
        let offered = edge_dir.offer(&published.version, &filter);
        if let Err(error) = &offered {
            tracing::error!("telling Envoys: {error:#}");
        }
        published.offered = Some(offered.is_ok());
    }
    Ok(PublishOutcome::Published(published))
}

fn write_artefact(
    run: &TrainingRun,
    filter: &[u8],
    evaluation: &Evaluation,
    result: &GateResult,
    matrix: &Path,
    as_of: DateTime<Utc>,
    settings: &Settings,
) -> anyhow::Result<Published> {
    let key = keys::read_signing_key(&settings.publish.signing_key)
        .context("publish.signing_key (make one with `ltr-trainer keygen`)")?;
    let (cases, parts) = cases_of(run, matrix, settings)?;
    let version = version_of(as_of);
    let component = run.compile(&version)?;
    let engine = Engine::new(limits(settings))?;
    let scorer = engine.load(&component).context("loading the compiled model")?;
    let golden = golden::golden(&scorer, run, &cases[parts.test])?;
    let golden_rows = golden.rows.len();
    let manifest = Manifest {
        manifest_version: artefact::MANIFEST_VERSION,
        version: version.clone(),
        contract_version: CONTRACT_VERSION.to_owned(),
        feature_names: run.feature_map.names().to_vec(),
        training_window: run.training_window(),
        data_sha256: run.matrix.sha256.clone(),
        created_at: as_of.to_rfc3339_opts(SecondsFormat::Secs, true),
        files: Default::default(),
        metrics: serde_json::to_value(evaluation)?,
        gate: serde_json::to_value(result)?,
        golden,
    };
    let files: [(&str, &[u8]); 4] = [
        (artefact::MODEL, &run.model),
        (artefact::FEATURE_MAP, &run.feature_map_json),
        (artefact::SCORER, &component),
        (artefact::EDGE_FILTER, filter),
    ];
    let dir = artefact::publish(&settings.models.dir.join("ltr"), &files, manifest, &key)?;
    Ok(Published {
        version,
        dir,
        scorer_bytes: component.len(),
        golden_rows,
        notified: None,
        offered: None,
    })
}

/// The name of a version that is made at this time.
pub fn version_of(as_of: DateTime<Utc>) -> String {
    as_of.format("%Y%m%dT%H%M%SZ").to_string()
}

/// Prints where the artefact is and whether the gateway knows.
pub fn print_published(published: &Published) {
    let mut table = console::table(&["published", ""]);
    let told = match published.notified {
        Some(true) => "told",
        Some(false) => "NOT told",
        None => "no webhook configured",
    };
    table.add_row(vec!["version".to_owned(), published.version.clone()]);
    table.add_row(vec!["artefact".to_owned(), published.dir.display().to_string()]);
    table.add_row(vec![
        "scorer.wasm".to_owned(),
        format!("{} bytes", published.scorer_bytes),
    ]);
    table.add_row(vec!["golden rows".to_owned(), published.golden_rows.to_string()]);
    table.add_row(vec!["gateway".to_owned(), told.to_owned()]);
    let offered = match published.offered {
        Some(true) => "told",
        Some(false) => "NOT told",
        None => "no directory configured",
    };
    table.add_row(vec!["Envoys".to_owned(), offered.to_owned()]);
    println!("{table}");
}

#[cfg(test)]
mod tests;

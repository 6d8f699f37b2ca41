//! `ltr-trainer check`: looks at the data before a model is trained on it.
//!
//! A model that was trained on half a night, or on a feature that somebody broke, may pass the gate: its
//! test part is broken, too. So the data is compared with limits, and with what an earlier run was trained
//! on. `profile` describes the data, `reference` finds the earlier run, `rules` judges.

mod print;
mod profile;
mod reference;
mod rules;

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::Parser;
use serde::{Deserialize, Serialize};
use settings::Settings;

use crate::lineage::{Dataset, Record};
use crate::matrix::days::MatrixFiles;
use crate::night::{days_path, given_or, run_dir};
use crate::outcome::Outcome;
use crate::{console, files};

pub use print::print_checks;
pub use profile::{DataProfile, FeatureProfile};
pub use reference::{Reference, runs_dir};
pub use rules::{Check, CheckName, Finding, Limit, judge};

/// Name of the description of a run's data, which the next run is compared with.
pub const PROFILE: &str = "data_profile.json";
/// Name of the verdict on it.
pub const CHECKS: &str = "data_checks.json";

const EXAMPLES: &str = "Examples:
  ltr-trainer check --as-of 2026-11-23T02:15:00Z
  ltr-trainer check --matrix var/lake/ltr/processed/2026-11-23/days.json --run var/lake/ltr/runs/20261123T021500Z
  ltr-trainer check --matrix matrix.parquet --run var/runs/today --json
  ltr-trainer check --matrix days.json --run var/runs/today --no-reference    accept what has changed";

/// Checks training data against the `[checks]` thresholds, and against the last run.
///
/// Looks at the number of cases and rows, days without cases, labels, and at each feature: missing values,
/// range, constant values, and drift by the population stability index. The last run is the one in
/// {lake}/ltr/runs that published the newest model, or else the newest one, whose checks passed; a run never
/// compares with a later one. Without any, comparisons are reported as not made.
///
/// Writes data_profile.json and data_checks.json into the run's directory. Exit code 3 when a check refuses
/// the data; warnings stop nothing.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Time of the night's run (RFC 3339): sets --matrix and --run unless they are given
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<DateTime<Utc>>,
    /// List of days written by `etl`, or one matrix
    #[arg(long, value_name = "FILE", required_unless_present = "as_of")]
    pub matrix: Option<PathBuf>,
    /// Directory of the run: where `train` will write its results
    #[arg(long, value_name = "DIR", required_unless_present = "as_of")]
    pub run: Option<PathBuf>,
    /// Compare with no earlier run: the change is meant, and later runs compare with this one
    #[arg(long)]
    pub no_reference: bool,
    /// Print the result as JSON instead of tables
    #[arg(long)]
    pub json: bool,
}

/// The verdict on a run's data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataChecks {
    /// Whether no check refuses the data.
    pub passed: bool,
    /// SHA-256 of the list of days, or of the matrix.
    pub matrix_sha256: String,
    /// The run that it was compared with; `None`: there is none.
    pub reference: Option<Reference>,
    /// Each check, once a column where it looks at columns.
    pub checks: Vec<Check>,
}

/// Runs the command.
///
/// # Errors
/// See [`check`].
pub fn run(args: &Args, settings: &Settings, record: &mut Record) -> anyhow::Result<Outcome> {
    let lake = &settings.lake.dir;
    let of_night = args.as_of.map(|as_of| days_path(lake, as_of.date_naive()));
    let matrix = given_or(args.matrix.as_deref(), "--matrix", of_night)?;
    let dir = given_or(
        args.run.as_deref(),
        "--run",
        args.as_of.map(|as_of| run_dir(lake, as_of)),
    )?;
    record.read(Dataset::file(&matrix));
    let (profile, checks) = check(&matrix, &dir, !args.no_reference, settings)?;
    record.read(Dataset::file(&matrix).sha256(&checks.matrix_sha256));
    record_checks(&dir, record);
    if args.json {
        console::json(&checks)?;
    } else {
        print_checks(&profile, &checks);
    }
    Ok(if checks.passed { Outcome::Done } else { Outcome::Refused })
}

/// Records what the checks wrote into the directory of a run.
pub fn record_checks(run: &Path, record: &mut Record) {
    record.wrote(Dataset::file(&run.join(PROFILE)));
    record.wrote(Dataset::file(&run.join(CHECKS)));
}

/// Checks the data that `matrix` lists, as far as `train.window_days` has it trained on, and writes profile and verdict into the directory of a run.
/// `compare`: also with an earlier run.
///
/// # Errors
/// A matrix that cannot be read, or lacks a feature; a directory that cannot be written.
pub fn check(
    matrix: &Path,
    run: &Path,
    compare: bool,
    settings: &Settings,
) -> anyhow::Result<(DataProfile, DataChecks)> {
    let found = if compare { reference::find(run, settings)? } else { None };
    let (reference, earlier) = found.unzip();
    let files = MatrixFiles::of(matrix, settings.train.window_days)?;
    let profile = profile::of(&files, &settings.schema(), earlier.as_ref(), &settings.checks)?;
    let checks = judge(&profile, earlier.as_ref(), &settings.checks);
    let verdict = DataChecks {
        passed: checks.iter().all(|check| check.finding != Finding::Refused),
        matrix_sha256: profile.matrix_sha256.clone(),
        reference,
        checks,
    };
    files::write_json(&run.join(PROFILE), &profile)?;
    files::write_json(&run.join(CHECKS), &verdict)?;
    Ok((profile, verdict))
}

#[cfg(test)]
mod tests;

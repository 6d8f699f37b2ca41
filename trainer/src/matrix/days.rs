//! A list of days: which matrices a training run reads, with their hashes.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use chrono::NaiveDate;
use ranking::Schema;
use serde::{Deserialize, Serialize};

use super::{Matrix, read};
use crate::files;
use crate::outcome::Permanent;

/// Name of the list in the lake.
pub const DAYS: &str = "days.json";

/// The matrices of some days, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayList {
    /// One entry a day with cases.
    pub days: Vec<Day>,
}

/// The matrix of a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// The day on which its cases were first shown.
    pub date: NaiveDate,
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of the file when it was listed.
    pub sha256: String,
}

/// Reads a list of days, or one matrix, and the SHA-256 of the file at `path`. Of cases that are not mature
/// the labels may still change: they are left out.
///
/// # Errors
/// A file that cannot be read or breaks a rule; a matrix that was made again since it was listed.
pub fn read_listed(path: &Path, schema: &Schema) -> anyhow::Result<(Matrix, String)> {
    let bytes = files::read(path)?;
    let hash = files::sha256(&bytes);
    let reading = || format!("reading the matrix {}", path.display());
    if path.extension().is_none_or(|extension| extension != "json") {
        return Ok((read(bytes, schema).with_context(reading)?, hash));
    }
    let list: DayList =
        serde_json::from_slice(&bytes).with_context(|| format!("{}: not a list of days", path.display()))?;
    let mut cases = Vec::new();
    for day in &list.days {
        let reading = || format!("reading the matrix {}", day.path.display());
        let bytes = files::read(&day.path)?;
        let found = files::sha256(&bytes);
        ensure!(
            found == day.sha256,
            Permanent::Refused(format!(
                "{} was made again since it was listed in {}: run etl, train and evaluate again",
                day.path.display(),
                path.display()
            ))
        );
        cases.extend(read(bytes, schema).with_context(reading)?.cases);
    }
    if cases.is_empty() {
        bail!(
            "{}: none of its {} days has a mature case",
            path.display(),
            list.days.len()
        );
    }
    let schema = schema.clone();
    Ok((Matrix { schema, cases }, hash))
}

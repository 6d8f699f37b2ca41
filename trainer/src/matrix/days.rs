//! A list of days: which matrices a training run reads, with their hashes.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use chrono::NaiveDate;
use ranking::Schema;
use serde::{Deserialize, Serialize};

use super::Matrix;
use super::check::check_whole;
use super::read::read_cases;
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

impl Day {
    /// The bytes of the matrix, as `list` has it.
    fn read(&self, list: &Path) -> anyhow::Result<Vec<u8>> {
        let bytes = files::read(&self.path)?;
        ensure!(
            files::sha256(&bytes) == self.sha256,
            Permanent::Refused(format!(
                "{} was made again since it was listed in {}: run etl, train and evaluate again",
                self.path.display(),
                list.display()
            ))
        );
        Ok(bytes)
    }
}

/// Hands the bytes of each matrix that `path` lists, or of the one that it is, to `each`. Returns the SHA-256
/// of the file at `path`.
///
/// # Errors
/// A file that cannot be read; a matrix that was made again since it was listed; what `each` finds.
pub fn for_each(path: &Path, mut each: impl FnMut(Vec<u8>) -> anyhow::Result<()>) -> anyhow::Result<String> {
    let bytes = files::read(path)?;
    let hash = files::sha256(&bytes);
    let mut each =
        |path: &Path, bytes: Vec<u8>| each(bytes).with_context(|| format!("reading the matrix {}", path.display()));
    if path.extension().is_none_or(|extension| extension != "json") {
        each(path, bytes)?;
        return Ok(hash);
    }
    let list: DayList =
        serde_json::from_slice(&bytes).with_context(|| format!("{}: not a list of days", path.display()))?;
    for day in &list.days {
        each(&day.path, day.read(path)?)?;
    }
    Ok(hash)
}

/// Reads a list of days, or one matrix, and the SHA-256 of the file at `path`. Of cases that are not mature
/// the labels may still change: they are left out.
///
/// # Errors
/// A file that cannot be read or breaks a rule; a matrix that was made again since it was listed.
pub fn read_listed(path: &Path, schema: &Schema) -> anyhow::Result<(Matrix, String)> {
    let mut cases = Vec::new();
    let hash = for_each(path, |bytes| {
        cases.extend(read_cases(bytes, schema)?);
        Ok(())
    })?;
    let schema = schema.clone();
    check_whole(&cases).with_context(|| format!("reading the matrix {}", path.display()))?;
    Ok((Matrix { schema, cases }, hash))
}

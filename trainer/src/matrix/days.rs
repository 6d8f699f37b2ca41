//! A list of days: which matrices a training run reads, with their hashes.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use chrono::{Duration, NaiveDate};
use regular_file::Links;
use serde::{Deserialize, Serialize};

use super::MatrixError;
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

impl DayList {
    /// Reads a list.
    ///
    /// # Errors
    /// JSON of another shape, naming `path`.
    pub fn parse(bytes: &[u8], path: &Path) -> anyhow::Result<DayList> {
        serde_json::from_slice(bytes).with_context(|| format!("{}: not a list of days", path.display()))
    }

    /// The days from `window_days` before the newest one on; 0: all days.
    pub fn window(self, window_days: u32) -> DayList {
        let newest = self.days.iter().map(|day| day.date).max();
        let first = match (newest, window_days) {
            (None, _) | (_, 0) => None,
            (Some(newest), days) => newest.checked_sub_signed(Duration::days(i64::from(days))),
        };
        let days = self.days.into_iter();
        DayList {
            days: days.filter(|day| first.is_none_or(|first| day.date >= first)).collect(),
        }
    }
}

/// The files of a matrix: one, or those that a list of days names. Each pass over them compares each file
/// with its hash, so that all passes read the same bytes.
#[derive(Debug)]
pub struct MatrixFiles {
    path: PathBuf,
    sha256: String,
    files: Vec<MatrixFile>,
}

#[derive(Debug)]
struct MatrixFile {
    path: PathBuf,
    sha256: String,
}

impl MatrixFiles {
    /// The matrix at `path`, or those that the list of days at `path` names, from `window_days` before the
    /// newest of them on (0: all).
    ///
    /// # Errors
    /// A file at `path` that cannot be read.
    pub fn of(path: &Path, window_days: u32) -> anyhow::Result<MatrixFiles> {
        let (sha256, files) = if path.extension().is_some_and(|extension| extension == "json") {
            let bytes = files::read(path)?;
            let days = DayList::parse(&bytes, path)?.window(window_days).days;
            let listed = days
                .into_iter()
                .map(|Day { path, sha256, .. }| MatrixFile { path, sha256 });
            (files::sha256(&bytes), listed.collect())
        } else {
            let sha256 = files::hash(path).with_context(|| reading(path))?;
            let file = MatrixFile {
                path: path.to_owned(),
                sha256: sha256.clone(),
            };
            (sha256, vec![file])
        };
        Ok(MatrixFiles {
            path: path.to_owned(),
            sha256,
            files,
        })
    }

    /// SHA-256 of the file at the path: of the matrix, or of the list that has the matrices' hashes.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Hands each file to `read`, in order.
    ///
    /// # Errors
    /// A file that cannot be read, or is not the one that was listed; an error of `read`, naming the file.
    pub fn each(&self, mut read: impl FnMut(File) -> Result<(), MatrixError>) -> anyhow::Result<()> {
        for (at, file) in self.files.iter().enumerate() {
            read(self.open(at)?).with_context(|| reading(&file.path))?;
        }
        Ok(())
    }

    /// Opens the file of this number.
    ///
    /// # Errors
    /// A file that cannot be read, or is not the one that was listed.
    pub(super) fn open(&self, at: usize) -> anyhow::Result<File> {
        let MatrixFile { path, sha256 } = &self.files[at];
        let mut file = regular_file::open(path, Links::Follow).with_context(|| reading(path))?;
        let found = files::hash_of(&mut file).with_context(|| reading(path))?;
        ensure!(
            found == *sha256,
            Permanent::Refused(format!(
                "{} was made again since it was listed in {}: run etl, train and evaluate again",
                path.display(),
                self.path.display()
            ))
        );
        Ok(file)
    }

    /// The context of errors in the file of this number.
    pub(super) fn reading(&self, at: usize) -> String {
        reading(&self.files[at].path)
    }

    /// The context of errors in all files together.
    pub(super) fn reading_all(&self) -> String {
        format!("{} ({} files)", reading(&self.path), self.files.len())
    }
}

fn reading(path: &Path) -> String {
    format!("reading the matrix {}", path.display())
}

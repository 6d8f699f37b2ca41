//! A list of days: which matrices a training run reads, with their hashes.

use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::{Duration, NaiveDate};
use serde::{Deserialize, Serialize};

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

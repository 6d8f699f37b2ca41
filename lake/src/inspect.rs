//! What the lake holds, day by day.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::Serialize;

use crate::LakeError;
use crate::layout::Table;
use crate::place::Lake;

/// One day of the raw tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// In UTC; `None`: events whose time is none of the calendar's.
    pub day: Option<NaiveDate>,
    /// Rankings shown.
    pub impressions: u64,
    /// Clicks, contacts and contracts.
    pub actions: u64,
    /// Events that no reader understands.
    pub rejected: u64,
    /// Files of all tables.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
}

/// All days, the oldest first. Reads names alone.
///
/// # Errors
/// A lake that cannot be read, or lacks a file.
pub async fn inspect(lake: &Lake) -> Result<Vec<Partition>, LakeError> {
    let mut days: BTreeMap<Option<NaiveDate>, Partition> = BTreeMap::new();
    for ((table, day), files) in lake.raw_files().await? {
        let partition = days.entry(day).or_default();
        partition.day = day;
        let events = files.last().map_or(0, |last| last.to);
        match table {
            Table::Impressions => partition.impressions = events,
            Table::Actions => partition.actions = events,
            Table::Rejected => partition.rejected = events,
            Table::ImpressionLawyers => {}
        }
        partition.files += files.len() as u64;
        partition.bytes += files.iter().map(|file| file.size).sum::<u64>();
    }
    Ok(days.into_values().collect())
}

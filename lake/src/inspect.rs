//! What the lake holds, day by day.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::Serialize;

use crate::LakeError;
use crate::layout::{RawFile, Table};
use crate::place::{Files, Lake};

/// One day of the raw tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// In UTC; `None`: events whose time is none of the calendar's.
    pub day: Option<NaiveDate>,
    /// Rankings shown.
    pub impressions: u64,
    /// Clicks, contacts and contracts.
    pub actions: u64,
    /// Requests that a challenger was compared on.
    pub comparisons: u64,
    /// Records that no reader understands.
    pub rejected: u64,
    /// Records that came two days after the day or later, by the clock of the disk or store.
    pub late: u64,
    /// Files of all tables.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
}

/// All days, the oldest first. Reads names, and the ends of files.
///
/// # Errors
/// A lake that cannot be read, or lacks a file.
pub async fn inspect(lake: &Lake) -> Result<Vec<Partition>, LakeError> {
    let mut days: BTreeMap<Option<NaiveDate>, Partition> = BTreeMap::new();
    for ((table, day), files) in sound(lake).await? {
        let partition = days.entry(day).or_default();
        partition.day = day;
        let events = files.last().map_or(0, |last| last.to);
        match table {
            Table::Impressions => partition.impressions = events,
            Table::Actions => partition.actions = events,
            Table::Comparisons => partition.comparisons = events,
            Table::Rejected => partition.rejected = events,
            Table::ImpressionLawyers => {}
        }
        if table != Table::ImpressionLawyers {
            for file in &files {
                partition.late += lake.late(file).await?;
            }
        }
        partition.files += files.len() as u64;
        partition.bytes += files.iter().map(|file| file.size).sum::<u64>();
    }
    Ok(days.into_values().collect())
}

async fn sound(lake: &Lake) -> Result<Files, LakeError> {
    let (files, mut broken) = lake.raw_files().await?;
    broken.pop_first().map_or(Ok(files), |(_, error)| Err(error))
}

/// The files that together have each record of a table once, the oldest day first.
///
/// # Errors
/// As [`inspect`].
pub async fn files(lake: &Lake, table: Table) -> Result<Vec<RawFile>, LakeError> {
    let files = sound(lake).await?.into_iter();
    Ok(files
        .filter(|((other, _), _)| *other == table)
        .flat_map(|(_, files)| files)
        .collect())
}

//! Adds records to a day of the raw tables, each once, whoever else does the same.
//!
//! The ids of what is there decide. A file is put only where none has its name, which says where in its table it begins: of
//! two writers at once, the second one finds the name taken, and looks again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use object_store_lake::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ranking::{Body, Event, Schema};
use store::ShadowRecord;
use uuid::Uuid;

use crate::LakeError;
use crate::compact::compact_open;
use crate::layout::{RawFile, Table};
use crate::place::{Files, Lake, damaged};
use crate::tables::{Rejected, Tables, encode_comparisons, encode_rejected};

/// How often a day is looked at again because another writer was faster.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(20);
/// Ids kept in memory, of files that never change, so that a writer that goes on does not read them again.
const MOST_KEPT: usize = 4_000_000;

/// What was added.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sank {
    /// Days with new records.
    pub days: u64,
    /// New impressions.
    pub impressions: u64,
    /// New actions.
    pub actions: u64,
    /// New comparisons.
    pub comparisons: u64,
    /// New records that no reader understands.
    pub rejected: u64,
    /// New files.
    pub files: u64,
}

/// Adds events to a lake, each once. What the sinks do, for programs that have events from elsewhere.
///
/// # Errors
/// A lake that cannot be used; a feature that has the name of another column.
pub async fn add_events(lake: &Lake, features: &Schema, events: Vec<Event>) -> Result<Sank, LakeError> {
    let mut days: BTreeMap<NaiveDate, Records> = BTreeMap::new();
    for event in events {
        let of_day = days.entry(event.ts_utc.date_naive()).or_default();
        match event.body {
            Body::Action(_) => of_day.actions.push(event),
            Body::Impression(_) => of_day.impressions.push(event),
        }
    }
    let mut adding = Adding::new(lake, Tables::new(features)?);
    for (day, records) in days {
        adding.add(Some(day), &records).await?;
    }
    Ok(adding.sank)
}

/// Records of one day, in the order of arrival.
#[derive(Default)]
pub(crate) struct Records {
    pub impressions: Vec<Event>,
    pub actions: Vec<Event>,
    pub comparisons: Vec<ShadowRecord>,
    pub rejected: Vec<Rejected>,
}

/// A record's id as tables are searched for it. A text that is no id has one, too.
pub(crate) fn id_of(key: &str) -> Uuid {
    Uuid::parse_str(key).unwrap_or_else(|_| Uuid::new_v5(&Uuid::nil(), key.as_bytes()))
}

/// What a day has.
pub(crate) struct Known {
    day: Option<NaiveDate>,
    /// Behind the last record of each table.
    ends: [u64; Table::ALL.len()],
    ids: [Vec<Arc<HashSet<Uuid>>>; Table::ALL.len()],
}

impl Known {
    fn has_in(&self, table: Table, id: Uuid) -> bool {
        self.ids[table as usize].iter().any(|ids| ids.contains(&id))
    }

    /// Whether every table that the record belongs to has it.
    pub(crate) fn has(&self, id: Uuid) -> bool {
        let impression = [Table::Impressions, Table::ImpressionLawyers];
        let others = [Table::Actions, Table::Comparisons, Table::Rejected];
        impression.into_iter().all(|table| self.has_in(table, id))
            || others.into_iter().any(|table| self.has_in(table, id))
    }

    /// The next file of a table, with so many records.
    fn next(&self, table: Table, records: usize) -> RawFile {
        let from = self.ends[table as usize];
        RawFile {
            table,
            day: self.day,
            from,
            to: from + records as u64,
            is_merged: false,
            size: 0,
            written: DateTime::<Utc>::UNIX_EPOCH,
        }
    }
}

/// How many records of a day the tables have; of its impressions, only those whose lawyers are there.
pub(crate) fn count(files: &Files, day: Option<NaiveDate>) -> u64 {
    let [impressions, lawyers, actions, comparisons, rejected] = ends(files, day);
    impressions.min(lawyers) + actions + comparisons + rejected
}

fn ends(files: &Files, day: Option<NaiveDate>) -> [u64; Table::ALL.len()] {
    Table::ALL.map(|table| {
        let files = files.get(&(table, day));
        files.and_then(|files| files.last()).map_or(0, |last| last.to)
    })
}

/// What a table lacks: the ids of the records, and a file of them.
type Lacking = (Table, HashSet<Uuid>, Result<Bytes, String>);

/// Adds records to the raw tables of a lake.
pub(crate) struct Adding<'a> {
    lake: &'a Lake,
    pub tables: Tables,
    ids: HashMap<(Path, u64), Arc<HashSet<Uuid>>>,
    pub sank: Sank,
}

impl<'a> Adding<'a> {
    pub(crate) fn new(lake: &'a Lake, tables: Tables) -> Adding<'a> {
        Adding {
            lake,
            tables,
            ids: HashMap::new(),
            sank: Sank::default(),
        }
    }

    /// What a day has now.
    pub(crate) async fn known(&mut self, day: Option<NaiveDate>) -> Result<Known, LakeError> {
        if self.ids.values().map(|ids| ids.len()).sum::<usize>() > MOST_KEPT {
            self.ids.clear();
        }
        let files = self.lake.raw_files_of(day).await?;
        let mut known = Known {
            day,
            ends: ends(&files, day),
            ids: Default::default(),
        };
        for ((table, _), files) in &files {
            for file in files {
                known.ids[*table as usize].push(self.ids_of(file).await?);
            }
        }
        Ok(known)
    }

    async fn ids_of(&mut self, file: &RawFile) -> Result<Arc<HashSet<Uuid>>, LakeError> {
        let key = (file.path(), file.size);
        if let Some(ids) = self.ids.get(&key) {
            return Ok(ids.clone());
        }
        let bytes = self.lake.get(&key.0).await?;
        let bytes = bytes.ok_or_else(|| damaged(file, "it is gone".to_owned()))?;
        let ids = Arc::new(read_ids(bytes).map_err(|problem| damaged(file, problem))?);
        self.ids.insert(key, ids.clone());
        Ok(ids)
    }

    /// Writes what a day lacks of these records.
    pub(crate) async fn add(&mut self, day: Option<NaiveDate>, records: &Records) -> Result<(), LakeError> {
        let files_before = self.sank.files;
        for attempt in 0..ATTEMPTS {
            let known = self.known(day).await?;
            if self.try_add(known, records).await? {
                if self.sank.files > files_before {
                    self.sank.days += 1;
                    compact_open(self.lake, day).await?;
                }
                return Ok(());
            }
            tokio::time::sleep(PAUSE * attempt).await;
        }
        Err(LakeError::Busy {
            path: Table::Impressions.folder(day),
            problem: format!("another sink was faster {ATTEMPTS} times; let one of them run alone"),
        })
    }

    /// `false`: another writer was faster.
    async fn try_add(&mut self, known: Known, records: &Records) -> Result<bool, LakeError> {
        let mut put = Vec::new();
        for (table, ids, bytes) in self.lacking(&known, records) {
            if ids.is_empty() {
                continue;
            }
            let file = known.next(table, ids.len());
            if !self.put(&file, bytes).await? {
                return Ok(false);
            }
            put.push((file, ids));
        }
        self.confirm(known.day, put).await
    }

    /// What each table lacks of these records: their ids, and a file of them.
    fn lacking(&self, known: &Known, records: &Records) -> [Lacking; Table::ALL.len()] {
        let mut seen = HashSet::new();
        let mut lacks = |table, id| !known.has_in(table, id) && seen.insert((table, id));
        let comparisons = records.comparisons.iter();
        let comparisons: Vec<ShadowRecord> = comparisons
            .filter(|record| lacks(Table::Comparisons, record.comparison_id()))
            .cloned()
            .collect();
        let rejected = records.rejected.iter();
        let rejected: Vec<Rejected> = rejected
            .filter(|record| lacks(Table::Rejected, id_of(&record.key)))
            .cloned()
            .collect();
        let mut events = |table, events: &[Event]| {
            let lacking = events.iter().filter(|event| lacks(table, event.event_id));
            let lacking: Vec<Event> = lacking.cloned().collect();
            let ids = lacking.iter().map(|event| event.event_id).collect();
            (table, ids, self.tables.encode(table, &lacking))
        };
        [
            events(Table::Impressions, &records.impressions),
            events(Table::Actions, &records.actions),
            (
                Table::Comparisons,
                comparisons.iter().map(ShadowRecord::comparison_id).collect(),
                encode_comparisons(&comparisons),
            ),
            (
                Table::Rejected,
                rejected.iter().map(|record| id_of(&record.key)).collect(),
                encode_rejected(&rejected),
            ),
            // Last, because they are what the impressions are known to lack after a crash.
            events(Table::ImpressionLawyers, &records.impressions),
        ]
    }

    /// Looks whether the files that were put count: whoever was very slow may have put one where others were merged and
    /// removed meanwhile.
    async fn confirm(&mut self, day: Option<NaiveDate>, put: Vec<(RawFile, HashSet<Uuid>)>) -> Result<bool, LakeError> {
        if put.is_empty() {
            return Ok(true);
        }
        let files = self.lake.raw_files_of(day).await?;
        let mut all_count = true;
        for (file, ids) in put {
            let of_table = files.get(&(file.table, day)).map_or(&[][..], Vec::as_slice);
            if let Some(there) = of_table.iter().find(|there| there.path() == file.path()) {
                let number = match file.table {
                    Table::Impressions => &mut self.sank.impressions,
                    Table::Actions => &mut self.sank.actions,
                    Table::Comparisons => &mut self.sank.comparisons,
                    Table::Rejected => &mut self.sank.rejected,
                    Table::ImpressionLawyers => &mut 0,
                };
                *number += ids.len() as u64;
                self.ids.insert((file.path(), there.size), Arc::new(ids));
            } else {
                all_count = false;
            }
        }
        Ok(all_count)
    }

    async fn put(&mut self, file: &RawFile, bytes: Result<Bytes, String>) -> Result<bool, LakeError> {
        let bytes = bytes.map_err(|problem| LakeError::File {
            path: file.to_string(),
            problem,
            remedy: "this is a fault of the program",
        })?;
        let is_new = self.lake.put_new(&file.path(), bytes).await?;
        self.sank.files += u64::from(is_new);
        Ok(is_new)
    }
}

fn read_ids(bytes: Bytes) -> Result<HashSet<Uuid>, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| error.to_string())?;
    let column = ProjectionMask::columns(builder.parquet_schema(), ["event_id"]);
    let reader = builder
        .with_projection(column)
        .build()
        .map_err(|error| error.to_string())?;
    let mut ids = HashSet::new();
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        let column = batch.columns().first().ok_or("it has no column event_id")?;
        let column = column.as_string_opt::<i32>().ok_or("its column event_id is no text")?;
        ids.extend(column.iter().flatten().map(id_of));
    }
    Ok(ids)
}

//! Fills the raw tables from the table `match_events`, each event once.
//!
//! The database knows how many events each day has, and the names of the lake's files how many of them are
//! there, so that only days that differ are looked at. There the ids decide. A file is put only where none
//! is, under a name that says which rows of its day it has: of two sinks at once, the second one finds its
//! name taken, and looks again.

use std::collections::HashSet;

use arrow::array::AsArray;
use bytes::Bytes;
use chrono::NaiveDate;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ranking::{Body, Event, Schema};
use store::{EventDay, Store, StoredRow};
use uuid::Uuid;

use crate::LakeError;
use crate::layout::{RawFile, Table};
use crate::place::{Files, Lake};
use crate::tables::{Rejected, Tables, encode_rejected, pseudonymised};

/// Events that are read, and written to one file, at once.
const CHUNK: usize = 20_000;
/// The last days are compared by ids even if the numbers are the same: something may have been erased
/// there since, while something else came.
const LATEST: usize = 3;
/// How often a day is looked at again because another sink was faster.
const ATTEMPTS: u32 = 20;

/// What a run of the sink did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sank {
    /// Days with new events.
    pub days: u64,
    /// New impressions.
    pub impressions: u64,
    /// New actions.
    pub actions: u64,
    /// New events that no reader understands.
    pub rejected: u64,
    /// New files.
    pub files: u64,
}

/// Brings the raw tables to what the database has. `salt`: that of the pseudonyms, if this machine has it.
/// `progress` is told of each day and its events.
///
/// # Errors
/// A database or lake that cannot be used; a feature that has the name of another column. What was written
/// before stays, and the next run goes on behind it.
pub async fn sink(
    store: &Store,
    lake: &Lake,
    features: &Schema,
    salt: Option<&[u8]>,
    mut progress: impl FnMut(EventDay) + Send,
) -> Result<Sank, LakeError> {
    let sinking = Sinking {
        store,
        lake,
        tables: Tables::new(features)?,
        salt,
    };
    let days = store.event_days().await?;
    let files = lake.raw_files().await?;
    let mut latest: Vec<Option<NaiveDate>> = days.iter().map(|day| day.day).collect();
    latest.sort_unstable_by(|a, b| b.cmp(a));
    latest.truncate(LATEST);
    let mut sank = Sank::default();
    for day in days {
        if latest.contains(&day.day) || !Day::new(day.day, &files).has(day.events) {
            let before = sank.files;
            sinking.day(day.day, &mut sank).await?;
            sank.days += u64::from(sank.files > before);
        }
        progress(day);
    }
    Ok(sank)
}

/// How many events of a day each table has.
struct Day {
    day: Option<NaiveDate>,
    ends: [u64; 4],
}

impl Day {
    fn new(day: Option<NaiveDate>, files: &Files) -> Day {
        let end = |table| {
            let files = files.get(&(table, day));
            files.and_then(|files| files.last()).map_or(0, |last| last.to)
        };
        Day {
            day,
            ends: Table::ALL.map(end),
        }
    }

    fn has(&self, events: u64) -> bool {
        let [impressions, lawyers, actions, rejected] = self.ends;
        impressions == lawyers && impressions + actions + rejected == events
    }

    /// The next file of a table, with so many events.
    fn next(&self, table: Table, events: usize) -> RawFile {
        let from = self.ends[table as usize];
        RawFile {
            table,
            day: self.day,
            from,
            to: from + events as u64,
            size: 0,
        }
    }
}

/// The events of a chunk, as far as tables lack them.
#[derive(Default)]
struct Lacking {
    impressions: Vec<Event>,
    lawyers: Vec<Event>,
    actions: Vec<Event>,
    rejected: Vec<Rejected>,
}

struct Sinking<'a> {
    store: &'a Store,
    lake: &'a Lake,
    tables: Tables,
    salt: Option<&'a [u8]>,
}

impl Sinking<'_> {
    async fn day(&self, day: Option<NaiveDate>, sank: &mut Sank) -> Result<(), LakeError> {
        for _ in 0..ATTEMPTS {
            if self.try_day(day, sank).await? {
                return Ok(());
            }
        }
        Err(LakeError::File {
            path: Table::Impressions.folder(day),
            problem: format!("another sink was faster {ATTEMPTS} times"),
            remedy: "let one of them run alone",
        })
    }

    /// Writes what a day lacks; `false`: another sink has written meanwhile.
    async fn try_day(&self, day: Option<NaiveDate>, sank: &mut Sank) -> Result<bool, LakeError> {
        let files = self.lake.raw_files_of(day).await?;
        let mut known = Vec::new();
        for table in Table::ALL {
            known.push(
                self.ids(files.get(&(table, day)).map_or(&[][..], Vec::as_slice))
                    .await?,
            );
        }
        let [impressions, lawyers, actions, rejected] = &known[..] else {
            unreachable!("four tables")
        };
        let is_there = |key: &String| {
            actions.contains(key) || rejected.contains(key) || (impressions.contains(key) && lawyers.contains(key))
        };
        let mut keys = self.store.event_keys(day).await?;
        keys.retain(|key| !is_there(key));
        let mut at = Day::new(day, &files);
        for keys in keys.chunks(CHUNK) {
            let mut lacking = Lacking::default();
            let rows = self.in_order(keys).await?;
            lacking.rejected.extend(unreachable(keys, &rows));
            for row in rows {
                match self.read(day, &row) {
                    Err(reason) => lacking.rejected.push(Rejected {
                        key: row.key,
                        reason,
                        payload: row.payload,
                    }),
                    Ok(event) if matches!(event.body, Body::Action(_)) => lacking.actions.push(event),
                    Ok(event) => {
                        if !lawyers.contains(&row.key) {
                            lacking.lawyers.push(event.clone());
                        }
                        if !impressions.contains(&row.key) {
                            lacking.impressions.push(event);
                        }
                    }
                }
            }
            if !self.write(&mut at, &lacking, sank).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The stored events with these keys, in this order.
    async fn in_order(&self, keys: &[String]) -> Result<Vec<StoredRow>, LakeError> {
        let mut rows = self.store.stored_events(keys).await?;
        let places: std::collections::HashMap<&str, usize> = keys
            .iter()
            .enumerate()
            .map(|(place, key)| (key.as_str(), place))
            .collect();
        rows.sort_by_key(|row| places.get(row.key.as_str()).copied());
        Ok(rows)
    }

    fn read(&self, day: Option<NaiveDate>, row: &StoredRow) -> Result<Event, String> {
        let value = serde_json::from_str(&row.payload).map_err(|error| error.to_string())?;
        let mut event = Event::from_stored(value).map_err(|error| error.to_string())?;
        let own = event.ts_utc.date_naive();
        if day != Some(own) {
            let stored = day.map_or_else(|| "no day of the calendar".to_owned(), |day| day.to_string());
            return Err(format!("ts_utc: the event is of {own}, and its row of {stored}"));
        }
        // An event under an id that another one had is kept beside it, under a key of its own. A former
        // program's impression says by its own id who showed it.
        let origin = event.origin();
        event.event_id = Uuid::parse_str(&row.key).map_err(|error| format!("event_id: {:.64?}: {error}", row.key))?;
        if let Body::Impression(impression) = &mut event.body {
            impression.origin = origin;
        }
        if let Some(reason) = self.tables.mismatch(&event) {
            return Err(reason);
        }
        pseudonymised(&mut event, self.salt);
        Ok(event)
    }

    /// The lawyers last, because they are what the impressions are known to lack after a crash. `false`:
    /// another sink has written meanwhile.
    async fn write(&self, at: &mut Day, lacking: &Lacking, sank: &mut Sank) -> Result<bool, LakeError> {
        let files = [
            (Table::Impressions, &lacking.impressions),
            (Table::Actions, &lacking.actions),
            (Table::ImpressionLawyers, &lacking.lawyers),
        ];
        for (table, events) in files {
            let file = at.next(table, events.len());
            if !events.is_empty() {
                let bytes = self.tables.encode(table, events);
                if !self.put(&file, bytes, sank).await? {
                    return Ok(false);
                }
                at.ends[table as usize] = file.to;
            }
        }
        let file = at.next(Table::Rejected, lacking.rejected.len());
        if !lacking.rejected.is_empty() {
            if !self.put(&file, encode_rejected(&lacking.rejected), sank).await? {
                return Ok(false);
            }
            at.ends[Table::Rejected as usize] = file.to;
        }
        sank.impressions += lacking.impressions.len() as u64;
        sank.actions += lacking.actions.len() as u64;
        sank.rejected += lacking.rejected.len() as u64;
        Ok(true)
    }

    async fn put(&self, file: &RawFile, bytes: Result<Bytes, String>, sank: &mut Sank) -> Result<bool, LakeError> {
        let bytes = bytes.map_err(|problem| LakeError::File {
            path: file.to_string(),
            problem,
            remedy: "this is a fault of the program",
        })?;
        let is_new = self.lake.put_new(&file.path(), bytes).await?;
        sank.files += u64::from(is_new);
        Ok(is_new)
    }

    /// The ids of the events in these files.
    async fn ids(&self, files: &[RawFile]) -> Result<HashSet<String>, LakeError> {
        let mut ids = HashSet::new();
        for file in files {
            let damaged = |problem: String| LakeError::File {
                path: file.to_string(),
                problem,
                remedy: "remove the file and those behind it, of all tables of that day, and run the sink again",
            };
            let bytes = self.lake.get(&file.path()).await?;
            let bytes = bytes.ok_or_else(|| damaged("it is gone".to_owned()))?;
            read_ids(bytes, &mut ids).map_err(damaged)?;
        }
        Ok(ids)
    }
}

/// Rows whose key is no id, and not the text that it looks like, so that nobody can ask for them. An id that
/// is not there was erased meanwhile.
fn unreachable<'a>(keys: &'a [String], rows: &[StoredRow]) -> impl Iterator<Item = Rejected> + use<'a> {
    let there: HashSet<String> = rows.iter().map(|row| row.key.clone()).collect();
    let strange = keys.iter().filter(|key| Uuid::parse_str(key).is_err());
    strange.filter(move |key| !there.contains(*key)).map(|key| Rejected {
        key: key.clone(),
        reason: "event_id: the row has no text there".to_owned(),
        payload: String::new(),
    })
}

fn read_ids(bytes: Bytes, ids: &mut HashSet<String>) -> Result<(), String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| error.to_string())?;
    let column = ProjectionMask::columns(builder.parquet_schema(), ["event_id"]);
    let reader = builder
        .with_projection(column)
        .build()
        .map_err(|error| error.to_string())?;
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        let column = batch.columns().first().ok_or("it has no column event_id")?;
        let column = column.as_string_opt::<i32>().ok_or("its column event_id is no text")?;
        for id in column.iter().flatten() {
            if !ids.contains(id) {
                ids.insert(id.to_owned());
            }
        }
    }
    Ok(())
}

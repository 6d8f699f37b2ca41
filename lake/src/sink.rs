//! Fills the raw tables from the database, each record once.
//!
//! The database knows how many records each day has, and the lake's files how many of them are there, so that only days
//! that differ are looked at. There the ids decide.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::NaiveDate;
use ranking::{Body, Event, Schema};
use store::{EventDay, Store, StoredRow};
use uuid::Uuid;

use crate::LakeError;
use crate::add::{Adding, Records, Sank, count, id_of};
use crate::place::Lake;
use crate::read::Reader;
use crate::tables::{Rejected, Tables};

/// Records that are written to one file, at most, and the bytes of their texts.
const CHUNK: usize = 20_000;
const CHUNK_BYTES: usize = 64 << 20;
/// Records that are read at once. One may show a thousand lawyers.
const READ: usize = 500;
/// The last days are compared by ids even if the numbers are the same: something may have been erased
/// there since, while something else came.
const LATEST: usize = 3;

/// Brings the raw tables to what the database has. `salt`: that of the pseudonyms, if this machine has it. `every_day`: also
/// where the numbers agree. `progress` is told of each day and its records.
///
/// # Errors
/// A database or lake that cannot be used; a feature that has the name of another column. What was written
/// before stays, and the next run goes on behind it.
pub async fn sink(
    store: &Store,
    lake: &Lake,
    features: &Schema,
    salt: Option<&[u8]>,
    every_day: bool,
    mut progress: impl FnMut(EventDay) + Send,
) -> Result<Sank, LakeError> {
    let tables = Tables::new(features)?;
    let mut sinking = Sinking {
        store,
        reader: Reader::new(&tables, salt),
        adding: Adding::new(lake, tables.clone()),
    };
    let mut days: BTreeMap<Option<NaiveDate>, u64> = BTreeMap::new();
    for day in store
        .event_days()
        .await?
        .into_iter()
        .chain(store.comparison_days().await?)
    {
        *days.entry(day.day).or_default() += day.events;
    }
    let (files, mut broken) = lake.raw_files().await?;
    let is_broken: HashSet<Option<NaiveDate>> = broken.keys().map(|(_, day)| *day).collect();
    let latest: HashSet<Option<NaiveDate>> = days.keys().rev().take(LATEST).copied().collect();
    for (day, events) in days {
        if is_broken.contains(&day) {
            continue;
        }
        if every_day || latest.contains(&day) || count(&files, day) != events {
            sinking.day(day).await?;
        }
        progress(EventDay { day, events });
    }
    // Said once everything else is there.
    broken
        .pop_first()
        .map_or(Ok(sinking.adding.sank), |(_, error)| Err(error))
}

struct Sinking<'a> {
    store: &'a Store,
    reader: Reader<'a>,
    adding: Adding<'a>,
}

impl Sinking<'_> {
    /// Writes what a day lacks.
    async fn day(&mut self, day: Option<NaiveDate>) -> Result<(), LakeError> {
        let known = self.adding.known(day).await?;
        let mut keys = self.store.event_keys(day).await?;
        keys.retain(|key| !known.has(id_of(key)));
        let mut records = Records::default();
        let (mut number, mut bytes) = (0, 0);
        for keys in keys.chunks(READ) {
            bytes += self.events(day, keys, &mut records).await?;
            number += keys.len();
            if number >= CHUNK || bytes >= CHUNK_BYTES {
                self.adding.add(day, &std::mem::take(&mut records)).await?;
                (number, bytes) = (0, 0);
            }
        }
        self.adding.add(day, &records).await?;
        let mut keys = self.store.comparison_keys(day).await?;
        keys.retain(|key| !known.has(key.id()));
        for keys in keys.chunks(CHUNK) {
            let mut records = Records::default();
            for (key, found) in self.store.comparisons(keys).await? {
                match found {
                    Ok(comparison) => records.comparisons.push(comparison),
                    Err(error) => records.rejected.push(Rejected {
                        key: key.id().to_string(),
                        reason: error.to_string(),
                        payload: String::new(),
                    }),
                }
            }
            self.adding.add(day, &records).await?;
        }
        Ok(())
    }

    /// Reads events behind `records`. Returns the bytes of their texts.
    async fn events(&self, day: Option<NaiveDate>, keys: &[String], records: &mut Records) -> Result<usize, LakeError> {
        let rows = self.in_order(keys).await?;
        records.rejected.extend(unreachable(keys, &rows));
        let mut bytes = 0;
        for row in rows {
            bytes += row.payload.len();
            match self.read(day, &row) {
                Err(reason) => records.rejected.push(Rejected {
                    key: row.key,
                    reason,
                    payload: row.payload,
                }),
                Ok(event) if matches!(event.body, Body::Action(_)) => records.actions.push(event),
                Ok(event) => records.impressions.push(event),
            }
        }
        Ok(bytes)
    }

    /// The stored events with these keys, in this order.
    async fn in_order(&self, keys: &[String]) -> Result<Vec<StoredRow>, LakeError> {
        let mut rows = self.store.stored_events(keys).await?;
        let places: HashMap<&str, usize> = keys
            .iter()
            .enumerate()
            .map(|(place, key)| (key.as_str(), place))
            .collect();
        rows.sort_by_key(|row| places.get(row.key.as_str()).copied());
        Ok(rows)
    }

    fn read(&self, day: Option<NaiveDate>, row: &StoredRow) -> Result<Event, String> {
        let key = Uuid::parse_str(&row.key).map_err(|error| format!("event_id: {:.64?}: {error}", row.key))?;
        let value = serde_json::from_str(&row.payload).map_err(|error| error.to_string())?;
        let event = self.reader.event(value, Some(key))?;
        let own = event.ts_utc.date_naive();
        if day != Some(own) {
            let stored = day.map_or_else(|| "no day of the calendar".to_owned(), |day| day.to_string());
            return Err(format!("ts_utc: the event is of {own}, and its row of {stored}"));
        }
        Ok(event)
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

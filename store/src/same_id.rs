//! Events that share an id and are not the same event.
//!
//! Clients choose the ids of their events. One that uses an id twice, or one of somebody else's, must not make a true
//! event look like a repetition: an event that finds another one under its id is kept under a key that follows from both.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use ranking::events::EVENT_TYPES;
use uuid::Uuid;

use crate::records::EventRow;
use crate::{Record, StoreError};

/// Keys that follow from an event, which are tried before one that is random. Only who means to makes several of them
/// be taken, and then a repetition may be kept twice, which is no loss.
const MOST_KEYS: usize = 8;

/// What a repetition of an event has in common with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub event: String,
    pub case_id: Uuid,
    pub user_id: Uuid,
    pub lawyer_id: Option<String>,
    pub rank_pos: Option<i64>,
    pub request_id: Option<Uuid>,
    /// Of an action, in microseconds since 1970, which is what every table keeps. A ranking that is asked for again is one
    /// impression, shown at another time.
    pub at: Option<i64>,
}

impl Identity {
    /// The time of an event of this kind, as far as it tells events apart.
    pub(crate) fn time(event: &str, ts_utc: DateTime<Utc>) -> Option<i64> {
        (event != EVENT_TYPES[0]).then(|| ts_utc.timestamp_micros())
    }
}

/// `match_events` in a transaction.
pub(crate) trait EventTable {
    /// Inserts those of `rows` whose key is not there, and gives their keys.
    fn insert(&mut self, rows: &[EventRow<'_>]) -> impl Future<Output = Result<HashSet<Uuid>, StoreError>> + Send;

    /// The events that have these keys.
    fn on_record(&mut self, keys: &[Uuid]) -> impl Future<Output = Result<HashMap<Uuid, Identity>, StoreError>> + Send;
}

/// Inserts the events among `records`. For each of them, in order, the key of one that was not there yet.
///
/// # Errors
/// Those of the table, and a row that it neither took nor has: somebody else's trigger or rule lost it.
pub(crate) async fn insert(table: &mut impl EventTable, records: &[Record]) -> Result<Vec<Option<Uuid>>, StoreError> {
    let rows: Vec<EventRow<'_>> = records.iter().filter_map(Record::event_row).collect();
    let mut new = vec![None; rows.len()];
    let mut waiting: Vec<(usize, EventRow<'_>)> = rows.into_iter().enumerate().collect();
    for keys in 1.. {
        let (places, rows): (Vec<usize>, Vec<EventRow<'_>>) = waiting.into_iter().unzip();
        let mut stored = table.insert(&rows).await?;
        let mut left = Vec::new();
        for (at, row) in places.into_iter().zip(rows) {
            // Taken out, so that the same key later in `rows` is another's.
            new[at] = stored.take(&row.key);
            if new[at].is_none() {
                left.push((at, row));
            }
        }
        if left.is_empty() {
            break;
        }
        waiting = others(table, left, keys == MOST_KEYS).await?;
    }
    Ok(new)
}

/// Those of `rows` whose keys other events have, each with its next key.
async fn others<'a>(
    table: &mut impl EventTable,
    rows: Vec<(usize, EventRow<'a>)>,
    at_random: bool,
) -> Result<Vec<(usize, EventRow<'a>)>, StoreError> {
    let keys: Vec<Uuid> = rows.iter().map(|(_, row)| row.key).collect();
    let on_record = table.on_record(&keys).await?;
    let mut others = Vec::new();
    for (at, row) in rows {
        let event = on_record.get(&row.key).ok_or(StoreError::NotTaken { key: row.key })?;
        if row.identity() != *event {
            others.push((at, row.rekeyed(at_random)));
        }
    }
    Ok(others)
}

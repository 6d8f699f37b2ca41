//! Events that share an id and are not the same event.
//!
//! Clients choose the ids of their events. One that uses an id twice, or one of somebody else's, must not make a true
//! event look like a repetition: an event that finds another one under its id is kept under a key that follows from both.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::records::EventRow;
use crate::{Record, StoreError};

/// What a repetition of an event has in common with it. Its time is not among this: a client that sends an event again may
/// well give the time of sending.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    pub event: String,
    pub case_id: Uuid,
    pub user_id: Uuid,
    pub lawyer_id: Option<String>,
}

/// `match_events` in a transaction.
pub trait EventTable {
    /// Inserts those of `rows` whose key is not there, and gives their keys.
    fn insert(&mut self, rows: &[EventRow<'_>]) -> impl Future<Output = Result<HashSet<Uuid>, StoreError>> + Send;

    /// The events that have these keys.
    fn on_record(&mut self, keys: &[Uuid]) -> impl Future<Output = Result<HashMap<Uuid, Identity>, StoreError>> + Send;
}

/// Inserts the events among `records`. For each of them, in order, whether it was not there yet.
pub async fn insert(table: &mut impl EventTable, records: &[Record]) -> Result<Vec<bool>, StoreError> {
    let rows: Vec<EventRow<'_>> = records.iter().filter_map(Record::event_row).collect();
    let mut stored = table.insert(&rows).await?;
    // Taken out, so that the same key later in `rows` is another's.
    let mut is_new: Vec<bool> = rows.iter().map(|row| stored.remove(&row.key)).collect();
    if is_new.iter().all(|is_new| *is_new) {
        return Ok(is_new);
    }
    let (places, repeated): (Vec<usize>, Vec<EventRow<'_>>) =
        rows.into_iter().enumerate().filter(|(at, _)| !is_new[*at]).unzip();
    let keys: Vec<Uuid> = repeated.iter().map(|row| row.key).collect();
    let on_record = table.on_record(&keys).await?;
    let others = places.into_iter().zip(repeated);
    let others = others.filter(|(_, row)| on_record.get(&row.key).is_some_and(|event| !row.is(event)));
    let (places, rows): (Vec<usize>, Vec<EventRow<'_>>) = others.map(|(at, row)| (at, row.rekeyed())).unzip();
    let mut stored = table.insert(&rows).await?;
    for (at, row) in places.into_iter().zip(&rows) {
        is_new[at] = stored.remove(&row.key);
    }
    Ok(is_new)
}

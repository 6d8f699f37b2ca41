//! What the event bus does not have yet.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::{Appended, Record};

/// How a comparison is named where events say their kind.
pub const COMPARISON: &str = "comparison";

/// A record on its way to the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its place in the queue.
    pub seq: u64,
    /// By which a repetition is known.
    pub id: Uuid,
    /// The case.
    pub case_id: Uuid,
    /// The record as JSON: an event as it is stored, a comparison with `"event": "comparison"`.
    pub json: String,
}

/// The queue in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueFacts {
    /// Records that wait, of all gateways.
    pub waiting: u64,
    /// Records that the brokers refuse.
    pub refused: u64,
}

/// Records of gateways that are gone are taken over after this time.
pub const ORPHANED: Duration = Duration::from_secs(600);

/// What became of records that were appended.
pub(crate) struct Kept {
    pub outcomes: Vec<Appended>,
    /// The place of the last one that was queued.
    pub queued: Option<u64>,
}

impl Kept {
    /// `new`: the key of each record that was not there yet.
    pub(crate) fn new(new: &[Option<Uuid>], queued: Option<u64>) -> Kept {
        Kept {
            outcomes: new.iter().map(|key| Appended::of(key.is_some())).collect(),
            queued,
        }
    }
}

/// A record that is queued.
pub(crate) struct Entry {
    pub id: Uuid,
    pub case_id: Uuid,
    pub json: String,
}

impl Entry {
    /// The new ones among `records`, which have a key.
    pub(crate) fn of_all(records: &[Record], new: &[Option<Uuid>]) -> Vec<Entry> {
        let entries = records.iter().zip(new).map(|(record, key)| Entry::of(record, *key));
        entries.flatten().collect()
    }

    /// The message of a record under its key; `None`: it is no new one.
    fn of(record: &Record, key: Option<Uuid>) -> Option<Entry> {
        let id = key?;
        if let Some(shadow) = record.shadow() {
            let mut value = serde_json::to_value(shadow).expect("a comparison has texts and finite numbers alone");
            value["event"] = Value::String(COMPARISON.to_owned());
            return Some(Entry {
                id,
                case_id: shadow.case_id,
                json: value.to_string(),
            });
        }
        record.event_row().map(|row| Entry {
            id,
            case_id: row.case_id,
            json: row.payload,
        })
    }
}

//! What is kept, whichever database keeps it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use ranking::events::{Body, Event};
use ranking::features::Schema;
use ranking::verdict::ShadowRow;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::StoreError;

/// One thing to be kept. As JSON it can be read again, to the last bit.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    Event(Event),
    Shadow(ShadowRecord),
}

impl Record {
    /// How much there is to write, in lawyers: each is a few hundred bytes.
    pub(crate) fn lawyers(&self) -> usize {
        match self {
            Record::Event(event) => match &event.body {
                Body::Impression(impression) => impression.lawyer_ids.len(),
                Body::Action(_) => 1,
            },
            Record::Shadow(shadow) => shadow.rows.len(),
        }
    }

    /// Reads the JSON of a record.
    pub(crate) fn from_json(value: &Value) -> Result<Record, StoreError> {
        if let Some(payload) = value.get("event") {
            let event_id = payload["event_id"].as_str().unwrap_or_default();
            return Ok(Record::Event(read_event(event_id, payload)?));
        }
        let shadow = ShadowRecord::deserialize(&value["shadow"]).map_err(|error| StoreError::Row {
            table: "ltr_shadow_request",
            key: value["shadow"]["request_id"].to_string(),
            reason: error.to_string(),
        })?;
        Ok(Record::Shadow(shadow))
    }
}

/// What became of a [`Record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is on disk now.
    Stored,
    /// One with the same key was there already, and stays as it was.
    Duplicate,
    /// No database takes it as it is; it was set aside on disk, with the reason. [`crate::Store::append`] never says so.
    Refused,
}

/// One request that a challenger was compared on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShadowRecord {
    pub request_id: Uuid,
    pub ts_utc: DateTime<Utc>,
    pub case_id: Uuid,
    /// Never the user's own id: see [`ranking::pseudonym`].
    pub user_pseudonym: Uuid,
    pub model_version: String,
    /// `ok`, or why there are no LTR ranks.
    pub outcome: String,
    /// Time spent in the component, microseconds.
    pub score_us: Option<u32>,
    /// One a lawyer; labels are not written here but by [`crate::Store::label_shadow`].
    pub rows: Vec<ShadowRow>,
}

impl ShadowRecord {
    /// The key of a lawyer's row: the request's with the rank in its third group, so that a retry is the same row, and
    /// the rows of a request are neighbours in the index: as many pages of it are written as the rows fill, instead of
    /// one a row. Ids that are made in a row differ at their ends or in their first groups, and random ones anywhere.
    pub(crate) fn shadow_id(&self, row: &ShadowRow) -> Uuid {
        let mut id = *self.request_id.as_bytes();
        id[6..8].copy_from_slice(&row.rank_legacy.to_be_bytes());
        Uuid::from_bytes(id)
    }
}

pub(crate) fn groups_json(groups: &BTreeMap<String, String>) -> String {
    serde_json::to_string(groups).expect("a map of strings to strings is always valid JSON")
}

/// What serves. Both versions name folders under the models directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutState {
    /// Per cent of requests that LTR answers, 0 to 100.
    pub weight: u8,
    /// The version that answers them.
    pub champion: Option<String>,
    /// The version that is compared in shadow.
    pub challenger: Option<String>,
}

/// One change of the rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    pub ts_utc: DateTime<Utc>,
    /// `challenger`, `promote`, `rollback`, `weight`.
    pub action: String,
    /// Who asked: `admin`, or `gateway` for what the program did by itself.
    pub actor: String,
    /// The numbers behind the change.
    pub detail: Value,
}

/// Reads the JSON of an event that was kept. The schema may have changed since, and an event belongs to the one of
/// its day: the names it weighs, and as many columns as its rows have. Readers compare the width with the schema
/// they need.
pub(crate) fn read_event(event_id: &str, payload: &Value) -> Result<Event, StoreError> {
    let named = payload["weights_used"]
        .as_object()
        .into_iter()
        .flat_map(|weights| weights.keys().cloned());
    let mut names: Vec<String> = named.collect();
    let width = payload["features"][0].as_array().map_or(1, Vec::len);
    names.extend((names.len()..width).map(|column| format!("unweighted column {column}")));
    let foreign = |reason: String| StoreError::Row {
        table: "match_events",
        key: event_id.to_owned(),
        reason,
    };
    let schema = Schema::new(names).map_err(|error| foreign(error.to_string()))?;
    Event::from_json(payload, &schema).map_err(|error| foreign(error.to_string()))
}

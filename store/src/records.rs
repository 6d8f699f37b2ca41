//! What is kept, whichever database keeps it.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use ranking::ShadowOutcome;
use ranking::events::{Action, Body, EVENT_TYPES, Event, comparison_id};
use ranking::verdict::ShadowRow;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::StoreError;
use crate::same_id::Identity;

/// One thing to be kept. As JSON it can be read again, to the last bit.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "most records are events of this program; a box for each would be an allocation for each"
)]
pub enum Record {
    /// An event of this program.
    Event(Event),
    /// An event that comes back from a spool, as it was written, by whatever program.
    #[serde(rename = "event")]
    Stored(StoredEvent),
    /// One comparison, with a row for each lawyer.
    Shadow(ShadowRecord),
}

/// The JSON of an event, and what the tables have of it in columns. Nothing of it is checked against a grammar, and nothing
/// that is not known here is lost: it was taken once.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    columns: Columns,
    payload: Value,
}

#[derive(Clone, Debug)]
struct Columns {
    event: String,
    event_id: Uuid,
    ts_utc: DateTime<Utc>,
    case_id: Uuid,
    user_id: Uuid,
    lawyer_id: Option<String>,
    rank_pos: Option<u32>,
    request_id: Option<Uuid>,
}

impl Columns {
    /// The columns of an event's JSON, as [`EventRow::of`] has them of an event: an impression's fields that an action has
    /// are fields that are not known here, of whatever kind.
    fn of(payload: &Value) -> Result<Columns, serde_json::Error> {
        #[derive(Deserialize)]
        struct Common {
            event: String,
            event_id: Uuid,
            ts_utc: DateTime<Utc>,
            case_id: Uuid,
            user_id: Uuid,
            request_id: Option<Uuid>,
        }
        #[derive(Default, Deserialize)]
        struct OfAction {
            lawyer_id: Option<String>,
            rank_pos: Option<u32>,
        }
        let common = Common::deserialize(payload)?;
        let of_action = if common.event == EVENT_TYPES[0] {
            OfAction::default()
        } else {
            OfAction::deserialize(payload)?
        };
        Ok(Columns {
            event: common.event,
            event_id: common.event_id,
            ts_utc: common.ts_utc,
            case_id: common.case_id,
            user_id: common.user_id,
            lawyer_id: of_action.lawyer_id,
            rank_pos: of_action.rank_pos,
            request_id: common.request_id,
        })
    }
}

impl Serialize for StoredEvent {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.payload.serialize(serializer)
    }
}

/// An event as a row of `match_events`.
pub(crate) struct EventRow<'a> {
    /// The event's id, unless another event has that.
    pub key: Uuid,
    pub ts_utc: DateTime<Utc>,
    pub event: &'a str,
    pub case_id: Uuid,
    pub user_id: Uuid,
    pub lawyer_id: Option<&'a str>,
    pub rank_pos: Option<u32>,
    pub request_id: Option<Uuid>,
    pub payload: String,
}

impl Record {
    /// The row of an event; `None` for a comparison.
    pub(crate) fn event_row(&self) -> Option<EventRow<'_>> {
        match self {
            Record::Event(event) => Some(EventRow::of(event)),
            Record::Stored(StoredEvent { columns, payload }) => Some(EventRow {
                key: columns.event_id,
                ts_utc: columns.ts_utc,
                event: &columns.event,
                case_id: columns.case_id,
                user_id: columns.user_id,
                lawyer_id: columns.lawyer_id.as_deref(),
                rank_pos: columns.rank_pos,
                request_id: columns.request_id,
                payload: payload.to_string(),
            }),
            Record::Shadow(_) => None,
        }
    }

    /// The id of an event; `None` for a comparison.
    pub fn event_id(&self) -> Option<Uuid> {
        match self {
            Record::Event(event) => Some(event.event_id),
            Record::Stored(stored) => Some(stored.columns.event_id),
            Record::Shadow(_) => None,
        }
    }

    pub(crate) fn shadow(&self) -> Option<&ShadowRecord> {
        match self {
            Record::Shadow(shadow) => Some(shadow),
            Record::Event(_) | Record::Stored(_) => None,
        }
    }

    /// How much there is to write, in lawyers: each is a few hundred bytes.
    pub(crate) fn lawyers(&self) -> usize {
        match self {
            Record::Event(event) => match &event.body {
                Body::Impression(impression) => impression.lawyer_ids.len(),
                Body::Action(_) => 1,
            },
            Record::Stored(stored) => stored.payload["lawyer_ids"].as_array().map_or(1, Vec::len),
            Record::Shadow(shadow) => shadow.rows.len(),
        }
    }

    /// Reads the JSON of a record.
    pub(crate) fn from_json(value: &Value) -> Result<Record, StoreError> {
        let unreadable = |table, key: &Value, error: serde_json::Error| StoreError::Row {
            table,
            key: grammar::shorten(&key.to_string()),
            reason: error.to_string(),
        };
        if let Some(payload) = value.get("event") {
            let columns =
                Columns::of(payload).map_err(|error| unreadable("match_events", &payload["event_id"], error))?;
            return Ok(Record::Stored(StoredEvent {
                columns,
                payload: payload.clone(),
            }));
        }
        let shadow = ShadowRecord::deserialize(&value["shadow"])
            .map_err(|error| unreadable("ltr_shadow_request", &value["shadow"]["request_id"], error))?;
        Ok(Record::Shadow(shadow))
    }
}

impl<'a> EventRow<'a> {
    fn of(event: &'a Event) -> EventRow<'a> {
        let (lawyer_id, rank_pos, request_id) = match &event.body {
            Body::Impression(impression) => (None, None, Some(impression.request_id)),
            Body::Action(action) => (Some(&*action.lawyer_id), Some(action.rank_pos), action.request_id),
        };
        EventRow {
            key: event.event_id,
            ts_utc: event.ts_utc,
            event: event.kind(),
            case_id: event.case_id,
            user_id: event.user_id,
            lawyer_id,
            rank_pos,
            request_id,
            payload: serde_json::to_string(event).expect("an event has texts and finite numbers alone"),
        }
    }

    /// What a repetition of this event has as well.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            event: self.event.to_owned(),
            case_id: self.case_id,
            user_id: self.user_id,
            lawyer_id: self.lawyer_id.map(str::to_owned),
            rank_pos: self.rank_pos.map(i64::from),
            request_id: self.request_id,
            at: Identity::time(self.event, self.ts_utc),
        }
    }

    /// The same event under a key that nothing but its repetitions has, or that nothing has.
    pub(crate) fn rekeyed(mut self, at_random: bool) -> EventRow<'a> {
        self.key = if at_random {
            Uuid::new_v4()
        } else {
            Uuid::new_v5(&self.key, format!("{:?}", self.identity()).as_bytes())
        };
        self
    }
}

/// Records as a table has them: those that can be read, and those that cannot, which stay where they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Readable<T> {
    /// Those that can be used, in the order that the call promises.
    pub records: Vec<T>,
    /// One entry for each record that cannot; a comparison with all its rows is one record.
    pub unreadable: Vec<Unreadable>,
}

impl<T> Default for Readable<T> {
    fn default() -> Readable<T> {
        Readable {
            records: Vec::new(),
            unreadable: Vec::new(),
        }
    }
}

/// A row that no reader here can use: of a newer program, of an older one, or written by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// The table that has the row, for example `match_events`.
    pub table: &'static str,
    /// Which row, cut to what an error may repeat.
    pub key: String,
    /// Why it cannot be used, in words.
    pub reason: String,
}

/// An action, as it is looked for among what was shown.
#[derive(Clone, Debug)]
pub struct Acted<'a> {
    /// The case that the user acted on.
    pub case_id: Uuid,
    /// Under either of which the user may have been shown the lawyer: their id, and their pseudonym.
    pub users: [Uuid; 2],
    /// What the user did, with which lawyer, shown at which place.
    pub action: &'a Action,
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

impl Appended {
    pub(crate) fn of(is_new: bool) -> Appended {
        if is_new { Appended::Stored } else { Appended::Duplicate }
    }
}

/// One request that a challenger was compared on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShadowRecord {
    /// The id of the ranking request, without what Envoy has written into it: see
    /// [`ranking::unrewritten`].
    pub request_id: Uuid,
    /// When the case was ranked, by the gateway's clock.
    pub ts_utc: DateTime<Utc>,
    /// The case that was ranked. With `request_id` it is the comparison's key.
    pub case_id: Uuid,
    /// Never the user's own id: see [`ranking::pseudonym()`].
    pub user_pseudonym: Uuid,
    /// The challenger that was compared.
    pub model_version: String,
    /// Whether the challenger scored the case, and if not, why.
    pub outcome: ShadowOutcome,
    /// Time spent in the component, microseconds.
    pub score_us: Option<u32>,
    /// Why this request was compared: `sampled`, `edge_mark`, `edge_copy` or `forced`. `None`: it was not logged.
    #[serde(default)]
    pub trigger: Option<String>,
    /// Which salt made the pseudonym: see [`ranking::salt_id`]. `None`: it was not logged.
    #[serde(default)]
    pub salt_id: Option<Uuid>,
    /// One a lawyer; labels are not written here but by [`crate::Store::label_cases`].
    pub rows: Vec<ShadowRow>,
    /// What a newer program wrote and this one does not know, as it came.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, Value>,
}

impl ShadowRecord {
    /// What a newer program wrote, for the column of it.
    pub(crate) fn details(&self) -> Option<String> {
        (!self.unknown.is_empty()).then(|| Value::Object(self.unknown.clone()).to_string())
    }

    /// Its key: see [`ranking::events::comparison_id`].
    pub fn comparison_id(&self) -> Uuid {
        comparison_id(self.request_id, self.case_id)
    }

    /// The key of a lawyer's row: the comparison's id with the rank in bytes 6 and 7. A retry is thus the same row, and the
    /// rows of a comparison are neighbours in the index, so that few of its pages are written.
    pub(crate) fn shadow_id(comparison: Uuid, row: &ShadowRow) -> Uuid {
        let mut id = *comparison.as_bytes();
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
    /// When the change was saved.
    pub ts_utc: DateTime<Utc>,
    /// `challenger`, `promote`, `rollback`, `weight`.
    pub action: String,
    /// Who asked: `admin`, or `gateway` for what the program did by itself.
    pub actor: String,
    /// The numbers behind the change.
    pub detail: Value,
}

impl Unreadable {
    pub(crate) fn of(error: StoreError) -> Unreadable {
        match error {
            StoreError::Row { table, key, reason } => Unreadable {
                table,
                key: grammar::shorten(&key),
                reason,
            },
            other => Unreadable {
                table: "ltr_shadow_request",
                key: "a row".to_owned(),
                reason: other.to_string(),
            },
        }
    }
}

/// The events of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventDay {
    /// In UTC; `None`: their time is none of the calendar's, which a program of ours never writes.
    pub day: Option<NaiveDate>,
    /// How many.
    pub events: u64,
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// Its id, unless somebody else wrote another text.
    pub key: String,
    /// Its JSON.
    pub payload: String,
}

/// Which comparison, as the tables have it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ComparisonKey {
    /// The id of the request, unless somebody else wrote another text.
    pub request_id: String,
    /// That of the case.
    pub case_id: String,
}

impl ComparisonKey {
    /// The comparison's id: see [`ranking::events::comparison_id`]. Texts that are no ids have one, too.
    pub fn id(&self) -> Uuid {
        match (self.request_id.parse(), self.case_id.parse()) {
            (Ok(request), Ok(case)) => comparison_id(request, case),
            _ => Uuid::new_v5(&Uuid::nil(), format!("{}/{}", self.request_id, self.case_id).as_bytes()),
        }
    }
}

/// A comparison as it was stored, or why it cannot be read.
pub type StoredComparison = (ComparisonKey, Result<ShadowRecord, StoreError>);

/// Reads the JSON of an event that was kept; one that cannot be read is set aside.
pub(crate) fn read_event(into: &mut Readable<Event>, key: &str, payload: &str) {
    let read = serde_json::from_str(payload)
        .map_err(|error| error.to_string())
        .and_then(|payload| Event::from_stored(payload).map_err(|error| error.to_string()));
    match read {
        Ok(event) => into.records.push(event),
        Err(reason) => into.unreadable.push(Unreadable {
            table: "match_events",
            key: grammar::shorten(key),
            reason,
        }),
    }
}

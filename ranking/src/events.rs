//! The marketplace's events, and their JSON.
//!
//! Events come from the network: every list and text is bounded, every number finite, no field unknown.

mod read;
mod write;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use thiserror::Error;
use uuid::Uuid;

use crate::features::Schema;

/// Most lawyers one impression may show.
pub const MAX_LAWYERS: usize = 10_000;
/// Most attributes a lawyer's groups may have.
pub const MAX_GROUPS: usize = 32;
/// The event types, as the `event` field spells them.
pub const EVENT_TYPES: [&str; 4] = ["impression", "click_profile", "contact_made", "contract_signed"];

/// One event. `event_id` makes every sink idempotent; `ts_utc` is event time, and decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub event_id: Uuid,
    pub ts_utc: DateTime<Utc>,
    pub case_id: Uuid,
    pub user_id: Uuid,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "events are handled one at a time or as impressions mostly; on wasm32 they are not that large"
)]
pub enum Body {
    Impression(Impression),
    Action(Action),
}

/// What a client did with a shown lawyer.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    pub kind: ActionKind,
    pub lawyer_id: String,
    /// Where the lawyer was shown, from 1.
    pub rank_pos: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActionKind {
    ClickProfile,
    ContactMade,
    ContractSigned,
}

impl ActionKind {
    /// As the `event` field spells it.
    pub fn name(self) -> &'static str {
        match self {
            ActionKind::ClickProfile => "click_profile",
            ActionKind::ContactMade => "contact_made",
            ActionKind::ContractSigned => "contract_signed",
        }
    }
}

/// Which ranking a client saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    Legacy,
    Ltr,
}

impl Source {
    /// As JSON spells it.
    pub fn name(self) -> &'static str {
        match self {
            Source::Legacy => "legacy",
            Source::Ltr => "ltr",
        }
    }
}

/// A ranking that was shown, with what training needs later so that nothing is recomputed. Every list has one entry
/// a lawyer, in shown order; the optional ones serve offline evaluation of the fairness re-rank.
#[derive(Clone, Debug, PartialEq)]
pub struct Impression {
    pub request_id: Uuid,
    /// In shown order; not empty, no id twice.
    pub lawyer_ids: Vec<String>,
    /// Legacy weight by feature name.
    pub weights_used: BTreeMap<String, f64>,
    /// As served, one row a lawyer in schema order; `None` is missing.
    pub features: Vec<Vec<Option<f64>>>,
    pub source: Source,
    pub model_version: Option<String>,
    pub legacy_scores: Option<Vec<f64>>,
    pub groups: Option<Vec<BTreeMap<String, String>>>,
    pub cases_30d: Option<Vec<u32>>,
    pub monthly_capacity: Option<Vec<u32>>,
    pub last_offered_at: Option<Vec<Option<DateTime<Utc>>>>,
}

/// Why a value is not an event: the field, what it holds and what it may hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {value} is refused; allowed: {allowed}")]
pub struct EventError {
    /// Path of the field, as in `features[3][2]`; `event` for the type, empty for the whole value.
    pub field: String,
    /// What it holds, as JSON, shortened; `nothing` where the field is absent.
    pub value: String,
    pub allowed: String,
}

/// The id of the impression that a request leaves. It follows from the request's, so that a retry is the same event, and
/// begins as that does: where ids are in the order of time (version 7), so are these, and a database writes them side by
/// side instead of all over an index. Version 8 of RFC 9562.
pub fn impression_id(request_id: Uuid) -> Uuid {
    const TIME: usize = 6;
    let mut bytes = Uuid::new_v5(&request_id, b"impression").into_bytes();
    bytes[..TIME].copy_from_slice(&request_id.as_bytes()[..TIME]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl Event {
    /// Reads one event as the design's events table has it.
    ///
    /// # Errors
    /// The first field that breaks a rule, with its value and what is allowed.
    pub fn from_json(value: &Value, schema: &Schema) -> Result<Event, EventError> {
        read::event(value, schema)
    }

    /// The event as JSON; reading that gives this event again.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("every number of an event is finite, and every name a text")
    }

    /// The event type, one of [`EVENT_TYPES`].
    pub fn kind(&self) -> &'static str {
        match &self.body {
            Body::Impression(_) => EVENT_TYPES[0],
            Body::Action(action) => action.kind.name(),
        }
    }
}

#[cfg(test)]
mod tests;

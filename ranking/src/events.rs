//! The marketplace's events, and their JSON.
//!
//! There are two readers. [`Event::from_json`] reads what comes in from the network: every list and text is bounded, every
//! number finite, no field unknown. [`Event::from_stored`] reads what was kept: it asks only for what its readers use, by
//! no schema, and keeps fields that it does not know, because the record may be of an older program or of a newer one.

mod read;
mod stored;
mod write;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use uuid::Uuid;

use crate::fairness::Fairness;
use crate::features::Schema;
use crate::pseudonym::keyed;

/// The form of events that this program writes. Events of form 1 do not say it. A higher one may have fields that are not
/// known here; they are kept.
pub const SCHEMA_VERSION: u32 = 2;
/// Most lawyers one impression may show.
pub const MAX_LAWYERS: usize = 10_000;
/// Most attributes a lawyer's groups may have.
pub const MAX_GROUPS: usize = 32;
/// The event types, as the `event` field spells them.
pub const EVENT_TYPES: [&str; 4] = ["impression", "click_profile", "contact_made", "contract_signed"];

/// One event. `event_id` makes every sink idempotent; `ts_utc` is event time, and decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Same id, same event: a retry repeats it. Stores keep the first.
    pub event_id: Uuid,
    /// When it happened, not when it arrived; attribution windows count from an impression's.
    pub ts_utc: DateTime<Utc>,
    /// The client's case that lawyers were ranked for; joins actions to impressions.
    pub case_id: Uuid,
    /// The user, or with `salt_id` their pseudonym.
    pub user_id: Uuid,
    /// Which salt made the pseudonym: see [`crate::salt_id`]. `None`: `user_id` is the user's own.
    pub salt_id: Option<Uuid>,
    /// Form of the event, from 1; [`SCHEMA_VERSION`] is the newest one known here.
    pub schema_version: u32,
    /// What the event reports; its JSON fields stand beside the others, not below a name.
    pub body: Body,
    /// Fields of a higher `schema_version`, as they came.
    pub unknown: serde_json::Map<String, Value>,
}

/// What an event reports, by the `event` field: one of [`EVENT_TYPES`].
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "events are handled one at a time or as impressions mostly; on wasm32 they are not that large"
)]
pub enum Body {
    /// `impression`: a ranking was shown to the client.
    Impression(Impression),
    /// Any other type: the client did something with a shown lawyer.
    Action(Action),
}

/// What a client did with a shown lawyer.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// What the client did; the `event` field in JSON.
    pub kind: ActionKind,
    /// The lawyer acted on, as the impression's `lawyer_ids` spell them.
    pub lawyer_id: String,
    /// Where the lawyer was shown, from 1.
    pub rank_pos: u32,
    /// The ranking that the client acted on, where they say it.
    pub request_id: Option<Uuid>,
    /// Whether the gateway found no impression of the case that shows this lawyer to this user at this place. `None`: it
    /// could not tell. The nightly run decides by the whole log; this is what was seen when the action came.
    pub unbound: Option<bool>,
}

/// The kinds of action, weakest first; each has an attribution window and a grade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActionKind {
    /// `click_profile`: the client opened the lawyer's profile.
    ClickProfile,
    /// `contact_made`: the client started a chat or a call.
    ContactMade,
    /// `contract_signed`: the client signed a contract with the lawyer.
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

    /// The action that the `event` field spells so.
    pub fn from_name(name: &str) -> Option<ActionKind> {
        [
            ActionKind::ClickProfile,
            ActionKind::ContactMade,
            ActionKind::ContractSigned,
        ]
        .into_iter()
        .find(|kind| kind.name() == name)
    }
}

/// Which ranking a client saw, or who drafted a lawyer into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `legacy`: the weighted features; see [`crate::rank_legacy`].
    Legacy,
    /// `ltr`: a model's scores; see [`crate::rank_ltr`].
    Ltr,
    /// Both: drafted in turn. Of one lawyer: both wanted them, so that neither brought them in.
    Interleaved,
}

impl Source {
    /// As JSON spells it.
    pub fn name(self) -> &'static str {
        match self {
            Source::Legacy => "legacy",
            Source::Ltr => "ltr",
            Source::Interleaved => "interleaved",
        }
    }

    /// The source that JSON spells so.
    pub fn from_name(name: &str) -> Option<Source> {
        [Source::Legacy, Source::Ltr, Source::Interleaved]
            .into_iter()
            .find(|source| source.name() == name)
    }
}

/// Who says that a ranking was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The gateway that ranked.
    Gateway,
    /// A client, through `POST /events`. It counts only in cases that the gateway never ranked.
    Client,
}

impl Origin {
    /// As JSON spells it.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Gateway => "gateway",
            Origin::Client => "client",
        }
    }
}

/// Which sampler chose what was displayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// None: everybody gets this ranking.
    None,
    /// The share of live traffic that stays with the legacy ranking.
    HoldOut,
    /// The share that a step of the rollout gives to LTR, and the rest of the traffic beside it.
    Rung,
    /// The share of the users for whom a coin decides whether two neighbours change places; see [`crate::swaps`]. Without
    /// [`Impression::coin`] the re-rank's promises allowed no toss.
    Swap,
    /// Both rankings were merged, each drafting lawyers in turn; see [`Impression::drafted_by`].
    Interleaved,
    /// Somebody asked for it.
    Forced,
}

impl Policy {
    const ALL: [Policy; 6] = [
        Policy::None,
        Policy::HoldOut,
        Policy::Rung,
        Policy::Swap,
        Policy::Interleaved,
        Policy::Forced,
    ];

    /// As JSON spells it.
    pub fn name(self) -> &'static str {
        match self {
            Policy::None => "none",
            Policy::HoldOut => "hold_out",
            Policy::Rung => "rung",
            Policy::Swap => "swap",
            Policy::Interleaved => "interleaved",
            Policy::Forced => "forced",
        }
    }

    /// The policy that JSON spells so.
    pub fn from_name(name: &str) -> Option<Policy> {
        Policy::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// A coin that was tossed over two places of a ranking.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coin {
    /// The two places, from 1.
    pub pair: [u32; 2],
    /// Whether the lawyers at these places changed them.
    pub swapped: bool,
    /// Of `swapped` being true, before it was tossed.
    pub probability: f64,
}

impl Coin {
    /// Where the lawyer at `place` would stand, had the coin fallen otherwise; `None`: the coin was not over this place.
    pub fn other_place(&self, place: u32) -> Option<u32> {
        let [a, b] = self.pair;
        [(a, b), (b, a)]
            .into_iter()
            .find(|(of, _)| *of == place)
            .map(|(_, other)| other)
    }

    /// The list as the coin left it. Applied to that, it gives the list from before.
    ///
    /// # Panics
    /// The list is shorter than the pair's lower place, or a place is 0.
    pub fn applied<T: Clone>(&self, list: &[T]) -> Vec<T> {
        let mut list = list.to_vec();
        if self.swapped {
            let [a, b] = self.pair.map(|place| place as usize - 1);
            list.swap(a, b);
        }
        list
    }
}

/// A ranking that was shown, with what training and evidence need later so that nothing is recomputed. Every list has one
/// entry a lawyer, in shown order. What is `None` was not logged, or does not apply.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Impression {
    /// The request that was ranked; an action may name it.
    pub request_id: Uuid,
    /// In shown order; not empty, no id twice.
    pub lawyer_ids: Vec<String>,
    /// Legacy weight by feature name.
    pub weights_used: BTreeMap<String, f64>,
    /// As served, one row a lawyer in schema order; `None` is missing.
    pub features: Vec<Vec<Option<f64>>>,
    /// Which ranking was displayed.
    pub source: Source,
    /// Version of the model that served, as `20261123T021500Z`; `None`: no model served.
    /// [`Event::from_json`] requires it with [`Source::Ltr`].
    pub model_version: Option<String>,
    /// `None` for a lawyer: it was no number.
    pub legacy_scores: Option<Vec<Option<f64>>>,
    /// Attribute (`gender`, ...) to group. Empty for a lawyer: none known, or none may be stored.
    pub groups: Option<Vec<BTreeMap<String, String>>>,
    /// Cases each lawyer took in the 30 days before this ranking.
    pub cases_30d: Option<Vec<u32>>,
    /// Cases each lawyer can take in 30 days; 0 counts as being at capacity.
    pub monthly_capacity: Option<Vec<u32>>,
    /// When each lawyer was last offered to a client; `None` for a lawyer: never.
    pub last_offered_at: Option<Vec<Option<DateTime<Utc>>>>,
    /// When a lawyer agreed to the use of their groups.
    pub groups_consented_at: Option<Vec<Option<DateTime<Utc>>>>,
    /// Forms before 2 do not say: see [`Event::origin`].
    pub origin: Option<Origin>,
    /// Which sampler chose what was displayed.
    pub policy: Option<Policy>,
    /// The lawyers as they stood before chance had its turn.
    pub order_before: Option<Vec<String>>,
    /// The coin of [`Policy::Swap`], whichever way it fell.
    pub coin: Option<Coin>,
    /// Of an interleaved ranking: which of the two rankings brought each lawyer in; see [`crate::interleaving::Draft`].
    pub drafted_by: Option<Vec<Source>>,
    /// The model that gave the ranks and scores below: where it did not serve, the one that was compared.
    pub ltr_version: Option<String>,
    /// Each lawyer's rank in LTR's own order, from 1, where LTR ranked, whoever was displayed.
    pub ltr_ranks: Option<Vec<u32>>,
    /// And the model's score, as it came out of the model.
    pub ltr_scores: Option<Vec<f64>>,
    /// The version of the rollout's state that was followed.
    pub state_version: Option<u64>,
    /// The re-rank's constants.
    pub fairness: Option<Fairness>,
    /// Which features the rows have: see [`Schema::id`].
    pub features_id: Option<Uuid>,
}

/// What an impression says of who was shown, read from its JSON without the rest.
#[derive(Clone, Debug, Deserialize)]
pub struct Display {
    /// As [`Impression::request_id`].
    pub request_id: Uuid,
    /// In shown order.
    pub lawyer_ids: Vec<String>,
}

impl Display {
    /// Whether this is what the client acted on: the lawyer at that place, of that ranking if the action says which.
    pub fn shows(&self, action: &Action) -> bool {
        shows(self.request_id, &self.lawyer_ids, action)
    }
}

impl Impression {
    /// A ranking by the weights, of which no more is said.
    pub fn new(request_id: Uuid, lawyer_ids: Vec<String>, features: Vec<Vec<Option<f64>>>) -> Impression {
        Impression {
            request_id,
            lawyer_ids,
            weights_used: BTreeMap::new(),
            features,
            source: Source::Legacy,
            model_version: None,
            legacy_scores: None,
            groups: None,
            cases_30d: None,
            monthly_capacity: None,
            last_offered_at: None,
            groups_consented_at: None,
            origin: None,
            policy: None,
            order_before: None,
            coin: None,
            drafted_by: None,
            ltr_version: None,
            ltr_ranks: None,
            ltr_scores: None,
            state_version: None,
            fairness: None,
            features_id: None,
        }
    }

    /// As [`Display::shows`].
    pub fn shows(&self, action: &Action) -> bool {
        shows(self.request_id, &self.lawyer_ids, action)
    }
}

fn shows(request_id: Uuid, lawyer_ids: &[String], action: &Action) -> bool {
    let at = (action.rank_pos as usize).checked_sub(1);
    let shown = at.and_then(|at| lawyer_ids.get(at));
    shown == Some(&action.lawyer_id) && action.request_id.is_none_or(|id| id == request_id)
}

/// Why a stored record is not an event that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct UnreadableEvent(pub String);

/// Why a value is not an event: the field, what it holds and what it may hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {value} is refused; allowed: {allowed}")]
pub struct EventError {
    /// Path of the field, as in `features[3][2]`; `event` for the type, empty for the whole value.
    pub field: String,
    /// What it holds, as JSON, shortened; `nothing` where the field is absent.
    pub value: String,
    /// What the field may hold, as `a UUID`; for an absent one, that it is required.
    pub allowed: String,
}

/// The id of the impression that the ranking of a case leaves. It follows from request and case: a retry is the same
/// event, and two cases under one request id (of a proxy, or a test client) are two. `salt` keeps it from being guessed:
/// an event that a client posted under it would take the impression's place. It begins as the request's does: where
/// ids are in the order of time (version 7), so are these, and a database writes them side by side instead of all over
/// an index. Version 8 of RFC 9562.
pub fn impression_id(salt: &[u8], request_id: Uuid, case_id: Uuid) -> Uuid {
    let mut of = [0; 32];
    of[..16].copy_from_slice(request_id.as_bytes());
    of[16..].copy_from_slice(case_id.as_bytes());
    let mut bytes = keyed(salt, &[b"impression of ", &of]).into_bytes();
    bytes[..TIME].copy_from_slice(&request_id.as_bytes()[..TIME]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The id of a comparison: it follows from request and case, and begins as the request's does, as [`impression_id`]'s.
/// Copies of a request are one comparison. Nobody else makes comparisons, so that it needs no secret.
pub fn comparison_id(request_id: Uuid, case_id: Uuid) -> Uuid {
    let mut bytes = Uuid::new_v5(&request_id, case_id.as_bytes()).into_bytes();
    bytes[..TIME].copy_from_slice(&request_id.as_bytes()[..TIME]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Bytes of an id that say its time, in version 7.
const TIME: usize = 6;

/// The id that programs before form 2 gave to the gateway's own impressions.
fn former_impression_id(request_id: Uuid) -> Uuid {
    let mut bytes = Uuid::new_v5(&request_id, b"impression").into_bytes();
    bytes[..TIME].copy_from_slice(&request_id.as_bytes()[..TIME]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl Action {
    /// An action of which no more is said.
    pub fn new(kind: ActionKind, lawyer_id: impl Into<String>, rank_pos: u32) -> Action {
        Action {
            kind,
            lawyer_id: lawyer_id.into(),
            rank_pos,
            request_id: None,
            unbound: None,
        }
    }
}

impl Event {
    /// An event of this program's form, with the user's own id.
    pub fn new(event_id: Uuid, ts_utc: DateTime<Utc>, case_id: Uuid, user_id: Uuid, body: Body) -> Event {
        Event {
            event_id,
            ts_utc,
            case_id,
            user_id,
            salt_id: None,
            schema_version: SCHEMA_VERSION,
            body,
            unknown: serde_json::Map::new(),
        }
    }

    /// Reads one event as the design's events table has it.
    ///
    /// # Errors
    /// The first field that breaks a rule, with its value and what is allowed.
    pub fn from_json(value: &Value, schema: &Schema) -> Result<Event, EventError> {
        read::event(value, schema)
    }

    /// Reads one event that was kept, of this program, an older or a newer one.
    ///
    /// # Errors
    /// What is missing or of another kind than its readers can use; such a record is set aside.
    pub fn from_stored(value: Value) -> Result<Event, UnreadableEvent> {
        stored::event(value)
    }

    /// Who says that this impression was shown. Forms before 2 do not say it, but the gateway's own ids follow from the
    /// request's.
    pub fn origin(&self) -> Option<Origin> {
        let Body::Impression(impression) = &self.body else {
            return None;
        };
        Some(impression.origin.unwrap_or({
            if self.event_id == former_impression_id(impression.request_id) {
                Origin::Gateway
            } else {
                Origin::Client
            }
        }))
    }

    /// The event as JSON; [`Event::from_stored`] gives this event again.
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

//! Events as they were kept.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Action, ActionKind, Body, Event, Impression, UnreadableEvent};

/// What every event has.
#[derive(Deserialize)]
struct Envelope {
    event: String,
    event_id: Uuid,
    ts_utc: DateTime<Utc>,
    case_id: Uuid,
    user_id: Uuid,
    salt_id: Option<Uuid>,
    /// Forms before 2 do not say it.
    #[serde(default = "first")]
    schema_version: u32,
}

#[derive(Deserialize)]
struct StoredAction {
    lawyer_id: String,
    rank_pos: u32,
    request_id: Option<Uuid>,
    unbound: Option<bool>,
}

fn first() -> u32 {
    1
}

/// What an impression may do without: a newer program may have values for these that are not known here.
const OPTIONAL: [&str; 17] = [
    "legacy_scores",
    "groups",
    "cases_30d",
    "monthly_capacity",
    "last_offered_at",
    "groups_consented_at",
    "origin",
    "policy",
    "order_before",
    "coin",
    "drafted_by",
    "ltr_version",
    "ltr_ranks",
    "ltr_scores",
    "state_version",
    "fairness",
    "features_id",
];

pub(super) fn event(mut value: Value) -> Result<Event, UnreadableEvent> {
    let unreadable = |error: serde_json::Error| UnreadableEvent(error.to_string());
    let envelope = Envelope::deserialize(&value).map_err(unreadable)?;
    let kind = ActionKind::from_name(&envelope.event);
    let mut strange = Map::new();
    let body = match kind {
        Some(kind) => {
            let action = StoredAction::deserialize(&value).map_err(unreadable)?;
            Body::Action(Action {
                kind,
                lawyer_id: action.lawyer_id,
                rank_pos: action.rank_pos,
                request_id: action.request_id,
                unbound: action.unbound,
            })
        }
        None if envelope.event == super::EVENT_TYPES[0] => {
            if Impression::deserialize(&value).is_err() {
                strange = take_strange(&mut value);
            }
            let impression = Impression::deserialize(&value).map_err(unreadable)?;
            check(&impression)?;
            Body::Impression(impression)
        }
        None => {
            let kind = grammar::shorten(&envelope.event);
            return Err(UnreadableEvent(format!(
                "event: {kind:?} is a type that is not known here"
            )));
        }
    };
    Ok(Event {
        event_id: envelope.event_id,
        ts_utc: envelope.ts_utc,
        case_id: envelope.case_id,
        user_id: envelope.user_id,
        salt_id: envelope.salt_id,
        schema_version: envelope.schema_version,
        body,
        unknown: unknown(value, kind.is_some()).into_iter().chain(strange).collect(),
    })
}

/// Takes those optional fields out of an impression that hold what no reader here understands. They are kept with the
/// fields that are not known.
fn take_strange(impression: &mut Value) -> Map<String, Value> {
    let Value::Object(fields) = &mut *impression else {
        return Map::new();
    };
    let optional: Vec<(String, Value)> = OPTIONAL.iter().filter_map(|name| fields.remove_entry(*name)).collect();
    // Where the rest cannot be read either, none of these is why.
    let is_readable = Impression::deserialize(&*impression).is_ok();
    let mut strange = Map::new();
    for (name, value) in optional {
        impression[&name] = value;
        if is_readable && Impression::deserialize(&*impression).is_err() {
            // Null is as good as absent.
            let value = impression[&name].take();
            strange.insert(name, value);
        }
    }
    strange
}

/// The fields that are not known here.
fn unknown(value: Value, is_action: bool) -> Map<String, Value> {
    let Value::Object(mut fields) = value else {
        return Map::new();
    };
    fields.retain(|name, _| !super::read::is_known(name, is_action));
    fields
}

/// Holds what readers rely on: lists that are as long as the list of lawyers, each of whom has a name and is in it once,
/// and features that can be added up.
fn check(impression: &Impression) -> Result<(), UnreadableEvent> {
    let n = impression.lawyer_ids.len();
    if n == 0 {
        return Err(UnreadableEvent("lawyer_ids: nobody was shown".to_owned()));
    }
    let mut seen = HashSet::with_capacity(n);
    if let Some(twice) = impression.lawyer_ids.iter().find(|id| !seen.insert(id.as_str())) {
        let twice = grammar::shorten(twice);
        return Err(UnreadableEvent(format!("lawyer_ids: {twice:?} comes twice")));
    }
    if impression.lawyer_ids.iter().any(String::is_empty) {
        return Err(UnreadableEvent("lawyer_ids: a lawyer has no name".to_owned()));
    }
    let values = impression.features.iter().flatten().flatten();
    if let Some(far) = values.copied().find(|value| !grammar::is_number(*value)) {
        return Err(UnreadableEvent(format!(
            "features: {far:e}; allowed: {}",
            grammar::NUMBER
        )));
    }
    fn long<T>(list: &Option<Vec<T>>) -> Option<usize> {
        list.as_ref().map(Vec::len)
    }
    let lists = [
        ("features", Some(impression.features.len())),
        ("legacy_scores", long(&impression.legacy_scores)),
        ("groups", long(&impression.groups)),
        ("cases_30d", long(&impression.cases_30d)),
        ("monthly_capacity", long(&impression.monthly_capacity)),
        ("last_offered_at", long(&impression.last_offered_at)),
        ("groups_consented_at", long(&impression.groups_consented_at)),
        ("drafted_by", long(&impression.drafted_by)),
        ("ltr_ranks", long(&impression.ltr_ranks)),
        ("ltr_scores", long(&impression.ltr_scores)),
    ];
    for (name, long) in lists {
        if let Some(long) = long.filter(|long| *long != n) {
            return Err(UnreadableEvent(format!("{name}: {long} entries for {n} lawyers")));
        }
    }
    let width = impression.features[0].len();
    if impression.features.iter().all(|row| row.len() == width) {
        Ok(())
    } else {
        Err(UnreadableEvent("features: rows of different lengths".to_owned()))
    }
}

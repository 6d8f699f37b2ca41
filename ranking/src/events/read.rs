use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    Action, ActionKind, Body, Coin, EVENT_TYPES, Event, EventError, Impression, MAX_GROUPS, MAX_LAWYERS, Policy,
    SCHEMA_VERSION, Source,
};
use crate::features::Schema;

const COMMON: [&str; 6] = ["event", "event_id", "ts_utc", "case_id", "user_id", "schema_version"];
const ACTION: [&str; 3] = ["lawyer_id", "rank_pos", "request_id"];
const IMPRESSION: [&str; 20] = [
    "request_id",
    "lawyer_ids",
    "weights_used",
    "features",
    "source",
    "model_version",
    "legacy_scores",
    "groups",
    "cases_30d",
    "monthly_capacity",
    "last_offered_at",
    "groups_consented_at",
    "policy",
    "order_before",
    "coin",
    "drafted_by",
    "ltr_version",
    "ltr_ranks",
    "ltr_scores",
    "state_version",
];
/// What the gateway says of an event, and nobody else.
const OURS: [&str; 5] = ["salt_id", "unbound", "origin", "fairness", "features_id"];

/// Whether a stored event's field of this name is one that this program reads.
pub(super) fn is_known(name: &str, is_action: bool) -> bool {
    let own: &[&str] = if is_action { &ACTION } else { &IMPRESSION };
    COMMON.iter().chain(own).chain(&OURS).any(|known| *known == name)
}

pub(super) fn event(value: &Value, schema: &Schema) -> Result<Event, EventError> {
    let Value::Object(fields) = value else {
        return Err(refuse("", value, "an object, one an event"));
    };
    let fields = Fields(fields);
    let kind = kind(&fields)?;
    let own: &[&str] = if kind.is_some() { &ACTION } else { &IMPRESSION };
    let schema_version = match fields.optional("schema_version") {
        Some(version) => counted("schema_version", version, 1, u32::MAX)?,
        None => SCHEMA_VERSION,
    };
    // What a newer client says that this program does not know is kept, and not refused.
    let unknown = if schema_version > SCHEMA_VERSION {
        fields.unknown(kind.is_some())?
    } else {
        fields.only(&COMMON, own).map(|()| Map::new())?
    };
    Ok(Event {
        event_id: uuid("event_id", fields.required("event_id")?)?,
        ts_utc: time("ts_utc", fields.required("ts_utc")?)?,
        case_id: uuid("case_id", fields.required("case_id")?)?,
        user_id: uuid("user_id", fields.required("user_id")?)?,
        salt_id: None,
        schema_version,
        unknown,
        body: match kind {
            Some(kind) => Body::Action(action(kind, &fields)?),
            None => Body::Impression(impression(&fields, schema)?),
        },
    })
}

/// The kind of action; `None`: an impression.
fn kind(fields: &Fields) -> Result<Option<ActionKind>, EventError> {
    let value = fields.required("event")?;
    match value.as_str() {
        Some("impression") => Ok(None),
        name => match name.and_then(ActionKind::from_name) {
            Some(kind) => Ok(Some(kind)),
            None => Err(refuse("event", value, &EVENT_TYPES.join(", "))),
        },
    }
}

fn action(kind: ActionKind, fields: &Fields) -> Result<Action, EventError> {
    Ok(Action {
        kind,
        lawyer_id: text("lawyer_id", fields.required("lawyer_id")?)?,
        rank_pos: rank("rank_pos", fields.required("rank_pos")?)?,
        request_id: fields
            .optional("request_id")
            .map(|id| uuid("request_id", id))
            .transpose()?,
        unbound: None,
    })
}

fn impression(fields: &Fields, schema: &Schema) -> Result<Impression, EventError> {
    let lawyer_ids = lawyer_ids(fields.required("lawyer_ids")?)?;
    let n = lawyer_ids.len();
    let source = source(fields.required("source")?)?;
    let model_version = match fields.optional("model_version") {
        Some(version) => Some(text("model_version", version)?),
        None if source == Source::Ltr => {
            let allowed = "the version of the model, because source is ltr";
            return Err(refuse("model_version", &Value::Null, allowed));
        }
        None => None,
    };
    Ok(Impression {
        request_id: uuid("request_id", fields.required("request_id")?)?,
        weights_used: weights(fields.required("weights_used")?, schema)?,
        features: aligned("features", fields.required("features")?, n, |field, row| {
            feature_row(field, row, schema)
        })?,
        legacy_scores: fields.aligned("legacy_scores", n, |field, value| number(field, value).map(Some))?,
        groups: fields.aligned("groups", n, groups)?,
        cases_30d: fields.aligned("cases_30d", n, count)?,
        monthly_capacity: fields.aligned("monthly_capacity", n, count)?,
        last_offered_at: fields.aligned("last_offered_at", n, time_or_never)?,
        groups_consented_at: fields.aligned("groups_consented_at", n, time_or_never)?,
        origin: None,
        policy: fields.optional("policy").map(policy).transpose()?,
        order_before: fields.optional("order_before").map(order_before).transpose()?,
        coin: fields.optional("coin").map(|value| coin(value, n)).transpose()?,
        drafted_by: fields.aligned("drafted_by", n, drafted_by)?,
        ltr_version: fields
            .optional("ltr_version")
            .map(|version| text("ltr_version", version))
            .transpose()?,
        ltr_ranks: fields.aligned("ltr_ranks", n, rank)?,
        ltr_scores: fields.aligned("ltr_scores", n, number)?,
        state_version: fields.optional("state_version").map(state_version).transpose()?,
        fairness: None,
        features_id: None,
        source,
        model_version,
        lawyer_ids,
    })
}

fn source(value: &Value) -> Result<Source, EventError> {
    let source = value.as_str().and_then(Source::from_name);
    source.ok_or_else(|| refuse("source", value, "legacy, ltr, interleaved"))
}

fn policy(value: &Value) -> Result<Policy, EventError> {
    let policy = value.as_str().and_then(Policy::from_name);
    let allowed = "none, hold_out, rung, swap, interleaved, forced";
    policy.ok_or_else(|| refuse("policy", value, allowed))
}

fn drafted_by(field: &str, value: &Value) -> Result<Source, EventError> {
    match value.as_str().and_then(Source::from_name) {
        Some(source) => Ok(source),
        None => Err(refuse(field, value, "legacy, ltr, interleaved")),
    }
}

fn coin(value: &Value, shown: usize) -> Result<Coin, EventError> {
    let coin: Option<Coin> = serde_json::from_value(value.clone()).ok();
    let place = |place: u32| (1..=shown).contains(&(place as usize));
    let possible = |coin: &Coin| {
        let [a, b] = coin.pair;
        place(a) && place(b) && a != b && (0.0..=1.0).contains(&coin.probability)
    };
    let allowed = "{\"pair\": two places that were shown, \"swapped\": true or false, \"probability\": 0 to 1}";
    coin.filter(possible).ok_or_else(|| refuse("coin", value, allowed))
}

fn state_version(value: &Value) -> Result<u64, EventError> {
    let version = value.as_u64().filter(|version| *version <= i64::MAX as u64);
    version.ok_or_else(|| refuse("state_version", value, "an integer of at least 0"))
}

fn lawyer_ids(value: &Value) -> Result<Vec<String>, EventError> {
    ids("lawyer_ids", value)
}

fn order_before(value: &Value) -> Result<Vec<String>, EventError> {
    ids("order_before", value)
}

fn ids(name: &str, value: &Value) -> Result<Vec<String>, EventError> {
    let allowed = format!("a list of 1 to {MAX_LAWYERS} different lawyer ids");
    let list = match value.as_array() {
        Some(list) if (1..=MAX_LAWYERS).contains(&list.len()) => list,
        _ => return Err(refuse(name, value, &allowed)),
    };
    let mut seen = HashSet::with_capacity(list.len());
    let mut ids = Vec::with_capacity(list.len());
    for (i, value) in list.iter().enumerate() {
        let field = format!("{name}[{i}]");
        let id = text(&field, value)?;
        if !seen.insert(id.clone()) {
            return Err(refuse(&field, value, "each lawyer once in an impression"));
        }
        ids.push(id);
    }
    Ok(ids)
}

fn weights(value: &Value, schema: &Schema) -> Result<BTreeMap<String, f64>, EventError> {
    let Value::Object(map) = value else {
        return Err(refuse("weights_used", value, "an object of feature to weight"));
    };
    let mut weights = BTreeMap::new();
    for (name, value) in map {
        let field = format!("weights_used.{}", grammar::shorten(name));
        if schema.index_of(name).is_none() {
            return Err(refuse(&field, value, &known(schema)));
        }
        let weight = number(&field, value)?;
        if weight < 0.0 {
            return Err(refuse(&field, value, "a number of at least 0"));
        }
        weights.insert(name.clone(), weight);
    }
    Ok(weights)
}

fn feature_row(field: &str, value: &Value, schema: &Schema) -> Result<Vec<Option<f64>>, EventError> {
    let row = match value.as_array() {
        Some(row) if row.len() == schema.len() => row,
        _ => {
            let allowed = format!(
                "a list of {} numbers or nulls, in the order {}",
                schema.len(),
                schema.names().join(", ")
            );
            return Err(refuse(field, value, &allowed));
        }
    };
    let cells = row.iter().enumerate();
    cells
        .map(|(i, cell)| match cell {
            Value::Null => Ok(None),
            Value::Number(_) => number(&format!("{field}[{i}]"), cell).map(Some),
            _ => Err(refuse(
                &format!("{field}[{i}]"),
                cell,
                &format!("{}, or null where the feature is missing", grammar::NUMBER),
            )),
        })
        .collect()
}

fn groups(field: &str, value: &Value) -> Result<BTreeMap<String, String>, EventError> {
    let map = match value {
        Value::Object(map) if map.len() <= MAX_GROUPS => map,
        _ => {
            let allowed = format!("an object of at most {MAX_GROUPS} attributes, each with a group");
            return Err(refuse(field, value, &allowed));
        }
    };
    map.iter()
        .map(|(attribute, group)| {
            let field = format!("{field}.{}", grammar::shorten(attribute));
            let name = text(&field, &Value::from(attribute.as_str()))?;
            Ok((name, text(&field, group)?))
        })
        .collect()
}

/// The fields of one event.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn required(&self, name: &str) -> Result<&'a Value, EventError> {
        self.0.get(name).ok_or_else(|| EventError {
            field: name.to_owned(),
            value: "nothing".to_owned(),
            allowed: "the field is required".to_owned(),
        })
    }

    /// A field that may be absent or null.
    fn optional(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn aligned<T>(
        &self,
        name: &str,
        n: usize,
        read: impl Fn(&str, &Value) -> Result<T, EventError>,
    ) -> Result<Option<Vec<T>>, EventError> {
        self.optional(name)
            .map(|value| aligned(name, value, n, read))
            .transpose()
    }

    /// The fields that are not known here, in an event of a newer form. What the gateway alone says is no such field.
    fn unknown(&self, is_action: bool) -> Result<Map<String, Value>, EventError> {
        if let Some((name, value)) = self.0.iter().find(|(name, _)| OURS.contains(&name.as_str())) {
            return Err(refuse(name, value, "no such field: the gateway says it"));
        }
        let unknown = self.0.iter().filter(|(name, _)| !is_known(name, is_action));
        unknown
            .map(|(name, value)| {
                if grammar::is_text(name) && has_no_nul(value) {
                    Ok((name.clone(), value.clone()))
                } else {
                    Err(refuse(&grammar::shorten(name), value, "names and texts without NUL"))
                }
            })
            .collect()
    }

    fn only(&self, common: &[&str], own: &[&str]) -> Result<(), EventError> {
        let allowed = || common.iter().chain(own).copied();
        match self.0.iter().find(|(name, _)| !allowed().any(|a| a == name.as_str())) {
            None => Ok(()),
            Some((name, value)) => {
                let list: Vec<&str> = allowed().collect();
                let allowed = format!("no such field, only {}", list.join(", "));
                Err(refuse(&grammar::shorten(name), value, &allowed))
            }
        }
    }
}

/// PostgreSQL reads no document that has one.
fn has_no_nul(value: &Value) -> bool {
    let plain = |text: &str| !text.contains('\0');
    match value {
        Value::String(text) => plain(text),
        Value::Array(list) => list.iter().all(has_no_nul),
        Value::Object(fields) => fields.iter().all(|(name, value)| plain(name) && has_no_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// A list with one entry a lawyer.
fn aligned<T>(
    name: &str,
    value: &Value,
    n: usize,
    read: impl Fn(&str, &Value) -> Result<T, EventError>,
) -> Result<Vec<T>, EventError> {
    match value.as_array() {
        Some(list) if list.len() == n => {
            let entries = list.iter().enumerate();
            entries.map(|(i, value)| read(&format!("{name}[{i}]"), value)).collect()
        }
        _ => {
            let allowed = format!("a list as long as lawyer_ids, which has {n}");
            Err(refuse(name, value, &allowed))
        }
    }
}

fn text(field: &str, value: &Value) -> Result<String, EventError> {
    let text = value.as_str().filter(|text| grammar::is_text(text));
    text.map(str::to_owned)
        .ok_or_else(|| refuse(field, value, grammar::TEXT))
}

fn number(field: &str, value: &Value) -> Result<f64, EventError> {
    let number = value.as_f64().filter(|number| grammar::is_number(*number));
    number.ok_or_else(|| refuse(field, value, grammar::NUMBER))
}

fn count(field: &str, value: &Value) -> Result<u32, EventError> {
    counted(field, value, 0, u32::MAX)
}

/// A place in a ranking: no ranking has more lawyers.
fn rank(field: &str, value: &Value) -> Result<u32, EventError> {
    counted(field, value, 1, MAX_LAWYERS as u32)
}

fn counted(field: &str, value: &Value, least: u32, most: u32) -> Result<u32, EventError> {
    let count = value.as_u64().and_then(|n| u32::try_from(n).ok());
    let count = count.filter(|count| (least..=most).contains(count));
    count.ok_or_else(|| refuse(field, value, &format!("an integer of {least} to {most}")))
}

fn uuid(field: &str, value: &Value) -> Result<Uuid, EventError> {
    let uuid = value.as_str().and_then(grammar::id);
    uuid.ok_or_else(|| refuse(field, value, grammar::ID))
}

fn time(field: &str, value: &Value) -> Result<DateTime<Utc>, EventError> {
    let time = value.as_str().and_then(grammar::instant);
    time.ok_or_else(|| refuse(field, value, grammar::INSTANT))
}

fn time_or_never(field: &str, value: &Value) -> Result<Option<DateTime<Utc>>, EventError> {
    match value {
        Value::Null => Ok(None),
        value => time(field, value).map(Some),
    }
}

fn known(schema: &Schema) -> String {
    format!("the features {}", schema.names().join(", "))
}

fn refuse(field: &str, value: &Value, allowed: &str) -> EventError {
    let value = match value {
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(map) => format!("an object of {}", map.len()),
        scalar => grammar::shorten(&scalar.to_string()),
    };
    EventError {
        field: field.to_owned(),
        value,
        allowed: allowed.to_owned(),
    }
}

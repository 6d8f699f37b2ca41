use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Datelike, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Action, ActionKind, Body, EVENT_TYPES, Event, EventError, Impression, MAX_GROUPS, MAX_LAWYERS, Source};
use crate::features::{MAX_TEXT_BYTES, Schema};

const COMMON: [&str; 5] = ["event", "event_id", "ts_utc", "case_id", "user_id"];
const ACTION: [&str; 2] = ["lawyer_id", "rank_pos"];
const IMPRESSION: [&str; 11] = [
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
];

pub(super) fn event(value: &Value, schema: &Schema) -> Result<Event, EventError> {
    let Value::Object(fields) = value else {
        return Err(refuse("", value, "an object, one an event"));
    };
    let fields = Fields(fields);
    let kind = kind(&fields)?;
    let own: &[&str] = if kind.is_some() { &ACTION } else { &IMPRESSION };
    fields.only(&COMMON, own)?;
    Ok(Event {
        event_id: uuid("event_id", fields.required("event_id")?)?,
        ts_utc: time("ts_utc", fields.required("ts_utc")?)?,
        case_id: uuid("case_id", fields.required("case_id")?)?,
        user_id: uuid("user_id", fields.required("user_id")?)?,
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
        Some("click_profile") => Ok(Some(ActionKind::ClickProfile)),
        Some("contact_made") => Ok(Some(ActionKind::ContactMade)),
        Some("contract_signed") => Ok(Some(ActionKind::ContractSigned)),
        _ => Err(refuse("event", value, &EVENT_TYPES.join(", "))),
    }
}

fn action(kind: ActionKind, fields: &Fields) -> Result<Action, EventError> {
    Ok(Action {
        kind,
        lawyer_id: text("lawyer_id", fields.required("lawyer_id")?)?,
        rank_pos: match count("rank_pos", fields.required("rank_pos")?)? {
            0 => return Err(refuse("rank_pos", &Value::from(0), "an integer of at least 1")),
            rank => rank,
        },
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
        legacy_scores: fields.aligned("legacy_scores", n, number)?,
        groups: fields.aligned("groups", n, groups)?,
        cases_30d: fields.aligned("cases_30d", n, count)?,
        monthly_capacity: fields.aligned("monthly_capacity", n, count)?,
        last_offered_at: fields.aligned("last_offered_at", n, |field, value| match value {
            Value::Null => Ok(None),
            value => time(field, value).map(Some),
        })?,
        source,
        model_version,
        lawyer_ids,
    })
}

fn source(value: &Value) -> Result<Source, EventError> {
    match value.as_str() {
        Some("legacy") => Ok(Source::Legacy),
        Some("ltr") => Ok(Source::Ltr),
        _ => Err(refuse("source", value, "legacy, ltr")),
    }
}

fn lawyer_ids(value: &Value) -> Result<Vec<String>, EventError> {
    let allowed = format!("a list of 1 to {MAX_LAWYERS} different lawyer ids");
    let list = match value.as_array() {
        Some(list) if (1..=MAX_LAWYERS).contains(&list.len()) => list,
        _ => return Err(refuse("lawyer_ids", value, &allowed)),
    };
    let mut seen = HashSet::with_capacity(list.len());
    let mut ids = Vec::with_capacity(list.len());
    for (i, value) in list.iter().enumerate() {
        let field = format!("lawyer_ids[{i}]");
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
        let field = format!("weights_used.{}", shorten(name));
        if schema.index_of(name).is_none() {
            return Err(refuse(&field, value, &known(schema)));
        }
        let weight = number(&field, value)?;
        if weight < 0.0 {
            return Err(refuse(&field, value, "a finite number of at least 0"));
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
                "a finite number, or null where the feature is missing",
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
            let field = format!("{field}.{}", shorten(attribute));
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

    fn only(&self, common: &[&str], own: &[&str]) -> Result<(), EventError> {
        let allowed = || common.iter().chain(own).copied();
        match self.0.iter().find(|(name, _)| !allowed().any(|a| a == name.as_str())) {
            None => Ok(()),
            Some((name, value)) => {
                let list: Vec<&str> = allowed().collect();
                let allowed = format!("no such field, only {}", list.join(", "));
                Err(refuse(&shorten(name), value, &allowed))
            }
        }
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
    match value.as_str() {
        Some(text) if !text.is_empty() && text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control) => {
            Ok(text.to_owned())
        }
        _ => {
            let allowed = format!("text of 1 to {MAX_TEXT_BYTES} bytes without control characters");
            Err(refuse(field, value, &allowed))
        }
    }
}

fn number(field: &str, value: &Value) -> Result<f64, EventError> {
    match value.as_f64() {
        Some(number) if number.is_finite() => Ok(number),
        _ => Err(refuse(field, value, "a finite number")),
    }
}

fn count(field: &str, value: &Value) -> Result<u32, EventError> {
    let count = value.as_u64().and_then(|n| u32::try_from(n).ok());
    count.ok_or_else(|| refuse(field, value, "an integer of 0 to 4294967295"))
}

fn uuid(field: &str, value: &Value) -> Result<Uuid, EventError> {
    let uuid = value.as_str().and_then(|text| Uuid::try_parse(text).ok());
    uuid.ok_or_else(|| refuse(field, value, "a UUID"))
}

fn time(field: &str, value: &Value) -> Result<DateTime<Utc>, EventError> {
    let parsed = value
        .as_str()
        .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
        .map(|time| time.with_timezone(&Utc))
        // Text order is time order in the tables; that holds for four-digit years.
        .filter(|time| (1970..=9999).contains(&time.year()));
    let allowed = "RFC 3339 with a time zone, from year 1970 to 9999, as 2026-01-31T12:00:00Z";
    parsed.ok_or_else(|| refuse(field, value, allowed))
}

fn known(schema: &Schema) -> String {
    format!("the features {}", schema.names().join(", "))
}

fn refuse(field: &str, value: &Value, allowed: &str) -> EventError {
    let value = match value {
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(map) => format!("an object of {}", map.len()),
        scalar => shorten(&scalar.to_string()),
    };
    EventError {
        field: field.to_owned(),
        value,
        allowed: allowed.to_owned(),
    }
}

/// Cut to what fits in one line of a log; hostile input is not echoed at length.
fn shorten(text: &str) -> String {
    const MOST: usize = 80;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    let head: String = text.chars().take(MOST).collect();
    format!("{head}...")
}

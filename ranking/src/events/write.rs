use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::{Body, Event, Impression};

pub(super) fn event(event: &Event) -> Value {
    let mut json = Map::new();
    json.insert("event".into(), event.kind().into());
    json.insert("event_id".into(), event.event_id.to_string().into());
    json.insert("ts_utc".into(), time(event.ts_utc));
    json.insert("case_id".into(), event.case_id.to_string().into());
    json.insert("user_id".into(), event.user_id.to_string().into());
    match &event.body {
        Body::Impression(impression) => add_impression(&mut json, impression),
        Body::Action(action) => {
            json.insert("lawyer_id".into(), action.lawyer_id.as_str().into());
            json.insert("rank_pos".into(), action.rank_pos.into());
        }
    }
    Value::Object(json)
}

fn add_impression(json: &mut Map<String, Value>, impression: &Impression) {
    json.insert("request_id".into(), impression.request_id.to_string().into());
    json.insert("lawyer_ids".into(), json!(impression.lawyer_ids));
    json.insert("weights_used".into(), json!(impression.weights_used));
    json.insert("features".into(), json!(impression.features));
    json.insert("source".into(), impression.source.name().into());
    json.insert("model_version".into(), json!(impression.model_version));
    let mut add = |name: &str, list: Option<Value>| {
        if let Some(list) = list {
            json.insert(name.into(), list);
        }
    };
    add("legacy_scores", impression.legacy_scores.as_ref().map(|l| json!(l)));
    add("groups", impression.groups.as_ref().map(|l| json!(l)));
    add("cases_30d", impression.cases_30d.as_ref().map(|l| json!(l)));
    add(
        "monthly_capacity",
        impression.monthly_capacity.as_ref().map(|l| json!(l)),
    );
    let offered = impression.last_offered_at.as_ref();
    add(
        "last_offered_at",
        offered.map(|l| l.iter().map(|t| t.map_or(Value::Null, time)).collect()),
    );
}

/// RFC 3339 in UTC, with as many decimals as the instant has.
fn time(instant: DateTime<Utc>) -> Value {
    instant.to_rfc3339_opts(SecondsFormat::AutoSi, true).into()
}

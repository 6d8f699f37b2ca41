use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{Body, Event, Impression};

/// The event's JSON, which [`Event::from_json`] reads.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event", self.kind())?;
        map.serialize_entry("event_id", &self.event_id)?;
        map.serialize_entry("ts_utc", &time(&self.ts_utc))?;
        map.serialize_entry("case_id", &self.case_id)?;
        map.serialize_entry("user_id", &self.user_id)?;
        match &self.body {
            Body::Impression(impression) => add(impression, &mut map)?,
            Body::Action(action) => {
                map.serialize_entry("lawyer_id", &action.lawyer_id)?;
                map.serialize_entry("rank_pos", &action.rank_pos)?;
            }
        }
        map.end()
    }
}

fn add<M: SerializeMap>(impression: &Impression, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("request_id", &impression.request_id)?;
    map.serialize_entry("lawyer_ids", &impression.lawyer_ids)?;
    map.serialize_entry("weights_used", &impression.weights_used)?;
    map.serialize_entry("features", &impression.features)?;
    map.serialize_entry("source", impression.source.name())?;
    map.serialize_entry("model_version", &impression.model_version)?;
    if let Some(scores) = &impression.legacy_scores {
        map.serialize_entry("legacy_scores", scores)?;
    }
    if let Some(groups) = &impression.groups {
        map.serialize_entry("groups", groups)?;
    }
    if let Some(cases) = &impression.cases_30d {
        map.serialize_entry("cases_30d", cases)?;
    }
    if let Some(capacity) = &impression.monthly_capacity {
        map.serialize_entry("monthly_capacity", capacity)?;
    }
    if let Some(offered) = &impression.last_offered_at {
        let times: Vec<Option<String>> = offered.iter().map(|offered| offered.as_ref().map(time)).collect();
        map.serialize_entry("last_offered_at", &times)?;
    }
    Ok(())
}

/// RFC 3339 in UTC, with as many decimals as the instant has.
fn time(instant: &DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

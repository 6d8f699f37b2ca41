use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{Body, Event, Impression, Origin, Policy};

/// The event's JSON, which [`Event::from_json`] reads.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema_version", &self.schema_version)?;
        map.serialize_entry("event", self.kind())?;
        map.serialize_entry("event_id", &self.event_id)?;
        map.serialize_entry("ts_utc", &time(&self.ts_utc))?;
        map.serialize_entry("case_id", &self.case_id)?;
        map.serialize_entry("user_id", &self.user_id)?;
        given("salt_id", &self.salt_id, &mut map)?;
        match &self.body {
            Body::Impression(impression) => add(impression, &mut map)?,
            Body::Action(action) => {
                map.serialize_entry("lawyer_id", &action.lawyer_id)?;
                map.serialize_entry("rank_pos", &action.rank_pos)?;
                given("request_id", &action.request_id, &mut map)?;
                given("unbound", &action.unbound, &mut map)?;
            }
        }
        for (name, value) in &self.unknown {
            map.serialize_entry(name, value)?;
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
    given("legacy_scores", &impression.legacy_scores, map)?;
    given("groups", &impression.groups, map)?;
    given("cases_30d", &impression.cases_30d, map)?;
    given("monthly_capacity", &impression.monthly_capacity, map)?;
    given(
        "last_offered_at",
        &impression.last_offered_at.as_deref().map(times),
        map,
    )?;
    let consented = impression.groups_consented_at.as_deref().map(times);
    given("groups_consented_at", &consented, map)?;
    given("origin", &impression.origin.map(Origin::name), map)?;
    given("policy", &impression.policy.map(Policy::name), map)?;
    given("order_before", &impression.order_before, map)?;
    given("coin", &impression.coin, map)?;
    let drafted_by = impression.drafted_by.as_deref();
    let drafted_by = drafted_by.map(|each| each.iter().map(|source| source.name()).collect::<Vec<_>>());
    given("drafted_by", &drafted_by, map)?;
    given("ltr_version", &impression.ltr_version, map)?;
    given("ltr_ranks", &impression.ltr_ranks, map)?;
    given("ltr_scores", &impression.ltr_scores, map)?;
    given("state_version", &impression.state_version, map)?;
    given("fairness", &impression.fairness, map)?;
    given("features_id", &impression.features_id, map)
}

/// Writes what there is, and nothing of what there is not.
fn given<T: Serialize, M: SerializeMap>(name: &'static str, value: &Option<T>, map: &mut M) -> Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(name, value),
        None => Ok(()),
    }
}

fn times(instants: &[Option<DateTime<Utc>>]) -> Vec<Option<String>> {
    instants.iter().map(|instant| instant.as_ref().map(time)).collect()
}

/// RFC 3339 in UTC, with as many decimals as the instant has.
fn time(instant: &DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

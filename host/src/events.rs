//! `POST /events`: one event, an array of them, or NDJSON. Acknowledged when they are on disk.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use api::json::{Document, Json};
use ranking::{Body as EventBody, Event, Schema};
use serde_json::{Value, json};
use store::{Appended, Record};
use uuid::Uuid;

use crate::answer::{self, Response};
use crate::errors::{ApiError, Invalid};
use crate::gateway::Gateway;
use crate::routes::Call;
use crate::writer::NotKept;

/// How long a sender waits for the disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes events: all of them, or none.
///
/// # Errors
/// 422 for the first event that breaks a rule, 503 when it could not be written; nothing is kept then.
pub async fn events(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    gateway.clock.now(&call.head.headers)?;
    let max_depth = gateway.settings.host.max_json_depth;
    let read = |text: &[u8]| read(text, &gateway.schema, max_depth);
    let events = gateway.bodies.read(call.body).await?.decode(read).await?;
    check_shown(gateway, &events).await?;
    let kept = match gateway
        .writer
        .hand_over(events.into_iter().map(Record::Event).collect())
    {
        Ok(receipt) => receipt
            .committed_within(PATIENCE)
            .await
            .ok_or_else(|| ApiError::unavailable("slow_database", "not written yet; sending the same again is safe"))?,
        Err(full) => Err(full),
    };
    let outcomes = kept.map_err(|error| match error {
        NotKept::SpoolFull => ApiError::unavailable(
            "spool_full",
            "the database is unavailable and the spool is full; nothing was kept",
        ),
        NotKept::Full => ApiError::unavailable("busy", "too much is waiting to be written; nothing was kept"),
        NotKept::Failed => ApiError::unavailable("database", "the database cannot write; nothing was kept"),
    })?;
    let duplicates = outcomes
        .iter()
        .filter(|&&outcome| outcome == Appended::Duplicate)
        .count();
    Ok(answer::json(
        &json!({ "accepted": outcomes.len() - duplicates, "duplicates": duplicates }),
    ))
}

/// Reads a body: one event, an array of them, or NDJSON.
///
/// # Errors
/// 400 for what is no JSON, 422 for the first event that breaks a rule, or where there is none.
pub fn read(bytes: &[u8], schema: &Schema, max_json_depth: usize) -> Result<Vec<Event>, ApiError> {
    let mut values = Vec::new();
    let document = Document::parse_many(bytes, max_json_depth)?;
    for value in document.roots().map(Json::to_value) {
        match value {
            Value::Array(many) => values.extend(many),
            one => values.push(one),
        }
    }
    if values.is_empty() {
        return Err(Invalid::new("empty", "at least one event").into());
    }
    let events = values.iter().enumerate().map(|(at, value)| {
        Event::from_json(value, schema).map_err(|error| {
            let mut invalid = Invalid::new(error.value, error.allowed);
            invalid.field = error.field;
            ApiError::from(invalid.under(format!("events[{at}]")))
        })
    });
    events.collect()
}

/// Refuses an action on a lawyer whom nobody was shown in that case, neither before nor earlier in this body. While the
/// database cannot tell, or does not have everything, actions are taken on trust: attribution leaves out those on
/// lawyers that were not shown.
async fn check_shown(gateway: &Gateway, events: &[Event]) -> Result<(), ApiError> {
    let outage = gateway.writer.outage();
    let acts = |event: &&Event| matches!(event.body, EventBody::Action(_));
    let cases: HashSet<Uuid> = events.iter().filter(acts).map(|event| event.case_id).collect();
    if cases.is_empty() || outage.away() || outage.spooled() > 0 {
        return Ok(());
    }
    let cases: Vec<Uuid> = cases.into_iter().collect();
    let Some(shown) = shown_in(gateway, &cases).await? else {
        return Ok(());
    };
    if all_shown(events, shown).is_ok() {
        return Ok(());
    }
    // The impression may still be waiting to be written: what was handed over before is on disk once something that
    // is handed over now is.
    if let Ok(receipt) = gateway.writer.hand_over(Vec::new()) {
        // Nothing was to be written, so nothing can have failed.
        let _ = receipt.committed_within(PATIENCE).await;
    }
    match shown_in(gateway, &cases).await? {
        Some(shown) => Ok(all_shown(events, shown)?),
        None => Ok(()),
    }
}

/// Whether every action is on a lawyer who was `shown` in its case, or is by an impression before it.
fn all_shown(events: &[Event], mut shown: HashMap<Uuid, HashSet<String>>) -> Result<(), Invalid> {
    for (at, event) in events.iter().enumerate() {
        let in_case = shown.entry(event.case_id).or_default();
        match &event.body {
            EventBody::Impression(impression) => in_case.extend(impression.lawyer_ids.iter().cloned()),
            EventBody::Action(action) if in_case.contains(&action.lawyer_id) => {}
            EventBody::Action(action) => {
                let allowed = format!("a lawyer shown in case {}", event.case_id);
                let invalid = Invalid::new(format!("{:?}", action.lawyer_id), allowed);
                return Err(invalid.under("lawyer_id").under(format!("events[{at}]")));
            }
        }
    }
    Ok(())
}

/// Every lawyer that was shown in each of the cases; `None` while the database is unavailable.
async fn shown_in(gateway: &Gateway, cases: &[Uuid]) -> Result<Option<HashMap<Uuid, HashSet<String>>>, ApiError> {
    match gateway.store.shown(cases).await {
        Err(error) if error.is_unavailable() => Ok(None),
        shown => Ok(Some(shown?)),
    }
}

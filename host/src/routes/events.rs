//! `POST /events`: one event, an array of them, or NDJSON. Acknowledged when they are on disk.

use std::collections::HashMap;
use std::time::Duration;

use api::json::{Document, Json};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use metrics::counter;
use ranking::{Action, Body as EventBody, Event, Impression, Origin, Schema};
use serde_json::{Value, json};
use store::{Acted, Appended, Record};
use uuid::Uuid;

use crate::http::call::Call;
use crate::http::error::{ApiError, Invalid};
use crate::http::response::{self, Response};
use crate::ingest::NotKept;
use crate::state::Gateway;

/// How long a sender waits for the disk.
const PATIENCE: Duration = Duration::from_secs(5);
/// Impressions of one case to one user in a body that are looked through.
const MOST_HERE: usize = 256;

/// Takes events: all of them, or none.
///
/// # Errors
/// 422 for the first event that breaks a rule, 503 when it could not be written; nothing is kept then.
pub async fn events(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let now = gateway.clock.now(&call.head.headers)?;
    let max_depth = gateway.settings.host.max_json_depth;
    let read = |text: &[u8]| read(text, &gateway.schema, max_depth);
    let mut events = gateway.bodies.read(call.body).await?.decode(read).await?;
    check_times(&events, now, &gateway.settings.events)?;
    let unbound = bind(gateway, &mut events).await;
    for event in &mut events {
        if let EventBody::Impression(impression) = &mut event.body {
            impression.origin = Some(Origin::Client);
        }
        gateway.pseudonyms.apply(event);
    }
    let kept = match gateway.writer.submit(events.into_iter().map(Record::Event).collect()) {
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
    Ok(response::json(&json!({
        "accepted": outcomes.len() - duplicates,
        "duplicates": duplicates,
        "unbound": unbound,
    })))
}

/// Refuses an event of a time that cannot be true: a clock that is wrong, or a client that invents.
fn check_times(events: &[Event], now: DateTime<Utc>, bounds: &settings::Events) -> Result<(), Invalid> {
    // A bound that leads out of what a time can be bounds nothing.
    let far = |bound: Option<Duration>| bound.and_then(|bound| TimeDelta::from_std(bound).ok());
    let latest = far(bounds.max_ahead()).and_then(|ahead| now.checked_add_signed(ahead));
    let earliest = far(bounds.max_age()).and_then(|age| now.checked_sub_signed(age));
    for (at, event) in events.iter().enumerate() {
        let allowed = if latest.is_some_and(|latest| event.ts_utc > latest) {
            format!(
                "at most {} s after {now} (events.max_ahead_seconds)",
                bounds.max_ahead_seconds
            )
        } else if earliest.is_some_and(|earliest| event.ts_utc < earliest) {
            format!("at most {} h before {now} (events.max_age_hours)", bounds.max_age_hours)
        } else {
            continue;
        };
        let invalid = Invalid::new(event.ts_utc.to_rfc3339_opts(SecondsFormat::AutoSi, true), allowed);
        return Err(invalid.under("ts_utc").under(format!("events[{at}]")));
    }
    Ok(())
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

/// Says of each action whether it is on something that was shown, and returns how many are not. None is refused for it:
/// its impression may be on its way from another gateway, and the nightly run decides by the whole log. Where the
/// database cannot tell, or does not have everything, nothing is said.
async fn bind(gateway: &Gateway, events: &mut [Event]) -> usize {
    let mut shown = was_shown(gateway, events).await;
    if shown.contains(&Some(false)) {
        // The impression may still be waiting to be written: what was handed over before is on disk once something that
        // is handed over now is.
        if let Ok(receipt) = gateway.writer.submit(Vec::new()) {
            // Nothing was to be written, so nothing can have failed.
            let _ = receipt.committed_within(PATIENCE).await;
        }
        shown = was_shown(gateway, events).await;
    }
    let mut unbound = 0;
    for (event, shown) in events.iter_mut().zip(shown) {
        if let EventBody::Action(action) = &mut event.body {
            action.unbound = shown.map(|shown| !shown);
            unbound += usize::from(shown == Some(false));
        }
    }
    counter!("ltr_events_unbound_total").increment(unbound as u64);
    unbound
}

/// Of each event whether it is an action on something that was shown, in the database or earlier in this body; `None`
/// where that cannot be told.
async fn was_shown(gateway: &Gateway, events: &[Event]) -> Vec<Option<bool>> {
    let unknown = vec![None; events.len()];
    let database = gateway.writer.health();
    if database.is_unavailable() || database.spooled() > 0 {
        return unknown;
    }
    let acted: Vec<(usize, Acted)> = events
        .iter()
        .enumerate()
        .filter_map(|(at, event)| match &event.body {
            EventBody::Action(action) => Some((at, acted(gateway, event, action))),
            EventBody::Impression(_) => None,
        })
        .collect();
    if acted.is_empty() {
        return unknown;
    }
    let asked: Vec<Acted> = acted.iter().map(|(_, acted)| acted.clone()).collect();
    // Whatever keeps it from answering is no fault of the events.
    let Ok(found) = gateway.store.was_shown(&asked).await else {
        return unknown;
    };
    let here = impressions_here(events);
    let mut shown = unknown;
    for ((at, acted), found) in acted.iter().zip(found) {
        shown[*at] = match here.get(&(acted.case_id, acted.users[0])) {
            Some(here) if found == Some(false) => shown_before(here, *at, acted.action),
            _ => found,
        };
    }
    shown
}

fn acted<'e>(gateway: &Gateway, event: &Event, action: &'e Action) -> Acted<'e> {
    Acted {
        case_id: event.case_id,
        users: [
            event.user_id,
            ranking::pseudonym(&gateway.pseudonyms.salt, event.user_id),
        ],
        action,
    }
}

/// The impressions in this body, by case and user, each with its place: [`MOST_HERE`] at most of each, so that a body costs
/// what it has events, and not the square of that.
fn impressions_here(events: &[Event]) -> HashMap<(Uuid, Uuid), Vec<(usize, &Impression)>> {
    let mut here: HashMap<_, Vec<_>> = HashMap::new();
    for (at, event) in events.iter().enumerate() {
        if let EventBody::Impression(impression) = &event.body {
            let of_user = here.entry((event.case_id, event.user_id)).or_default();
            if of_user.len() < MOST_HERE {
                of_user.push((at, impression));
            }
        }
    }
    here
}

/// Whether one of these impressions comes before the action at this place and shows what it is on; `None` where there may
/// be more of them.
fn shown_before(here: &[(usize, &Impression)], at: usize, action: &Action) -> Option<bool> {
    let before = here.iter().take_while(|(place, _)| *place < at);
    let shows = before
        .map(|(_, impression)| impression)
        .any(|impression| impression.shows(action));
    (shows || here.len() < MOST_HERE).then_some(shows)
}

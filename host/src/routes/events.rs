//! `POST /events`: accepts one event, an array of events, or NDJSON. Acknowledges them when they
//! are on disk.

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

/// How long a call waits until its events are on disk.
const PATIENCE: Duration = Duration::from_secs(5);
/// Maximum number of impressions in one body that are searched per case and user.
const MAX_SEARCHED: usize = 256;

/// Stores all events of a body, or none.
///
/// # Errors
/// 422 for the first invalid event, 503 if the events could not be written; no event is stored then.
/// Only after a 503 `slow_database` they may still be written.
pub async fn events(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let now = gateway.clock.now(&call.head.headers)?;
    let max_depth = gateway.settings.host.max_json_depth;
    let read = |text: &[u8]| read(text, &gateway.schema, max_depth);
    let mut events = gateway.bodies.read(call.body).await?.decode(read).await?;
    check_times(&events, now, &gateway.settings.events, gateway.settings.lake.case_days)?;
    let unbound = bind(gateway, &mut events).await;
    for event in &mut events {
        if let EventBody::Impression(impression) = &mut event.body {
            impression.origin = Some(Origin::Client);
            impression.features_id = Some(gateway.schema.id());
        }
        gateway.pseudonyms.apply(event);
    }
    let kept = match gateway.writer.submit(events.into_iter().map(Record::Event).collect()) {
        Ok(receipt) => receipt.committed_within(PATIENCE).await.ok_or_else(|| {
            ApiError::unavailable(
                "slow_database",
                "not written yet; sending the same events again is safe",
            )
        })?,
        Err(full) => Err(full),
    };
    let outcomes = kept.map_err(|error| match error {
        NotKept::SpoolFull => ApiError::unavailable(
            "spool_full",
            "the database is unavailable, and the spool or its disk is full (database.spool_dir); nothing was stored",
        ),
        NotKept::Full => ApiError::unavailable("busy", "too many records wait to be written; nothing was stored"),
        NotKept::Failed => ApiError::unavailable("database", "the database cannot write; nothing was stored"),
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

/// Refuses an event whose time is implausible: the sender's clock is wrong, or the time is
/// invented. An impression may be at most `case_days` old, unless there is no limit: an older one
/// could pass for an earlier showing of a case that the gateway ranked, where the night that labels
/// that case no longer looks.
fn check_times(events: &[Event], now: DateTime<Utc>, bounds: &settings::Events, case_days: u32) -> Result<(), Invalid> {
    // A limit that no time can exceed means no limit.
    let delta = |bound: Option<Duration>| bound.and_then(|bound| TimeDelta::from_std(bound).ok());
    let latest = delta(bounds.max_ahead()).and_then(|ahead| now.checked_add_signed(ahead));
    let of_actions = delta(bounds.max_age());
    let of_impressions = of_actions.map(|age| age.min(TimeDelta::days(case_days.into())));
    for (at, event) in events.iter().enumerate() {
        let (age, key) = match &event.body {
            EventBody::Impression(_) if of_impressions < of_actions => (of_impressions, "lake.case_days"),
            _ => (of_actions, "events.max_age_hours"),
        };
        let earliest = age.and_then(|age| now.checked_sub_signed(age));
        let allowed = if latest.is_some_and(|latest| event.ts_utc > latest) {
            format!(
                "at most {} s after {now} (events.max_ahead_seconds)",
                bounds.max_ahead_seconds
            )
        } else if let Some(age) = age.filter(|_| earliest.is_some_and(|earliest| event.ts_utc < earliest)) {
            format!("at most {} h before {now} ({key})", age.num_hours())
        } else {
            continue;
        };
        let invalid = Invalid::new(event.ts_utc.to_rfc3339_opts(SecondsFormat::AutoSi, true), allowed);
        return Err(invalid.under("ts_utc").under(format!("events[{at}]")));
    }
    Ok(())
}

/// Reads a body: one event, an array of events, or NDJSON.
///
/// # Errors
/// 400 for a body that is not JSON; 422 for the first invalid event, and for a body without events.
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

/// Marks each action as bound or unbound, and returns the number of unbound ones. An action is
/// bound if the user was shown its lawyer at its position before.
///
/// Unbound actions are accepted: the impression may still come from another gateway, and the
/// nightly run decides by the whole log. Actions stay unmarked if the database cannot answer, or
/// lacks records that are still in the spool.
async fn bind(gateway: &Gateway, events: &mut [Event]) -> usize {
    let mut shown = was_shown(gateway, events).await;
    if shown.contains(&Some(false)) {
        // The impression may still wait in the writer's queue. The queue is ordered, so an empty
        // submission waits until all earlier records are on disk.
        if let Ok(receipt) = gateway.writer.submit(Vec::new()) {
            // An empty submission cannot fail to be written.
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

/// For each event: whether it is an action on something that was shown, in the database or earlier
/// in this body. `None` if that is unknown, or the event is not an action.
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
    // A database that cannot answer is no reason to refuse the events.
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

/// The impressions in this body by case and user, each with its index. At most [`MAX_SEARCHED`] for
/// each case and user, so that the search takes linear and not quadratic time.
fn impressions_here(events: &[Event]) -> HashMap<(Uuid, Uuid), Vec<(usize, &Impression)>> {
    let mut here: HashMap<_, Vec<_>> = HashMap::new();
    for (at, event) in events.iter().enumerate() {
        if let EventBody::Impression(impression) = &event.body {
            let of_user = here.entry((event.case_id, event.user_id)).or_default();
            if of_user.len() < MAX_SEARCHED {
                of_user.push((at, impression));
            }
        }
    }
    here
}

/// Whether one of these impressions precedes the action at index `at` and shows its lawyer; `None`
/// if there may be more impressions than these.
fn shown_before(here: &[(usize, &Impression)], at: usize, action: &Action) -> Option<bool> {
    let before = here.iter().take_while(|(place, _)| *place < at);
    let shows = before
        .map(|(_, impression)| impression)
        .any(|impression| impression.shows(action));
    (shows || here.len() < MAX_SEARCHED).then_some(shows)
}

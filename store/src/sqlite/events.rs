//! `match_events`: what was shown and what came of it.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use ranking::events::{Body, Event};
use serde::Serialize;
use serde_json::Value;
use sqlx::{Row, SqliteConnection, SqlitePool};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::columns::{instant, read_json};
use crate::records::read_event;
use crate::{Record, StoreError};

/// Inserts the events among `records`, and gives the ids of those that were not there: one statement, prepared once,
/// whatever their number.
pub async fn insert(connection: &mut SqliteConnection, records: &[Record]) -> Result<HashSet<Uuid>, StoreError> {
    let events = records.iter().filter_map(|record| match record {
        Record::Event(event) => Some(columns(event)),
        Record::Shadow(_) => None,
    });
    let rows: Vec<_> = events.collect();
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    // Without WHERE, ON would belong to FROM.
    let stored: Vec<Hyphenated> = sqlx::query_scalar(
        "INSERT INTO match_events (event_id, ts_utc, event, case_id, user_id, lawyer_id, rank_pos, request_id, payload) \
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, \
                value -> 8 \
         FROM json_each(?) WHERE true ON CONFLICT DO NOTHING RETURNING event_id",
    )
    .bind(serde_json::to_string(&rows).expect("rows have texts and finite numbers alone"))
    .fetch_all(connection)
    .await?;
    Ok(stored.into_iter().map(Uuid::from).collect())
}

/// What a row of the table holds, in the order of its columns.
fn columns(event: &Event) -> impl Serialize + '_ {
    let (lawyer_id, rank_pos, request_id) = match &event.body {
        Body::Impression(impression) => (None, None, Some(impression.request_id)),
        Body::Action(action) => (Some(&action.lawyer_id), Some(action.rank_pos), None),
    };
    let (id, case, user) = (event.event_id, event.case_id, event.user_id);
    let ts = instant(event.ts_utc);
    (id, ts, event.kind(), case, user, lawyer_id, rank_pos, request_id, event)
}

pub async fn shown(readers: &SqlitePool, cases: &[Uuid]) -> Result<Vec<(Uuid, String)>, StoreError> {
    let shown: Vec<(Hyphenated, String)> = sqlx::query_as(
        "SELECT match_events.case_id, shown.value \
         FROM json_each(?) AS asked \
              JOIN match_events ON match_events.case_id = asked.value AND match_events.event = 'impression', \
              json_each(match_events.payload, '$.lawyer_ids') AS shown",
    )
    .bind(serde_json::to_string(cases).expect("identifiers are texts"))
    .fetch_all(readers)
    .await?;
    Ok(shown.into_iter().map(|(case, lawyer)| (case.into(), lawyer)).collect())
}

pub async fn between(readers: &SqlitePool, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<Event>, StoreError> {
    sqlx::query("SELECT event_id, payload FROM match_events WHERE ts_utc >= ? AND ts_utc < ? ORDER BY ts_utc, event_id")
        .bind(instant(from))
        .bind(instant(to))
        .fetch_all(readers)
        .await?
        .iter()
        .map(|row| {
            let payload: Value = read_json(row, "payload", "match_events")?;
            read_event(row.try_get("event_id")?, &payload)
        })
        .collect()
}

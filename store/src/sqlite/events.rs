//! `match_events`: what was shown and what came of it.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use ranking::events::{Body, Event};
use serde_json::Value;
use sqlx::sqlite::SqliteQueryResult;
use sqlx::{Row, SqliteConnection, SqlitePool};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::columns::{instant, read_json};
use super::many::Insert;
use crate::records::read_event;
use crate::{Record, StoreError};

static INSERT: Insert = Insert::new(
    "match_events (event_id, ts_utc, event, case_id, user_id, lawyer_id, rank_pos, request_id, payload)",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?)",
    " ON CONFLICT DO NOTHING",
);

/// Inserts the events among `records`, and gives the ids of those that were not there.
pub async fn insert(connection: &mut SqliteConnection, records: &[Record]) -> Result<HashSet<Uuid>, StoreError> {
    let events = records.iter().filter_map(|record| match record {
        Record::Event(event) => Some(event),
        Record::Shadow(_) => None,
    });
    let events: Vec<&Event> = events.collect();
    let mut stored = HashSet::with_capacity(events.len());
    for (statement, events) in INSERT.statements(&events) {
        let bound = events.iter().fold(sqlx::query(statement), |bound, event| {
            let (lawyer_id, rank_pos, request_id) = match &event.body {
                Body::Impression(impression) => (None, None, Some(impression.request_id.hyphenated())),
                Body::Action(action) => (Some(&action.lawyer_id), Some(action.rank_pos), None),
            };
            bound
                .bind(event.event_id.hyphenated())
                .bind(instant(event.ts_utc))
                .bind(event.kind())
                .bind(event.case_id.hyphenated())
                .bind(event.user_id.hyphenated())
                .bind(lawyer_id)
                .bind(rank_pos)
                .bind(request_id)
                .bind(serde_json::to_string(event).expect("an event has texts and finite numbers alone"))
        });
        let done = bound.execute(&mut *connection).await?;
        match done.rows_affected() == events.len() as u64 {
            true => stored.extend(events.iter().map(|event| event.event_id)),
            false => stored.extend(inserted(connection, &done).await?),
        }
    }
    Ok(stored)
}

/// The ids of the events that the last statement inserted: nobody else writes, so that they are the last ones. Each row
/// that a statement returns is a message between two threads, which is why none does unless it must.
async fn inserted(connection: &mut SqliteConnection, done: &SqliteQueryResult) -> Result<Vec<Uuid>, StoreError> {
    let ids: Vec<Hyphenated> =
        sqlx::query_scalar("SELECT event_id FROM match_events WHERE rowid > ? - ? AND rowid <= ?")
            .bind(done.last_insert_rowid())
            .bind(done.rows_affected() as i64)
            .bind(done.last_insert_rowid())
            .fetch_all(connection)
            .await?;
    Ok(ids.into_iter().map(Uuid::from).collect())
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

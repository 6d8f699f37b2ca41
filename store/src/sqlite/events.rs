//! `match_events`: what was shown and what came of it.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use ranking::events::{Body, Event};
use serde_json::Value;
use sqlx::{Row, SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::columns::{instant, read_json};
use crate::records::read_event;
use crate::{Appended, StoreError};

pub async fn insert(connection: &mut SqliteConnection, event: &Event) -> Result<Appended, StoreError> {
    let (lawyer_id, rank_pos, request_id) = match &event.body {
        Body::Impression(impression) => (None, None, Some(impression.request_id)),
        Body::Action(action) => (Some(&action.lawyer_id), Some(action.rank_pos), None),
    };
    let inserted = sqlx::query(
        "INSERT INTO match_events (event_id, ts_utc, event, case_id, user_id, lawyer_id, rank_pos, request_id, payload) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(event.event_id.hyphenated())
    .bind(instant(event.ts_utc))
    .bind(event.kind())
    .bind(event.case_id.hyphenated())
    .bind(event.user_id.hyphenated())
    .bind(lawyer_id)
    .bind(rank_pos)
    .bind(request_id.map(Uuid::hyphenated))
    .bind(event.to_json().to_string())
    .execute(connection)
    .await?
    .rows_affected();
    Ok(if inserted == 0 {
        Appended::Duplicate
    } else {
        Appended::Stored
    })
}

pub async fn shown(readers: &SqlitePool, case_id: Uuid) -> Result<HashSet<String>, StoreError> {
    let lawyers = sqlx::query_scalar(
        "SELECT shown.value FROM match_events, json_each(match_events.payload, '$.lawyer_ids') AS shown \
         WHERE match_events.case_id = ? AND match_events.event = 'impression'",
    )
    .bind(case_id.hyphenated())
    .fetch_all(readers)
    .await?;
    Ok(lawyers.into_iter().collect())
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

//! `match_events`: what was shown and what came of it.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use ranking::events::{Body, Event};
use ranking::features::Schema;
use serde_json::Value;
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use crate::columns::{instant, read_json};
use crate::{Appended, Store, StoreError};

const TABLE: &str = "match_events";

pub(crate) async fn insert(connection: &mut SqliteConnection, event: &Event) -> Result<Appended, StoreError> {
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

impl Store {
    /// Every lawyer that any impression of the case has shown.
    pub async fn shown(&self, case_id: Uuid) -> Result<HashSet<String>, StoreError> {
        let lawyers = sqlx::query_scalar(
            "SELECT shown.value FROM match_events, json_each(match_events.payload, '$.lawyer_ids') AS shown \
             WHERE match_events.case_id = ? AND match_events.event = 'impression'",
        )
        .bind(case_id.hyphenated())
        .fetch_all(&self.readers)
        .await?;
        Ok(lawyers.into_iter().collect())
    }

    /// The events whose own time lies in `from..to` (the end is outside), ordered by time and then by id.
    pub async fn events_between(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<Event>, StoreError> {
        sqlx::query(
            "SELECT event_id, payload FROM match_events WHERE ts_utc >= ? AND ts_utc < ? ORDER BY ts_utc, event_id",
        )
        .bind(instant(from))
        .bind(instant(to))
        .fetch_all(&self.readers)
        .await?
        .iter()
        .map(|row| {
            let payload: Value = read_json(row, "payload", TABLE)?;
            read_event(&payload).map_err(|reason| StoreError::Row {
                table: TABLE,
                key: row.get("event_id"),
                reason,
            })
        })
        .collect()
    }
}

/// Reads what [`insert`] wrote. The schema may have changed since, and an event belongs to the one of its day: the
/// names it weighs, and as many columns as its rows have. Readers compare the width with the schema they need.
fn read_event(payload: &Value) -> Result<Event, String> {
    let named = payload["weights_used"]
        .as_object()
        .into_iter()
        .flat_map(|weights| weights.keys().cloned());
    let mut names: Vec<String> = named.collect();
    let width = payload["features"][0].as_array().map_or(1, Vec::len);
    names.extend((names.len()..width).map(|column| format!("unweighted column {column}")));
    let schema = Schema::new(names).map_err(|error| error.to_string())?;
    Event::from_json(payload, &schema).map_err(|error| error.to_string())
}

//! `match_events`: what was shown and what came of it.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use ranking::events::{Body, Event};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgPool};
use uuid::Uuid;

use super::columns::{read_json, to_the_microsecond};
use crate::records::read_event;
use crate::{Record, StoreError};

/// Bytes of payload after which a statement is sent; the protocol has no messages beyond 1 GiB.
const BYTES_A_STATEMENT: usize = 16 << 20;

/// Events as columns: a statement with an array for each takes any number of rows, and is prepared once.
#[derive(Default)]
struct Columns {
    event_id: Vec<Uuid>,
    ts_utc: Vec<DateTime<Utc>>,
    event: Vec<&'static str>,
    case_id: Vec<Uuid>,
    user_id: Vec<Uuid>,
    lawyer_id: Vec<Option<String>>,
    rank_pos: Vec<Option<i64>>,
    request_id: Vec<Option<Uuid>>,
    payload: Vec<String>,
    bytes: usize,
}

impl Columns {
    fn push(&mut self, event: &Event) {
        let (lawyer_id, rank_pos, request_id) = match &event.body {
            Body::Impression(impression) => (None, None, Some(impression.request_id)),
            Body::Action(action) => (Some(action.lawyer_id.clone()), Some(action.rank_pos.into()), None),
        };
        let payload = serde_json::to_string(event).expect("an event has texts and finite numbers alone");
        self.event_id.push(event.event_id);
        self.ts_utc.push(to_the_microsecond(event.ts_utc));
        self.event.push(event.kind());
        self.case_id.push(event.case_id);
        self.user_id.push(event.user_id);
        self.lawyer_id.push(lawyer_id);
        self.rank_pos.push(rank_pos);
        self.request_id.push(request_id);
        self.bytes += payload.len();
        self.payload.push(payload);
    }

    async fn insert(self, connection: &mut PgConnection) -> Result<Vec<Uuid>, StoreError> {
        if self.event_id.is_empty() {
            return Ok(Vec::new());
        }
        let stored = sqlx::query_scalar(
            "INSERT INTO match_events \
                 (event_id, ts_utc, event, case_id, user_id, lawyer_id, rank_pos, request_id, payload) \
             SELECT event_id, ts_utc, event, case_id, user_id, lawyer_id, rank_pos, request_id, payload::json \
             FROM UNNEST($1::uuid[], $2::timestamptz[], $3::text[], $4::uuid[], $5::uuid[], $6::text[], $7::bigint[], \
                         $8::uuid[], $9::text[]) \
                 AS given (event_id, ts_utc, event, case_id, user_id, lawyer_id, rank_pos, request_id, payload) \
             ON CONFLICT DO NOTHING RETURNING event_id",
        )
        .bind(self.event_id)
        .bind(self.ts_utc)
        .bind(self.event)
        .bind(self.case_id)
        .bind(self.user_id)
        .bind(self.lawyer_id)
        .bind(self.rank_pos)
        .bind(self.request_id)
        .bind(self.payload)
        .fetch_all(connection)
        .await?;
        Ok(stored)
    }
}

/// Writes the events among `records`, and returns the ids of those that were not there.
pub async fn insert(connection: &mut PgConnection, records: &[Record]) -> Result<HashSet<Uuid>, StoreError> {
    let mut stored = HashSet::new();
    let mut columns = Columns::default();
    for record in records {
        let Record::Event(event) = record else { continue };
        columns.push(event);
        if columns.bytes >= BYTES_A_STATEMENT {
            stored.extend(std::mem::take(&mut columns).insert(connection).await?);
        }
    }
    stored.extend(columns.insert(connection).await?);
    Ok(stored)
}

pub async fn shown(connection: &mut PgConnection, cases: &[Uuid]) -> Result<Vec<(Uuid, String)>, StoreError> {
    let shown = sqlx::query_as(
        "SELECT case_id, json_array_elements_text(payload -> 'lawyer_ids') FROM match_events \
         WHERE case_id = ANY($1) AND event = 'impression'",
    )
    .bind(cases)
    .fetch_all(connection)
    .await?;
    Ok(shown)
}

pub async fn between(pool: &PgPool, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<Event>, StoreError> {
    let rows = sqlx::query(
        "SELECT event_id, payload::text FROM match_events WHERE ts_utc BETWEEN $1 AND $2 ORDER BY ts_utc, event_id",
    )
    .bind(to_the_microsecond(from))
    .bind(to_the_microsecond(to))
    .fetch_all(pool)
    .await?;
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        let payload: Value = read_json(&row, "payload", "match_events")?;
        let event = read_event(&row.try_get::<Uuid, _>("event_id")?.to_string(), &payload)?;
        // The column is to the microsecond, the event's own time to the nanosecond.
        if (from..to).contains(&event.ts_utc) {
            events.push(event);
        }
    }
    events.sort_by_key(|event| (event.ts_utc, event.event_id));
    Ok(events)
}

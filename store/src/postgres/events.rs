//! `match_events`: what was shown and what came of it.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use ranking::events::Event;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgPool};
use uuid::Uuid;

use super::columns::{bound, to_the_microsecond};
use crate::records::{EventRow, read_event};
use crate::shown::{MOST_IMPRESSIONS, Search};
use crate::{Readable, Record, StoreError};

/// Bytes of payload after which a statement is sent; the protocol has no messages beyond 1 GiB.
const BYTES_A_STATEMENT: usize = 16 << 20;

/// Events as columns: a statement with an array for each takes any number of rows, and is prepared once.
#[derive(Default)]
struct Columns {
    event_id: Vec<Uuid>,
    ts_utc: Vec<DateTime<Utc>>,
    event: Vec<String>,
    case_id: Vec<Uuid>,
    user_id: Vec<Uuid>,
    lawyer_id: Vec<Option<String>>,
    rank_pos: Vec<Option<i64>>,
    request_id: Vec<Option<Uuid>>,
    payload: Vec<String>,
    bytes: usize,
}

impl Columns {
    fn push(&mut self, event: EventRow) {
        self.event_id.push(event.event_id);
        self.ts_utc.push(to_the_microsecond(event.ts_utc));
        self.event.push(event.event.to_owned());
        self.case_id.push(event.case_id);
        self.user_id.push(event.user_id);
        self.lawyer_id.push(event.lawyer_id.map(str::to_owned));
        self.rank_pos.push(event.rank_pos.map(i64::from));
        self.request_id.push(event.request_id);
        self.bytes += event.payload.len();
        self.payload.push(event.payload);
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
    for event in records.iter().filter_map(Record::event_row) {
        columns.push(event);
        if columns.bytes >= BYTES_A_STATEMENT {
            stored.extend(std::mem::take(&mut columns).insert(connection).await?);
        }
    }
    stored.extend(columns.insert(connection).await?);
    Ok(stored)
}

pub async fn impressions(
    connection: &mut PgConnection,
    asked: &[(Uuid, Uuid)],
    search: &mut Search<'_>,
) -> Result<(), StoreError> {
    let (cases, users): (Vec<Uuid>, Vec<Uuid>) = asked.iter().copied().unzip();
    // As text, because PostgreSQL looks into no document that has a NUL somewhere.
    let mut impressions = sqlx::query_as::<_, (Uuid, Uuid, String)>(
        "SELECT asked.case_id, asked.user_id, shown.payload::text \
         FROM UNNEST($1::uuid[], $2::uuid[]) AS asked (case_id, user_id) CROSS JOIN LATERAL \
             (SELECT payload FROM match_events e \
              WHERE e.case_id = asked.case_id AND e.user_id = asked.user_id AND e.event = 'impression' LIMIT $3) AS shown",
    )
    .bind(cases)
    .bind(users)
    .bind(MOST_IMPRESSIONS as i64 + 1)
    .fetch(connection);
    while let Some((case_id, user_id, payload)) = impressions.try_next().await? {
        if !search.take(case_id, user_id, &payload) {
            break;
        }
    }
    Ok(())
}

pub async fn between(pool: &PgPool, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Readable<Event>, StoreError> {
    let rows = sqlx::query(
        "SELECT event_id, payload::text FROM match_events WHERE ts_utc BETWEEN $1 AND $2 ORDER BY ts_utc, event_id",
    )
    .bind(bound(from))
    .bind(bound(to))
    .fetch_all(pool)
    .await?;
    let mut events = Readable::default();
    for row in &rows {
        let event_id: Uuid = row.try_get("event_id")?;
        read_event(&mut events, &event_id.to_string(), row.try_get("payload")?);
    }
    // The column is to the microsecond, the event's own time to the nanosecond.
    events
        .records
        .retain(|event: &Event| (from..to).contains(&event.ts_utc));
    events.records.sort_by_key(|event| (event.ts_utc, event.event_id));
    Ok(events)
}

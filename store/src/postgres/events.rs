//! The table `match_events`: impressions and the actions that followed.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use ranking::events::Event;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgPool};
use uuid::Uuid;

use super::codec::{bound, to_the_microsecond};
use crate::records::{EventRow, read_event};
use crate::same_id::{EventTable, Identity};
use crate::shown::{MOST_IMPRESSIONS, Search};
use crate::{Readable, StoreError};

/// A statement is sent once its payloads reach this many bytes. A message of the protocol is
/// limited to 1 GiB.
const BYTES_A_STATEMENT: usize = 16 << 20;

/// Events as one array per column. One prepared statement thus inserts any number of rows.
#[derive(Default)]
struct Columns<'a> {
    key: Vec<Uuid>,
    ts_utc: Vec<DateTime<Utc>>,
    event: Vec<&'a str>,
    case_id: Vec<Uuid>,
    user_id: Vec<Uuid>,
    lawyer_id: Vec<Option<&'a str>>,
    rank_pos: Vec<Option<i64>>,
    request_id: Vec<Option<Uuid>>,
    payload: Vec<&'a str>,
    bytes: usize,
}

impl<'a> Columns<'a> {
    fn push(&mut self, row: &'a EventRow<'a>) {
        self.key.push(row.key);
        self.ts_utc.push(to_the_microsecond(row.ts_utc));
        self.event.push(row.event);
        self.case_id.push(row.case_id);
        self.user_id.push(row.user_id);
        self.lawyer_id.push(row.lawyer_id);
        self.rank_pos.push(row.rank_pos.map(i64::from));
        self.request_id.push(row.request_id);
        self.bytes += row.payload.len();
        self.payload.push(&row.payload);
    }

    async fn insert(self, connection: &mut PgConnection) -> Result<Vec<Uuid>, StoreError> {
        if self.key.is_empty() {
            return Ok(Vec::new());
        }
        let stored = sqlx::query_scalar(
            "INSERT INTO match_events \
                 (event_id, ts_utc, event, case_id, user_id, lawyer_id, rank_pos, request_id, payload) \
             SELECT event_id, ts_utc, event, case_id, user_id, lawyer_id, rank_pos, request_id, payload::json \
             FROM UNNEST($1::uuid[], $2::timestamptz[], $3::text[], $4::uuid[], $5::uuid[], $6::text[], $7::bigint[], \
                         $8::uuid[], $9::text[]) \
                 AS given (event_id, ts_utc, event, case_id, user_id, lawyer_id, rank_pos, request_id, payload) \
             ON CONFLICT (event_id) DO NOTHING RETURNING event_id",
        )
        .bind(self.key)
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

impl EventTable for PgConnection {
    async fn insert(&mut self, rows: &[EventRow<'_>]) -> Result<HashSet<Uuid>, StoreError> {
        let mut stored = HashSet::new();
        let mut columns = Columns::default();
        for row in rows {
            columns.push(row);
            if columns.bytes >= BYTES_A_STATEMENT {
                stored.extend(std::mem::take(&mut columns).insert(self).await?);
            }
        }
        stored.extend(columns.insert(self).await?);
        Ok(stored)
    }

    async fn on_record(&mut self, keys: &[Uuid]) -> Result<HashMap<Uuid, Identity>, StoreError> {
        let rows = sqlx::query(
            "SELECT event_id, event, case_id, user_id, lawyer_id, rank_pos::bigint AS rank_pos, request_id, ts_utc \
             FROM match_events WHERE event_id = ANY($1)",
        )
        .bind(keys)
        .fetch_all(self)
        .await?;
        let each = rows.iter().map(|row| {
            let event: String = row.try_get("event")?;
            let identity = Identity {
                at: Identity::time(&event, row.try_get("ts_utc")?),
                event,
                case_id: row.try_get("case_id")?,
                user_id: row.try_get("user_id")?,
                lawyer_id: row.try_get("lawyer_id")?,
                rank_pos: row.try_get("rank_pos")?,
                request_id: row.try_get("request_id")?,
            };
            Ok((row.try_get("event_id")?, identity))
        });
        each.collect()
    }
}

pub(super) async fn impressions(
    connection: &mut PgConnection,
    asked: &[(Uuid, Uuid)],
    search: &mut Search<'_>,
) -> Result<(), StoreError> {
    let (cases, users): (Vec<Uuid>, Vec<Uuid>) = asked.iter().copied().unzip();
    // As text: PostgreSQL's JSON operators refuse a document with a NUL anywhere in it.
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

pub(super) async fn between(
    pool: &PgPool,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Readable<Event>, StoreError> {
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
    // The column has microseconds, the event's own time nanoseconds: filter and sort again.
    events
        .records
        .retain(|event: &Event| (from..to).contains(&event.ts_utc));
    events.records.sort_by_key(|event| (event.ts_utc, event.event_id));
    Ok(events)
}

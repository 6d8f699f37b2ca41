//! The table `match_events`: impressions and the actions that followed.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use ranking::events::Event;
use sqlx::sqlite::SqliteQueryResult;
use sqlx::{Row, SqliteConnection, SqlitePool};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::batch_insert::Insert;
use super::codec::{bound, instant};
use crate::records::{EventRow, read_event};
use crate::same_id::{EventTable, Identity};
use crate::shown::{MOST_IMPRESSIONS, Search};
use crate::{Readable, StoreError};

static INSERT: Insert = Insert::new(
    "match_events (event_id, ts_utc, event, case_id, user_id, lawyer_id, rank_pos, request_id, payload)",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?)",
    " ON CONFLICT (event_id) DO NOTHING",
);

impl EventTable for SqliteConnection {
    async fn insert(&mut self, rows: &[EventRow<'_>]) -> Result<HashSet<Uuid>, StoreError> {
        let mut stored = HashSet::with_capacity(rows.len());
        for (statement, rows) in INSERT.statements(rows) {
            let bound = rows.iter().fold(sqlx::query(statement), |bound, row| {
                bound
                    .bind(row.key.hyphenated())
                    .bind(instant(row.ts_utc))
                    .bind(row.event)
                    .bind(row.case_id.hyphenated())
                    .bind(row.user_id.hyphenated())
                    .bind(row.lawyer_id)
                    .bind(row.rank_pos)
                    .bind(row.request_id.map(Uuid::hyphenated))
                    .bind(&row.payload)
            });
            let done = bound.execute(&mut *self).await?;
            if done.rows_affected() == rows.len() as u64 {
                stored.extend(rows.iter().map(|row| row.key))
            } else {
                stored.extend(inserted(self, &done).await?)
            }
        }
        Ok(stored)
    }

    async fn on_record(&mut self, keys: &[Uuid]) -> Result<HashMap<Uuid, Identity>, StoreError> {
        // As bytes: see `between`.
        let rows = sqlx::query(
            "SELECT event_id, CAST(event AS BLOB) AS event, CAST(case_id AS BLOB) AS case_id, CAST(user_id AS BLOB) AS user_id, \
                 CAST(lawyer_id AS BLOB) AS lawyer_id, CAST(rank_pos AS INTEGER) AS rank_pos, \
                 CAST(request_id AS BLOB) AS request_id, CAST(ts_utc AS BLOB) AS ts_utc \
             FROM json_each(?) AS asked JOIN match_events ON event_id = asked.value",
        )
        .bind(serde_json::to_string(keys).expect("identifiers are texts"))
        .fetch_all(self)
        .await?;
        let each = rows.iter().map(|row| {
            let uuid = |column| -> Result<Uuid, sqlx::Error> {
                let text: Vec<u8> = row.try_get(column)?;
                Ok(Uuid::try_parse_ascii(&text).unwrap_or_default())
            };
            let lawyer_id: Option<Vec<u8>> = row.try_get("lawyer_id")?;
            let request_id: Option<Vec<u8>> = row.try_get("request_id")?;
            let event = text(row.try_get("event")?);
            let ts_utc = DateTime::parse_from_rfc3339(&text(row.try_get("ts_utc")?));
            let identity = Identity {
                at: Identity::time(&event, ts_utc.map_or(DateTime::UNIX_EPOCH, Into::into)),
                event,
                case_id: uuid("case_id")?,
                user_id: uuid("user_id")?,
                lawyer_id: lawyer_id.map(text),
                rank_pos: row.try_get("rank_pos")?,
                request_id: request_id.map(|id| Uuid::try_parse_ascii(&id).unwrap_or_default()),
            };
            let key: Hyphenated = row.try_get("event_id")?;
            Ok((key.into(), identity))
        });
        each.collect()
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The keys that the last statement inserted. There is one writer, so these are the newest rows.
/// `RETURNING` would send every row between two threads as a message; this query runs only if a row
/// was a duplicate.
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

pub(super) async fn impressions(
    readers: &SqlitePool,
    asked: &[(Uuid, Uuid)],
    search: &mut Search<'_>,
) -> Result<(), StoreError> {
    let mut impressions = sqlx::query_as::<_, (Hyphenated, Hyphenated, Vec<u8>)>(
        "SELECT shown.case_id, shown.user_id, CAST(shown.payload AS BLOB) \
         FROM json_each(?) AS asked JOIN match_events AS shown ON shown.rowid IN \
             (SELECT rowid FROM match_events \
              WHERE case_id = asked.value ->> 0 AND user_id = asked.value ->> 1 AND event = 'impression' LIMIT ?)",
    )
    .bind(serde_json::to_string(asked).expect("identifiers are texts"))
    .bind(MOST_IMPRESSIONS as i64 + 1)
    .fetch(readers);
    while let Some((case_id, user_id, payload)) = impressions.try_next().await? {
        if !search.take(case_id.into(), user_id.into(), &String::from_utf8_lossy(&payload)) {
            break;
        }
    }
    Ok(())
}

pub(super) async fn between(
    readers: &SqlitePool,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Readable<Event>, StoreError> {
    let rows = sqlx::query(
        "SELECT rowid, CAST(event_id AS BLOB) AS event_id, CAST(payload AS BLOB) AS payload FROM match_events \
         WHERE ts_utc >= ? AND ts_utc < ? ORDER BY ts_utc, event_id",
    )
    .bind(bound(from))
    .bind(bound(to))
    .fetch_all(readers)
    .await?;
    let mut events = Readable::default();
    for row in &rows {
        // As bytes: a `TEXT` column of SQLite can hold anything.
        let event_id = String::from_utf8_lossy(row.try_get("event_id")?);
        let payload = String::from_utf8_lossy(row.try_get("payload")?);
        read_event(&mut events, &event_id, &payload);
    }
    Ok(events)
}

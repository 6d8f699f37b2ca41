//! The table `match_events` day by day, as the lake takes it.

use chrono::NaiveDate;
use sqlx::Row;
use sqlx::postgres::PgPool;
use uuid::Uuid;

use crate::{EventDay, StoreError, StoredRow};

/// The day of an event in UTC; null where its time is none of the calendar's.
const DAY: &str = "CASE WHEN isfinite(ts_utc) AND ts_utc >= '0001-01-01T00:00:00Z' AND ts_utc < '9999-12-31T00:00:00Z' \
                   THEN (ts_utc AT TIME ZONE 'UTC')::date END";

pub(super) async fn event_days(pool: &PgPool) -> Result<Vec<EventDay>, StoreError> {
    let counted = format!("SELECT {DAY} AS day, count(*) AS events FROM match_events GROUP BY 1 ORDER BY 1");
    let rows = sqlx::query(sqlx::AssertSqlSafe(counted)).fetch_all(pool).await?;
    let days = rows.iter().map(|row| {
        Ok(EventDay {
            day: row.try_get("day")?,
            events: row.try_get::<i64, _>("events")?.unsigned_abs(),
        })
    });
    days.collect()
}

pub(super) async fn event_keys(pool: &PgPool, day: Option<NaiveDate>) -> Result<Vec<String>, StoreError> {
    let keys: Vec<Uuid> = match day {
        Some(day) => {
            sqlx::query_scalar(
                "SELECT event_id FROM match_events WHERE ts_utc >= $1::date::timestamp AT TIME ZONE 'UTC' \
                 AND ts_utc < ($1::date + 1)::timestamp AT TIME ZONE 'UTC' ORDER BY ts_utc, event_id",
            )
            .bind(day)
            .fetch_all(pool)
            .await?
        }
        None => {
            let undated = format!("SELECT event_id FROM match_events WHERE ({DAY}) IS NULL ORDER BY event_id");
            sqlx::query_scalar(sqlx::AssertSqlSafe(undated)).fetch_all(pool).await?
        }
    };
    Ok(keys.iter().map(Uuid::to_string).collect())
}

pub(super) async fn stored_events(pool: &PgPool, keys: &[String]) -> Result<Vec<StoredRow>, StoreError> {
    let keys: Vec<Uuid> = keys.iter().filter_map(|key| key.parse().ok()).collect();
    let rows = sqlx::query("SELECT event_id, payload::text FROM match_events WHERE event_id = ANY($1)")
        .bind(keys)
        .fetch_all(pool)
        .await?;
    let events = rows.iter().map(|row| {
        Ok(StoredRow {
            key: row.try_get::<Uuid, _>("event_id")?.to_string(),
            payload: row.try_get("payload")?,
        })
    });
    events.collect()
}

//! What was logged, day by day, as the lake takes it.

use std::collections::HashMap;

use chrono::NaiveDate;
use ranking::verdict::ShadowRow;
use serde_json::Map;
use sqlx::Row;
use sqlx::postgres::{PgPool, PgRow};
use uuid::Uuid;

use super::codec::{read_json, read_unsigned};
use crate::{ComparisonKey, EventDay, ShadowRecord, StoreError, StoredComparison, StoredRow};

/// The user and the lawyers of a comparison, unless one of them cannot be read.
type Lawyers = Result<(Uuid, Vec<ShadowRow>), StoreError>;

/// The day of an event in UTC; null where its time is none of the calendar's.
const DAY: &str = "CASE WHEN isfinite(ts_utc) AND ts_utc >= '0001-01-01T00:00:00Z' AND ts_utc < '9999-12-31T00:00:00Z' \
                   THEN (ts_utc AT TIME ZONE 'UTC')::date END";

pub(super) async fn event_days(pool: &PgPool) -> Result<Vec<EventDay>, StoreError> {
    days(pool, "match_events").await
}

pub(super) async fn comparison_days(pool: &PgPool) -> Result<Vec<EventDay>, StoreError> {
    days(pool, "ltr_shadow_request").await
}

async fn days(pool: &PgPool, table: &'static str) -> Result<Vec<EventDay>, StoreError> {
    let counted = format!("SELECT {DAY} AS day, count(*) AS events FROM {table} GROUP BY 1 ORDER BY 1");
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

pub(super) async fn comparison_keys(pool: &PgPool, day: Option<NaiveDate>) -> Result<Vec<ComparisonKey>, StoreError> {
    let rows = match day {
        Some(day) => {
            sqlx::query(
                "SELECT request_id, case_id FROM ltr_shadow_request \
                 WHERE ts_utc >= $1::date::timestamp AT TIME ZONE 'UTC' \
                 AND ts_utc < ($1::date + 1)::timestamp AT TIME ZONE 'UTC' ORDER BY ts_utc, request_id, case_id",
            )
            .bind(day)
            .fetch_all(pool)
            .await?
        }
        None => {
            let undated = format!(
                "SELECT request_id, case_id FROM ltr_shadow_request WHERE ({DAY}) IS NULL ORDER BY request_id, case_id"
            );
            sqlx::query(sqlx::AssertSqlSafe(undated)).fetch_all(pool).await?
        }
    };
    rows.iter().map(key).collect()
}

fn key(row: &PgRow) -> Result<ComparisonKey, StoreError> {
    Ok(ComparisonKey {
        request_id: row.try_get::<Uuid, _>("request_id")?.to_string(),
        case_id: row.try_get::<Uuid, _>("case_id")?.to_string(),
    })
}

pub(super) async fn comparisons(pool: &PgPool, keys: &[ComparisonKey]) -> Result<Vec<StoredComparison>, StoreError> {
    let uuid = |text: &str| Uuid::parse_str(text).ok();
    let ids = keys
        .iter()
        .filter_map(|key| Some((uuid(&key.request_id)?, uuid(&key.case_id)?)));
    let (requests, cases): (Vec<Uuid>, Vec<Uuid>) = ids.unzip();
    let heads = sqlx::query(
        "SELECT r.request_id, r.case_id, r.ts_utc, r.model_version, r.outcome, r.score_us, r.\"trigger\", r.salt_id, \
                r.details::text \
         FROM UNNEST($1::uuid[], $2::uuid[]) AS asked (request_id, case_id) JOIN ltr_shadow_request r \
             ON r.request_id = asked.request_id AND r.case_id = asked.case_id",
    )
    .bind(&requests)
    .bind(&cases)
    .fetch_all(pool)
    .await?;
    let rows = sqlx::query(
        "SELECT l.request_id, l.case_id, l.user_id, l.lawyer_id, l.rank_legacy::bigint, l.rank_ltr::bigint, \
                l.fair_legacy, l.fair_ltr, l.\"groups\"::text \
         FROM UNNEST($1::uuid[], $2::uuid[]) AS asked (request_id, case_id) CROSS JOIN LATERAL \
             (SELECT * FROM ltr_shadow_log own \
              WHERE own.request_id = asked.request_id AND own.case_id = asked.case_id OFFSET 0) AS l \
         ORDER BY l.request_id, l.case_id, l.rank_legacy",
    )
    .bind(&requests)
    .bind(&cases)
    .fetch_all(pool)
    .await?;
    let mut lawyers: HashMap<(Uuid, Uuid), Lawyers> = HashMap::new();
    for row in &rows {
        let of = (row.try_get("request_id")?, row.try_get("case_id")?);
        let user: Uuid = row.try_get("user_id")?;
        let of_request = lawyers.entry(of).or_insert_with(|| Ok((user, Vec::new())));
        match (of_request.as_mut(), lawyer(row)) {
            (Ok((_, found)), Ok(row)) => found.push(row),
            (Ok(_), Err(error)) => *of_request = Err(error),
            (Err(_), _) => {}
        }
    }
    let stored = heads.iter().map(|row| {
        let of = (row.try_get("request_id")?, row.try_get("case_id")?);
        // A comparison without a lawyer has no user on record.
        let found = lawyers.remove(&of).unwrap_or_else(|| Ok((Uuid::nil(), Vec::new())));
        Ok((key(row)?, found.and_then(|(user, rows)| comparison(row, user, rows))))
    });
    stored.collect()
}

fn comparison(row: &PgRow, user_pseudonym: Uuid, rows: Vec<ShadowRow>) -> Result<ShadowRecord, StoreError> {
    const TABLE: &str = "ltr_shadow_request";
    let has_details = row.try_get::<Option<&str>, _>("details")?.is_some();
    Ok(ShadowRecord {
        request_id: row.try_get("request_id")?,
        ts_utc: row.try_get("ts_utc")?,
        case_id: row.try_get("case_id")?,
        user_pseudonym,
        model_version: row.try_get("model_version")?,
        outcome: row.try_get::<String, _>("outcome")?.into(),
        score_us: read_unsigned(row, "score_us", TABLE)?,
        trigger: row.try_get("trigger")?,
        salt_id: row.try_get("salt_id")?,
        rows,
        unknown: if has_details {
            read_json(row, "details", TABLE)?
        } else {
            Map::new()
        },
    })
}

fn lawyer(row: &PgRow) -> Result<ShadowRow, StoreError> {
    const TABLE: &str = "ltr_shadow_log";
    Ok(ShadowRow {
        lawyer_id: row.try_get("lawyer_id")?,
        // The column is NOT NULL.
        rank_legacy: read_unsigned(row, "rank_legacy", TABLE)?.unwrap_or_default(),
        rank_ltr: read_unsigned(row, "rank_ltr", TABLE)?,
        label: None,
        fair_legacy: row.try_get("fair_legacy")?,
        fair_ltr: row.try_get("fair_ltr")?,
        groups: read_json(row, "groups", TABLE)?,
    })
}

//! What was logged, day by day, as the lake takes it.

use std::collections::HashMap;

use chrono::NaiveDate;
use ranking::verdict::ShadowRow;
use serde_json::Map;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};
use uuid::Uuid;

use super::codec::{read_instant, read_json, read_uuid};
use crate::{ComparisonKey, EventDay, ShadowRecord, StoreError, StoredComparison, StoredRow};

pub(super) async fn event_days(readers: &SqlitePool) -> Result<Vec<EventDay>, StoreError> {
    // As bytes: a `TEXT` column of SQLite can hold anything.
    let rows = sqlx::query(
        "SELECT CAST(substr(ts_utc, 1, 10) AS BLOB) AS day, count(*) AS events FROM match_events GROUP BY 1",
    );
    days(&rows.fetch_all(readers).await?)
}

pub(super) async fn comparison_days(readers: &SqlitePool) -> Result<Vec<EventDay>, StoreError> {
    let rows = sqlx::query(
        "SELECT CAST(substr(ts_utc, 1, 10) AS BLOB) AS day, count(*) AS events FROM ltr_shadow_request GROUP BY 1",
    );
    days(&rows.fetch_all(readers).await?)
}

fn days(rows: &[SqliteRow]) -> Result<Vec<EventDay>, StoreError> {
    let mut days: Vec<EventDay> = Vec::new();
    let mut undated = 0;
    for row in rows {
        let day: Option<Vec<u8>> = row.try_get("day")?;
        let events = row.try_get::<i64, _>("events")?.unsigned_abs();
        match day.as_deref().and_then(read_day) {
            Some(day) => days.push(EventDay { day: Some(day), events }),
            None => undated += events,
        }
    }
    days.extend((undated > 0).then_some(EventDay {
        day: None,
        events: undated,
    }));
    Ok(days)
}

fn read_day(text: &[u8]) -> Option<NaiveDate> {
    let text = std::str::from_utf8(text).ok()?;
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    // Nothing but the one way of writing it, so that its events are found again.
    (day.to_string() == text).then_some(day)
}

pub(super) async fn event_keys(readers: &SqlitePool, day: Option<NaiveDate>) -> Result<Vec<String>, StoreError> {
    let rows = match day {
        Some(day) => {
            sqlx::query("SELECT CAST(event_id AS BLOB) AS key FROM match_events WHERE ts_utc >= ? AND ts_utc < ? ORDER BY ts_utc, event_id")
                .bind(day.to_string())
                // Behind every time of the day: no character of a time follows it.
                .bind(format!("{day}~"))
                .fetch_all(readers)
                .await?
        }
        None => {
            // SQLite's own calendar: what it would write otherwise, or not at all, is no day.
            sqlx::query(
                "SELECT CAST(event_id AS BLOB) AS key FROM match_events \
                 WHERE date(substr(ts_utc, 1, 10)) IS NOT substr(ts_utc, 1, 10) ORDER BY event_id",
            )
            .fetch_all(readers)
            .await?
        }
    };
    let keys = rows.iter().map(|row| Ok(text(row.try_get("key")?)));
    keys.collect()
}

pub(super) async fn stored_events(readers: &SqlitePool, keys: &[String]) -> Result<Vec<StoredRow>, StoreError> {
    let rows = sqlx::query(
        "SELECT CAST(event_id AS BLOB) AS key, CAST(payload AS BLOB) AS payload \
         FROM json_each(?) AS asked JOIN match_events ON event_id = asked.value",
    )
    .bind(serde_json::to_string(keys).expect("keys are texts"))
    .fetch_all(readers)
    .await?;
    let events = rows.iter().map(|row| {
        Ok(StoredRow {
            key: text(row.try_get("key")?),
            payload: text(row.try_get("payload")?),
        })
    });
    events.collect()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) async fn comparison_keys(
    readers: &SqlitePool,
    day: Option<NaiveDate>,
) -> Result<Vec<ComparisonKey>, StoreError> {
    let rows = match day {
        Some(day) => {
            sqlx::query(
                "SELECT CAST(request_id AS BLOB) AS request_id, CAST(case_id AS BLOB) AS case_id \
                 FROM ltr_shadow_request WHERE ts_utc >= ? AND ts_utc < ? ORDER BY ts_utc, id",
            )
            .bind(day.to_string())
            .bind(format!("{day}~"))
            .fetch_all(readers)
            .await?
        }
        None => sqlx::query(
            "SELECT CAST(request_id AS BLOB) AS request_id, CAST(case_id AS BLOB) AS case_id FROM ltr_shadow_request \
                 WHERE date(substr(ts_utc, 1, 10)) IS NOT substr(ts_utc, 1, 10) ORDER BY id",
        )
        .fetch_all(readers)
        .await?,
    };
    rows.iter().map(key).collect()
}

fn key(row: &SqliteRow) -> Result<ComparisonKey, StoreError> {
    Ok(ComparisonKey {
        request_id: text(row.try_get("request_id")?),
        case_id: text(row.try_get("case_id")?),
    })
}

pub(super) async fn comparisons(
    readers: &SqlitePool,
    keys: &[ComparisonKey],
) -> Result<Vec<StoredComparison>, StoreError> {
    let asked: Vec<[&str; 2]> = keys.iter().map(|key| [&*key.request_id, &*key.case_id]).collect();
    let heads = sqlx::query(
        "SELECT r.* FROM json_each(?) AS asked JOIN ltr_shadow_request r \
         ON r.request_id = asked.value ->> 0 AND r.case_id = asked.value ->> 1",
    )
    .bind(serde_json::to_string(&asked).expect("keys are texts"))
    .fetch_all(readers)
    .await?;
    let ids = heads
        .iter()
        .map(|row| row.try_get("id"))
        .collect::<Result<Vec<i64>, _>>()?;
    let rows = sqlx::query(
        "SELECT request, lawyer_id, rank_legacy, rank_ltr, fair_legacy, fair_ltr, \"groups\" \
         FROM ltr_shadow_row WHERE request IN (SELECT value FROM json_each(?)) ORDER BY request, rank_legacy",
    )
    .bind(serde_json::to_string(&ids).expect("numbers are always valid JSON"))
    .fetch_all(readers)
    .await?;
    let mut lawyers: HashMap<i64, Result<Vec<ShadowRow>, StoreError>> = HashMap::new();
    for row in &rows {
        let of_request = lawyers.entry(row.try_get("request")?).or_insert_with(|| Ok(Vec::new()));
        match (of_request.as_mut(), lawyer(row)) {
            (Ok(found), Ok(row)) => found.push(row),
            (Ok(_), Err(error)) => *of_request = Err(error),
            (Err(_), _) => {}
        }
    }
    let stored = heads.iter().zip(ids).map(|(row, id)| {
        let rows = lawyers.remove(&id).unwrap_or_else(|| Ok(Vec::new()));
        Ok((key(row)?, rows.and_then(|rows| comparison(row, rows))))
    });
    stored.collect()
}

fn comparison(row: &SqliteRow, rows: Vec<ShadowRow>) -> Result<ShadowRecord, StoreError> {
    const TABLE: &str = "ltr_shadow_request";
    let may_lack = |column| -> Result<Option<Uuid>, StoreError> {
        let is_there = row.try_get::<Option<&str>, _>(column)?.is_some();
        is_there.then(|| read_uuid(row, column, TABLE)).transpose()
    };
    let has_details = row.try_get::<Option<&str>, _>("details")?.is_some();
    Ok(ShadowRecord {
        request_id: read_uuid(row, "request_id", TABLE)?,
        ts_utc: read_instant(row, "ts_utc", TABLE)?,
        case_id: read_uuid(row, "case_id", TABLE)?,
        // Absent only where there was no lawyer, in rows of a former program.
        user_pseudonym: may_lack("user_id")?.unwrap_or_default(),
        model_version: row.try_get("model_version")?,
        outcome: row.try_get::<String, _>("outcome")?.into(),
        score_us: row.try_get("score_us")?,
        trigger: row.try_get("trigger")?,
        salt_id: may_lack("salt_id")?,
        rows,
        unknown: if has_details {
            read_json(row, "details", TABLE)?
        } else {
            Map::new()
        },
    })
}

fn lawyer(row: &SqliteRow) -> Result<ShadowRow, StoreError> {
    Ok(ShadowRow {
        lawyer_id: row.try_get("lawyer_id")?,
        rank_legacy: row.try_get("rank_legacy")?,
        rank_ltr: row.try_get("rank_ltr")?,
        label: None,
        fair_legacy: row.try_get("fair_legacy")?,
        fair_ltr: row.try_get("fair_ltr")?,
        groups: read_json(row, "groups", "ltr_shadow_log")?,
    })
}

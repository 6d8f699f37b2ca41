//! The table `match_events` day by day, as the lake takes it.

use chrono::NaiveDate;
use sqlx::{Row, SqlitePool};

use crate::{EventDay, StoreError, StoredRow};

pub(super) async fn event_days(readers: &SqlitePool) -> Result<Vec<EventDay>, StoreError> {
    // As bytes: a `TEXT` column of SQLite can hold anything.
    let rows = sqlx::query(
        "SELECT CAST(substr(ts_utc, 1, 10) AS BLOB) AS day, count(*) AS events FROM match_events GROUP BY 1",
    )
    .fetch_all(readers)
    .await?;
    let mut days: Vec<EventDay> = Vec::new();
    let mut undated = 0;
    for row in &rows {
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

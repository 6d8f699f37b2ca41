//! Converts values between Rust and the columns of the tables: see the head of
//! `migrations/sqlite/0001_initial.sql`.

use std::time::Duration;

use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use crate::StoreError;

/// An instant as text of fixed width, so that text order is time order.
pub(super) fn instant(ts: DateTime<Utc>) -> String {
    ts.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// An instant as one end of a range. Text order is time order only for years of four digits, and
/// the tables have no others. Any other year becomes a text before or after them all.
pub(super) fn bound(ts: DateTime<Utc>) -> String {
    match ts.year() {
        1..=9999 => instant(ts),
        ..1 => String::new(),
        10_000.. => "~".to_owned(),
    }
}

/// The database's clock: milliseconds since 1970.
pub(super) async fn now(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let now = sqlx::query_scalar("SELECT CAST(round(unixepoch('subsec') * 1000) AS INTEGER)")
        .fetch_one(connection)
        .await?;
    Ok(now)
}

/// A duration in milliseconds, at most a century: sums with it stay far from overflow.
pub(super) fn millis(duration: Duration) -> i64 {
    const CENTURY: i64 = 100 * 366 * 86_400_000;
    i64::try_from(duration.as_millis()).map_or(CENTURY, |millis| millis.min(CENTURY))
}

/// Reads a duration in milliseconds.
pub(super) fn read_age(row: &SqliteRow, column: &str) -> Result<Option<Duration>, StoreError> {
    let millis: Option<u64> = row.try_get(column)?;
    Ok(millis.map(Duration::from_millis))
}

/// A number as SQLite has it, with a sign. One that has no place there becomes the largest, which no table has.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn read_instant(row: &SqliteRow, column: &str, table: &'static str) -> Result<DateTime<Utc>, StoreError> {
    let text: &str = row.try_get(column)?;
    DateTime::parse_from_rfc3339(text)
        .map(|ts| ts.with_timezone(&Utc))
        .map_err(|error| foreign(table, text, column, error))
}

pub(super) fn read_uuid(row: &SqliteRow, column: &str, table: &'static str) -> Result<Uuid, StoreError> {
    let text: &str = row.try_get(column)?;
    Uuid::try_parse(text).map_err(|error| foreign(table, text, column, error))
}

pub(super) fn read_json<T: serde::de::DeserializeOwned>(
    row: &SqliteRow,
    column: &str,
    table: &'static str,
) -> Result<T, StoreError> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|error| foreign(table, text, column, error))
}

fn foreign(table: &'static str, value: &str, column: &str, error: impl std::fmt::Display) -> StoreError {
    StoreError::Row {
        table,
        key: format!("{column} = {value:?}"),
        reason: error.to_string(),
    }
}

//! Converts values between Rust and the columns of the tables: see the head of
//! `migrations/sqlite/0001_initial.sql`.

use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
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

//! Converts values between Rust and the columns of the tables.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::StoreError;

/// Rounds down to whole microseconds, the resolution of `TIMESTAMPTZ`.
pub(super) fn to_the_microsecond(ts: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(ts.timestamp_micros()).unwrap_or(ts)
}

/// An instant as one end of a range, clamped to the years 0 to 10,000 so that it fits a
/// `TIMESTAMPTZ`. All instants in the tables lie within the years 1 to 9999.
pub(super) fn bound(ts: DateTime<Utc>) -> DateTime<Utc> {
    const YEAR_0: i64 = -62_167_219_200;
    const YEAR_10_000: i64 = 253_402_300_800;
    let seconds = ts.timestamp().clamp(YEAR_0, YEAR_10_000);
    if seconds == ts.timestamp() {
        to_the_microsecond(ts)
    } else {
        DateTime::from_timestamp(seconds, 0).unwrap_or(ts)
    }
}

/// Reads a `BIGINT` as an unsigned integer, which PostgreSQL does not have.
pub(super) fn read_unsigned<T: TryFrom<i64>>(
    row: &PgRow,
    column: &str,
    table: &'static str,
) -> Result<Option<T>, StoreError> {
    let value: Option<i64> = row.try_get(column)?;
    value
        .map(|value| T::try_from(value).map_err(|_| foreign(table, column, value, "out of range")))
        .transpose()
}

/// A number as a `BIGINT`. One that has no place there becomes the largest, which no table has.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A duration for `make_interval(secs => ...)`, at most a century: a longer one would leave the range of `TIMESTAMPTZ`.
pub(super) fn seconds(duration: Duration) -> f64 {
    const CENTURY: Duration = Duration::from_secs(100 * 366 * 86_400);
    duration.min(CENTURY).as_secs_f64()
}

/// Reads a duration in microseconds.
pub(super) fn read_age(row: &PgRow, column: &str, table: &'static str) -> Result<Option<Duration>, StoreError> {
    Ok(read_unsigned(row, column, table)?.map(Duration::from_micros))
}

/// Parses a `JSON` column that was selected as text.
pub(super) fn read_json<T: serde::de::DeserializeOwned>(
    row: &PgRow,
    column: &str,
    table: &'static str,
) -> Result<T, StoreError> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|error| foreign(table, column, text, error))
}

fn foreign(
    table: &'static str,
    column: &str,
    value: impl std::fmt::Debug,
    reason: impl std::fmt::Display,
) -> StoreError {
    StoreError::Row {
        table,
        key: format!("{column} = {value:?}"),
        reason: reason.to_string(),
    }
}

//! How values look in the tables.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::StoreError;

/// To the microsecond below, which is what the tables hold.
pub(super) fn to_the_microsecond(ts: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(ts.timestamp_micros()).unwrap_or(ts)
}

/// An instant as one end of a range, within what a `TIMESTAMPTZ` holds; all that the table has lies within the years 1 to
/// 9999.
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

/// A `BIGINT` that is never negative: PostgreSQL has no integers without a sign.
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

/// A `JSON` that was selected as text.
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

//! Outcomes of what was displayed, by closed day.

use chrono::NaiveDate;
use sqlx::SqliteConnection;

use super::evidence::{LABELS, count};
use crate::StoreError;

pub(super) async fn save(connection: &mut SqliteConnection, day: NaiveDate, counts: &str) -> Result<bool, StoreError> {
    let saved = sqlx::query("INSERT INTO ltr_outcome_day (day, counts) VALUES (?, ?) ON CONFLICT (day) DO NOTHING")
        .bind(day)
        .bind(counts)
        .execute(&mut *connection)
        .await?;
    let is_new = saved.rows_affected() > 0;
    if is_new {
        count(connection, LABELS).await?;
    }
    Ok(is_new)
}

pub(super) async fn from(
    connection: &mut SqliteConnection,
    from: NaiveDate,
) -> Result<Vec<(NaiveDate, String)>, StoreError> {
    let days = sqlx::query_as("SELECT day, counts FROM ltr_outcome_day WHERE day >= ? ORDER BY day")
        .bind(from)
        .fetch_all(connection)
        .await?;
    Ok(days)
}

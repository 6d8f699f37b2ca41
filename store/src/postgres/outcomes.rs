//! Outcomes of what was displayed, by closed day.

use chrono::NaiveDate;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::evidence::{LABELS, count};
use crate::StoreError;

pub(super) async fn save(connection: &mut PgConnection, day: NaiveDate, counts: &str) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    let saved = sqlx::query("INSERT INTO ltr_outcome_day (day, counts) VALUES ($1, $2) ON CONFLICT (day) DO NOTHING")
        .bind(day)
        .bind(counts)
        .execute(&mut *transaction)
        .await?;
    let is_new = saved.rows_affected() > 0;
    if is_new {
        count(&mut transaction, LABELS).await?;
    }
    transaction.commit().await?;
    Ok(is_new)
}

pub(super) async fn from(
    connection: &mut PgConnection,
    from: NaiveDate,
) -> Result<Vec<(NaiveDate, String)>, StoreError> {
    let days = sqlx::query_as("SELECT day, counts FROM ltr_outcome_day WHERE day >= $1 ORDER BY day")
        .bind(from)
        .fetch_all(connection)
        .await?;
    Ok(days)
}

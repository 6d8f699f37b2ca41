//! What the gateways report of themselves.

use std::time::Duration;

use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::codec::{millis, now, read_age, read_uuid};
use crate::{GatewayReport, Reported, StoreError};

pub(super) async fn report(connection: &mut SqliteConnection, report: &GatewayReport<'_>) -> Result<(), StoreError> {
    let now = now(connection).await?;
    sqlx::query(
        "INSERT INTO ltr_gateway (id, name, seen_at, report) VALUES (?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, seen_at = excluded.seen_at, report = excluded.report",
    )
    .bind(report.id.hyphenated())
    .bind(report.name)
    .bind(now)
    .bind(report.report)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn seen(connection: &mut SqliteConnection, within: Duration) -> Result<Vec<Reported>, StoreError> {
    let now = now(connection).await?;
    let rows = sqlx::query(
        "SELECT id, name, report, max(0, ?1 - seen_at) AS age FROM ltr_gateway WHERE seen_at >= ?1 - ?2 \
         ORDER BY name, id",
    )
    .bind(now)
    .bind(millis(within))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Reported {
                id: read_uuid(row, "id", "ltr_gateway")?,
                name: row.try_get("name")?,
                age: read_age(row, "age")?.unwrap_or_default(),
                report: row.try_get("report")?,
            })
        })
        .collect()
}

pub(super) async fn forget(connection: &mut SqliteConnection, id: Uuid) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM ltr_gateway WHERE id = ?")
        .bind(id.hyphenated())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn prune(connection: &mut SqliteConnection, older: Duration) -> Result<u64, StoreError> {
    let now = now(connection).await?;
    let pruned = sqlx::query("DELETE FROM ltr_gateway WHERE seen_at < ? - ?")
        .bind(now)
        .bind(millis(older))
        .execute(connection)
        .await?;
    Ok(pruned.rows_affected())
}

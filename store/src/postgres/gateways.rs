//! What the gateways report of themselves.

use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::codec::{read_age, seconds};
use crate::{GatewayReport, Reported, StoreError};

pub(super) async fn report(connection: &mut PgConnection, report: &GatewayReport<'_>) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO ltr_gateway (id, name, seen_at, report) VALUES ($1, $2, clock_timestamp(), $3) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, seen_at = clock_timestamp(), report = excluded.report",
    )
    .bind(report.id)
    .bind(report.name)
    .bind(report.report)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn seen(connection: &mut PgConnection, within: Duration) -> Result<Vec<Reported>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, name, report, \
                (GREATEST(0, EXTRACT(EPOCH FROM clock_timestamp() - seen_at)) * 1000000)::bigint AS age \
         FROM ltr_gateway WHERE seen_at >= clock_timestamp() - make_interval(secs => $1) \
         ORDER BY name COLLATE \"C\", id",
    )
    .bind(seconds(within))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Reported {
                id: row.try_get("id")?,
                name: row.try_get("name")?,
                age: read_age(row, "age", "ltr_gateway")?.unwrap_or_default(),
                report: row.try_get("report")?,
            })
        })
        .collect()
}

pub(super) async fn forget(connection: &mut PgConnection, id: Uuid) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM ltr_gateway WHERE id = $1")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn prune(connection: &mut PgConnection, older: Duration) -> Result<u64, StoreError> {
    let pruned = sqlx::query("DELETE FROM ltr_gateway WHERE seen_at < clock_timestamp() - make_interval(secs => $1)")
        .bind(seconds(older))
        .execute(connection)
        .await?;
    Ok(pruned.rows_affected())
}

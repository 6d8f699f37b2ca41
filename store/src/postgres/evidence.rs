//! The evidence on each model, and the counters that say that it, or what it is made of, has changed.

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::changes::notify;
use super::codec::read_unsigned;
use crate::StoreError;

/// Rises whenever evidence is saved.
const EVIDENCE: &str = "evidence";
/// Rises whenever labels change.
pub(super) const LABELS: &str = "labels";

pub(super) async fn save(connection: &mut PgConnection, model_version: &str, evidence: &str) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    sqlx::query(
        "INSERT INTO ltr_evidence (model_version, evidence) VALUES ($1, $2) \
         ON CONFLICT (model_version) DO UPDATE SET evidence = excluded.evidence",
    )
    .bind(model_version)
    .bind(evidence)
    .execute(&mut *transaction)
    .await?;
    count(&mut transaction, EVIDENCE).await?;
    notify(&mut transaction, EVIDENCE).await?;
    transaction.commit().await?;
    Ok(())
}

pub(super) async fn of(connection: &mut PgConnection, model_version: &str) -> Result<Option<String>, StoreError> {
    let evidence = sqlx::query_scalar("SELECT evidence FROM ltr_evidence WHERE model_version = $1")
        .bind(model_version)
        .fetch_optional(connection)
        .await?;
    Ok(evidence)
}

pub(super) async fn label_generation(connection: &mut PgConnection) -> Result<u64, StoreError> {
    let row = sqlx::query("SELECT value FROM ltr_counter WHERE name = $1")
        .bind(LABELS)
        .fetch_optional(connection)
        .await?;
    let generation = row.map_or(Ok(None), |row| read_unsigned(&row, "value", "ltr_counter"))?;
    Ok(generation.unwrap_or_default())
}

/// Raises a counter by one.
pub(super) async fn count(connection: &mut PgConnection, counter: &str) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO ltr_counter AS counter (name, value) VALUES ($1, 1) \
         ON CONFLICT (name) DO UPDATE SET value = counter.value + 1",
    )
    .bind(counter)
    .execute(connection)
    .await?;
    Ok(())
}

//! The evidence on each model, and the counters that say that it, or what it is made of, has changed.

use sqlx::SqliteConnection;

use crate::StoreError;

/// Rises whenever evidence is saved.
const EVIDENCE: &str = "evidence";
/// Rises whenever labels change.
pub(super) const LABELS: &str = "labels";

pub(super) async fn save(
    connection: &mut SqliteConnection,
    model_version: &str,
    evidence: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO ltr_evidence (model_version, evidence) VALUES (?, ?) \
         ON CONFLICT (model_version) DO UPDATE SET evidence = excluded.evidence",
    )
    .bind(model_version)
    .bind(evidence)
    .execute(&mut *connection)
    .await?;
    count(connection, EVIDENCE).await
}

pub(super) async fn of(connection: &mut SqliteConnection, model_version: &str) -> Result<Option<String>, StoreError> {
    let evidence = sqlx::query_scalar("SELECT evidence FROM ltr_evidence WHERE model_version = ?")
        .bind(model_version)
        .fetch_optional(connection)
        .await?;
    Ok(evidence)
}

pub(super) async fn label_generation(connection: &mut SqliteConnection) -> Result<u64, StoreError> {
    let generation: Option<u64> = sqlx::query_scalar("SELECT value FROM ltr_counter WHERE name = ?")
        .bind(LABELS)
        .fetch_optional(connection)
        .await?;
    Ok(generation.unwrap_or_default())
}

/// Raises a counter by one.
pub(super) async fn count(connection: &mut SqliteConnection, counter: &str) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO ltr_counter AS counter (name, value) VALUES (?, 1) \
         ON CONFLICT (name) DO UPDATE SET value = counter.value + 1",
    )
    .bind(counter)
    .execute(connection)
    .await?;
    Ok(())
}

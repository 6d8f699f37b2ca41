//! What all programs on this database must agree on.

use sqlx::SqlitePool;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::StoreError;

/// The salt on record, which is the given one if there was none.
pub async fn salt_id(writer: &SqlitePool, given: Uuid) -> Result<Uuid, StoreError> {
    sqlx::query("INSERT INTO ltr_agreed (name, value) VALUES ('salt_id', ?) ON CONFLICT DO NOTHING")
        .bind(given.hyphenated())
        .execute(writer)
        .await?;
    let on_record: Hyphenated = sqlx::query_scalar("SELECT value FROM ltr_agreed WHERE name = 'salt_id'")
        .fetch_one(writer)
        .await?;
    Ok(on_record.into())
}

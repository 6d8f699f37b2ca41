//! Values that all programs on one database must share: the id of the pseudonyms' salt.

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteExecutor;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::StoreError;

/// The salt id on record, if any.
pub(super) async fn salt_id(reader: impl SqliteExecutor<'_>) -> Result<Option<Uuid>, StoreError> {
    let on_record: Option<Hyphenated> = sqlx::query_scalar("SELECT value FROM ltr_agreed WHERE name = 'salt_id'")
        .fetch_optional(reader)
        .await?;
    Ok(on_record.map(Uuid::from))
}

/// Records a salt id, unless there is one.
pub(super) async fn set_salt_id(connection: &mut SqliteConnection, salt_id: Uuid) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO ltr_agreed (name, value) VALUES ('salt_id', ?) ON CONFLICT DO NOTHING")
        .bind(salt_id.hyphenated())
        .execute(connection)
        .await?;
    Ok(())
}

//! Values that all programs on one database must share: the id of the pseudonyms' salt.

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::StoreError;

/// Returns the salt id on record; records `given` first if there is none.
pub(super) async fn salt_id(connection: &mut PgConnection, given: Option<Uuid>) -> Result<Option<Uuid>, StoreError> {
    let found = on_record(connection).await?;
    let (None, Some(given)) = (found, given) else {
        return Ok(found);
    };
    sqlx::query("INSERT INTO ltr_agreed (name, value) VALUES ('salt_id', $1) ON CONFLICT DO NOTHING")
        .bind(given.to_string())
        .execute(&mut *connection)
        .await?;
    on_record(connection).await
}

async fn on_record(connection: &mut PgConnection) -> Result<Option<Uuid>, StoreError> {
    let on_record: Option<String> = sqlx::query_scalar("SELECT value FROM ltr_agreed WHERE name = 'salt_id'")
        .fetch_optional(connection)
        .await?;
    let parsed = on_record.map(|text| Uuid::try_parse(&text)).transpose();
    parsed.map_err(|error| StoreError::Row {
        table: "ltr_agreed",
        key: "salt_id".to_owned(),
        reason: error.to_string(),
    })
}

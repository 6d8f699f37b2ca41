//! The effects that were not delivered yet.

use std::time::Duration;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::codec::{millis, now, read_age, signed};
use crate::{OutboxFacts, Owed, StoreError};

pub(super) async fn due(connection: &mut SqliteConnection, limit: u32) -> Result<Vec<Owed>, StoreError> {
    let now = now(connection).await?;
    // Due, too, if the clock was set back behind the last attempt.
    let rows = sqlx::query(
        "SELECT o.id, seq, destination, body, attempts, last_error, max(0, ?1 - made_at) AS age \
         FROM (SELECT min(id) AS id FROM ltr_outbox GROUP BY destination) AS first \
              JOIN ltr_outbox o ON o.id = first.id \
         WHERE tried_at IS NULL OR ?1 >= due_at OR ?1 < tried_at \
         ORDER BY o.id LIMIT ?2",
    )
    .bind(now)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.iter().map(owed).collect()
}

fn owed(row: &SqliteRow) -> Result<Owed, StoreError> {
    Ok(Owed {
        id: row.try_get("id")?,
        seq: row.try_get("seq")?,
        destination: row.try_get("destination")?,
        body: row.try_get("body")?,
        attempts: row.try_get("attempts")?,
        last_error: row.try_get("last_error")?,
        age: read_age(row, "age")?.unwrap_or_default(),
    })
}

pub(super) async fn sent(connection: &mut SqliteConnection, id: u64) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM ltr_outbox WHERE id = ?")
        .bind(signed(id))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn failed(
    connection: &mut SqliteConnection,
    id: u64,
    error: &str,
    retry_after: Duration,
) -> Result<(), StoreError> {
    let now = now(connection).await?;
    sqlx::query(
        "UPDATE ltr_outbox SET attempts = attempts + 1, last_error = ?2, tried_at = ?3, due_at = ?3 + ?4 WHERE id = ?1",
    )
    .bind(signed(id))
    .bind(error)
    .bind(now)
    .bind(millis(retry_after))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn facts(connection: &mut SqliteConnection) -> Result<OutboxFacts, StoreError> {
    let now = now(connection).await?;
    let row = sqlx::query(
        "SELECT count(*) AS owed, max(0, ?1 - min(made_at)) AS oldest, \
                (SELECT last_error FROM ltr_outbox WHERE tried_at IS NOT NULL ORDER BY tried_at DESC, id DESC LIMIT 1) \
                    AS last_error \
         FROM ltr_outbox",
    )
    .bind(now)
    .fetch_one(connection)
    .await?;
    Ok(OutboxFacts {
        owed: row.try_get("owed")?,
        oldest: read_age(&row, "oldest")?,
        last_error: row.try_get("last_error")?,
    })
}

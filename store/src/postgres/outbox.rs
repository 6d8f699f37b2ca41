//! The effects that were not delivered yet.

use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::codec::{read_age, read_unsigned, seconds, signed};
use crate::{OutboxFacts, Owed, StoreError};

const TABLE: &str = "ltr_outbox";

pub(super) async fn due(connection: &mut PgConnection, limit: u32) -> Result<Vec<Owed>, StoreError> {
    // Due, too, if the clock was set back behind the last attempt.
    let rows = sqlx::query(
        "SELECT o.id, seq, destination, body, attempts, last_error, \
                (GREATEST(0, EXTRACT(EPOCH FROM clock_timestamp() - made_at)) * 1000000)::bigint AS age \
         FROM (SELECT min(id) AS id FROM ltr_outbox GROUP BY destination) AS first \
              JOIN ltr_outbox o ON o.id = first.id \
         WHERE tried_at IS NULL OR clock_timestamp() >= due_at OR clock_timestamp() < tried_at \
         ORDER BY o.id LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.iter().map(owed).collect()
}

fn owed(row: &PgRow) -> Result<Owed, StoreError> {
    // Only `last_error` may be NULL.
    Ok(Owed {
        id: read_unsigned(row, "id", TABLE)?.unwrap_or_default(),
        seq: read_unsigned(row, "seq", TABLE)?.unwrap_or_default(),
        destination: row.try_get("destination")?,
        body: row.try_get("body")?,
        attempts: read_unsigned(row, "attempts", TABLE)?.unwrap_or_default(),
        last_error: row.try_get("last_error")?,
        age: read_age(row, "age", TABLE)?.unwrap_or_default(),
    })
}

pub(super) async fn sent(connection: &mut PgConnection, id: u64) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM ltr_outbox WHERE id = $1")
        .bind(signed(id))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn failed(
    connection: &mut PgConnection,
    id: u64,
    error: &str,
    retry_after: Duration,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE ltr_outbox SET attempts = attempts + 1, last_error = $2, tried_at = clock_timestamp(), \
             due_at = clock_timestamp() + make_interval(secs => $3) \
         WHERE id = $1",
    )
    .bind(signed(id))
    .bind(error)
    .bind(seconds(retry_after))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn facts(connection: &mut PgConnection) -> Result<OutboxFacts, StoreError> {
    let row = sqlx::query(
        "SELECT count(*) AS owed, \
                CASE WHEN count(*) > 0 THEN \
                    (GREATEST(0, EXTRACT(EPOCH FROM clock_timestamp() - min(made_at))) * 1000000)::bigint END AS oldest, \
                (SELECT last_error FROM ltr_outbox WHERE tried_at IS NOT NULL ORDER BY tried_at DESC, id DESC LIMIT 1) \
         FROM ltr_outbox",
    )
    .fetch_one(connection)
    .await?;
    Ok(OutboxFacts {
        owed: read_unsigned(&row, "owed", TABLE)?.unwrap_or_default(),
        oldest: read_age(&row, "oldest", TABLE)?,
        last_error: row.try_get("last_error")?,
    })
}

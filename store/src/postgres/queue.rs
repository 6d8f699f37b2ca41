//! What the event bus does not have yet.

use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::codec::{read_unsigned, seconds, signed};
use crate::queue::Entry;
use crate::{QueueFacts, Queued, StoreError};

const TABLE: &str = "ltr_bus";

/// Queues records in a transaction. Returns the last one's place; `None`: there were none.
pub(super) async fn push(
    connection: &mut PgConnection,
    owner: Uuid,
    entries: &[Entry],
) -> Result<Option<u64>, StoreError> {
    if entries.is_empty() {
        return Ok(None);
    }
    // The order of the arrays is that of the places.
    let last: Option<i64> = sqlx::query_scalar(
        "WITH pushed AS (INSERT INTO ltr_bus (owner, id, case_id, message) \
             SELECT $1, id, case_id, message \
             FROM UNNEST($2::uuid[], $3::uuid[], $4::text[]) WITH ORDINALITY AS given (id, case_id, message, place) \
             ORDER BY place RETURNING seq) \
         SELECT max(seq) FROM pushed",
    )
    .bind(owner)
    .bind(entries.iter().map(|entry| entry.id).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.case_id).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.json.as_str()).collect::<Vec<_>>())
    .fetch_one(connection)
    .await?;
    Ok(last.map(i64::unsigned_abs))
}

pub(super) async fn first(connection: &mut PgConnection, owner: Uuid, limit: u32) -> Result<Vec<Queued>, StoreError> {
    let rows = sqlx::query(
        "SELECT seq, id, case_id, message FROM ltr_bus WHERE owner = $1 AND refused IS NULL ORDER BY seq LIMIT $2",
    )
    .bind(owner)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    let queued = rows.iter().map(|row| {
        Ok(Queued {
            seq: read_unsigned(row, "seq", TABLE)?.unwrap_or_default(),
            id: row.try_get("id")?,
            case_id: row.try_get("case_id")?,
            json: row.try_get("message")?,
        })
    });
    queued.collect()
}

pub(super) async fn sent(connection: &mut PgConnection, seqs: &[u64]) -> Result<(), StoreError> {
    let seqs: Vec<i64> = seqs.iter().map(|seq| signed(*seq)).collect();
    sqlx::query("DELETE FROM ltr_bus WHERE seq = ANY($1)")
        .bind(seqs)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn refused(connection: &mut PgConnection, seq: u64, reason: &str) -> Result<(), StoreError> {
    sqlx::query("UPDATE ltr_bus SET refused = $1 WHERE seq = $2")
        .bind(reason)
        .bind(signed(seq))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn adopt(connection: &mut PgConnection, owner: Uuid, older: Duration) -> Result<u64, StoreError> {
    let adopted = sqlx::query(
        "UPDATE ltr_bus SET owner = $1 WHERE owner <> $1 AND refused IS NULL \
         AND made_at < clock_timestamp() - make_interval(secs => $2)",
    )
    .bind(owner)
    .bind(seconds(older))
    .execute(connection)
    .await?;
    Ok(adopted.rows_affected())
}

pub(super) async fn facts(connection: &mut PgConnection) -> Result<QueueFacts, StoreError> {
    let row = sqlx::query(
        "SELECT count(*) FILTER (WHERE refused IS NULL) AS waiting, count(refused) AS refused FROM ltr_bus",
    )
    .fetch_one(connection)
    .await?;
    Ok(QueueFacts {
        waiting: read_unsigned(&row, "waiting", TABLE)?.unwrap_or_default(),
        refused: read_unsigned(&row, "refused", TABLE)?.unwrap_or_default(),
    })
}

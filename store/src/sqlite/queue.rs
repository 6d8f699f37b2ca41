//! What the event bus does not have yet.

use std::time::Duration;

use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::batch_insert::Insert;
use super::codec::{millis, now, read_uuid, signed};
use crate::queue::Entry;
use crate::{QueueFacts, Queued, StoreError};

static INSERT: Insert = Insert::new("ltr_bus (owner, id, case_id, message, made_at)", "(?, ?, ?, ?, ?)", "");

/// Queues records in a transaction. Returns the last one's place; `None`: there were none.
pub(super) async fn push(
    connection: &mut SqliteConnection,
    owner: Uuid,
    entries: &[Entry],
) -> Result<Option<u64>, StoreError> {
    let now = now(connection).await?;
    let mut last = None;
    for (statement, entries) in INSERT.statements(entries) {
        let bound = entries.iter().fold(sqlx::query(statement), |bound, entry| {
            bound
                .bind(owner.hyphenated())
                .bind(entry.id.hyphenated())
                .bind(entry.case_id.hyphenated())
                .bind(&entry.json)
                .bind(now)
        });
        let inserted = bound.execute(&mut *connection).await?;
        last = Some(inserted.last_insert_rowid().unsigned_abs());
    }
    Ok(last)
}

pub(super) async fn first(
    connection: &mut SqliteConnection,
    owner: Uuid,
    limit: u32,
) -> Result<Vec<Queued>, StoreError> {
    let rows = sqlx::query(
        "SELECT seq, id, case_id, message FROM ltr_bus WHERE owner = ? AND refused IS NULL ORDER BY seq LIMIT ?",
    )
    .bind(owner.hyphenated())
    .bind(limit)
    .fetch_all(connection)
    .await?;
    let queued = rows.iter().map(|row| {
        Ok(Queued {
            seq: row.try_get::<i64, _>("seq")?.unsigned_abs(),
            id: read_uuid(row, "id", "ltr_bus")?,
            case_id: read_uuid(row, "case_id", "ltr_bus")?,
            json: row.try_get("message")?,
        })
    });
    queued.collect()
}

pub(super) async fn sent(connection: &mut SqliteConnection, seqs: &[u64]) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM ltr_bus WHERE seq IN (SELECT value FROM json_each(?))")
        .bind(serde_json::to_string(seqs).expect("numbers are always valid JSON"))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn refused(connection: &mut SqliteConnection, seq: u64, reason: &str) -> Result<(), StoreError> {
    sqlx::query("UPDATE ltr_bus SET refused = ? WHERE seq = ?")
        .bind(reason)
        .bind(signed(seq))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn adopt(connection: &mut SqliteConnection, owner: Uuid, older: Duration) -> Result<u64, StoreError> {
    let before = now(connection).await? - millis(older);
    let adopted = sqlx::query("UPDATE ltr_bus SET owner = ?1 WHERE owner <> ?1 AND made_at < ?2 AND refused IS NULL")
        .bind(owner.hyphenated())
        .bind(before)
        .execute(connection)
        .await?;
    Ok(adopted.rows_affected())
}

pub(super) async fn facts(connection: &mut SqliteConnection) -> Result<QueueFacts, StoreError> {
    let row = sqlx::query("SELECT count(*) AS all_of_them, count(refused) AS refused FROM ltr_bus")
        .fetch_one(connection)
        .await?;
    let refused = row.try_get::<i64, _>("refused")?.unsigned_abs();
    Ok(QueueFacts {
        waiting: row.try_get::<i64, _>("all_of_them")?.unsigned_abs() - refused,
        refused,
    })
}

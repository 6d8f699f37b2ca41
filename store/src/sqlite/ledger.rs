//! The state on record and its ledger.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::codec::{now, signed};
use super::lease;
use crate::{Commit, Committed, LedgerRow, Pulse, Released, RolloutState, StoreError};

pub(super) async fn released(connection: &mut SqliteConnection) -> Result<Option<Released>, StoreError> {
    let row = sqlx::query("SELECT version, state, head FROM ltr_release WHERE id = 1")
        .fetch_optional(connection)
        .await?;
    row.map(|row| {
        Ok(Released {
            version: row.try_get("version")?,
            state: row.try_get("state")?,
            head: row.try_get("head")?,
        })
    })
    .transpose()
}

pub(super) async fn pulse(connection: &mut SqliteConnection) -> Result<Pulse, StoreError> {
    let row = sqlx::query(
        "SELECT coalesce(r.version, 0) AS version, coalesce(r.head, '') AS head, \
                coalesce((SELECT value FROM ltr_counter WHERE name = 'evidence'), 0) AS evidence, \
                m.weight, m.champion, m.challenger \
         FROM (SELECT 1 AS id) one LEFT JOIN ltr_release r ON r.id = one.id LEFT JOIN ltr_rollout m ON m.id = one.id",
    )
    .fetch_one(connection)
    .await?;
    Ok(Pulse {
        version: row.try_get("version")?,
        evidence: row.try_get("evidence")?,
        head: row.try_get("head")?,
        // The column is NOT NULL, so without it there is no row.
        mirror: match row.try_get("weight")? {
            None => None,
            Some(weight) => Some(RolloutState {
                weight,
                champion: row.try_get("champion")?,
                challenger: row.try_get("challenger")?,
            }),
        },
    })
}

/// Commits if nothing is in the way. The transaction has the write lock since it began.
pub(super) async fn commit(connection: &mut SqliteConnection, commit: &Commit<'_>) -> Result<Committed, StoreError> {
    if let Some(seq) = repeated(connection, commit.command).await? {
        return Ok(Committed::Repeated(seq));
    }
    if let Some(lease) = commit.lease
        && !lease::is_held(connection, lease).await?
    {
        return Ok(Committed::LeaseLost);
    }
    if !swap(connection, commit).await? {
        return Ok(Committed::Conflict);
    }
    let seq = signed(commit.expected) + 1;
    sqlx::query("INSERT INTO ltr_ledger (seq, entry, hash, command) VALUES (?, ?, ?, ?)")
        .bind(seq)
        .bind(commit.entry)
        .bind(commit.hash)
        .bind(commit.command.map(Uuid::hyphenated))
        .execute(&mut *connection)
        .await?;
    let made_at = now(connection).await?;
    for effect in commit.outbox {
        sqlx::query("INSERT INTO ltr_outbox (seq, destination, body, made_at) VALUES (?, ?, ?, ?)")
            .bind(seq)
            .bind(effect.destination)
            .bind(effect.body)
            .bind(made_at)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query("UPDATE ltr_rollout SET weight = ?, champion = ?, challenger = ? WHERE id = 1")
        .bind(commit.mirror.weight)
        .bind(&commit.mirror.champion)
        .bind(&commit.mirror.challenger)
        .execute(connection)
        .await?;
    Ok(Committed::Done)
}

/// The entry of this command.
pub(super) async fn repeated(
    connection: &mut SqliteConnection,
    command: Option<Uuid>,
) -> Result<Option<u64>, StoreError> {
    let Some(command) = command else {
        return Ok(None);
    };
    let seq = sqlx::query_scalar("SELECT seq FROM ltr_ledger WHERE command = ?")
        .bind(command.hyphenated())
        .fetch_optional(connection)
        .await?;
    Ok(seq)
}

/// Puts the state in the place of the expected version; false if another is there.
async fn swap(connection: &mut SqliteConnection, commit: &Commit<'_>) -> Result<bool, StoreError> {
    let swap = if commit.expected == 0 {
        sqlx::query(
            "INSERT INTO ltr_release (id, version, state, head) VALUES (1, 1, ?1, ?2) ON CONFLICT (id) DO NOTHING",
        )
        .bind(commit.state)
        .bind(commit.hash)
    } else {
        sqlx::query("UPDATE ltr_release SET version = version + 1, state = ?1, head = ?2 WHERE id = 1 AND version = ?3")
            .bind(commit.state)
            .bind(commit.hash)
            .bind(signed(commit.expected))
    };
    let swapped = swap.execute(connection).await?;
    Ok(swapped.rows_affected() == 1)
}

pub(super) async fn after(
    connection: &mut SqliteConnection,
    after: u64,
    limit: u32,
) -> Result<Vec<LedgerRow>, StoreError> {
    let rows = sqlx::query("SELECT seq, entry, hash, command FROM ltr_ledger WHERE seq > ? ORDER BY seq LIMIT ?")
        .bind(signed(after))
        .bind(limit)
        .fetch_all(connection)
        .await?;
    rows.iter().map(entry).collect()
}

pub(super) async fn tail(connection: &mut SqliteConnection, limit: u32) -> Result<Vec<LedgerRow>, StoreError> {
    let rows = sqlx::query("SELECT seq, entry, hash, command FROM ltr_ledger ORDER BY seq DESC LIMIT ?")
        .bind(limit)
        .fetch_all(connection)
        .await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &SqliteRow) -> Result<LedgerRow, StoreError> {
    let command: Option<Hyphenated> = row.try_get("command")?;
    Ok(LedgerRow {
        seq: row.try_get("seq")?,
        entry: row.try_get("entry")?,
        hash: row.try_get("hash")?,
        command: command.map(Uuid::from),
    })
}

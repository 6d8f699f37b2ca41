//! The state on record and its ledger.

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use uuid::Uuid;

use super::changes::notify;
use super::codec::{read_unsigned, signed};
use super::lease;
use crate::{Commit, Committed, Effect, LedgerRow, Pulse, Released, RolloutState, StoreError};

pub(super) async fn released(connection: &mut PgConnection) -> Result<Option<Released>, StoreError> {
    let row = sqlx::query("SELECT version, state, head FROM ltr_release WHERE id = 1")
        .fetch_optional(connection)
        .await?;
    row.map(|row| {
        Ok(Released {
            // The column is NOT NULL.
            version: read_unsigned(&row, "version", "ltr_release")?.unwrap_or_default(),
            state: row.try_get("state")?,
            head: row.try_get("head")?,
        })
    })
    .transpose()
}

pub(super) async fn pulse(connection: &mut PgConnection) -> Result<Pulse, StoreError> {
    let row = sqlx::query(
        "SELECT r.version, coalesce(r.head, '') AS head, \
                (SELECT value FROM ltr_counter WHERE name = 'evidence') AS evidence, \
                m.weight::bigint, m.champion, m.challenger \
         FROM (SELECT 1 AS id) one LEFT JOIN ltr_release r ON r.id = one.id LEFT JOIN ltr_rollout m ON m.id = one.id",
    )
    .fetch_one(connection)
    .await?;
    Ok(Pulse {
        version: read_unsigned(&row, "version", "ltr_release")?.unwrap_or_default(),
        evidence: read_unsigned(&row, "evidence", "ltr_counter")?.unwrap_or_default(),
        head: row.try_get("head")?,
        // The column is NOT NULL, so without it there is no row.
        mirror: match read_unsigned(&row, "weight", "ltr_rollout")? {
            None => None,
            Some(weight) => Some(RolloutState {
                weight,
                champion: row.try_get("champion")?,
                challenger: row.try_get("challenger")?,
            }),
        },
    })
}

/// Commits if nothing is in the way. `patience` bounds the server's waiting for the next statement.
pub(super) async fn commit(
    connection: &mut PgConnection,
    commit: &Commit<'_>,
    patience: Duration,
) -> Result<Committed, StoreError> {
    // Each statement must see what others have committed while it waited for their locks, whatever the server's default.
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    // A program that is stopped or cut off here would keep its locks, and all others from committing.
    sqlx::query("SELECT set_config('idle_in_transaction_session_timeout', $1, true)")
        .bind(format!("{}ms", patience.as_millis().max(1)))
        .execute(&mut *transaction)
        .await?;
    let committed = attempt(&mut transaction, commit).await?;
    match committed {
        Committed::Done => transaction.commit().await?,
        _ => transaction.rollback().await?,
    }
    Ok(committed)
}

async fn attempt(connection: &mut PgConnection, commit: &Commit<'_>) -> Result<Committed, StoreError> {
    // Commits come one after the other from here on, so that none misses the command of the one before.
    sqlx::query("SELECT version FROM ltr_release WHERE id = 1 FOR UPDATE")
        .execute(&mut *connection)
        .await?;
    if let Some(seq) = repeated(connection, commit.command).await? {
        return Ok(Committed::Repeated(seq));
    }
    if let Some(lease) = commit.lease
        && !lease::is_held(connection, lease).await?
    {
        return Ok(Committed::LeaseLost);
    }
    if !swap(connection, commit).await? {
        // Before the first commit there is no row to lock.
        let repeated = repeated(connection, commit.command).await?;
        return Ok(repeated.map_or(Committed::Conflict, Committed::Repeated));
    }
    let seq = signed(commit.expected) + 1;
    sqlx::query("INSERT INTO ltr_ledger (seq, entry, hash, command) VALUES ($1, $2, $3, $4)")
        .bind(seq)
        .bind(commit.entry)
        .bind(commit.hash)
        .bind(commit.command)
        .execute(&mut *connection)
        .await?;
    owe(connection, seq, commit.outbox).await?;
    sqlx::query("UPDATE ltr_rollout SET weight = $1, champion = $2, challenger = $3 WHERE id = 1")
        .bind(i16::from(commit.mirror.weight))
        .bind(&commit.mirror.champion)
        .bind(&commit.mirror.challenger)
        .execute(&mut *connection)
        .await?;
    notify(connection, &seq.to_string()).await?;
    Ok(Committed::Done)
}

/// The entry of this command.
pub(super) async fn repeated(connection: &mut PgConnection, command: Option<Uuid>) -> Result<Option<u64>, StoreError> {
    let Some(command) = command else {
        return Ok(None);
    };
    let row = sqlx::query("SELECT seq FROM ltr_ledger WHERE command = $1")
        .bind(command)
        .fetch_optional(connection)
        .await?;
    row.map_or(Ok(None), |row| read_unsigned(&row, "seq", "ltr_ledger"))
}

/// Puts the state in the place of the expected version; false if another is there.
async fn swap(connection: &mut PgConnection, commit: &Commit<'_>) -> Result<bool, StoreError> {
    let swap = if commit.expected == 0 {
        sqlx::query(
            "INSERT INTO ltr_release (id, version, state, head) VALUES (1, 1, $1, $2) ON CONFLICT (id) DO NOTHING",
        )
        .bind(commit.state)
        .bind(commit.hash)
    } else {
        sqlx::query("UPDATE ltr_release SET version = version + 1, state = $1, head = $2 WHERE id = 1 AND version = $3")
            .bind(commit.state)
            .bind(commit.hash)
            .bind(signed(commit.expected))
    };
    let swapped = swap.execute(connection).await?;
    Ok(swapped.rows_affected() == 1)
}

async fn owe(connection: &mut PgConnection, seq: i64, outbox: &[Effect<'_>]) -> Result<(), StoreError> {
    if outbox.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO ltr_outbox (seq, destination, body, made_at) \
         SELECT $1, destination, body, clock_timestamp() \
         FROM UNNEST($2::text[], $3::text[]) WITH ORDINALITY AS given (destination, body, place) ORDER BY place",
    )
    .bind(seq)
    .bind(outbox.iter().map(|effect| effect.destination).collect::<Vec<_>>())
    .bind(outbox.iter().map(|effect| effect.body).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn after(connection: &mut PgConnection, after: u64, limit: u32) -> Result<Vec<LedgerRow>, StoreError> {
    let rows = sqlx::query("SELECT seq, entry, hash, command FROM ltr_ledger WHERE seq > $1 ORDER BY seq LIMIT $2")
        .bind(signed(after))
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await?;
    rows.iter().map(entry).collect()
}

pub(super) async fn tail(connection: &mut PgConnection, limit: u32) -> Result<Vec<LedgerRow>, StoreError> {
    let rows = sqlx::query("SELECT seq, entry, hash, command FROM ltr_ledger ORDER BY seq DESC LIMIT $1")
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &PgRow) -> Result<LedgerRow, StoreError> {
    Ok(LedgerRow {
        // The column is NOT NULL.
        seq: read_unsigned(row, "seq", "ltr_ledger")?.unwrap_or_default(),
        entry: row.try_get("entry")?,
        hash: row.try_get("hash")?,
        command: row.try_get("command")?,
    })
}

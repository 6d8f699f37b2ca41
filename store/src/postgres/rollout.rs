//! The rollout state, and the history of its changes.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};

use super::codec::{read_json, read_unsigned, to_the_microsecond};
use crate::{HistoryEntry, RolloutState, StoreError};

pub(super) async fn state(connection: &mut PgConnection) -> Result<RolloutState, StoreError> {
    let row = sqlx::query("SELECT weight::bigint, champion, challenger FROM ltr_rollout WHERE id = 1")
        .fetch_one(connection)
        .await?;
    Ok(RolloutState {
        // The column is NOT NULL.
        weight: read_unsigned(&row, "weight", "ltr_rollout")?.unwrap_or_default(),
        champion: row.try_get("champion")?,
        challenger: row.try_get("challenger")?,
    })
}

pub(super) async fn save(
    connection: &mut PgConnection,
    state: &RolloutState,
    entry: &HistoryEntry,
) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    sqlx::query("UPDATE ltr_rollout SET weight = $1, champion = $2, challenger = $3 WHERE id = 1")
        .bind(i16::from(state.weight))
        .bind(&state.champion)
        .bind(&state.challenger)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("INSERT INTO ltr_rollout_history (ts_utc, action, actor, detail) VALUES ($1, $2, $3, $4::text::json)")
        .bind(to_the_microsecond(entry.ts_utc))
        .bind(&entry.action)
        .bind(&entry.actor)
        .bind(entry.detail.to_string())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

pub(super) async fn history(connection: &mut PgConnection, limit: u32) -> Result<Vec<HistoryEntry>, StoreError> {
    sqlx::query("SELECT ts_utc, action, actor, detail::text FROM ltr_rollout_history ORDER BY id DESC LIMIT $1")
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await?
        .iter()
        .map(|row| {
            Ok(HistoryEntry {
                ts_utc: row.try_get("ts_utc")?,
                action: row.try_get("action")?,
                actor: row.try_get("actor")?,
                detail: read_json(row, "detail", "ltr_rollout_history")?,
            })
        })
        .collect()
}

//! The rollout state, and the history of its changes.

use sqlx::{Row, SqliteConnection, SqlitePool};

use super::codec::{instant, read_instant, read_json};
use crate::{HistoryEntry, RolloutState, StoreError};

pub(super) async fn state(readers: &SqlitePool) -> Result<RolloutState, StoreError> {
    let row = sqlx::query("SELECT weight, champion, challenger FROM ltr_rollout WHERE id = 1")
        .fetch_one(readers)
        .await?;
    Ok(RolloutState {
        weight: row.try_get("weight")?,
        champion: row.try_get("champion")?,
        challenger: row.try_get("challenger")?,
    })
}

pub(super) async fn save(
    connection: &mut SqliteConnection,
    state: &RolloutState,
    entry: &HistoryEntry,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE ltr_rollout SET weight = ?, champion = ?, challenger = ? WHERE id = 1")
        .bind(state.weight)
        .bind(&state.champion)
        .bind(&state.challenger)
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO ltr_rollout_history (ts_utc, action, actor, detail) VALUES (?, ?, ?, ?)")
        .bind(instant(entry.ts_utc))
        .bind(&entry.action)
        .bind(&entry.actor)
        .bind(entry.detail.to_string())
        .execute(&mut *connection)
        .await?;
    Ok(())
}

pub(super) async fn history(readers: &SqlitePool, limit: u32) -> Result<Vec<HistoryEntry>, StoreError> {
    const TABLE: &str = "ltr_rollout_history";
    sqlx::query("SELECT ts_utc, action, actor, detail FROM ltr_rollout_history ORDER BY id DESC LIMIT ?")
        .bind(limit)
        .fetch_all(readers)
        .await?
        .iter()
        .map(|row| {
            Ok(HistoryEntry {
                ts_utc: read_instant(row, "ts_utc", TABLE)?,
                action: row.try_get("action")?,
                actor: row.try_get("actor")?,
                detail: read_json(row, "detail", TABLE)?,
            })
        })
        .collect()
}

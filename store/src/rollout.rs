//! What serves, and how it came to.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::Row;

use crate::columns::{instant, read_instant, read_json};
use crate::{Store, StoreError};

/// What serves. Both versions name folders under the models directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutState {
    /// Per cent of requests that LTR answers, 0 to 100.
    pub weight: u8,
    /// The version that answers them.
    pub champion: Option<String>,
    /// The version that is compared in shadow.
    pub challenger: Option<String>,
}

/// One change of the rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    pub ts_utc: DateTime<Utc>,
    /// `challenger`, `promote`, `rollback`, `weight`.
    pub action: String,
    /// Who asked: `admin`, or `gateway` for what the program did by itself.
    pub actor: String,
    /// The numbers behind the change.
    pub detail: serde_json::Value,
}

impl Store {
    /// What serves now; weight 0 and no models in a new database.
    pub async fn rollout(&self) -> Result<RolloutState, StoreError> {
        let row = sqlx::query("SELECT weight, champion, challenger FROM ltr_rollout WHERE id = 1")
            .fetch_one(&self.readers)
            .await?;
        Ok(RolloutState {
            weight: row.try_get("weight")?,
            champion: row.try_get("champion")?,
            challenger: row.try_get("challenger")?,
        })
    }

    /// Writes the new state together with the entry that explains it.
    ///
    /// # Errors
    /// [`StoreError::Value`] for a weight above 100.
    pub async fn save_rollout(&self, state: &RolloutState, entry: &HistoryEntry) -> Result<(), StoreError> {
        if state.weight > 100 {
            return Err(StoreError::Value {
                field: "weight",
                value: state.weight.to_string(),
                allowed: "0 to 100",
            });
        }
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("UPDATE ltr_rollout SET weight = ?, champion = ?, challenger = ? WHERE id = 1")
            .bind(state.weight)
            .bind(&state.champion)
            .bind(&state.challenger)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT INTO ltr_rollout_history (ts_utc, action, actor, detail) VALUES (?, ?, ?, ?)")
            .bind(instant(entry.ts_utc))
            .bind(&entry.action)
            .bind(&entry.actor)
            .bind(entry.detail.to_string())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The latest `limit` changes, newest first.
    pub async fn history(&self, limit: u32) -> Result<Vec<HistoryEntry>, StoreError> {
        const TABLE: &str = "ltr_rollout_history";
        sqlx::query("SELECT ts_utc, action, actor, detail FROM ltr_rollout_history ORDER BY id DESC LIMIT ?")
            .bind(limit)
            .fetch_all(&self.readers)
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
}

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use ranking::events::Event;
use ranking::verdict::ShadowCase;
use uuid::Uuid;

use crate::{Appended, HistoryEntry, Record, RolloutState, StoreError};

/// What a database must be able to do. The methods of [`crate::Store`] say what each one means, and check the values
/// that come in.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    async fn append(&self, records: &[Record]) -> Result<Vec<Appended>, StoreError>;
    /// Pairs of a case and a lawyer, some perhaps twice.
    async fn shown(&self, cases: &[Uuid]) -> Result<Vec<(Uuid, String)>, StoreError>;
    async fn events_between(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<Event>, StoreError>;
    async fn rollout(&self) -> Result<RolloutState, StoreError>;
    async fn save_rollout(&self, state: &RolloutState, entry: &HistoryEntry) -> Result<(), StoreError>;
    async fn history(&self, limit: u32) -> Result<Vec<HistoryEntry>, StoreError>;
    async fn shadow_cases(
        &self,
        model_version: &str,
        closed_before: DateTime<Utc>,
    ) -> Result<Vec<ShadowCase>, StoreError>;
    async fn label_shadow(
        &self,
        labels: &[(Uuid, String, f32)],
        closed_before: DateTime<Utc>,
    ) -> Result<u64, StoreError>;
    async fn close(&self);
}

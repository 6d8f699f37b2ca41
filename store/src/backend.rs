use async_trait::async_trait;
use chrono::{DateTime, Utc};
use ranking::events::Event;
use uuid::Uuid;

use crate::comparisons::Reading;
use crate::shown::Search;
use crate::{Appended, HistoryEntry, Readable, Record, RolloutState, StoreError};

/// What a database must be able to do. The methods of [`crate::Store`] say what each one means, and check the values
/// that come in.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    async fn append(&self, records: &[Record]) -> Result<Vec<Appended>, StoreError>;
    /// Gives the impressions of these cases to these users to the search, until it has enough.
    async fn impressions(&self, asked: &[(Uuid, Uuid)], search: &mut Search<'_>) -> Result<(), StoreError>;
    async fn events_between(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Readable<Event>, StoreError>;
    /// The salt on record, which is the given one if there was none.
    async fn salt_id(&self, given: Option<Uuid>) -> Result<Option<Uuid>, StoreError>;
    async fn rollout(&self) -> Result<RolloutState, StoreError>;
    async fn save_rollout(&self, state: &RolloutState, entry: &HistoryEntry) -> Result<(), StoreError>;
    async fn history(&self, limit: u32) -> Result<Vec<HistoryEntry>, StoreError>;
    /// Reads in pages, in any order, and leaves the connection to others between two pages.
    async fn each_shadow_case(
        &self,
        model_version: &str,
        closed_before: DateTime<Utc>,
        reading: &mut Reading<'_>,
    ) -> Result<(), StoreError>;
    async fn label_shadow(
        &self,
        labels: &[(Uuid, String, f32)],
        closed_before: DateTime<Utc>,
    ) -> Result<u64, StoreError>;
    async fn close(&self);
}

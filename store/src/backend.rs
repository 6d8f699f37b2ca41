use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use ranking::events::Event;
use uuid::Uuid;

use crate::comparisons::Reading;
use crate::postgres::Listening;
use crate::queue::Kept;
use crate::shown::Search;
use crate::{
    Commit, Committed, ComparisonKey, EventDay, GatewayReport, HistoryEntry, Lease, LedgerRow, OutboxFacts, Owed,
    Pulse, QueueFacts, Queued, Readable, Record, Released, Reported, RolloutState, StoreError, StoredComparison,
    StoredRow,
};

/// What a database must be able to do. The methods of [`crate::Store`] say what each one means, and check the values
/// that come in.
#[async_trait]
pub(crate) trait Backend: ReleaseBackend + Send + Sync {
    /// With an owner, what is new is queued for the bus, in the same transaction.
    async fn append(&self, records: &[Record], owner: Option<Uuid>) -> Result<Kept, StoreError>;
    /// Gives the impressions of these cases to these users to the search, until it has enough.
    async fn impressions(&self, asked: &[(Uuid, Uuid)], search: &mut Search<'_>) -> Result<(), StoreError>;
    async fn events_between(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Readable<Event>, StoreError>;
    async fn event_days(&self) -> Result<Vec<EventDay>, StoreError>;
    async fn event_keys(&self, day: Option<NaiveDate>) -> Result<Vec<String>, StoreError>;
    async fn stored_events(&self, keys: &[String]) -> Result<Vec<StoredRow>, StoreError>;
    async fn comparison_days(&self) -> Result<Vec<EventDay>, StoreError>;
    async fn comparison_keys(&self, day: Option<NaiveDate>) -> Result<Vec<ComparisonKey>, StoreError>;
    async fn comparisons(&self, keys: &[ComparisonKey]) -> Result<Vec<StoredComparison>, StoreError>;
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
    async fn compared_versions(&self) -> Result<Vec<String>, StoreError>;
    async fn next_labelled(
        &self,
        model_version: &str,
        after: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError>;
    async fn label_cases(&self, cases: &[Uuid], labels: &[(Uuid, String, f32)]) -> Result<u64, StoreError>;
    async fn label_rest(&self, closed_before: DateTime<Utc>, given_up_before: DateTime<Utc>)
    -> Result<u64, StoreError>;
    async fn close(&self);
}

/// What a database must be able to do for the release controller of a fleet.
#[async_trait]
pub(crate) trait ReleaseBackend {
    async fn released(&self) -> Result<Option<Released>, StoreError>;
    async fn pulse(&self) -> Result<Pulse, StoreError>;
    async fn commit_release(&self, commit: &Commit<'_>) -> Result<Committed, StoreError>;
    async fn ledger(&self, after: u64, limit: u32) -> Result<Vec<LedgerRow>, StoreError>;
    async fn ordered(&self, command: Uuid) -> Result<Option<u64>, StoreError>;
    async fn ledger_tail(&self, limit: u32) -> Result<Vec<LedgerRow>, StoreError>;
    /// The epoch of the lease, if the holder has it now.
    async fn take_lease(&self, name: &str, holder: Uuid, ttl: Duration) -> Result<Option<u64>, StoreError>;
    async fn drop_lease(&self, lease: &Lease) -> Result<(), StoreError>;
    async fn lease_holder(&self, name: &str) -> Result<Option<Uuid>, StoreError>;
    async fn report_gateway(&self, report: &GatewayReport<'_>) -> Result<(), StoreError>;
    async fn gateways(&self, within: Duration) -> Result<Vec<Reported>, StoreError>;
    async fn forget_gateway(&self, id: Uuid) -> Result<(), StoreError>;
    async fn prune_gateways(&self, older: Duration) -> Result<u64, StoreError>;
    async fn outbox_due(&self, limit: u32) -> Result<Vec<Owed>, StoreError>;
    async fn outbox_sent(&self, id: u64) -> Result<(), StoreError>;
    async fn outbox_failed(&self, id: u64, error: &str, retry_after: Duration) -> Result<(), StoreError>;
    async fn outbox_facts(&self) -> Result<OutboxFacts, StoreError>;
    async fn queue_first(&self, owner: Uuid, limit: u32) -> Result<Vec<Queued>, StoreError>;
    async fn queue_sent(&self, seqs: &[u64]) -> Result<(), StoreError>;
    async fn queue_refused(&self, seq: u64, reason: &str) -> Result<(), StoreError>;
    async fn queue_adopt(&self, owner: Uuid, older: Duration) -> Result<u64, StoreError>;
    async fn queue_facts(&self) -> Result<QueueFacts, StoreError>;
    async fn save_evidence(&self, model_version: &str, evidence: &str) -> Result<(), StoreError>;
    async fn evidence(&self, model_version: &str) -> Result<Option<String>, StoreError>;
    /// Whether the day is new.
    async fn save_outcome_day(&self, day: NaiveDate, counts: &str) -> Result<bool, StoreError>;
    async fn outcome_days(&self, from: NaiveDate) -> Result<Vec<(NaiveDate, String)>, StoreError>;
    async fn label_generation(&self) -> Result<u64, StoreError>;
    /// `None`: the database has no notifications.
    async fn listen(&self) -> Result<Option<Listening>, StoreError>;
}

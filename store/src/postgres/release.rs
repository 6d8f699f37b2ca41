//! The calls of the release record. Each takes a turn of the control lane, so that it waits for no data call.

use std::time::Duration;

use async_trait::async_trait;
use chrono::NaiveDate;
use tokio::time::timeout;
use uuid::Uuid;

use super::changes::Listening;
use super::{Postgres, evidence, gateways, lease, ledger, outbox, outcomes, queue};
use crate::backend::ReleaseBackend;
use crate::{
    Commit, Committed, GatewayReport, Lease, LedgerRow, OutboxFacts, Owed, Pulse, QueueFacts, Queued, Released,
    Reported, StoreError,
};

#[async_trait]
impl ReleaseBackend for Postgres {
    async fn released(&self) -> Result<Option<Released>, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, ledger::released(&mut connection)).await;
        self.answered(connection, done)
    }

    async fn pulse(&self) -> Result<Pulse, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, ledger::pulse(&mut connection)).await;
        self.answered(connection, done)
    }

    async fn commit_release(&self, commit: &Commit<'_>) -> Result<Committed, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, ledger::commit(&mut connection, commit, self.timeout)).await;
        self.answered(connection, done)
    }

    async fn ledger(&self, after: u64, limit: u32) -> Result<Vec<LedgerRow>, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, ledger::after(&mut connection, after, limit)).await;
        self.answered(connection, done)
    }

    async fn ordered(&self, command: Uuid) -> Result<Option<u64>, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, ledger::repeated(&mut connection, Some(command))).await;
        self.answered(connection, done)
    }

    async fn ledger_tail(&self, limit: u32) -> Result<Vec<LedgerRow>, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, ledger::tail(&mut connection, limit)).await;
        self.answered(connection, done)
    }

    async fn take_lease(&self, name: &str, holder: Uuid, ttl: Duration) -> Result<Option<u64>, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, lease::take(&mut connection, name, holder, ttl)).await;
        self.answered(connection, done)
    }

    async fn drop_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, lease::end(&mut connection, lease)).await;
        self.answered(connection, done)
    }

    async fn lease_holder(&self, name: &str) -> Result<Option<Uuid>, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, lease::holder(&mut connection, name)).await;
        self.answered(connection, done)
    }

    async fn report_gateway(&self, report: &GatewayReport<'_>) -> Result<(), StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, gateways::report(&mut connection, report)).await;
        self.answered(connection, done)
    }

    async fn gateways(&self, within: Duration) -> Result<Vec<Reported>, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, gateways::seen(&mut connection, within)).await;
        self.answered(connection, done)
    }

    async fn forget_gateway(&self, id: Uuid) -> Result<(), StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, gateways::forget(&mut connection, id)).await;
        self.answered(connection, done)
    }

    async fn prune_gateways(&self, older: Duration) -> Result<u64, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, gateways::prune(&mut connection, older)).await;
        self.answered(connection, done)
    }

    async fn outbox_due(&self, limit: u32) -> Result<Vec<Owed>, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, outbox::due(&mut connection, limit)).await;
        self.answered(connection, done)
    }

    async fn outbox_sent(&self, id: u64) -> Result<(), StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, outbox::sent(&mut connection, id)).await;
        self.answered(connection, done)
    }

    async fn outbox_failed(&self, id: u64, error: &str, retry_after: Duration) -> Result<(), StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, outbox::failed(&mut connection, id, error, retry_after)).await;
        self.answered(connection, done)
    }

    async fn outbox_facts(&self) -> Result<OutboxFacts, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, outbox::facts(&mut connection)).await;
        self.answered(connection, done)
    }

    async fn queue_first(&self, owner: Uuid, limit: u32) -> Result<Vec<Queued>, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, queue::first(&mut connection, owner, limit)).await;
        self.answered(connection, done)
    }

    async fn queue_sent(&self, seqs: &[u64]) -> Result<(), StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, queue::sent(&mut connection, seqs)).await;
        self.answered(connection, done)
    }

    async fn queue_refused(&self, seq: u64, reason: &str) -> Result<(), StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, queue::refused(&mut connection, seq, reason)).await;
        self.answered(connection, done)
    }

    async fn queue_adopt(&self, owner: Uuid, older: Duration) -> Result<u64, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, queue::adopt(&mut connection, owner, older)).await;
        self.answered(connection, done)
    }

    async fn queue_facts(&self) -> Result<QueueFacts, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, queue::facts(&mut connection)).await;
        self.answered(connection, done)
    }

    async fn save_evidence(&self, model_version: &str, evidence: &str) -> Result<(), StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, evidence::save(&mut connection, model_version, evidence)).await;
        self.answered(connection, done)
    }

    async fn evidence(&self, model_version: &str) -> Result<Option<String>, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, evidence::of(&mut connection, model_version)).await;
        self.answered(connection, done)
    }

    async fn save_outcome_day(&self, day: NaiveDate, counts: &str) -> Result<bool, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, outcomes::save(&mut connection, day, counts)).await;
        self.answered(connection, done)
    }

    async fn outcome_days(&self, from: NaiveDate) -> Result<Vec<(NaiveDate, String)>, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, outcomes::from(&mut connection, from)).await;
        self.answered(connection, done)
    }

    async fn label_generation(&self) -> Result<u64, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, evidence::label_generation(&mut connection)).await;
        self.answered(connection, done)
    }

    async fn listen(&self) -> Result<Option<Listening>, StoreError> {
        self.ready().await?;
        let listening = Listening::start(self.options.clone(), self.timeout, self.pool.clone()).await;
        self.observe(listening).map(Some)
    }
}

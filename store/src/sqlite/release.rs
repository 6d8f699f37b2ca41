//! The calls of the release record. Reads have connections of their own, so that they wait for no data call; writes wait
//! their turn on the one connection that writes.

use std::time::Duration;

use async_trait::async_trait;
use chrono::NaiveDate;
use sqlx::pool::PoolConnection;
use uuid::Uuid;

use super::{Sqlite, evidence, gateways, lease, ledger, outbox, outcomes, queue};
use crate::backend::ReleaseBackend;
use crate::postgres::Listening;
use crate::{
    Commit, Committed, GatewayReport, Lease, LedgerRow, OutboxFacts, Owed, Pulse, QueueFacts, Queued, Released,
    Reported, StoreError,
};

impl Sqlite {
    async fn reading(&self) -> Result<PoolConnection<sqlx::Sqlite>, StoreError> {
        Ok(self.readers().control.acquire().await?)
    }
}

#[async_trait]
impl ReleaseBackend for Sqlite {
    async fn released(&self) -> Result<Option<Released>, StoreError> {
        ledger::released(&mut *self.reading().await?).await
    }

    async fn pulse(&self) -> Result<Pulse, StoreError> {
        ledger::pulse(&mut *self.reading().await?).await
    }

    async fn commit_release(&self, commit: &Commit<'_>) -> Result<Committed, StoreError> {
        let mut writing = self.writing().await?;
        let committed = ledger::commit(writing.connection(), commit).await?;
        // Nothing was written unless it is done.
        writing.commit().await?;
        Ok(committed)
    }

    async fn ledger(&self, after: u64, limit: u32) -> Result<Vec<LedgerRow>, StoreError> {
        ledger::after(&mut *self.reading().await?, after, limit).await
    }

    async fn ordered(&self, command: Uuid) -> Result<Option<u64>, StoreError> {
        ledger::repeated(&mut *self.reading().await?, Some(command)).await
    }

    async fn ledger_tail(&self, limit: u32) -> Result<Vec<LedgerRow>, StoreError> {
        ledger::tail(&mut *self.reading().await?, limit).await
    }

    async fn take_lease(&self, name: &str, holder: Uuid, ttl: Duration) -> Result<Option<u64>, StoreError> {
        let mut writing = self.writing().await?;
        let epoch = lease::take(writing.connection(), name, holder, ttl).await?;
        writing.commit().await?;
        Ok(epoch)
    }

    async fn drop_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        let mut writing = self.writing().await?;
        lease::end(writing.connection(), lease).await?;
        writing.commit().await
    }

    async fn lease_holder(&self, name: &str) -> Result<Option<Uuid>, StoreError> {
        lease::holder(&mut *self.reading().await?, name).await
    }

    async fn report_gateway(&self, report: &GatewayReport<'_>) -> Result<(), StoreError> {
        let mut writing = self.writing().await?;
        gateways::report(writing.connection(), report).await?;
        writing.commit().await
    }

    async fn gateways(&self, within: Duration) -> Result<Vec<Reported>, StoreError> {
        gateways::seen(&mut *self.reading().await?, within).await
    }

    async fn forget_gateway(&self, id: Uuid) -> Result<(), StoreError> {
        let mut writing = self.writing().await?;
        gateways::forget(writing.connection(), id).await?;
        writing.commit().await
    }

    async fn prune_gateways(&self, older: Duration) -> Result<u64, StoreError> {
        let mut writing = self.writing().await?;
        let pruned = gateways::prune(writing.connection(), older).await?;
        writing.commit().await?;
        Ok(pruned)
    }

    async fn outbox_due(&self, limit: u32) -> Result<Vec<Owed>, StoreError> {
        outbox::due(&mut *self.reading().await?, limit).await
    }

    async fn outbox_sent(&self, id: u64) -> Result<(), StoreError> {
        let mut writing = self.writing().await?;
        outbox::sent(writing.connection(), id).await?;
        writing.commit().await
    }

    async fn outbox_failed(&self, id: u64, error: &str, retry_after: Duration) -> Result<(), StoreError> {
        let mut writing = self.writing().await?;
        outbox::failed(writing.connection(), id, error, retry_after).await?;
        writing.commit().await
    }

    async fn outbox_facts(&self) -> Result<OutboxFacts, StoreError> {
        outbox::facts(&mut *self.reading().await?).await
    }

    async fn queue_first(&self, owner: Uuid, limit: u32) -> Result<Vec<Queued>, StoreError> {
        queue::first(&mut *self.reading().await?, owner, limit).await
    }

    async fn queue_sent(&self, seqs: &[u64]) -> Result<(), StoreError> {
        let mut writing = self.writing().await?;
        queue::sent(writing.connection(), seqs).await?;
        writing.commit().await
    }

    async fn queue_refused(&self, seq: u64, reason: &str) -> Result<(), StoreError> {
        let mut writing = self.writing().await?;
        queue::refused(writing.connection(), seq, reason).await?;
        writing.commit().await
    }

    async fn queue_adopt(&self, owner: Uuid, older: Duration) -> Result<u64, StoreError> {
        let mut writing = self.writing().await?;
        let adopted = queue::adopt(writing.connection(), owner, older).await?;
        writing.commit().await?;
        Ok(adopted)
    }

    async fn queue_facts(&self) -> Result<QueueFacts, StoreError> {
        queue::facts(&mut *self.reading().await?).await
    }

    async fn save_evidence(&self, model_version: &str, evidence: &str) -> Result<(), StoreError> {
        let mut writing = self.writing().await?;
        evidence::save(writing.connection(), model_version, evidence).await?;
        writing.commit().await
    }

    async fn evidence(&self, model_version: &str) -> Result<Option<String>, StoreError> {
        evidence::of(&mut *self.reading().await?, model_version).await
    }

    async fn save_outcome_day(&self, day: NaiveDate, counts: &str) -> Result<bool, StoreError> {
        let mut writing = self.writing().await?;
        let is_new = outcomes::save(writing.connection(), day, counts).await?;
        writing.commit().await?;
        Ok(is_new)
    }

    async fn outcome_days(&self, from: NaiveDate) -> Result<Vec<(NaiveDate, String)>, StoreError> {
        outcomes::from(&mut *self.reading().await?, from).await
    }

    async fn label_generation(&self) -> Result<u64, StoreError> {
        evidence::label_generation(&mut *self.reading().await?).await
    }

    async fn listen(&self) -> Result<Option<Listening>, StoreError> {
        Ok(None)
    }
}

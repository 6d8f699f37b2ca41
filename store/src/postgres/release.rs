//! The release record.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::Postgres;
use crate::backend::ReleaseBackend;
use crate::postgres::Listening;
use crate::{
    Commit, Committed, GatewayReport, Lease, LedgerRow, OutboxFacts, Owed, Pulse, Released, Reported, StoreError,
};

#[async_trait]
impl ReleaseBackend for Postgres {
    async fn released(&self) -> Result<Option<Released>, StoreError> {
        unimplemented!()
    }
    async fn pulse(&self) -> Result<Pulse, StoreError> {
        unimplemented!()
    }
    async fn commit_release(&self, _commit: &Commit<'_>) -> Result<Committed, StoreError> {
        unimplemented!()
    }
    async fn ledger(&self, _after: u64, _limit: u32) -> Result<Vec<LedgerRow>, StoreError> {
        unimplemented!()
    }
    async fn ledger_tail(&self, _limit: u32) -> Result<Vec<LedgerRow>, StoreError> {
        unimplemented!()
    }
    async fn take_lease(&self, _name: &str, _holder: Uuid, _ttl: Duration) -> Result<Option<u64>, StoreError> {
        unimplemented!()
    }
    async fn drop_lease(&self, _lease: &Lease) -> Result<(), StoreError> {
        unimplemented!()
    }
    async fn lease_holder(&self, _name: &str) -> Result<Option<Uuid>, StoreError> {
        unimplemented!()
    }
    async fn report_gateway(&self, _report: &GatewayReport<'_>) -> Result<(), StoreError> {
        unimplemented!()
    }
    async fn gateways(&self, _within: Duration) -> Result<Vec<Reported>, StoreError> {
        unimplemented!()
    }
    async fn forget_gateway(&self, _id: Uuid) -> Result<(), StoreError> {
        unimplemented!()
    }
    async fn prune_gateways(&self, _older: Duration) -> Result<u64, StoreError> {
        unimplemented!()
    }
    async fn outbox_due(&self, _limit: u32) -> Result<Vec<Owed>, StoreError> {
        unimplemented!()
    }
    async fn outbox_sent(&self, _id: u64) -> Result<(), StoreError> {
        unimplemented!()
    }
    async fn outbox_failed(&self, _id: u64, _error: &str, _retry_after: Duration) -> Result<(), StoreError> {
        unimplemented!()
    }
    async fn outbox_facts(&self) -> Result<OutboxFacts, StoreError> {
        unimplemented!()
    }
    async fn save_evidence(&self, _model_version: &str, _evidence: &str) -> Result<(), StoreError> {
        unimplemented!()
    }
    async fn evidence(&self, _model_version: &str) -> Result<Option<String>, StoreError> {
        unimplemented!()
    }
    async fn label_generation(&self) -> Result<u64, StoreError> {
        unimplemented!()
    }
    async fn listen(&self) -> Result<Option<Listening>, StoreError> {
        unimplemented!()
    }
}

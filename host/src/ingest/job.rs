//! A submission of records to the writer's task, and its outcome.

use metrics::counter;
use store::{Appended, Record};
use tokio::sync::oneshot;

/// Why records were not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotKept {
    /// The queue is full. No record was stored.
    Full,
    /// The database is unavailable, and the spool or its disk is full. No record was stored.
    SpoolFull,
    /// The database rejected an invalid record, which could not be moved to refused.ndjson; the log
    /// says why.
    Failed,
}

/// The outcome of each record, or why none was stored.
pub type Kept = Result<Vec<Appended>, NotKept>;

pub(super) struct Job {
    pub records: Vec<Record>,
    pub done: oneshot::Sender<Kept>,
    /// Whether the sender waits for the outcome.
    pub is_awaited: bool,
}

/// Sends the outcome to the submitter. If it does not wait, as for most rankings, a loss is counted
/// here instead.
pub(super) fn report(done: oneshot::Sender<Kept>, outcome: Kept) {
    if let Err(Err(_)) = done.send(outcome) {
        counter!("ltr_log_dropped_total").increment(1);
    }
}

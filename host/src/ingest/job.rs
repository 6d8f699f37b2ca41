//! Records on their way to the writer's task, and what their sender is told.

use metrics::counter;
use store::{Appended, Record};
use tokio::sync::oneshot;

/// Why something was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotKept {
    /// The queue is full: nothing was taken.
    Full,
    /// The database is away and the spool takes nothing, because it or its disk is full: nothing was taken.
    SpoolFull,
    /// The database rejected an invalid record, which could not be moved to refused.ndjson; the log says why.
    Failed,
}

/// What became of each record, or why none was taken.
pub type Kept = Result<Vec<Appended>, NotKept>;

pub(super) struct Job {
    pub records: Vec<Record>,
    pub done: oneshot::Sender<Kept>,
    /// Whether somebody waits for it to be done.
    pub is_awaited: bool,
}

/// Tells whoever handed records over what became of them. Where nobody listens, as for most rankings, a loss is counted
/// here instead of by them.
pub(super) fn tell(done: oneshot::Sender<Kept>, outcome: Kept) {
    if let Err(Err(_)) = done.send(outcome) {
        counter!("ltr_log_dropped_total").increment(1);
    }
}

//! Writes records to the database and to the spool, and sets invalid records aside.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use metrics::counter;
use parking_lot::Mutex;
use store::{Appended, Record, Refused, Spool, Store, StoreError};

use super::health::DatabaseHealth;
use super::job::NotKept;
use super::relay::Relay;
use crate::telemetry::scrub;

/// Maximum number of records of a spool file that are left for later while the others are written.
/// If more fail, the database itself is at fault.
const MOST_STUCK: usize = 16;

/// The result of a write to the database.
pub(super) struct Written {
    /// One per record.
    pub outcomes: Vec<Appended>,
    /// Indices of invalid records, with the database's reason.
    pub refused: Vec<(usize, StoreError)>,
    /// Indices of valid records on which the database fails, while it accepts others.
    pub stuck: Vec<usize>,
    /// Place of the last one in the queue of the bus.
    pub queued: Option<u64>,
}

/// Writes to the database and to the spool. Clones share both.
#[derive(Clone)]
pub(super) struct Persister {
    pub store: Store,
    pub spool: Arc<Mutex<Spool>>,
    pub health: Arc<DatabaseHealth>,
    /// `None`: there is no event bus.
    pub relay: Option<Relay>,
}

impl Persister {
    /// Writes all records that the database accepts. If it rejects an invalid record, the batch is
    /// halved until that record is alone. The same is done for up to `most_stuck` valid records on
    /// which the database fails.
    ///
    /// # Errors
    /// A failure that no record causes. Some records may have been written; writing them again
    /// changes nothing.
    pub(super) async fn write(&self, records: &[Record], most_stuck: usize) -> Result<Written, StoreError> {
        let mut outcomes = vec![Appended::Refused; records.len()];
        let (mut refused, mut stuck) = (Vec::new(), Vec::new());
        let mut queued = None;
        let mut parts = vec![(0, records.len())];
        while let Some((start, end)) = parts.pop() {
            match self.append(&records[start..end]).await {
                Ok((appended, last)) => {
                    outcomes[start..end].copy_from_slice(&appended);
                    queued = last.max(queued);
                }
                Err(error) if error.blames_the_record() && end - start == 1 => refused.push((start, error)),
                Err(error) if !error.blames_the_record() && (!error.was_answered() || stuck.len() == most_stuck) => {
                    return Err(error);
                }
                Err(_) if end - start == 1 => stuck.push(start),
                Err(_) => {
                    let middle = start.midpoint(end);
                    parts.extend([(middle, end), (start, middle)]);
                }
            }
        }
        Ok(Written {
            outcomes,
            refused,
            stuck,
            queued,
        })
    }

    async fn append(&self, records: &[Record]) -> Result<(Vec<Appended>, Option<u64>), StoreError> {
        let Some(relay) = &self.relay else {
            return Ok((self.store.append(records).await?, None));
        };
        let kept = self.store.append_queued(records, relay.owner).await?;
        relay.wake();
        Ok(kept)
    }

    /// Sets the refused records aside, and returns the outcome of each record.
    pub(super) async fn settle(&self, records: &[Record], written: Written) -> Vec<Result<Appended, NotKept>> {
        let mut outcomes: Vec<_> = written.outcomes.into_iter().map(Ok).collect();
        let refused = written.refused.iter();
        let refused = refused.map(|(at, reason)| Refused::new(&records[*at], reason.to_string()));
        if !self.set_aside(refused.collect()).await {
            for (at, _) in written.refused {
                outcomes[at] = Err(NotKept::Failed);
            }
        }
        outcomes
    }

    /// Moves invalid records to refused.ndjson, where an operator finds them. Returns whether that
    /// succeeded.
    pub(super) async fn set_aside(&self, refused: Vec<Refused>) -> bool {
        if refused.is_empty() {
            return true;
        }
        let records = refused.len();
        let first = scrub(refused[0].reason());
        let kept = self.with_spool(move |spool| spool.set_aside(&refused)).await;
        let failed = self.health.aside_fails.swap(kept.is_err(), Ordering::Relaxed);
        match &kept {
            Ok(()) => {
                counter!("ltr_records_refused_total").increment(records as u64);
                tracing::error!(
                    error = first,
                    records,
                    "database rejected invalid records; moved to refused.ndjson in database.spool_dir"
                );
            }
            Err(error) if !failed => {
                tracing::error!(%error, records, "invalid records could not be moved to refused.ndjson");
            }
            Err(_) => {}
        }
        kept.is_ok()
    }

    /// Records a failed write in the health.
    pub(super) fn note_failure(&self, error: &StoreError) {
        // "Busy" means that this program's calls wait for each other; the database may be well.
        if !error.is_busy() {
            self.health.mark_unavailable(error);
        }
    }

    /// Like [`Persister::write`], but if the database fails on a few records, leaves them out and
    /// writes the others.
    pub(super) async fn write_most(&self, records: &[Record]) -> Result<Written, StoreError> {
        let error = match self.write(records, 0).await {
            Err(error) if error.was_answered() => error,
            written => return written,
        };
        match self.write(records, MOST_STUCK).await {
            Ok(written) if written.stuck.len() < records.len() => Ok(written),
            Ok(_) => Err(error),
            Err(error) => Err(error),
        }
    }

    /// Runs `work` on the spool, on a thread that may block. The number of spooled records is
    /// updated under the lock, so that the last update is the true one.
    pub(super) async fn with_spool<T: Send + 'static>(&self, work: impl FnOnce(&mut Spool) -> T + Send + 'static) -> T {
        let (spool, health) = (self.spool.clone(), self.health.clone());
        let done = tokio::task::spawn_blocking(move || {
            let mut spool = spool.lock();
            let done = work(&mut spool);
            health.set_spooled(spool.records());
            health.count_damaged(&spool);
            done
        });
        done.await
            .expect("the spool does not panic, and is used only while the runtime runs")
    }
}

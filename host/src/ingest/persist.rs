//! Writing records to the database, with those set aside that it refuses, and the spool beside it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use metrics::counter;
use parking_lot::Mutex;
use store::{Appended, Record, Refused, Spool, Store, StoreError};

use super::health::DatabaseHealth;
use super::job::NotKept;
use crate::telemetry::scrub;

/// Records of a file that may be left for later while the others are written; beyond, it is the database that fails.
const MOST_STUCK: usize = 16;

/// What the database made of records.
pub(super) struct Written {
    /// One a record.
    pub outcomes: Vec<Appended>,
    /// Invalid records, and why the database rejects each.
    pub refused: Vec<(usize, StoreError)>,
    /// Which of them it does not take, for a reason of its own, while it takes others.
    pub stuck: Vec<usize>,
}

/// Writes to the database and to the spool. Clones share both.
#[derive(Clone)]
pub(super) struct Persister {
    pub store: Store,
    pub spool: Arc<Mutex<Spool>>,
    pub health: Arc<DatabaseHealth>,
}

impl Persister {
    /// Writes all records that the database takes. If it rejects an invalid record, halves are tried until that record is
    /// alone. The same is done for up to `most_stuck` records that the database fails on for a reason of its own.
    ///
    /// # Errors
    /// Whatever is not to blame on a record. Some records may be written then; to write them again changes nothing.
    pub(super) async fn write(&self, records: &[Record], most_stuck: usize) -> Result<Written, StoreError> {
        let mut outcomes = vec![Appended::Refused; records.len()];
        let (mut refused, mut stuck) = (Vec::new(), Vec::new());
        let mut parts = vec![(0, records.len())];
        while let Some((start, end)) = parts.pop() {
            match self.store.append(&records[start..end]).await {
                Ok(appended) => outcomes[start..end].copy_from_slice(&appended),
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
        })
    }

    /// Sets aside what was refused, and says what became of each record.
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

    /// Keeps where an operator finds it what no database will take; whether that is done.
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
            Err(error) if !failed => tracing::error!(%error, records, "refused records cannot be set aside"),
            Err(_) => {}
        }
        kept.is_ok()
    }

    /// Notes why the database did not take what it should have.
    pub(super) fn failed(&self, error: &StoreError) {
        // Calls of this program that wait for each other say nothing of the database.
        if !error.is_busy() {
            self.health.lost(error);
        }
    }

    /// As [`Persister::write`]; where the database fails, without the few records that it fails on, if others are taken.
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

    /// On a thread that may wait for the disk. How much waits is said before anybody else has the spool, so that
    /// the last word on it is true.
    pub(super) async fn with_spool<T: Send + 'static>(&self, work: impl FnOnce(&mut Spool) -> T + Send + 'static) -> T {
        let (spool, outage) = (self.spool.clone(), self.health.clone());
        let done = tokio::task::spawn_blocking(move || {
            let mut spool = spool.lock();
            let done = work(&mut spool);
            outage.waiting(spool.records());
            outage.damaged(&spool);
            done
        });
        done.await
            .expect("the spool does not panic, and is used only while the runtime lives")
    }
}

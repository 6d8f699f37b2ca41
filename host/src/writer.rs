//! One ordered writer for everything that must be kept: requests that arrive together share a transaction.

use std::time::Duration;

use store::{Appended, Record, Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Requests that may wait; beyond, the database cannot keep up and more waiting would not help.
const QUEUE: usize = 8_192;
/// Requests that share a transaction.
const BATCH: usize = 512;
/// Before a database that was unavailable is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// Why something was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotKept {
    /// The queue is full: nothing was taken.
    Full,
    /// The database refused; the log says why.
    Failed,
}

struct Job {
    records: Vec<Record>,
    done: oneshot::Sender<Result<Vec<Appended>, NotKept>>,
}

/// What will become of records that were handed over.
pub struct Receipt(oneshot::Receiver<Result<Vec<Appended>, NotKept>>);

impl Receipt {
    /// Waits until the records are on disk.
    pub async fn committed(self) -> Result<Vec<Appended>, NotKept> {
        self.0.await.unwrap_or(Err(NotKept::Failed))
    }

    /// As [`Receipt::committed`], but gives up waiting (not writing) after `patience`: `None`.
    pub async fn committed_within(self, patience: Duration) -> Option<Result<Vec<Appended>, NotKept>> {
        tokio::time::timeout(patience, self.committed()).await.ok()
    }
}

/// Where records are handed over. Clones share the queue; the task ends when the last one is dropped.
#[derive(Clone)]
pub struct Writer(mpsc::Sender<Job>);

impl Writer {
    /// Starts the task. Its handle ends after everything handed over has been written.
    pub fn start(store: Store) -> (Writer, JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Writer(sender), tokio::spawn(write_all(store, receiver)))
    }

    /// Hands records over, to be written together and after everything handed over before.
    ///
    /// # Errors
    /// [`NotKept::Full`].
    pub fn hand_over(&self, records: Vec<Record>) -> Result<Receipt, NotKept> {
        let (done, receipt) = oneshot::channel();
        self.0.try_send(Job { records, done }).map_err(|_| NotKept::Full)?;
        Ok(Receipt(receipt))
    }
}

/// A database that is away, or held by another program, delays what was handed over; it must not lose it.
async fn append(store: &Store, records: &[Record]) -> Result<Vec<Appended>, StoreError> {
    let mut waiting = false;
    loop {
        match store.append(records).await {
            Err(error) if error.is_unavailable() => {
                if !std::mem::replace(&mut waiting, true) {
                    tracing::warn!(%error, "what is to be kept waits for the database");
                }
                tokio::time::sleep(PAUSE).await;
            }
            done => {
                if waiting {
                    tracing::info!("the database is back");
                }
                return done;
            }
        }
    }
}

async fn write_all(store: Store, mut queue: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut jobs, BATCH).await > 0 {
        let mut records = Vec::new();
        let mut waiting = Vec::with_capacity(jobs.len());
        for job in jobs.drain(..) {
            waiting.push((job.records.len(), job.done));
            records.extend(job.records);
        }
        let kept = append(&store, &records).await;
        if let Err(error) = &kept {
            tracing::error!(%error, records = records.len(), "a batch was not written");
        }
        let mut outcomes = kept.map(Vec::into_iter);
        for (count, done) in waiting {
            let outcome = match &mut outcomes {
                Ok(outcomes) => Ok(outcomes.take(count).collect()),
                Err(_) => Err(NotKept::Failed),
            };
            // A caller that stopped waiting has nobody to tell.
            let _ = done.send(outcome);
        }
    }
}

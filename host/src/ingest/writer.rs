//! Where records are handed over to the one task that writes them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use store::{Record, Spool, Store};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::health::DatabaseHealth;
use super::job::{Job, Kept, NotKept};
use super::persist::Persister;
use super::task::WriterTask;

/// Requests that may wait; beyond, the database cannot keep up and more waiting would not help.
const QUEUE: usize = 8_192;
/// Requests that wait only when the database is slower than they come; each may have a hundred lawyers in memory.
const BEHIND: usize = 256;
/// What will become of records that were handed over.
pub struct Receipt(oneshot::Receiver<Kept>);

impl Receipt {
    /// Waits until the records are on disk: in the database, or in the spool, where each of them counts as new. A record
    /// that the database rejects as invalid is set aside, and the others of the same call are kept.
    pub async fn committed(self) -> Kept {
        self.0.await.unwrap_or(Err(NotKept::Failed))
    }

    /// As [`Receipt::committed`], but gives up waiting (not writing) after `patience`: `None`.
    pub async fn committed_within(self, patience: Duration) -> Option<Kept> {
        tokio::time::timeout(patience, self.committed()).await.ok()
    }
}

/// Where records are handed over. Clones share the queue; the task ends when the last one is dropped.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Job>,
    /// Told when somebody waits.
    hurry: Arc<Notify>,
    health: Arc<DatabaseHealth>,
}

impl Writer {
    /// Starts the task. Its handle ends after everything handed over is on disk.
    pub fn start(store: Store, spool: Spool) -> (Writer, JoinHandle<()>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let health = Arc::new(DatabaseHealth::default());
        health.found();
        health.waiting(spool.records());
        health.damaged(&spool);
        let hurry: Arc<Notify> = Arc::default();
        let persister = Persister {
            store,
            spool: Arc::new(Mutex::new(spool)),
            health: health.clone(),
        };
        let task = WriterTask::new(persister, hurry.clone());
        let writer = Writer { queue, hurry, health };
        (writer, tokio::spawn(task.run(receiver)))
    }

    /// Hands records over, to be written together, at once, and after everything handed over before.
    ///
    /// # Errors
    /// [`NotKept::Full`].
    pub fn submit(&self, records: Vec<Record>) -> Result<Receipt, NotKept> {
        let receipt = self.queue(records, true)?;
        self.hurry.notify_one();
        Ok(receipt)
    }

    /// Hands over records whose writing nobody waits for, as [`Writer::submit`] but soon instead of at once.
    ///
    /// # Errors
    /// [`NotKept::Full`].
    pub fn submit_unacked(&self, records: Vec<Record>) -> Result<(), NotKept> {
        self.queue(records, false).map(drop)
    }

    fn queue(&self, records: Vec<Record>, is_awaited: bool) -> Result<Receipt, NotKept> {
        let (done, receipt) = oneshot::channel();
        let job = Job {
            records,
            done,
            is_awaited,
        };
        self.queue.try_send(job).map_err(|_| NotKept::Full)?;
        Ok(Receipt(receipt))
    }

    /// Whether so much waits to be written that whoever adds to it should wait, too, lest the queue be full.
    pub fn is_behind(&self) -> bool {
        self.queue.max_capacity() - self.queue.capacity() > BEHIND
    }

    /// How the database is.
    pub fn health(&self) -> &DatabaseHealth {
        &self.health
    }
}

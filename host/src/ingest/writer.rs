//! The handle by which requests submit records to the writer's task.

use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use parking_lot::Mutex;
use store::{Record, Spool, Store};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::health::DatabaseHealth;
use super::job::{Job, Kept, NotKept};
use super::persist::Persister;
use super::relay::Relay;
use super::task::WriterTask;

/// Maximum number of waiting requests. Beyond it the database cannot keep up, and a longer queue
/// would not help.
const QUEUE: usize = 8_192;
/// Number of waiting requests above which the writer is behind: the database is slower than the
/// requests arrive. Each of them may hold a hundred lawyers in memory.
const BEHIND: usize = 256;

/// The future outcome of submitted records.
pub struct Receipt(oneshot::Receiver<Kept>);

impl Receipt {
    /// Waits until the records are on disk: in the database, or in the spool, where each counts as
    /// new. A record that the database rejects as invalid is set aside; the others of the call are
    /// stored.
    pub async fn committed(self) -> Kept {
        self.0.await.unwrap_or(Err(NotKept::Failed))
    }

    /// Like [`Receipt::committed`], but stops waiting after `patience` and returns `None`. The
    /// records are still written.
    pub async fn committed_within(self, patience: Duration) -> Option<Kept> {
        tokio::time::timeout(patience, self.committed()).await.ok()
    }
}

/// Submits records to the writer's task. Clones share the queue; the task ends when the last one is
/// dropped.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Job>,
    /// Notified when a sender waits for its outcome.
    hurry: Arc<Notify>,
    health: Arc<DatabaseHealth>,
}

impl Writer {
    /// Starts the task. Its handle ends after all submitted records are on disk. With a bus, records are sent there, too,
    /// and those who wait for them wait for that, unless the bus is away.
    pub fn start(store: Store, spool: Spool, bus: Option<(Uuid, Arc<dyn Bus>)>) -> (Writer, JoinHandle<()>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let health = Arc::new(DatabaseHealth::default());
        health.mark_available();
        health.set_spooled(spool.records());
        health.count_damaged(&spool);
        let hurry: Arc<Notify> = Arc::default();
        let relay = bus.map(|(owner, bus)| Relay::start(owner, store.clone(), bus));
        let persister = Persister {
            relay,
            store,
            spool: Arc::new(Mutex::new(spool)),
            health: health.clone(),
        };
        let task = WriterTask::new(persister, hurry.clone());
        let writer = Writer { queue, hurry, health };
        (writer, tokio::spawn(task.run(receiver)))
    }

    /// Submits records to be written together, without delay, and after all records submitted
    /// before.
    ///
    /// # Errors
    /// [`NotKept::Full`].
    pub fn submit(&self, records: Vec<Record>) -> Result<Receipt, NotKept> {
        let receipt = self.queue(records, true)?;
        self.hurry.notify_one();
        Ok(receipt)
    }

    /// Submits records without waiting for their outcome. They are written soon, together with
    /// others.
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

    /// Whether the queue is so long that a sender should wait for its own records, before the queue
    /// is full.
    pub fn is_behind(&self) -> bool {
        self.queue.max_capacity() - self.queue.capacity() > BEHIND
    }

    /// The health of the database.
    pub fn health(&self) -> &DatabaseHealth {
        &self.health
    }
}

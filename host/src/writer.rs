//! One ordered writer for everything that must be kept: requests that arrive together share a transaction. While the
//! database is away they share a line of the spool instead, which is replayed in order once it is back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use store::{Appended, Record, Spool, SpoolError, Store, StoreError};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::telemetry::scrub;

/// Requests that may wait; beyond, the database cannot keep up and more waiting would not help.
const QUEUE: usize = 8_192;
/// Requests that wait only when the database is slower than they come; each may have a hundred lawyers in memory.
const BEHIND: usize = 256;
/// Requests that share a transaction.
const BATCH: usize = 512;
/// From one transaction to the next, unless somebody waits for it: the disk and four switches of threads are for many
/// records then. So much more is lost, of what was not acknowledged, if the machine fails.
const GATHERING: Duration = Duration::from_millis(10);

/// Why something was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotKept {
    /// The queue is full: nothing was taken.
    Full,
    /// The database is away and the spool is full: nothing was taken.
    SpoolFull,
    /// The database refused, or the spool's disk; the log says why.
    Failed,
}

type Kept = Result<Vec<Appended>, NotKept>;

struct Job {
    records: Vec<Record>,
    done: oneshot::Sender<Kept>,
    /// Whether somebody waits for it to be done.
    is_awaited: bool,
}

/// What will become of records that were handed over.
pub struct Receipt(oneshot::Receiver<Kept>);

impl Receipt {
    /// Waits until the records are on disk: in the database, or in the spool, where each of them counts as new.
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
    outage: Arc<Outage>,
}

impl Writer {
    /// Starts the task. Its handle ends after everything handed over is on disk.
    pub fn start(store: Store, spool: Spool) -> (Writer, JoinHandle<()>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let outage = Arc::new(Outage::default());
        outage.found();
        outage.waiting(spool.records());
        let keeper = Keeper {
            store,
            spool: Arc::new(Mutex::new(spool)),
            outage: outage.clone(),
            hurry: Arc::default(),
        };
        let hurry = keeper.hurry.clone();
        let writer = Writer { queue, hurry, outage };
        (writer, tokio::spawn(keeper.run(receiver)))
    }

    /// Hands records over, to be written together, at once, and after everything handed over before.
    ///
    /// # Errors
    /// [`NotKept::Full`].
    pub fn hand_over(&self, records: Vec<Record>) -> Result<Receipt, NotKept> {
        let receipt = self.queue(records, true)?;
        self.hurry.notify_one();
        Ok(receipt)
    }

    /// Hands over records whose writing nobody waits for, as [`Writer::hand_over`] but soon instead of at once.
    ///
    /// # Errors
    /// [`NotKept::Full`].
    pub fn leave(&self, records: Vec<Record>) -> Result<(), NotKept> {
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
    pub fn outage(&self) -> &Outage {
        &self.outage
    }
}

/// What writing has shown of the database, for those who read from it or ask how it is.
#[derive(Default)]
pub struct Outage {
    away: AtomicBool,
    spooled: AtomicU64,
}

impl Outage {
    /// Whether the last attempt to write met a database that was away.
    pub fn away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// Records that were acknowledged and are not in the database yet.
    pub fn spooled(&self) -> u64 {
        self.spooled.load(Ordering::Relaxed)
    }

    /// Notes a call that met a database that was away.
    pub fn lost(&self, error: &StoreError) {
        gauge!("ltr_database_up").set(0.0);
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::error!(
                error = scrub(&error.to_string()),
                "the database is unavailable; what is to be kept goes to the spool"
            );
        }
    }

    /// Notes a call that the database answered.
    pub fn found(&self) {
        gauge!("ltr_database_up").set(1.0);
        if self.away.swap(false, Ordering::Relaxed) {
            tracing::info!(spooled = self.spooled(), "the database is back; the spool is replayed");
        }
    }

    fn waiting(&self, records: u64) {
        gauge!("ltr_spool_records").set(records as f64);
        if self.spooled.swap(records, Ordering::Relaxed) > 0 && records == 0 {
            tracing::info!("everything that was spooled is in the database");
        }
    }
}

/// What came of replaying a file of the spool.
enum Replayed {
    /// It is in the database, and this many files wait.
    Left(usize),
    Away,
    /// Time alone will not help; the log says why.
    Stuck,
}

impl Replayed {
    /// How long to wait before the next attempt.
    fn pause(&self) -> Duration {
        match self {
            Replayed::Left(_) => Duration::ZERO,
            Replayed::Away => Duration::from_millis(500),
            Replayed::Stuck => Duration::from_secs(30),
        }
    }
}

/// The task that writes.
#[derive(Clone)]
struct Keeper {
    store: Store,
    spool: Arc<Mutex<Spool>>,
    outage: Arc<Outage>,
    hurry: Arc<Notify>,
}

impl Keeper {
    async fn run(self, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(BATCH);
        let mut last = Instant::now();
        let mut replaying = self.replaying_after(Duration::ZERO);
        loop {
            tokio::select! {
                received = queue.recv_many(&mut jobs, BATCH) => {
                    if received == 0 {
                        break;
                    }
                    self.gather(&mut jobs, &mut queue, last + GATHERING).await;
                    last = Instant::now();
                    self.keep_all(&mut jobs, replaying.is_some()).await;
                    if replaying.is_none() {
                        replaying = self.replaying_after(Replayed::Away.pause());
                    }
                }
                replayed = ended(&mut replaying) => {
                    let replayed = match replayed {
                        // The last file is replayed with the queue held up. Beside it, requests that keep coming would
                        // begin one file after the other for ever.
                        Replayed::Left(1) => self.replay().await,
                        replayed => replayed,
                    };
                    replaying = self.replaying_after(replayed.pause());
                }
            }
        }
        // What is left in the spool is for the next start.
        if let Some(replaying) = replaying {
            replaying.abort();
        }
    }

    /// Lets more jobs come until then, unless somebody waits for one of those that are there.
    async fn gather(&self, jobs: &mut Vec<Job>, queue: &mut mpsc::Receiver<Job>, until: Instant) {
        if jobs.iter().any(|job| job.is_awaited) {
            return;
        }
        // From here on until the next batch, whoever waits says so.
        let _ = tokio::time::timeout_at(until, self.hurry.notified()).await;
        while jobs.len() < BATCH
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
    }

    /// Writes what jobs hand over, and tells each what became of it.
    async fn keep_all(&self, jobs: &mut Vec<Job>, spooling: bool) {
        let mut records = Vec::new();
        let mut waiting = Vec::with_capacity(jobs.len());
        for job in jobs.drain(..) {
            waiting.push((job.records.len(), job.done));
            records.extend(job.records);
        }
        let records = Arc::new(records);
        match self.keep(&records, spooling).await {
            // One of them is to blame, and none of the others is to be lost for it.
            Err(NotKept::Failed) if waiting.len() > 1 => {
                let mut rest = records.as_slice();
                for (count, done) in waiting {
                    let (own, others) = rest.split_at(count);
                    rest = others;
                    tell(done, self.keep(&Arc::new(own.to_vec()), spooling).await);
                }
            }
            kept => {
                let mut outcomes = kept.map(Vec::into_iter);
                for (count, done) in waiting {
                    let outcome = match &mut outcomes {
                        Ok(outcomes) => Ok(outcomes.take(count).collect()),
                        Err(error) => Err(*error),
                    };
                    tell(done, outcome);
                }
            }
        }
    }

    /// Writes to the database; to the spool while something waits there, so that the order stays, and when the
    /// database is away.
    async fn keep(&self, records: &Arc<Vec<Record>>, spooling: bool) -> Kept {
        if records.is_empty() {
            // Somebody waits for what was handed over before.
            return Ok(Vec::new());
        }
        if !spooling {
            match self.store.append(records).await {
                Ok(outcomes) => {
                    self.outage.found();
                    return Ok(outcomes);
                }
                Err(error) if error.is_unavailable() => self.outage.lost(&error),
                Err(error) => {
                    tracing::error!(
                        error = scrub(&error.to_string()),
                        records = records.len(),
                        "a batch was not written"
                    );
                    return Err(NotKept::Failed);
                }
            }
        }
        let outcomes = vec![Appended::Stored; records.len()];
        let records = records.clone();
        match self.with_spool(move |spool| spool.append(&records)).await {
            Ok(()) => Ok(outcomes),
            Err(SpoolError::Full { .. }) => Err(NotKept::SpoolFull),
            Err(error) => {
                tracing::error!(%error, "a batch was not spooled");
                Err(NotKept::Failed)
            }
        }
    }

    /// The replay of the oldest file, after a pause; `None` when nothing waits.
    fn replaying_after(&self, pause: Duration) -> Option<JoinHandle<Replayed>> {
        let keeper = self.clone();
        (self.outage.spooled() > 0).then(|| {
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                keeper.replay().await
            })
        })
    }

    /// Writes the oldest file of the spool to the database. A crash on the way is made good by ids: what is there
    /// already is not written again.
    async fn replay(&self) -> Replayed {
        let records = match self.with_spool(Spool::oldest).await {
            Ok(records) => records.unwrap_or_default(),
            Err(error) => {
                tracing::error!(%error, "the spool cannot be replayed");
                return Replayed::Stuck;
            }
        };
        let written = self.store.append(&records).await;
        let written = match written {
            Err(error) if error.blames_the_record() => self.replay_one_by_one(records).await,
            written => written.map(drop),
        };
        match written {
            Ok(()) => self.outage.found(),
            Err(error) if error.is_unavailable() => {
                self.outage.lost(&error);
                return Replayed::Away;
            }
            Err(error) => {
                let error = scrub(&error.to_string());
                tracing::error!(error, "the spool waits, because the database refuses it");
                return Replayed::Stuck;
            }
        }
        let left = self.with_spool(|spool| (spool.remove_oldest(), spool.files()));
        let (removed, files) = left.await;
        if let Err(error) = removed {
            // It will be replayed once more by the next start, which changes nothing.
            tracing::warn!(%error, "a file that was replayed stays");
        }
        Replayed::Left(files)
    }

    /// Writes what the database takes, and sets aside what it will never take: the others do not wait for it.
    async fn replay_one_by_one(&self, records: Vec<Record>) -> Result<(), StoreError> {
        for record in records {
            match self.store.append(std::slice::from_ref(&record)).await {
                Ok(_) => {}
                Err(error) if error.blames_the_record() => {
                    let reason = error.to_string();
                    tracing::error!(
                        error = scrub(&reason),
                        "the database refuses a record for what it is; it is in refused.ndjson, in database.spool_dir"
                    );
                    counter!("ltr_records_refused_total").increment(1);
                    let aside = self.with_spool(move |spool| spool.set_aside(&record, &reason)).await;
                    if let Err(lost) = aside {
                        tracing::error!(%lost, "a refused record cannot be set aside");
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// On a thread that may wait for the disk. How much waits is said before anybody else has the spool, so that
    /// the last word on it is true.
    async fn with_spool<T: Send + 'static>(&self, work: impl FnOnce(&mut Spool) -> T + Send + 'static) -> T {
        let (spool, outage) = (self.spool.clone(), self.outage.clone());
        let done = tokio::task::spawn_blocking(move || {
            let mut spool = spool.lock().unwrap_or_else(PoisonError::into_inner);
            let done = work(&mut spool);
            outage.waiting(spool.records());
            done
        });
        done.await
            .expect("the spool does not panic, and is used only while the runtime lives")
    }
}

/// Tells whoever handed records over what became of them. Where nobody listens, as for most rankings, a loss is counted
/// here instead of by them.
fn tell(done: oneshot::Sender<Kept>, outcome: Kept) {
    if let Err(Err(_)) = done.send(outcome) {
        counter!("ltr_log_dropped_total").increment(1);
    }
}

/// What came of a replay, once it has ended; never without one.
async fn ended(replaying: &mut Option<JoinHandle<Replayed>>) -> Replayed {
    match replaying {
        // A panic is in the log by now.
        Some(replay) => replay.await.unwrap_or(Replayed::Stuck),
        None => std::future::pending().await,
    }
}

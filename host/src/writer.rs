//! One ordered writer for everything that must be kept: requests that arrive together share a transaction. While the
//! database is away they share a line of the spool instead, which is replayed in order once it is back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use store::{Appended, Record, Refused, Spool, SpoolError, Store, StoreError};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

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
    /// The database is away and the spool takes nothing, because it or its disk is full: nothing was taken.
    SpoolFull,
    /// The database rejected an invalid record, which could not be moved to refused.ndjson; the log says why.
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
    /// Waits until the records are on disk: in the database, or in the spool, where each of them counts as new. A record
    /// that the database refuses for what it is is set aside, and the others of the same call are kept.
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
        outage.damaged(&spool);
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
    /// Whether the spool takes nothing either.
    spool_fails: AtomicBool,
    /// Whether refused records cannot be set aside.
    aside_fails: AtomicBool,
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

    /// Notes how the spool took what was to be kept.
    fn spool_said(&self, said: &Result<(), SpoolError>) {
        let failed = self.spool_fails.swap(said.is_err(), Ordering::Relaxed);
        match said {
            Err(error) if !failed => {
                tracing::error!(%error, "the spool takes nothing; what is to be kept is refused until it does");
            }
            Ok(()) if failed => tracing::info!("the spool takes records again"),
            _ => {}
        }
    }

    fn damaged(&self, spool: &Spool) {
        counter!("ltr_spool_damaged_total").absolute(spool.damaged());
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
    /// It waits for a later attempt.
    Later,
}

/// Before the first attempt after one that failed; twice as long before each further one, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// Records of a file that may be left for later while the others are written; beyond, it is the database that fails.
const MOST_STUCK: usize = 16;

/// From one look at what may have come back, the database or files of the spool, to the next.
const ANOTHER_LOOK: Duration = Duration::from_secs(10);

/// What the database made of records.
struct Written {
    /// One a record.
    outcomes: Vec<Appended>,
    /// Which of them it refuses for what they are, and why.
    refused: Vec<(usize, StoreError)>,
    /// Which of them it does not take, for a reason of its own, while it takes others.
    stuck: Vec<usize>,
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
        let mut pause = PAUSE;
        let mut look = tokio::time::interval(ANOTHER_LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                        replaying = self.replaying_after(pause);
                    }
                }
                _ = look.tick() => {
                    self.look_after_idle().await;
                    if self.with_spool(Spool::take_up_others).await && replaying.is_none() {
                        replaying = self.replaying_after(Duration::ZERO);
                    }
                }
                replayed = ended(&mut replaying) => {
                    let replayed = match replayed {
                        // The last file is replayed with the queue held up. Beside it, requests that keep coming would
                        // begin one file after the other for ever.
                        Replayed::Left(1) => self.replay().await,
                        replayed => replayed,
                    };
                    replaying = match replayed {
                        Replayed::Left(_) => {
                            pause = PAUSE;
                            self.replaying_after(Duration::ZERO)
                        }
                        Replayed::Later => {
                            let replaying = self.replaying_after(pause);
                            pause = (2 * pause).min(LONGEST_PAUSE);
                            replaying
                        }
                    };
                }
            }
        }
        // What is left in the spool is for the next start.
        if let Some(replaying) = replaying {
            replaying.abort();
        }
    }

    /// Asks a database that was away whether it is back, where nothing waits that would tell.
    async fn look_after_idle(&self) {
        if self.outage.away() && self.outage.spooled() == 0 && self.store.rollout().await.is_ok() {
            self.outage.found();
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
        let kept = self.keep(Arc::new(records), spooling).await;
        let mut outcomes = kept.map(Vec::into_iter);
        for (count, done) in waiting {
            let outcome = match &mut outcomes {
                Ok(outcomes) => {
                    let own: Vec<_> = outcomes.take(count).collect();
                    own.into_iter().collect()
                }
                Err(error) => Err(*error),
            };
            tell(done, outcome);
        }
    }

    /// Writes to the database; to the spool while something waits there, so that the order stays, and whenever the
    /// database does not take records for a reason that is not in them. One entry a record.
    async fn keep(&self, records: Arc<Vec<Record>>, spooling: bool) -> Result<Vec<Result<Appended, NotKept>>, NotKept> {
        if records.is_empty() {
            // Somebody waits for what was handed over before.
            return Ok(Vec::new());
        }
        if !spooling {
            match self.write(&records, 0).await {
                Ok(written) => {
                    self.outage.found();
                    return Ok(self.settle(&records, written).await);
                }
                Err(error) => self.failed(&error),
            }
        }
        let outcomes = vec![Ok(Appended::Stored); records.len()];
        let spooled = self.with_spool(move |spool| spool.append(&records)).await;
        self.outage.spool_said(&spooled);
        spooled.map(|()| outcomes).map_err(|_| NotKept::SpoolFull)
    }

    /// Writes all that the database takes. Where it refuses some for what they are, their half is tried by halves, until
    /// they are alone. So it is, for `most_stuck` records, where it refuses for a reason of its own.
    ///
    /// # Errors
    /// Whatever is not to blame on a record. Some records may be written then; to write them again changes nothing.
    async fn write(&self, records: &[Record], most_stuck: usize) -> Result<Written, StoreError> {
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
    async fn settle(&self, records: &[Record], written: Written) -> Vec<Result<Appended, NotKept>> {
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
    async fn set_aside(&self, refused: Vec<Refused>) -> bool {
        if refused.is_empty() {
            return true;
        }
        let records = refused.len();
        let first = scrub(refused[0].reason());
        let kept = self.with_spool(move |spool| spool.set_aside(&refused)).await;
        let failed = self.outage.aside_fails.swap(kept.is_err(), Ordering::Relaxed);
        match &kept {
            Ok(()) => {
                counter!("ltr_records_refused_total").increment(records as u64);
                tracing::error!(
                    error = first,
                    records,
                    "the database refuses records for what they are; they are in refused.ndjson, in database.spool_dir"
                );
            }
            Err(error) if !failed => tracing::error!(%error, records, "refused records cannot be set aside"),
            Err(_) => {}
        }
        kept.is_ok()
    }

    /// Notes why the database did not take what it should have.
    fn failed(&self, error: &StoreError) {
        // Calls of this program that wait for each other say nothing of the database.
        if !error.is_busy() {
            self.outage.lost(error);
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
    /// already is not written again. What no database will take holds up nothing.
    async fn replay(&self) -> Replayed {
        let Some(batch) = self.with_spool(Spool::oldest).await else {
            return Replayed::Left(0);
        };
        let written = match self.write_most(&batch.records).await {
            Ok(written) => written,
            Err(error) => {
                // A file that was passed over says nothing new of a database that takes others.
                if !batch.is_deferred || self.outage.away() {
                    self.failed(&error);
                }
                if error.was_answered() {
                    self.with_spool(Spool::defer_oldest).await;
                }
                return Replayed::Later;
            }
        };
        if !batch.records.is_empty() {
            self.outage.found();
        }
        if !written.stuck.is_empty() {
            let stuck: Vec<Record> = written.stuck.iter().map(|at| batch.records[*at].clone()).collect();
            // Into another file, so that this one is done with.
            if let Err(error) = self.with_spool(move |spool| spool.append(&stuck)).await {
                self.outage.spool_said(&Err(error));
                self.with_spool(Spool::defer_oldest).await;
                return Replayed::Later;
            }
        }
        let refused = written.refused.iter();
        let refused = refused.map(|(at, reason)| Refused::new(&batch.records[*at], reason.to_string()));
        // Only now, so that a file that is tried again and again is not set aside as often.
        if !self.set_aside(refused.chain(batch.refused).collect()).await {
            self.with_spool(Spool::defer_oldest).await;
            return Replayed::Later;
        }
        let left = self.with_spool(|spool| {
            spool.done_with_oldest();
            spool.files()
        });
        Replayed::Left(left.await)
    }

    /// As [`Keeper::write`]; where the database fails, without the few records that it fails on, if others are taken.
    async fn write_most(&self, records: &[Record]) -> Result<Written, StoreError> {
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
    async fn with_spool<T: Send + 'static>(&self, work: impl FnOnce(&mut Spool) -> T + Send + 'static) -> T {
        let (spool, outage) = (self.spool.clone(), self.outage.clone());
        let done = tokio::task::spawn_blocking(move || {
            let mut spool = spool.lock().unwrap_or_else(PoisonError::into_inner);
            let done = work(&mut spool);
            outage.waiting(spool.records());
            outage.damaged(&spool);
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
        Some(replay) => replay.await.unwrap_or(Replayed::Later),
        None => std::future::pending().await,
    }
}

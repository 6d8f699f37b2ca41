//! The one task that writes: requests that arrive together share a transaction. While the database is away they go to the
//! spool together instead, which is replayed in order once it is back.

use std::sync::Arc;
use std::time::Duration;

use store::{Appended, Record, Spool};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior};

use super::job::{Job, NotKept, tell};
use super::persist::Persister;
use super::replay::{LONGEST_PAUSE, PAUSE, Replayed, ended};

/// Requests that share a transaction.
const BATCH: usize = 512;
/// From one transaction to the next, unless somebody waits for it: the disk and four switches of threads are for many
/// records then. So much more is lost, of what was not acknowledged, if the machine fails.
const GATHERING: Duration = Duration::from_millis(10);

/// From one look at what may have come back, the database or files of the spool, to the next.
const ANOTHER_LOOK: Duration = Duration::from_secs(10);

/// The task that writes.
pub(super) struct WriterTask {
    persister: Persister,
    hurry: Arc<Notify>,
}

impl WriterTask {
    /// `hurry` is told when somebody waits.
    pub fn new(persister: Persister, hurry: Arc<Notify>) -> WriterTask {
        WriterTask { persister, hurry }
    }

    pub async fn run(self, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(BATCH);
        let mut last = Instant::now();
        let mut replaying = self.persister.replaying_after(Duration::ZERO);
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
                        replaying = self.persister.replaying_after(pause);
                    }
                }
                _ = look.tick() => {
                    self.look_after_idle().await;
                    if self.persister.with_spool(Spool::take_up_others).await && replaying.is_none() {
                        replaying = self.persister.replaying_after(Duration::ZERO);
                    }
                }
                replayed = ended(&mut replaying) => {
                    let replayed = match replayed {
                        // The last file is replayed with the queue held up. Beside it, requests that keep coming would
                        // begin one file after the other for ever.
                        Replayed::Left(1) => self.persister.replay().await,
                        replayed => replayed,
                    };
                    replaying = match replayed {
                        Replayed::Left(_) => {
                            pause = PAUSE;
                            self.persister.replaying_after(Duration::ZERO)
                        }
                        Replayed::Later => {
                            let replaying = self.persister.replaying_after(pause);
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
        let Persister { store, health, .. } = &self.persister;
        if health.is_away() && health.spooled() == 0 && store.rollout().await.is_ok() {
            health.found();
        }
    }

    /// Lets more jobs come until then, unless somebody waits for one of those that are there.
    async fn gather(&self, jobs: &mut Vec<Job>, queue: &mut mpsc::Receiver<Job>, until: Instant) {
        if jobs.iter().any(|job| job.is_awaited) {
            return;
        }
        // Until the next batch, a caller who waits notifies `hurry`.
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
            match self.persister.write(&records, 0).await {
                Ok(written) => {
                    self.persister.health.found();
                    return Ok(self.persister.settle(&records, written).await);
                }
                Err(error) => self.persister.failed(&error),
            }
        }
        let outcomes = vec![Ok(Appended::Stored); records.len()];
        let spooled = self.persister.with_spool(move |spool| spool.append(&records)).await;
        self.persister.health.spool_said(&spooled);
        spooled.map(|()| outcomes).map_err(|_| NotKept::SpoolFull)
    }
}

//! The writer's task. Records of requests that arrive together share a transaction. While the
//! database is unavailable they go to the spool, which is replayed in order afterwards.

use std::sync::Arc;
use std::time::Duration;

use store::{Appended, Record, Spool};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior};

use super::job::{Job, NotKept, report};
use super::persist::Persister;
use super::replay::{LONGEST_PAUSE, PAUSE, Replayed, ended};

/// Maximum number of requests per transaction.
const BATCH: usize = 512;
/// Minimum time between two transactions, unless a sender waits. More records then share the cost
/// of a transaction: a write to disk and four thread switches. In return a crash of the machine
/// loses up to this much more of the records that were not acknowledged.
const BATCH_INTERVAL: Duration = Duration::from_millis(10);

/// How often the task checks whether the database is available again, and whether the spool has
/// files to retry.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// What became of a batch.
#[derive(Default)]
struct Stored {
    /// One per record.
    outcomes: Vec<Result<Appended, NotKept>>,
    /// Place of the last one in the queue of the bus.
    queued: Option<u64>,
}

/// The task that writes records.
pub(super) struct WriterTask {
    persister: Persister,
    hurry: Arc<Notify>,
}

impl WriterTask {
    /// `hurry` is notified when a sender waits.
    pub(super) fn new(persister: Persister, hurry: Arc<Notify>) -> WriterTask {
        WriterTask { persister, hurry }
    }

    pub(super) async fn run(self, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(BATCH);
        let mut last = Instant::now();
        let mut replaying = self.persister.replaying_after(Duration::ZERO);
        let mut pause = PAUSE;
        let mut check = tokio::time::interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = queue.recv_many(&mut jobs, BATCH) => {
                    if received == 0 {
                        break;
                    }
                    self.fill_batch(&mut jobs, &mut queue, last + BATCH_INTERVAL).await;
                    last = Instant::now();
                    self.store_jobs(&mut jobs, replaying.is_some()).await;
                    if replaying.is_none() {
                        replaying = self.persister.replaying_after(pause);
                    }
                }
                _ = check.tick() => {
                    self.check_idle_database().await;
                    if self.persister.with_spool(Spool::take_up_others).await && replaying.is_none() {
                        replaying = self.persister.replaying_after(Duration::ZERO);
                    }
                }
                replayed = ended(&mut replaying) => {
                    let replayed = match replayed {
                        // The last file is replayed while the queue waits. Otherwise new requests
                        // would keep starting another file, and the replay would never end.
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
        // The next start replays the rest of the spool.
        if let Some(replaying) = replaying {
            replaying.abort();
        }
    }

    /// Checks whether an unavailable database is available again. With records in the spool, the
    /// replay shows that.
    async fn check_idle_database(&self) {
        let Persister { store, health, .. } = &self.persister;
        if health.is_unavailable() && health.spooled() == 0 && store.rollout().await.is_ok() {
            health.mark_available();
        }
    }

    /// Waits for more jobs until `until`, or until a sender waits for its outcome, and adds them to
    /// the batch.
    async fn fill_batch(&self, jobs: &mut Vec<Job>, queue: &mut mpsc::Receiver<Job>, until: Instant) {
        if jobs.iter().any(|job| job.is_awaited) {
            return;
        }
        // A sender that waits notifies `hurry`.
        let _ = tokio::time::timeout_at(until, self.hurry.notified()).await;
        while jobs.len() < BATCH
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
    }

    /// Stores the records of all jobs, and reports the outcome to each sender.
    async fn store_jobs(&self, jobs: &mut Vec<Job>, spooling: bool) {
        let mut records = Vec::new();
        let mut waiting = Vec::with_capacity(jobs.len());
        for job in jobs.drain(..) {
            waiting.push((job.records.len(), job.done));
            records.extend(job.records);
        }
        let kept = self.store(Arc::new(records), spooling).await;
        let queued = kept.as_ref().ok().and_then(|kept| kept.queued);
        let mut outcomes = kept.map(|kept| kept.outcomes.into_iter());
        let mut reports = Vec::with_capacity(waiting.len());
        for (count, done) in waiting {
            let outcome = match &mut outcomes {
                Ok(outcomes) => {
                    let own: Vec<_> = outcomes.take(count).collect();
                    own.into_iter().collect()
                }
                Err(error) => Err(*error),
            };
            reports.push((done, outcome));
        }
        let report_all = move || reports.into_iter().for_each(|(done, outcome)| report(done, outcome));
        match (&self.persister.relay, queued) {
            (Some(relay), Some(queued)) => {
                let relay = relay.clone();
                // The next batch does not wait for the brokers.
                tokio::spawn(async move {
                    relay.sent(queued).await;
                    report_all();
                });
            }
            _ => report_all(),
        }
    }

    /// Writes records to the database. They go to the spool instead if it is not empty, to keep the
    /// order, and if the database fails for a reason other than the records. The result has one
    /// entry per record.
    async fn store(&self, records: Arc<Vec<Record>>, spooling: bool) -> Result<Stored, NotKept> {
        if records.is_empty() {
            // The sender only waits for earlier records.
            return Ok(Stored::default());
        }
        if !spooling {
            match self.persister.write(&records, 0).await {
                Ok(written) => {
                    self.persister.health.mark_available();
                    return Ok(Stored {
                        queued: written.queued,
                        outcomes: self.persister.settle(&records, written).await,
                    });
                }
                Err(error) => self.persister.note_failure(&error),
            }
        }
        let outcomes = vec![Ok(Appended::Stored); records.len()];
        let spooled = self.persister.with_spool(move |spool| spool.append(&records)).await;
        self.persister.health.note_spooling(&spooled);
        let stored = |()| Stored { outcomes, queued: None };
        spooled.map(stored).map_err(|_| NotKept::SpoolFull)
    }
}

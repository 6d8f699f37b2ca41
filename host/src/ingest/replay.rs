//! The way back: what was spooled while the database was away is written to it, in order.

use std::time::Duration;

use store::{Record, Refused, Spool};
use tokio::task::JoinHandle;

use super::persist::Persister;

/// Before the first attempt after one that failed; twice as long before each further one, up to [`LONGEST_PAUSE`].
pub(super) const PAUSE: Duration = Duration::from_millis(500);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// What came of replaying a file of the spool.
pub(super) enum Replayed {
    /// It is in the database, and this many files wait.
    Left(usize),
    /// It waits for a later attempt.
    Later,
}

impl Persister {
    /// The replay of the oldest file, after a pause; `None` when nothing waits.
    pub(super) fn replaying_after(&self, pause: Duration) -> Option<JoinHandle<Replayed>> {
        let task = self.clone();
        (self.health.spooled() > 0).then(|| {
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                task.replay().await
            })
        })
    }

    /// Writes the oldest file of the spool to the database. A crash on the way is made good by ids: what is there
    /// already is not written again. What no database will take holds up nothing.
    pub(super) async fn replay(&self) -> Replayed {
        let Some(batch) = self.with_spool(Spool::oldest).await else {
            return Replayed::Left(0);
        };
        let written = match self.write_most(&batch.records).await {
            Ok(written) => written,
            Err(error) => {
                // A file that was passed over says nothing new of a database that takes others.
                if !batch.is_deferred || self.health.is_away() {
                    self.failed(&error);
                }
                if error.was_answered() {
                    self.with_spool(Spool::defer_oldest).await;
                }
                return Replayed::Later;
            }
        };
        if !batch.records.is_empty() {
            self.health.found();
        }
        if !written.stuck.is_empty() {
            let stuck: Vec<Record> = written.stuck.iter().map(|at| batch.records[*at].clone()).collect();
            // Into another file, so that this one is done with.
            if let Err(error) = self.with_spool(move |spool| spool.append(&stuck)).await {
                self.health.spool_said(&Err(error));
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
}

/// What came of a replay, once it has ended; never without one.
pub(super) async fn ended(replaying: &mut Option<JoinHandle<Replayed>>) -> Replayed {
    match replaying {
        // A panic is in the log by now.
        Some(replay) => replay.await.unwrap_or(Replayed::Later),
        None => std::future::pending().await,
    }
}

//! Replay: writes the spooled records to the database, in order, when it is available again.

use std::time::Duration;

use store::{Record, Refused, Spool};
use tokio::task::JoinHandle;

use super::persist::Persister;

/// Pause before the first retry. It doubles with each further retry, up to [`LONGEST_PAUSE`].
pub(super) const PAUSE: Duration = Duration::from_millis(500);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// The result of replaying one file of the spool.
pub(super) enum Replayed {
    /// The file is in the database; this many files are left.
    Left(usize),
    /// The file must be tried again later.
    Later,
}

impl Persister {
    /// Starts the replay of the oldest file after a pause; `None` if the spool is empty.
    pub(super) fn replaying_after(&self, pause: Duration) -> Option<JoinHandle<Replayed>> {
        let task = self.clone();
        (self.health.spooled() > 0).then(|| {
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                task.replay().await
            })
        })
    }

    /// Writes the oldest file of the spool to the database. After a crash it is written again; the
    /// ids of the records prevent duplicates. Invalid records are set aside, so that they do not
    /// block the others.
    pub(super) async fn replay(&self) -> Replayed {
        let Some(batch) = self.with_spool(Spool::oldest).await else {
            return Replayed::Left(0);
        };
        let written = match self.write_most(&batch.records).await {
            Ok(written) => written,
            Err(error) => {
                // A file that was deferred before says nothing new about a database that accepts
                // other files.
                if !batch.is_deferred || self.health.is_unavailable() {
                    self.note_failure(&error);
                }
                if error.was_answered() {
                    self.with_spool(Spool::defer_oldest).await;
                }
                return Replayed::Later;
            }
        };
        if !batch.records.is_empty() {
            self.health.mark_available();
        }
        if !written.stuck.is_empty() {
            let stuck: Vec<Record> = written.stuck.iter().map(|at| batch.records[*at].clone()).collect();
            // Move them to another file, so that this one is finished.
            if let Err(error) = self.with_spool(move |spool| spool.append(&stuck)).await {
                self.health.note_spooling(&Err(error));
                self.with_spool(Spool::defer_oldest).await;
                return Replayed::Later;
            }
        }
        let refused = written.refused.iter();
        let refused = refused.map(|(at, reason)| Refused::new(&batch.records[*at], reason.to_string()));
        // Only after all else succeeded, so that a file that is retried sets its invalid records
        // aside only once.
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

/// Waits for the result of a running replay; waits for ever if none is running.
pub(super) async fn ended(replaying: &mut Option<JoinHandle<Replayed>>) -> Replayed {
    match replaying {
        // A panic is already in the log.
        Some(replay) => replay.await.unwrap_or(Replayed::Later),
        None => std::future::pending().await,
    }
}

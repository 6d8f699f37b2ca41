//! Rollback first, bookkeeping second: an operator's rollback acts from memory, and is recorded when the
//! database can be written.

use std::time::Duration;

use ranking::release::{Command, Input, Order, State};
use uuid::Uuid;

use super::controller::{Controller, OrderError, Ordered};
use super::pending::PendingRollback;

/// Maximum number of rollbacks that wait for the database; more add nothing.
const MAX_PENDING: usize = 16;

impl Controller {
    /// Gives all requests back to legacy: here at once, whatever the database does, and everywhere
    /// once it is on record.
    pub async fn rollback(&self, pending: PendingRollback, within: Duration) -> Ordered {
        {
            let mut known = self.known.lock();
            let is_repeated = known.pending.iter().any(|other| other.command == pending.command);
            if !is_repeated && known.pending.len() < MAX_PENDING {
                known.pending.push_back(pending.clone());
            }
            self.apply(&mut known);
        }
        tracing::warn!(
            actor = pending.actor,
            reason = pending.reason,
            "rollback: legacy answers on this gateway"
        );
        // Neither a disk nor a database that does not answer must keep the operator waiting.
        let recorded = tokio::time::timeout(within, async {
            self.keep_pending().await;
            self.wake.notify_one();
            self.record_pending().await
        });
        let recorded = recorded.await;
        match recorded {
            Ok(Ok(())) => self.ordered(true),
            Ok(Err(error)) => {
                tracing::error!("the rollback is not in the database yet: {error}");
                self.ordered(false)
            }
            Err(_) => self.ordered(false),
        }
    }

    /// Records the rollbacks that act here and are not on record yet. They win over whatever is on
    /// record.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub(super) async fn record_pending(&self) -> Result<(), OrderError> {
        if !self.has_pending_rollback() {
            return Ok(());
        }
        let _recording = self.recording.lock().await;
        loop {
            let Some(pending) = self.known.lock().pending.front().cloned() else {
                return Ok(());
            };
            self.record_rollback(&pending).await?;
        }
    }

    async fn record_rollback(&self, pending: &PendingRollback) -> Result<(), OrderError> {
        let input = |_: &State| {
            // The record may have been replaced since, or in this very attempt.
            let blind = pending.seen != Some(self.seen().rewrites);
            Ok(Some(Input::Order(Order {
                command: Command::Rollback { blind },
                actor: pending.actor.clone(),
                reason: pending.reason.clone(),
            })))
        };
        let done = self.submit(pending.at, Some(pending.command), None, input).await?;
        // The id was used before, and LTR serves again: somebody asks for a rollback now, and gets one.
        if done.is_none() && pending.seen.is_some() && self.state().is_some_and(|state| state.serves()) {
            self.submit(pending.at, Some(Uuid::new_v4()), None, input).await?;
        }
        {
            let mut known = self.known.lock();
            known.pending.retain(|left| left.command != pending.command);
            // Envoys were offered nothing as of states that do not come.
            known.offers_anew |= known.pending.is_empty();
            self.apply(&mut known);
        }
        // If the gateway ends before, the ledger knows the command.
        self.keep_pending().await;
        Ok(())
    }

    /// Writes the pending rollbacks to the disk, on a thread of their own: the disk may hang.
    async fn keep_pending(&self) {
        let (file, known) = (self.pending.clone(), self.known.clone());
        let pending = move || known.lock().pending.iter().cloned().collect();
        let written = tokio::task::spawn_blocking(move || file.write(pending)).await;
        if let Ok(Err(error)) = written {
            tracing::error!("pending rollbacks are kept in memory alone: {error}");
        }
    }
}

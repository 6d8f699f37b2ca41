//! The record as a follower sees it: what is on it, whether it continues what was followed, and what
//! programs of the version before have written beside it.

use std::time::Instant;

use chrono::{DateTime, Utc};
use metrics::counter;
use ranking::release::ledger::{self, ORIGIN};
use ranking::release::{Input, State};
use store::{LedgerRow, Released};

use super::controller::{Controller, OrderError};
use super::known::OnRecord;

/// Maximum number of entries that a follower checks at once; behind more it follows unchecked.
const MAX_CHECKED: u32 = 256;

impl Controller {
    /// The state on record. Without one: what the table of former programs amounts to.
    pub(super) async fn read(&self, now: DateTime<Utc>) -> Result<OnRecord, OrderError> {
        match self.store.released().await? {
            Some(Released { version, state, head }) => {
                let state: State =
                    serde_json::from_str(&state).map_err(|error| OrderError::Unreadable(error.to_string()))?;
                if state.version != version {
                    let said = format!("its version is {}, and its row has {version}", state.version);
                    return Err(OrderError::Unreadable(said));
                }
                self.compare(version, &head);
                Ok(OnRecord {
                    state,
                    head,
                    exists: true,
                })
            }
            None => {
                if !self.store.ledger_tail(1).await?.is_empty() {
                    let said = "ltr_release has no row, and the ledger has entries; restore the row from the last one";
                    return Err(OrderError::Unreadable(said.to_owned()));
                }
                self.compare(0, ORIGIN);
                let left = self.store.rollout().await?;
                Ok(OnRecord {
                    state: State::taken_over(left.weight, left.champion, left.challenger, now),
                    head: ORIGIN.to_owned(),
                    exists: false,
                })
            }
        }
    }

    /// Looks at the record once, and follows what is there.
    ///
    /// # Errors
    /// A database that cannot be used: this gateway then goes on as before. A record that cannot be read:
    /// it may say that nothing serves, so legacy answers.
    pub async fn look(&self) -> Result<(), OrderError> {
        let looked = self.look_once().await;
        if let Err(error @ OrderError::Unreadable(_)) = &looked {
            self.note_unreadable(&error.to_string());
        }
        looked
    }

    async fn look_once(&self) -> Result<(), OrderError> {
        self.record_pending().await?;
        let pulse = self.store.pulse().await?;
        let (is_same, share) = {
            let known = self.known.lock();
            let state = known.state.as_ref();
            let is_same = state.is_some_and(|state| state.version == pulse.version) && known.head == pulse.head;
            (is_same, state.map_or(0, |state| state.exposure.percent()))
        };
        let former = pulse.mirror.filter(|mirror| mirror.weight < share);
        if pulse.version == 0 {
            // The first gateway begins.
            self.submit(self.now(), None, None, |_| Ok(None)).await?;
        } else if !is_same {
            self.follow_record().await?;
        } else if let Some(former) = former {
            self.follow_former(pulse.version, former.weight).await?;
        }
        let mut known = self.known.lock();
        known.seen = Some(Instant::now());
        known.problem = None;
        Ok(())
    }

    /// Follows what is on record, and checks that it continues what was followed.
    async fn follow_record(&self) -> Result<(), OrderError> {
        let _turn = self.turn.lock().await;
        let latest = self.read(self.now()).await?;
        let before = {
            let known = self.known.lock();
            known.state.as_ref().map(|state| (state.version, known.head.clone()))
        };
        let version = latest.state.version;
        let head = latest.head.clone();
        self.follow(latest.state, latest.head);
        // Followed first, because a rollback must not wait for bookkeeping.
        if let Some((seq, known_head)) = before.filter(|(seq, _)| *seq < version) {
            let rows = self.store.ledger(seq, MAX_CHECKED).await?;
            let is_whole = rows.last().is_some_and(|last| last.seq == version);
            let is_ordered = rows.iter().any(|row| row.command.is_some());
            if is_whole && !ledger::continues(seq, &known_head, &rows_of(rows), &head) {
                self.note_rewritten(format!(
                    "the ledger up to version {version} does not continue entry {seq}, which had the hash {known_head}"
                ));
            } else if is_ordered {
                self.trust();
            }
        }
        Ok(())
    }

    /// Compares what is on record with what was followed. The caller holds the turn.
    fn compare(&self, version: u64, head: &str) {
        let known = self.known.lock();
        // A gateway that has followed nothing yet takes what is there.
        let Some(followed) = known.state.as_ref().map(|state| state.version) else {
            return;
        };
        if version > followed || (version == followed && head == known.head) {
            return;
        }
        let what = format!(
            "version {followed} with the hash {} was followed, and version {version} with {head} is on record",
            known.head
        );
        drop(known);
        self.note_rewritten(what);
    }

    /// Somebody has replaced, restored or rewritten the record, perhaps from before a rollback. Legacy
    /// answers here until an operator orders something.
    fn note_rewritten(&self, what: String) {
        counter!("ltr_ledger_rewritten_total").increment(1);
        tracing::error!(
            "the rollout's record was replaced, restored or rewritten; legacy answers until an operator's next order: {what}"
        );
        let mut known = self.known.lock();
        known.rewritten = Some(format!("{what}; legacy answers until an operator's next order"));
        known.was_rewritten = true;
        self.apply(&mut known);
    }

    /// An operator's order was recorded after the record was rewritten: what it leads to counts.
    pub(super) fn trust(&self) {
        let mut known = self.known.lock();
        if known.rewritten.take().is_some() {
            tracing::info!("an operator's order is on record; what it leads to serves");
            self.apply(&mut known);
        }
    }

    fn note_unreadable(&self, what: &str) {
        let mut known = self.known.lock();
        known.unreadable = Some(what.to_owned());
        self.apply(&mut known);
    }

    /// An operator of a gateway of the version before, which knows no state machine, has lowered the
    /// weight in its table, beside the version `seen`.
    async fn follow_former(&self, seen: u64, weight: u8) -> Result<(), OrderError> {
        let lowered = |state: &State| Ok((state.version == seen).then_some(Input::FormerWeight(weight)));
        self.submit(self.now(), None, None, lowered).await.map(drop)
    }
}

fn rows_of(rows: Vec<LedgerRow>) -> Vec<ledger::Row> {
    let row = |row: LedgerRow| ledger::Row {
        seq: row.seq,
        text: row.entry,
        hash: row.hash,
        command: row.command,
    };
    rows.into_iter().map(row).collect()
}

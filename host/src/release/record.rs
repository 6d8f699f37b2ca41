//! The record as a follower sees it: what is on it, whether it continues what was followed, and what
//! programs of the version before have written beside it.

use std::time::Instant;

use chrono::{DateTime, Utc};
use metrics::counter;
use ranking::release::ledger::{Anchor, ORIGIN, Row};
use ranking::release::{Input, State};
use store::{LedgerRow, Released, StoreError};

use super::controller::{Controller, OrderError};
use super::known::OnRecord;

/// Number of entries that are read at once.
const PAGE: u32 = 256;

impl Controller {
    /// The state on record, which was checked to continue what this gateway has followed; otherwise
    /// nothing serves here. Without one: what the table of former programs amounts to. The caller holds
    /// the turn.
    pub(super) async fn read(&self, now: DateTime<Utc>) -> Result<OnRecord, OrderError> {
        let mut on_record = self.on_record(now).await?;
        if on_record.exists && !on_record.state.serves() {
            // A rollback must not wait for bookkeeping.
            self.adopt(on_record.state.clone(), on_record.head.clone());
        }
        on_record.is_ordered = self.check(&on_record).await?;
        Ok(on_record)
    }

    async fn on_record(&self, now: DateTime<Utc>) -> Result<OnRecord, OrderError> {
        let mut released = self.store.released().await?;
        if released.is_none() && !self.store.ledger_tail(1).await?.is_empty() {
            // Perhaps the first transition came between the two.
            released = self.store.released().await?;
            if released.is_none() {
                let said = "ltr_release has no row, and the ledger has entries; restore the row from the last one";
                return Err(OrderError::Unreadable(said.to_owned()));
            }
        }
        let Some(Released { version, state, head }) = released else {
            let left = self.store.rollout().await?;
            return Ok(OnRecord {
                state: State::taken_over(left.weight, left.champion, left.challenger, now),
                head: ORIGIN.to_owned(),
                exists: false,
                is_ordered: false,
            });
        };
        let state: State = serde_json::from_str(&state).map_err(|error| OrderError::Unreadable(error.to_string()))?;
        if state.version != version {
            let said = format!("its version is {}, and its row has {version}", state.version);
            return Err(OrderError::Unreadable(said));
        }
        Ok(OnRecord {
            state,
            head,
            exists: true,
            is_ordered: false,
        })
    }

    /// Checks that the record goes on from where it was checked before. Returns whether it does so by an
    /// operator's order that says what serves.
    async fn check(&self, on_record: &OnRecord) -> Result<bool, StoreError> {
        let end = Anchor {
            seq: on_record.state.version * u64::from(on_record.exists),
            head: on_record.head.clone(),
        };
        let anchor = self.known.lock().anchor.clone();
        // A gateway that has followed nothing yet takes what is there.
        let (is_ordered, fault) = match anchor {
            None => (false, None),
            Some(anchor) => self.advance(anchor, &end).await?,
        };
        if let Some(fault) = fault {
            self.note_rewritten(fault);
        }
        self.known.lock().anchor = Some(end);
        Ok(is_ordered)
    }

    /// Goes from one entry to another. Returns whether an operator's order that says what serves is
    /// between them, and what is wrong, in words.
    async fn advance(&self, from: Anchor, end: &Anchor) -> Result<(bool, Option<String>), StoreError> {
        let broken = |fault: &str| {
            let Anchor { seq, head } = &from;
            let said = format!(
                "version {seq} with the hash {head} was followed, and version {} with {} is on record{fault}",
                end.seq, end.head
            );
            Ok((false, Some(said)))
        };
        let (mut at, mut is_ordered) = (from.clone(), false);
        while at.seq < end.seq {
            let rows = self.store.ledger(at.seq, PAGE).await?;
            if rows.is_empty() {
                return broken(&format!("; entry {} is missing", at.seq + 1));
            }
            for row in rows.into_iter().filter(|row| row.seq <= end.seq).map(row_of) {
                match at.advance(&row) {
                    Ok(ordered) => is_ordered |= ordered,
                    Err(fault) => return broken(&format!("; {fault}")),
                }
            }
        }
        if at == *end { Ok((is_ordered, None)) } else { broken("") }
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
        self.keep_followed().await;
        looked
    }

    async fn look_once(&self) -> Result<(), OrderError> {
        self.record_pending().await?;
        let pulse = self.store.pulse().await?;
        let (is_same, share) = {
            let known = self.known.lock();
            let state = known.state.as_ref();
            let is_same = known.unreadable.is_none()
                && state.is_some_and(|state| state.version == pulse.version)
                && known.head == pulse.head
                && known.anchor.as_ref().is_some_and(|anchor| anchor.head == pulse.head);
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

    /// Follows what is on record.
    async fn follow_record(&self) -> Result<(), OrderError> {
        let _turn = self.turn.lock().await;
        let latest = self.read(self.now()).await?;
        self.follow(latest);
        Ok(())
    }

    /// Somebody has replaced, restored or rewritten the record, perhaps from before a rollback. Legacy
    /// answers here until an operator orders what serves.
    fn note_rewritten(&self, what: String) {
        counter!("ltr_ledger_rewritten_total").increment(1);
        tracing::error!(
            "the rollout's record was replaced, restored or rewritten; legacy answers until an operator orders what serves: {what}"
        );
        let mut known = self.known.lock();
        known.rewritten = Some(format!("{what}; legacy answers until an operator orders what serves"));
        known.rewrites += 1;
        known.offers_anew = true;
        self.apply(&mut known);
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

fn row_of(row: LedgerRow) -> Row {
    Row {
        seq: row.seq,
        text: row.entry,
        hash: row.hash,
        command: row.command,
    }
}

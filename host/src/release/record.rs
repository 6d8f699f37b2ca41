//! The record as a follower sees it: what is on it, whether it continues what was followed, and what
//! programs of the version before have written beside it.

use std::time::Instant;

use chrono::{DateTime, Utc};
use metrics::counter;
use ranking::release::ledger::{self, Anchor, ORIGIN, Row};
use ranking::release::{Input, State};
use serde::Deserialize;
use serde_json::Value;
use store::{LedgerRow, Released, StoreError};

use super::controller::{Controller, OrderError};
use super::followed::Followed;
use super::known::OnRecord;

/// Number of entries that are read at once.
const PAGE: u32 = 256;

impl Controller {
    /// The state on record, which was checked to continue what this gateway has followed; otherwise
    /// nothing serves here. Without one: what the table of former programs amounts to. The caller holds
    /// the turn.
    pub(super) async fn read(&self, now: DateTime<Utc>) -> Result<OnRecord, OrderError> {
        let on_record = self.on_record(now).await?;
        if on_record.exists && !on_record.state.serves() {
            self.adopt_unchecked(&on_record);
        }
        self.check(&on_record).await?;
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
                stored: Value::Null,
                exists: false,
            });
        };
        let unreadable = |error: serde_json::Error| OrderError::Unreadable(error.to_string());
        let stored: Value = serde_json::from_str(&state).map_err(unreadable)?;
        let state = State::deserialize(&stored).map_err(unreadable)?;
        if state.version != version {
            let said = format!("its version is {}, and its row has {version}", state.version);
            return Err(OrderError::Unreadable(said));
        }
        Ok(OnRecord {
            state,
            head,
            stored,
            exists: true,
        })
    }

    /// Follows a state that serves nothing before it was checked, because a rollback must not wait for
    /// bookkeeping. What is on record later must contain it.
    fn adopt_unchecked(&self, on_record: &OnRecord) {
        let entry = on_record.anchor();
        let mut known = self.known.lock();
        let is_later = |other: &Option<Anchor>| other.as_ref().is_some_and(|other| other.seq >= entry.seq);
        if !is_later(&known.anchor) && !is_later(&known.must_have) {
            known.must_have = Some(entry);
        }
        drop(known);
        self.adopt(on_record.state.clone(), on_record.head.clone(), false);
    }

    /// Checks that the record goes on from where it was checked before, and that its state is the one of
    /// its last entry.
    async fn check(&self, on_record: &OnRecord) -> Result<(), StoreError> {
        let end = on_record.anchor();
        let (anchor, must_have) = {
            let known = self.known.lock();
            (known.anchor.clone(), known.must_have.clone())
        };
        let checked = self.advance(anchor, must_have, &end, &on_record.stored).await?;
        let fault = {
            let mut known = self.known.lock();
            known.anchor = Some(end);
            known.must_have = None;
            match checked {
                Ok(is_vouched) => {
                    known.is_vouched |= is_vouched;
                    return Ok(());
                }
                Err(fault) => fault,
            }
        };
        self.note_rewritten(fault);
        Ok(())
    }

    /// Goes from the entry that was checked last to the end of the record. Returns whether an operator
    /// vouches for it on the way; otherwise what is wrong, in words.
    async fn advance(
        &self,
        anchor: Option<Anchor>,
        must_have: Option<Anchor>,
        end: &Anchor,
        stored: &Value,
    ) -> Result<Result<bool, String>, StoreError> {
        // A gateway that has followed nothing yet takes what is there.
        let from = anchor.or_else(|| must_have.clone()).unwrap_or_else(|| end.clone());
        let broken = |fault: &str| {
            let Anchor { seq, head } = &from;
            let found = match end.seq {
                0 => "the record is empty".to_owned(),
                version => format!("version {version} with {} is on record", end.head),
            };
            Ok(Err(format!(
                "version {seq} with the hash {head} was followed, and {found}{fault}"
            )))
        };
        let (mut at, mut is_vouched, mut last) = (from.clone(), false, None);
        let mut lacks = must_have.filter(|entry| *entry != at);
        while at.seq < end.seq {
            let rows = self.store.ledger(at.seq, PAGE).await?;
            if rows.is_empty() {
                return broken(&format!("; entry {} is missing", at.seq + 1));
            }
            for row in rows.into_iter().filter(|row| row.seq <= end.seq).map(row_of) {
                match at.advance(&row) {
                    Ok((link, vouches)) => {
                        is_vouched |= vouches;
                        last = Some(link.state);
                    }
                    Err(fault) => return broken(&format!("; {fault}")),
                }
                lacks = lacks.filter(|entry| *entry != at);
            }
        }
        if at != *end {
            return broken("");
        }
        if let Some(entry) = lacks {
            return broken(&format!("; entry {} with the hash {} is gone", entry.seq, entry.head));
        }
        if last.is_none() && end.seq > 0 {
            last = self.entry_of(end).await?;
        }
        if end.seq > 0 && last.as_ref() != Some(stored) {
            return broken("; its state is not the one of its last entry");
        }
        Ok(Ok(is_vouched))
    }

    /// The state that an entry of this hash leads to.
    async fn entry_of(&self, at: &Anchor) -> Result<Option<Value>, StoreError> {
        let rows = self.store.ledger(at.seq - 1, 1).await?;
        let row = rows.first().filter(|row| ledger::hash(&row.entry) == at.head);
        Ok(row.and_then(|row| Some(serde_json::from_str::<Value>(&row.entry).ok()?["state"].take())))
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
        let followed = {
            let known = self.known.lock();
            Followed {
                anchor: known.anchor.clone(),
                must_have: known.must_have.clone(),
                rewritten: known.rewritten.clone(),
            }
        };
        self.followed.keep_in_time(followed).await;
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
        self.follow(latest.state, latest.head);
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
        known.is_vouched = false;
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

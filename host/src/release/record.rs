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
use super::known::{Known, OnRecord};

/// Number of entries that are read at once.
const PAGE: u32 = 256;

impl Controller {
    /// The state on record, which was checked to continue what this gateway has followed; otherwise
    /// nothing serves here. Without one: what the table of former programs amounts to. The caller holds
    /// the turn.
    pub(super) async fn read(&self, now: DateTime<Utc>) -> Result<OnRecord, OrderError> {
        let mut on_record = self.on_record(now).await?;
        if on_record.exists && !on_record.state.serves() {
            self.adopt_unchecked(&on_record);
        }
        on_record.is_sound = self.check(&on_record).await?;
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
                is_sound: true,
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
            is_sound: true,
            exists: true,
        })
    }

    /// Follows a state that serves nothing before it was checked, because a rollback must not wait for
    /// bookkeeping. What is on record later must contain it.
    fn adopt_unchecked(&self, on_record: &OnRecord) {
        let entry = on_record.anchor();
        let mut known = self.known.lock();
        let mut others = known.anchor.iter().chain(&known.must_have);
        let is_other = |other: &Anchor| other.seq >= entry.seq && *other != entry;
        if let Some(other) = others.find(|other| is_other(other)) {
            let fault = replaced(other, &entry, "");
            self.note_rewritten(&mut known, &fault);
        }
        if known.anchor.as_ref() != Some(&entry) && !known.must_have.contains(&entry) {
            known.must_have.push(entry);
        }
        drop(known);
        self.adopt(on_record.state.clone(), on_record.head.clone(), false);
    }

    /// Checks that the record goes on from where it was checked before. Returns whether its state is the
    /// one of its last entry.
    async fn check(&self, on_record: &OnRecord) -> Result<bool, StoreError> {
        let end = on_record.anchor();
        let (anchor, must_have) = {
            let known = self.known.lock();
            (known.anchor.clone(), known.must_have.clone())
        };
        let walked = self.advance(anchor, must_have, &end).await?;
        let last = match &walked {
            Ok(Walked { last: Some(last), .. }) => Some(last.clone()),
            _ if end.seq > 0 => self.entry_of(&end).await?,
            _ => None,
        };
        let is_sound = end.seq == 0 || last.as_ref() == Some(&on_record.stored);
        let fault = match &walked {
            Err(fault) => Some(fault.clone()),
            Ok(_) if is_sound => None,
            Ok(_) => Some(replaced(&end, &end, "; its state is not the one of its last entry")),
        };
        let mut known = self.known.lock();
        let was_known = known.anchor.as_ref() == Some(&end) && known.rewritten.is_some();
        known.anchor = Some(end);
        known.must_have.clear();
        match fault {
            // Found again, as long as it is so.
            Some(_) if was_known => {}
            Some(fault) => self.note_rewritten(&mut known, &fault),
            None => known.is_vouched |= walked.is_ok_and(|walked| walked.is_vouched),
        }
        Ok(is_sound)
    }

    /// Goes from the entry that was checked last to the end of the record; otherwise says what is wrong.
    async fn advance(
        &self,
        anchor: Option<Anchor>,
        must_have: Vec<Anchor>,
        end: &Anchor,
    ) -> Result<Result<Walked, String>, StoreError> {
        // A gateway that has followed nothing yet takes what is there.
        let first = must_have.iter().min_by_key(|entry| entry.seq);
        let from = anchor.or_else(|| first.cloned()).unwrap_or_else(|| end.clone());
        let mut at = from.clone();
        let mut walked = Walked::default();
        let mut lacks = must_have;
        lacks.retain(|entry| *entry != at);
        while at.seq < end.seq {
            let rows = self.store.ledger(at.seq, PAGE).await?;
            let rows: Vec<Row> = rows.into_iter().filter(|row| row.seq <= end.seq).map(row_of).collect();
            if rows.is_empty() {
                return Ok(Err(replaced(&from, end, &format!("; entry {} is missing", at.seq + 1))));
            }
            for row in &rows {
                match at.advance(row) {
                    Ok((link, vouches)) => {
                        walked.is_vouched |= vouches;
                        walked.last = Some(link.state);
                    }
                    Err(fault) => return Ok(Err(replaced(&from, end, &format!("; {fault}")))),
                }
                lacks.retain(|entry| *entry != at);
            }
        }
        if at != *end {
            return Ok(Err(replaced(&from, end, "")));
        }
        if let Some(entry) = lacks.first() {
            let gone = format!("; entry {} with the hash {} is gone", entry.seq, entry.head);
            return Ok(Err(replaced(&from, end, &gone)));
        }
        Ok(Ok(walked))
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
                && known.anchor.as_ref().is_some_and(|anchor| anchor.head == pulse.head)
                && !known.is_vouched;
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
    fn note_rewritten(&self, known: &mut Known, what: &str) {
        counter!("ltr_ledger_rewritten_total").increment(1);
        tracing::error!(
            "the rollout's record was replaced, restored or rewritten; legacy answers until an operator orders what serves: {what}"
        );
        known.rewritten = Some(format!("{what}; legacy answers until an operator orders what serves"));
        known.is_vouched = false;
        known.rewrites += 1;
        known.offers_anew = true;
        self.apply(known);
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

/// A way along the ledger.
#[derive(Default)]
struct Walked {
    /// Whether an operator vouches for the record on the way.
    is_vouched: bool,
    /// The state of the last entry; `None`: there was no way to go.
    last: Option<Value>,
}

/// The record is not the one that was followed, in words.
fn replaced(followed: &Anchor, found: &Anchor, fault: &str) -> String {
    let Anchor { seq, head } = followed;
    let found = match found.seq {
        0 => "the record is empty".to_owned(),
        version => format!("version {version} with {} is on record", found.head),
    };
    format!("version {seq} with the hash {head} was followed, and {found}{fault}")
}

fn row_of(row: LedgerRow) -> Row {
    Row {
        seq: row.seq,
        text: row.entry,
        hash: row.hash,
        command: row.command,
    }
}

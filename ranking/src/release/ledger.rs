//! The ledger: every transition with its author, reason and evidence, each entry sealed by the hash of
//! the one before. Whoever remembers one hash notices every change of what came before it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

use super::{Action, State, Transition};

/// The `prev` of the first entry.
pub const ORIGIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One entry. Its text is what is hashed; nobody writes it anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The version of the state that it leads to, from 1.
    pub seq: u64,
    /// When it was decided.
    pub ts_utc: DateTime<Utc>,
    /// What was done.
    pub action: Action,
    /// Who did it.
    pub actor: String,
    /// Why, in words; may be empty.
    pub reason: String,
    /// The numbers behind it.
    pub evidence: Value,
    /// The operator's command that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Uuid>,
    /// The state from then on.
    pub state: State,
    /// Hash of the entry before, or [`ORIGIN`].
    pub prev: String,
}

/// An entry's text with its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The entry as JSON.
    pub text: String,
    /// SHA-256 of the text, lower-case hexadecimal.
    pub hash: String,
}

/// Seals a transition that was decided at `now`, behind the entry with the hash `prev`.
pub fn seal(transition: &Transition, now: DateTime<Utc>, command: Option<Uuid>, prev: &str) -> Sealed {
    let entry = Entry {
        seq: transition.state.version,
        ts_utc: now,
        action: transition.action,
        actor: transition.actor.clone(),
        reason: transition.reason.clone(),
        evidence: transition.evidence.clone(),
        command,
        state: transition.state.clone(),
        prev: prev.to_owned(),
    };
    let text = serde_json::to_string(&entry).expect("an entry has texts and finite numbers alone");
    let hash = hash(&text);
    Sealed { text, hash }
}

/// SHA-256 of a text, lower-case hexadecimal.
pub fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A row of the ledger, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// As [`Entry::seq`].
    pub seq: u64,
    /// As [`Sealed::text`].
    pub text: String,
    /// As [`Sealed::hash`].
    pub hash: String,
    /// As [`Entry::command`].
    pub command: Option<Uuid>,
}

/// What is wrong with a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("entry {seq}: {what}")]
pub struct Fault {
    /// The entry that is wrong, or should be there.
    pub seq: u64,
    /// What is wrong with it.
    pub what: String,
}

/// A place in a ledger. Whoever remembers it notices whether a later ledger goes on from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Number of the entry; 0: before the first one.
    pub seq: u64,
    /// Its hash, or [`ORIGIN`].
    pub head: String,
}

impl Default for Anchor {
    fn default() -> Anchor {
        Anchor {
            seq: 0,
            head: ORIGIN.to_owned(),
        }
    }
}

/// What a follower needs of an entry, whatever program wrote it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Link {
    prev: String,
    #[serde(default)]
    action: Value,
    #[serde(default)]
    evidence: Value,
    /// The state from then on.
    #[serde(default)]
    pub state: Value,
}

/// Whether an operator vouches for the record by an order that led to such an entry. `command`: the
/// order's id.
pub fn vouches(action: Action, evidence: &Value, command: Option<Uuid>) -> bool {
    let says_what_serves = matches!(
        action,
        Action::Promote | Action::Rollback | Action::Pin | Action::Weight
    );
    command.is_some() && says_what_serves && evidence["blind"] != true
}

impl Anchor {
    /// Goes on to the next row, whatever program wrote it. Returns the entry, and whether an operator
    /// vouches for the record with it.
    ///
    /// # Errors
    /// A row that does not continue the ledger from here.
    pub fn advance(&mut self, row: &Row) -> Result<(Link, bool), Fault> {
        let fault = |what: String| Fault {
            seq: self.seq + 1,
            what,
        };
        if row.seq != self.seq + 1 {
            return Err(fault(format!("is missing; the next one is {}", row.seq)));
        }
        let found = hash(&row.text);
        if found != row.hash {
            return Err(fault(format!(
                "was changed: its text has the hash {found}, recorded is {}",
                row.hash
            )));
        }
        let link: Link = serde_json::from_str(&row.text).map_err(|error| fault(format!("is no entry: {error}")))?;
        if link.prev != self.head {
            return Err(fault(format!(
                "does not follow entry {}: it names {}, which has {}",
                self.seq, link.prev, self.head
            )));
        }
        self.seq = row.seq;
        self.head.clone_from(&row.hash);
        let action = serde_json::from_value::<Action>(link.action.clone());
        let is_vouched = action.is_ok_and(|action| vouches(action, &link.evidence, row.command));
        Ok((link, is_vouched))
    }
}

/// Verifies a ledger from its first entry on, a few rows at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verifier {
    anchor: Anchor,
    state: Option<String>,
}

impl Verifier {
    /// Takes the next row.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn take(&mut self, row: &Row) -> Result<Entry, Fault> {
        self.anchor.advance(row)?;
        let fault = |what: String| Fault { seq: row.seq, what };
        let entry: Entry =
            serde_json::from_str(&row.text).map_err(|error| fault(format!("is no entry of this program: {error}")))?;
        if (entry.seq, entry.command, entry.state.version) != (row.seq, row.command, row.seq) {
            return Err(fault("its columns say something else than its text".to_owned()));
        }
        self.state = serde_json::to_string(&entry.state).ok();
        Ok(entry)
    }

    /// Ends with what the state's own row says: its version, its head and its text.
    ///
    /// # Errors
    /// A state that is not the last entry's.
    pub fn end(self, version: u64, head: &str, state: &str) -> Result<(), Fault> {
        let fault = |what: String| {
            Err(Fault {
                seq: self.anchor.seq,
                what,
            })
        };
        if version != self.anchor.seq {
            return fault(format!(
                "is the last one, but the state on record has version {version}"
            ));
        }
        if head != self.anchor.head {
            return fault(format!(
                "has the hash {}, but the state on record names {head}",
                self.anchor.head
            ));
        }
        let same = |text: &str| serde_json::from_str::<Value>(text).ok();
        if version > 0 && same(state) != self.state.as_deref().and_then(same) {
            return fault("leads to another state than the one on record".to_owned());
        }
        Ok(())
    }

    /// Number of entries so far.
    pub fn seq(&self) -> u64 {
        self.anchor.seq
    }

    /// Hash of the last entry, or [`ORIGIN`].
    pub fn head(&self) -> &str {
        &self.anchor.head
    }
}

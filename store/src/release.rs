//! The release record of a fleet: one versioned state, its ledger, and what a fleet's controller needs beside it.
//!
//! The store does not know the state machine. States, entries, reports and evidence are JSON texts that it
//! returns exactly as they were written. All instants here are the database's, so that gateways with different
//! clocks agree.

use std::fmt;
use std::future::pending;
use std::time::Duration;

use chrono::{Datelike, NaiveDate};
use uuid::Uuid;

use crate::{RolloutState, Store, StoreError, check_weight, postgres};

/// The state on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// 1 for the first commit; each commit adds one.
    pub version: u64,
    /// JSON text, as [`Commit::state`] had it.
    pub state: String,
    /// Hash of the ledger's last entry.
    pub head: String,
}

/// What a follower polls, to learn whether anything changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// The version on record; 0 before the first commit.
    pub version: u64,
    /// Hash of the ledger's last entry; empty before the first commit.
    pub head: String,
    /// How often evidence was saved: see [`Store::save_evidence`].
    pub evidence: u64,
    /// The table `ltr_rollout`. Programs of the previous version write it directly, so that it may differ from the
    /// last [`Commit::mirror`].
    /// `None`: somebody has deleted its row.
    pub mirror: Option<RolloutState>,
}

/// The next state, and everything that is written with it in one transaction.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// The version that must be on record; 0 if there must be none yet.
    pub expected: u64,
    /// JSON text. It becomes version `expected + 1`.
    pub state: &'a str,
    /// Text of the ledger entry.
    pub entry: &'a str,
    /// Lower-case hexadecimal SHA-256 of `entry`. It becomes the head.
    pub hash: &'a str,
    /// Id of the operator's command. No other entry of the ledger may have it.
    pub command: Option<Uuid>,
    /// Written to the table `ltr_rollout`, for programs of the previous version.
    pub mirror: &'a RolloutState,
    /// Effects to be delivered, in order.
    pub outbox: &'a [Effect<'a>],
    /// If given, this lease must be held at the time of the commit.
    pub lease: Option<&'a Lease>,
}

/// A message that a commit owes to a destination.
#[derive(Clone, Copy, Debug)]
pub struct Effect<'a> {
    /// The name of the destination; each gets its messages in order.
    pub destination: &'a str,
    /// The message.
    pub body: &'a str,
}

/// What became of a [`Commit`]. Only with `Done` was anything written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is on record.
    Done,
    /// Another version is on record.
    Conflict,
    /// The command is in the ledger already, with this sequence number.
    Repeated(u64),
    /// The lease has expired, or another holder has it.
    LeaseLost,
}

/// An entry of the ledger, which is append-only: the database refuses to change or delete entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// The version that the entry led to.
    pub seq: u64,
    /// Text of the entry.
    pub entry: String,
    /// Lower-case hexadecimal SHA-256 of `entry`.
    pub hash: String,
    /// Id of the operator's command, if there was one.
    pub command: Option<Uuid>,
}

/// A lease as its holder got it: see [`Store::take_lease`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What is leased.
    pub name: String,
    /// Who holds it.
    pub holder: Uuid,
    /// Rises whenever the lease is taken anew, and stays when it is renewed.
    pub epoch: u64,
}

/// What a gateway says of itself.
#[derive(Clone, Copy, Debug)]
pub struct GatewayReport<'a> {
    /// The gateway's id; its next report replaces this one.
    pub id: Uuid,
    /// The gateway's name, for people.
    pub name: &'a str,
    /// JSON text.
    pub report: &'a str,
}

/// The latest report of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The gateway's id.
    pub id: Uuid,
    /// The gateway's name, for people.
    pub name: String,
    /// Time since the report. 0 if the database's clock was set back since.
    pub age: Duration,
    /// JSON text.
    pub report: String,
}

/// An effect that was not delivered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Its key in the outbox.
    pub id: u64,
    /// The ledger entry that owes it.
    pub seq: u64,
    /// The name of the destination.
    pub destination: String,
    /// The message.
    pub body: String,
    /// How often delivery has failed.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// Time since the commit.
    pub age: Duration,
}

/// The outbox in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxFacts {
    /// Effects that were not delivered yet.
    pub owed: u64,
    /// The age of the oldest of them.
    pub oldest: Option<Duration>,
    /// Why the latest failed attempt on any of them failed.
    pub last_error: Option<String>,
}

impl Store {
    /// The state on record; `None` before the first commit.
    pub async fn released(&self) -> Result<Option<Released>, StoreError> {
        self.backend.released().await
    }

    /// What a follower polls: one cheap query, which waits for no data call.
    pub async fn pulse(&self) -> Result<Pulse, StoreError> {
        self.backend.pulse().await
    }

    /// Puts a new state on record if the expected version is there, with its ledger entry, its effects and the mirror:
    /// one transaction, on disk when this returns [`Committed::Done`]. Otherwise nothing was written.
    ///
    /// The command is checked first, then the lease, then the version.
    ///
    /// # Errors
    /// [`StoreError::Value`] for a weight above 100 or a malformed hash. After [`StoreError::Unavailable`] the commit may
    /// or may not be on record: read the state again, or repeat the command.
    pub async fn commit_release(&self, commit: &Commit<'_>) -> Result<Committed, StoreError> {
        check_weight(commit.mirror)?;
        check_hash(commit.hash)?;
        self.backend.commit_release(commit).await
    }

    /// At most `limit` entries after the sequence number `after`, oldest first.
    pub async fn ledger(&self, after: u64, limit: u32) -> Result<Vec<LedgerRow>, StoreError> {
        self.backend.ledger(after, limit).await
    }

    /// The sequence number of the entry that this command led to; `None` if it led to none.
    pub async fn ordered(&self, command: Uuid) -> Result<Option<u64>, StoreError> {
        self.backend.ordered(command).await
    }

    /// The latest `limit` entries, newest first.
    pub async fn ledger_tail(&self, limit: u32) -> Result<Vec<LedgerRow>, StoreError> {
        self.backend.ledger_tail(limit).await
    }

    /// Takes a lease for the next `ttl`, or renews it; `None` while another holds it.
    ///
    /// Renewing before it expires keeps the epoch; taking it anew raises it by one. If the database's clock was set back
    /// so far that a lease would last longer than its `ttl`, it counts as expired, but its holder may still renew it.
    pub async fn take_lease(&self, name: &str, holder: Uuid, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let epoch = self.backend.take_lease(name, holder, ttl).await?;
        Ok(epoch.map(|epoch| Lease {
            name: name.to_owned(),
            holder,
            epoch,
        }))
    }

    /// Ends a lease before it expires. A lease that was lost since stays as it is.
    pub async fn drop_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        self.backend.drop_lease(lease).await
    }

    /// Who holds the lease now.
    pub async fn lease_holder(&self, name: &str) -> Result<Option<Uuid>, StoreError> {
        self.backend.lease_holder(name).await
    }

    /// Writes a gateway's report over its former one.
    pub async fn report_gateway(&self, report: &GatewayReport<'_>) -> Result<(), StoreError> {
        self.backend.report_gateway(report).await
    }

    /// The gateways that reported within this time, ordered by name and then by id.
    pub async fn gateways(&self, within: Duration) -> Result<Vec<Reported>, StoreError> {
        self.backend.gateways(within).await
    }

    /// Deletes a gateway's report.
    pub async fn forget_gateway(&self, id: Uuid) -> Result<(), StoreError> {
        self.backend.forget_gateway(id).await
    }

    /// Deletes the reports that are older than this, and returns how many there were.
    pub async fn prune_gateways(&self, older: Duration) -> Result<u64, StoreError> {
        self.backend.prune_gateways(older).await
    }

    /// The effects to deliver now, at most `limit`, in order of their ids. Each destination has at most one here: its oldest,
    /// if that is due. A destination thus gets its effects in order.
    ///
    /// Delivery is at least once: a program may end between delivery and [`Store::outbox_sent`].
    pub async fn outbox_due(&self, limit: u32) -> Result<Vec<Owed>, StoreError> {
        self.backend.outbox_due(limit).await
    }

    /// Deletes an effect that was delivered.
    pub async fn outbox_sent(&self, id: u64) -> Result<(), StoreError> {
        self.backend.outbox_sent(id).await
    }

    /// Counts a failed attempt. The effect is due again after `retry_after`. The error is cut to 500 characters,
    /// and kept without control characters.
    pub async fn outbox_failed(&self, id: u64, error: &str, retry_after: Duration) -> Result<(), StoreError> {
        self.backend.outbox_failed(id, &printable(error), retry_after).await
    }

    /// How much the outbox owes.
    pub async fn outbox_facts(&self) -> Result<OutboxFacts, StoreError> {
        self.backend.outbox_facts().await
    }

    /// Keeps the evidence on a model, a JSON text, over the former one, and raises [`Pulse::evidence`].
    pub async fn save_evidence(&self, model_version: &str, evidence: &str) -> Result<(), StoreError> {
        self.backend.save_evidence(model_version, evidence).await
    }

    /// The evidence on a model as it was last saved.
    pub async fn evidence(&self, model_version: &str) -> Result<Option<String>, StoreError> {
        self.backend.evidence(model_version).await
    }

    /// Keeps what was displayed on a closed day and what came of it, a JSON text, and raises [`Store::label_generation`].
    /// Returns whether the day is new: the first counts of a day stay, because it has been decided by them.
    ///
    /// # Errors
    /// [`StoreError::Value`] for a day outside the years 1 to 9999.
    pub async fn save_outcome_day(&self, day: NaiveDate, counts: &str) -> Result<bool, StoreError> {
        // Beyond them days are not in the order of their texts.
        if !(1..=9999).contains(&day.year()) {
            return Err(StoreError::Value {
                field: "day",
                value: day.to_string(),
                allowed: "0001-01-01 to 9999-12-31",
            });
        }
        self.backend.save_outcome_day(day, counts).await
    }

    /// The closed days from this one on, in order, with their counts as they were saved.
    pub async fn outcome_days(&self, from: NaiveDate) -> Result<Vec<(NaiveDate, String)>, StoreError> {
        self.backend.outcome_days(from).await
    }

    /// Rises with each call that labelled a row, by one or more, and with each new outcome day: one cheap read.
    /// Labels that a program of the previous version writes do not raise it.
    pub async fn label_generation(&self) -> Result<u64, StoreError> {
        self.backend.label_generation().await
    }

    /// Starts to listen for changes. Read [`Store::pulse`] afterwards: what changed before does not wake it.
    ///
    /// PostgreSQL: on a connection of its own. SQLite has no notifications, so that there it never wakes.
    pub async fn changes(&self) -> Result<Changes, StoreError> {
        let listening = self.backend.listen().await?;
        Ok(Changes { listening })
    }
}

/// Wakes a follower when a commit or new evidence is on record.
pub struct Changes {
    /// `None`: the database has no notifications.
    listening: Option<postgres::Listening>,
}

impl Changes {
    /// Returns within milliseconds of a commit or of new evidence; may return without either. It can be cancelled at any
    /// time without losing a change. On SQLite it never returns.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the connection broke or the store was closed: call [`Store::changes`] again.
    pub async fn next(&mut self) -> Result<(), StoreError> {
        match &mut self.listening {
            Some(listening) => listening.next().await,
            None => pending().await,
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A connection knows its password.
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

fn check_hash(hash: &str) -> Result<(), StoreError> {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if hash.len() == 64 && hash.bytes().all(is_digit) {
        return Ok(());
    }
    Err(StoreError::Value {
        field: "hash",
        value: grammar::shorten(hash),
        allowed: "64 lower-case hexadecimal digits",
    })
}

/// An error as a table can hold it: it may quote whatever a destination has answered.
fn printable(error: &str) -> String {
    const MOST: usize = 500;
    error
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .take(MOST)
        .collect()
}

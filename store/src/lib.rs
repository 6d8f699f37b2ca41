//! What must survive: events, the shadow log, and the release record of the fleet, in one database: a SQLite file,
//! or PostgreSQL.
//!
//! The gateway and the nightly run open the same database beside each other. Every commit reaches the disk before
//! it is reported, and every record has a key of its own, so that writing it a second time changes nothing.
//!
//! ```no_run
//! # async fn example() -> Result<(), store::StoreError> {
//! let store = store::Store::open("sqlite://var/ltr.db").await?;
//! let state = store.rollout().await?;
//! println!("weight {} %", state.weight);
//! # Ok(())
//! # }
//! ```

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests make, read and time what they like"
    )
)]

mod backend;
mod comparisons;
mod error;
mod postgres;
mod queue;
mod records;
mod release;
mod same_id;
mod shown;
mod spool;
mod sqlite;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use ranking::events::Event;
use ranking::verdict::ShadowCase;
use uuid::Uuid;

use backend::Backend;
use comparisons::Reading;
pub use comparisons::SetAside;
pub use error::StoreError;
use queue::Kept;
pub use queue::{COMPARISON, ORPHANED, QueueFacts, Queued};
pub use records::{
    Acted, Appended, ComparisonKey, EventDay, HistoryEntry, Readable, Record, RolloutState, ShadowRecord,
    StoredComparison, StoredEvent, StoredRow, Unreadable,
};
pub use release::{
    Changes, Commit, Committed, Effect, GatewayReport, Lease, LedgerRow, OutboxFacts, Owed, Pulse, Released, Reported,
};
pub use spool::{BUS_OWNER, Batch, FOLLOWED_RECORD, PENDING_ROLLBACK, Refused, Spool, SpoolError};

/// A handle to the database; clones share its connections.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
    salt: Arc<Salt>,
}

/// The salt of this program's pseudonyms.
#[derive(Default)]
struct Salt {
    ours: OnceLock<Uuid>,
    /// Whether it is the one on record in the database as it is now.
    is_held: AtomicBool,
}

/// Where a database is: for a database of which only the URL matters, the URL.
#[derive(Clone, Copy)]
pub struct Address<'a> {
    /// `sqlite://PATH` or `postgres://USER[:PASSWORD]@HOST[:PORT]/DB`: see [`Store::open`].
    pub url: &'a str,
    /// The authorities (PEM), beside those of the system, by which a PostgreSQL server must prove that it is the URL's
    /// host. `None`: TLS is opportunistic, and the server is not verified.
    pub ca_file: Option<&'a Path>,
}

impl<'a> From<&'a str> for Address<'a> {
    fn from(url: &'a str) -> Address<'a> {
        Address { url, ca_file: None }
    }
}

impl<'a> From<&'a String> for Address<'a> {
    fn from(url: &'a String) -> Address<'a> {
        Address::from(url.as_str())
    }
}

/// How much of a database one program may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections kept open at most: one writes, one is for control calls (rollout, release, salt), the others read. Fewer
    /// than 3 count as 3. Control calls have one more, so that a slow one does not block the next, and with PostgreSQL
    /// each [`Changes`] has its own.
    pub max_connections: u32,
    /// How long a call waits for a connection, for another program's lock, and with PostgreSQL for the answer. Calls
    /// that read or label whole periods may take longer than that to be answered. Who gets no connection in this time
    /// because others have them all gets [`StoreError::Busy`].
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_connections: 5,
            timeout: Duration::from_secs(3),
        }
    }
}

impl Store {
    /// Opens the database that `address` names, with default limits, and brings its tables up to date.
    ///
    /// `sqlite://` and a path, relative to the working directory unless it begins with `/`: the file and its folder
    /// are made where they are missing. `postgres://USER[:PASSWORD]@HOST[:PORT]/DB`: the database must exist, and
    /// the user must be allowed to make tables in it. Reserved characters are percent-encoded there. Without a
    /// password `PGPASSWORD` or `~/.pgpass` has it, as with every client of PostgreSQL.
    ///
    /// # Errors
    /// [`StoreError::Url`] for any other kind of URL, [`StoreError::Open`] when the database cannot be opened,
    /// [`StoreError::Migrate`] when its tables come from a newer program.
    pub async fn open(address: impl Into<Address<'_>>) -> Result<Store, StoreError> {
        Store::open_with(address, Limits::default()).await
    }

    /// As [`Store::open`], with limits.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_with(address: impl Into<Address<'_>>, limits: Limits) -> Result<Store, StoreError> {
        let address = address.into();
        let backend: Arc<dyn Backend> = match address.url.split_once("://") {
            Some(("sqlite", path)) => Arc::new(sqlite::Sqlite::open(path, limits).await?),
            Some(("postgres" | "postgresql", _)) => Arc::new(postgres::Postgres::open(address, limits).await?),
            Some(_) => return Err(wrong_url("it is another kind of URL")),
            None => return Err(wrong_url("it is no URL")),
        };
        Ok(Store {
            backend,
            salt: Arc::default(),
        })
    }

    /// As [`Store::open_with`], for a program that can do without the database for a while: a PostgreSQL server that is
    /// away is no error, nor is a disk that is full. The first call that finds it otherwise brings the tables up to date;
    /// every call before is [`StoreError::Unavailable`].
    ///
    /// # Errors
    /// As [`Store::open`]: a file that cannot be opened, a server that is there and refuses the user or the database,
    /// or does not show that it is the one that is meant.
    pub async fn open_later(address: impl Into<Address<'_>>, limits: Limits) -> Result<Store, StoreError> {
        let address = address.into();
        let backend: Arc<dyn Backend> = match address.url.split_once("://") {
            Some(("sqlite", path)) => Arc::new(sqlite::Sqlite::open_later(path, limits).await?),
            Some(("postgres" | "postgresql", _)) => Arc::new(postgres::Postgres::open_later(address, limits).await?),
            _ => return Store::open_with(address, limits).await,
        };
        Ok(Store {
            backend,
            salt: Arc::default(),
        })
    }

    /// Keeps all of `records`, or none of them: one transaction, on disk when this returns. The answer has one
    /// entry a record, in order.
    pub async fn append(&self, records: &[Record]) -> Result<Vec<Appended>, StoreError> {
        Ok(self.keep(records, None).await?.outcomes)
    }

    /// As [`Store::append`], and queues those that are new for the bus, to be sent by the gateway `owner`. Also returns the
    /// place in the queue of the last of them.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn append_queued(
        &self,
        records: &[Record],
        owner: Uuid,
    ) -> Result<(Vec<Appended>, Option<u64>), StoreError> {
        let kept = self.keep(records, Some(owner)).await?;
        Ok((kept.outcomes, kept.queued))
    }

    async fn keep(&self, records: &[Record], owner: Option<Uuid>) -> Result<Kept, StoreError> {
        if records.is_empty() {
            return Ok(Kept::new(&[], None));
        }
        // Before the first record, and again after whatever may have put another database in the place of this one.
        if let Some(ours) = self.salt.ours.get()
            && !self.salt.is_held.load(Ordering::Relaxed)
        {
            self.hold_to_salt(*ours).await?;
        }
        let kept = self.backend.append(records, owner).await;
        if kept.as_ref().is_err_and(StoreError::is_unavailable) {
            self.salt.is_held.store(false, Ordering::Relaxed);
        }
        kept
    }

    /// The first records that a gateway owes the bus, in the order in which they were kept.
    pub async fn queue_first(&self, owner: Uuid, limit: u32) -> Result<Vec<Queued>, StoreError> {
        self.backend.queue_first(owner, limit).await
    }

    /// Takes records that the bus has from the queue.
    pub async fn queue_sent(&self, seqs: &[u64]) -> Result<(), StoreError> {
        self.backend.queue_sent(seqs).await
    }

    /// Sets a record aside that the bus takes in no case; it stays in the queue's table, with the reason.
    pub async fn queue_refused(&self, seq: u64, reason: &str) -> Result<(), StoreError> {
        self.backend.queue_refused(seq, reason).await
    }

    /// Gives the records to `owner` that others queued before [`ORPHANED`] and have not sent. Returns how many.
    pub async fn queue_adopt(&self, owner: Uuid) -> Result<u64, StoreError> {
        self.backend.queue_adopt(owner, ORPHANED).await
    }

    /// The queue in numbers.
    pub async fn queue_facts(&self) -> Result<QueueFacts, StoreError> {
        self.backend.queue_facts().await
    }

    /// Whether each of these actions is on something that was shown: an impression of its case, to its user, with the lawyer
    /// at that place. `None`: too much was shown to look through it all.
    ///
    /// What one action costs is bounded, however often its case was ranked.
    pub async fn was_shown(&self, acted: &[Acted<'_>]) -> Result<Vec<Option<bool>>, StoreError> {
        let mut search = shown::Search::new(acted);
        if !search.asked().is_empty() {
            let asked = search.asked().to_vec();
            self.backend.impressions(&asked, &mut search).await?;
        }
        Ok(search.found())
    }

    /// The events whose own time lies in `from..to` (the end is outside), ordered by time and then by id. A row that cannot
    /// be read is set aside and stops no other; it may be of any time.
    pub async fn events_between(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Readable<Event>, StoreError> {
        self.backend.events_between(from, to).await
    }

    /// How many events there are on each day, in UTC, by their own time.
    pub async fn event_days(&self) -> Result<Vec<EventDay>, StoreError> {
        self.backend.event_days().await
    }

    /// The keys of a day's events, in order; `None`: of those whose time is none of the calendar's.
    pub async fn event_keys(&self, day: Option<NaiveDate>) -> Result<Vec<String>, StoreError> {
        self.backend.event_keys(day).await
    }

    /// The events with these keys as they were stored, in any order. One that is not there is left out.
    pub async fn stored_events(&self, keys: &[String]) -> Result<Vec<StoredRow>, StoreError> {
        self.backend.stored_events(keys).await
    }

    /// How many comparisons there are on each day, in UTC, by the time of the request.
    pub async fn comparison_days(&self) -> Result<Vec<EventDay>, StoreError> {
        self.backend.comparison_days().await
    }

    /// A day's comparisons, in order; `None`: those whose time is none of the calendar's.
    pub async fn comparison_keys(&self, day: Option<NaiveDate>) -> Result<Vec<ComparisonKey>, StoreError> {
        self.backend.comparison_keys(day).await
    }

    /// These comparisons as they were stored, without labels, in any order. One that is not there is left out.
    pub async fn comparisons(&self, keys: &[ComparisonKey]) -> Result<Vec<StoredComparison>, StoreError> {
        self.backend.comparisons(keys).await
    }

    /// Holds this program to the salt that the pseudonyms in the database were made with; the first program that comes says
    /// which it is. From this call on, whatever it returns, nothing is appended under another.
    ///
    /// # Errors
    /// [`StoreError::OtherSalt`] for any other: a user would have two pseudonyms.
    pub async fn hold_to_salt(&self, salt_id: Uuid) -> Result<(), StoreError> {
        let ours = *self.salt.ours.get_or_init(|| salt_id);
        same_salt(ours, self.backend.salt_id(Some(ours)).await?)?;
        self.salt.is_held.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// As [`Store::hold_to_salt`] for a program that writes no pseudonyms and only compares: it puts no salt on record.
    ///
    /// # Errors
    /// As [`Store::hold_to_salt`].
    pub async fn check_salt(&self, salt_id: Uuid) -> Result<(), StoreError> {
        same_salt(salt_id, self.backend.salt_id(None).await?)
    }

    /// What serves now; weight 0 and no models in a new database.
    pub async fn rollout(&self) -> Result<RolloutState, StoreError> {
        self.backend.rollout().await
    }

    /// Writes the new state together with the entry that explains it.
    ///
    /// # Errors
    /// [`StoreError::Value`] for a weight above 100.
    pub async fn save_rollout(&self, state: &RolloutState, entry: &HistoryEntry) -> Result<(), StoreError> {
        check_weight(state)?;
        self.backend.save_rollout(state, entry).await
    }

    /// The latest `limit` changes, newest first.
    pub async fn history(&self, limit: u32) -> Result<Vec<HistoryEntry>, StoreError> {
        self.backend.history(limit).await
    }

    /// Gives `take` the compared requests of one model that a verdict may use: those at or before `closed_before` (so that
    /// every attribution window has ended) whose every row has its label. They come in any order; rows in legacy order. A
    /// comparison with a row that cannot be read is set aside.
    ///
    /// Reads in pages, in bounded memory, however many there are. Each comparison is read as a whole; labels that are
    /// written meanwhile may be seen or not, as may a comparison that is written then with a time long past. Other calls
    /// get the connection between two pages, so that `take` must not wait for anything.
    ///
    /// # Errors
    /// As every call: the database is away, or no connection is free in time. `take` may have got a part by then.
    pub async fn each_shadow_case(
        &self,
        model_version: &str,
        closed_before: DateTime<Utc>,
        take: &mut (dyn FnMut(ShadowCase) + Send),
    ) -> Result<SetAside, StoreError> {
        let mut reading = Reading::new(take);
        self.backend
            .each_shadow_case(model_version, closed_before, &mut reading)
            .await?;
        Ok(reading.set_aside)
    }

    /// The versions of the models that were compared, in order.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn compared_versions(&self) -> Result<Vec<String>, StoreError> {
        self.backend.compared_versions().await
    }

    /// The time of the model's first comparison after `after` that has all its labels; `None` while there is none.
    pub async fn next_labelled(
        &self,
        model_version: &str,
        after: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.backend.next_labelled(model_version, after).await
    }

    /// [`Store::each_shadow_case`] in memory, oldest first, with the first [`SetAside::MOST_LISTED`] that cannot be read:
    /// for a log that is known to be short.
    ///
    /// # Errors
    /// As [`Store::each_shadow_case`].
    pub async fn shadow_cases(
        &self,
        model_version: &str,
        closed_before: DateTime<Utc>,
    ) -> Result<Readable<ShadowCase>, StoreError> {
        let mut records = Vec::new();
        let mut take = |case| records.push(case);
        let set_aside = self.each_shadow_case(model_version, closed_before, &mut take).await?;
        records.sort_by_key(|case| (case.ts_utc, case.request_id, case.case_id));
        Ok(Readable {
            records,
            unreadable: set_aside.first,
        })
    }

    /// Labels all comparisons of these cases, whose outcome is final, and returns how many rows changed: each lawyer gets
    /// the label that `labels` has for the case, and 0 without one. What was there before does not count, so that the same
    /// outcome gives the same labels, whatever was known or configured earlier. Labels of other cases are left alone.
    ///
    /// SQLite does this in many short transactions, so that others can write meanwhile. If it fails, a part may be
    /// written; calling it again with the same labels completes it.
    ///
    /// # Errors
    /// [`StoreError::Value`] for a label outside 0 to 1; nothing is written then.
    pub async fn label_cases(&self, cases: &[Uuid], labels: &[(Uuid, String, f32)]) -> Result<u64, StoreError> {
        if let Some((case_id, lawyer_id, label)) = labels.iter().find(|(_, _, label)| !(0.0..=1.0).contains(label)) {
            return Err(StoreError::Value {
                field: "label",
                value: format!("{label} (case {case_id}, lawyer {lawyer_id:?})"),
                allowed: "0 to 1",
            });
        }
        self.backend.label_cases(cases, labels).await
    }

    /// Labels comparisons up to `closed_before` that have no label yet, and returns how many rows changed. One whose case
    /// has another comparison with labels gets the same. One whose case was shown to nobody gets 0, and so does one up to
    /// `given_up_before`: its outcome, if there is one, is older than any that a night looks for. The others wait for
    /// [`Store::label_cases`].
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn label_rest(
        &self,
        closed_before: DateTime<Utc>,
        given_up_before: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        self.backend.label_rest(closed_before, given_up_before).await
    }

    /// Closes every connection; what is being written is finished first.
    pub async fn close(&self) {
        self.backend.close().await;
    }
}

fn check_weight(state: &RolloutState) -> Result<(), StoreError> {
    if state.weight <= 100 {
        return Ok(());
    }
    Err(StoreError::Value {
        field: "weight",
        value: state.weight.to_string(),
        allowed: "0 to 100",
    })
}

fn same_salt(ours: Uuid, on_record: Option<Uuid>) -> Result<(), StoreError> {
    match on_record {
        Some(theirs) if theirs != ours => Err(StoreError::OtherSalt { ours, theirs }),
        _ => Ok(()),
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Connections know passwords.
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

fn wrong_url(problem: impl Into<String>) -> StoreError {
    StoreError::Url {
        problem: problem.into(),
    }
}

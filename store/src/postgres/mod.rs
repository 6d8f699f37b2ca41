//! PostgreSQL, through a pool. Each session sets `synchronous_commit`: a commit is durable before
//! it is reported, whatever the server's default.

mod agreed;
mod changes;
mod codec;
mod days;
mod events;
mod evidence;
mod gateways;
mod lease;
mod ledger;
mod outbox;
mod outcomes;
mod queue;
mod release;
mod rollout;
mod shadow;

use std::io::ErrorKind;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use ranking::events::Event;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use uuid::Uuid;

pub(crate) use self::changes::Listening;
use crate::backend::Backend;
use crate::comparisons::Reading;
use crate::error::{doubts_the_tables, passes};
use crate::queue::{Entry, Kept};
use crate::shown::Search;
use crate::{
    Address, ComparisonKey, EventDay, HistoryEntry, Limits, Readable, Record, RolloutState, StoreError,
    StoredComparison, StoredRow, same_id, wrong_url,
};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Any server writes this many lawyers within the shortest useful timeout.
const LAWYERS_A_TIMEOUT: usize = 5_000;

/// The time limit for finding the next labelled comparison: it may look through days of others.
const NEXT_LABELLED: Duration = Duration::from_secs(60);

/// The time limit for all migrations together.
const MIGRATING: Duration = Duration::from_secs(300);

/// How many control calls run at once.
const CONTROL_TURNS: u32 = 2;

pub(crate) struct Postgres {
    pool: PgPool,
    writing: Lane,
    /// For the rollout, the release record and the salt id, so that an operator waits for no other
    /// kind of call. Two turns, so that a slow call does not block the next.
    control: Lane,
    reading: Lane,
    /// Whether the server was reached and its tables are up to date. False again once an error
    /// casts doubt on the tables.
    opened: AtomicBool,
    /// Held by the one call that tries to reach the server. Its text is the last reason for a
    /// failure.
    opening: Mutex<String>,
    options: PgConnectOptions,
    /// The time limit for an answer. A server that was stopped or cut off sends neither an answer
    /// nor an error.
    timeout: Duration,
}

/// A share of the pool for one kind of call, so that no other kind takes every connection. The
/// lanes have as many turns in total as the pool has connections. A call with a turn therefore gets
/// a connection, or the server is to blame. The pool alone cannot tell that from too many callers.
struct Lane(Semaphore);

impl Lane {
    /// Waits for a turn, to be held while a connection of the pool is used.
    async fn turn(&self, patience: Duration) -> Result<SemaphorePermit<'_>, StoreError> {
        match timeout(patience, self.0.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(StoreError::Unavailable(sqlx::Error::PoolClosed)),
            Err(_) => Err(StoreError::Busy),
        }
    }
}

/// A connection, and the turn that entitles to it.
struct Leased<'a> {
    connection: PoolConnection<sqlx::Postgres>,
    _turn: SemaphorePermit<'a>,
}

impl Deref for Leased<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Leased<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Postgres {
    pub(crate) async fn open(address: Address<'_>, limits: Limits) -> Result<Postgres, StoreError> {
        let postgres = Postgres::unopened(address, limits)?;
        postgres.reach().await?;
        Ok(postgres)
    }

    /// As [`Postgres::open`], but a server that is away is no error: the first call that reaches it
    /// brings the tables up to date.
    pub(crate) async fn open_later(address: Address<'_>, limits: Limits) -> Result<Postgres, StoreError> {
        let postgres = Postgres::unopened(address, limits)?;
        match postgres.reach().await {
            Err(StoreError::Open { source, .. }) if passes(&source) && !is_distrust(&source) => {}
            reached => reached?,
        }
        Ok(postgres)
    }

    fn unopened(address: Address<'_>, limits: Limits) -> Result<Postgres, StoreError> {
        let lock_timeout = format!("{}ms", limits.timeout.as_millis());
        let options = options_of(address)?
            .application_name("ltr")
            .options([("synchronous_commit", "on"), ("lock_timeout", &lock_timeout)]);
        let readers = limits.max_connections.saturating_sub(2).max(1);
        let pool = PgPoolOptions::new()
            .max_connections(readers + 1 + CONTROL_TURNS)
            .acquire_timeout(limits.timeout)
            .connect_lazy_with(options.clone());
        Ok(Postgres {
            pool,
            writing: Lane(Semaphore::new(1)),
            control: Lane(Semaphore::new(CONTROL_TURNS as usize)),
            reading: Lane(Semaphore::new(readers as usize)),
            opened: AtomicBool::new(false),
            opening: Mutex::default(),
            options,
            timeout: limits.timeout,
        })
    }

    /// Connects, and brings the tables up to date.
    async fn reach(&self) -> Result<(), StoreError> {
        let failed = |source| StoreError::Open {
            place: place(&self.options),
            source,
        };
        let late = || sqlx::Error::Io(ErrorKind::TimedOut.into());
        // Not from the pool: it reports every failure to connect as a timeout.
        let connected = timeout(self.timeout, self.options.connect()).await;
        let mut connection = connected.unwrap_or_else(|_| Err(late())).map_err(failed)?;
        let encoding = sqlx::query_scalar("SHOW server_encoding").fetch_one(&mut connection);
        let found: String = timeout(self.timeout, encoding)
            .await
            .unwrap_or_else(|_| Err(late()))
            .map_err(failed)?;
        if found != "UTF8" {
            let place = place(&self.options);
            return Err(StoreError::Encoding { place, found });
        }
        // The migrator's advisory lock serializes programs that start at once. Not `run`: its
        // future does not fit a trait object.
        let migrating = MIGRATIONS.run_direct(None, &mut connection, false);
        match timeout(MIGRATING, migrating).await {
            Err(_) => return Err(failed(late())),
            Ok(Err(MigrateError::Execute(source))) if passes(&source) => return Err(failed(source)),
            Ok(migrated) => migrated.map_err(StoreError::Migrate)?,
        }
        self.opened.store(true, Ordering::Release);
        // The tables are up to date; an error on closing changes nothing.
        let _ = timeout(self.timeout, connection.close()).await;
        Ok(())
    }

    /// Reaches the server unless that was done; every call awaits it first. Any failure to reach
    /// the server counts as an outage, so that the caller keeps its records.
    async fn ready(&self) -> Result<(), StoreError> {
        if self.opened.load(Ordering::Acquire) {
            return Ok(());
        }
        let Ok(mut said) = self.opening.try_lock() else {
            return Err(StoreError::Unavailable(sqlx::Error::Io(ErrorKind::NotConnected.into())));
        };
        if self.opened.load(Ordering::Acquire) {
            return Ok(());
        }
        self.reach().await.map_err(|error| {
            let reason = error.to_string();
            if *said != reason {
                tracing::warn!("the database cannot be used yet: {reason}");
                *said = reason;
            }
            error.while_running()
        })
    }

    async fn connection<'a>(&self, lane: &'a Lane) -> Result<Leased<'a>, StoreError> {
        self.ready().await?;
        let turn = lane.turn(self.timeout).await?;
        let connection = self.observe(self.pool.acquire().await.map_err(StoreError::Unavailable))?;
        Ok(Leased {
            connection,
            _turn: turn,
        })
    }

    /// The result of a call. A connection that did not answer in time is dropped: the pool would
    /// wait for it as long as the network does. So is a connection with an error that is not the
    /// record's fault: a new one may find another server, other rights or other tables.
    fn answered<T>(
        &self,
        connection: Leased<'_>,
        done: Result<Result<T, StoreError>, Elapsed>,
    ) -> Result<T, StoreError> {
        let done = self.observe(done.unwrap_or_else(|_| Err(StoreError::timed_out())));
        if done.as_ref().is_err_and(StoreError::is_unavailable) {
            drop(connection.connection.detach());
        }
        done
    }

    /// The result of a call that had a turn. If the error casts doubt on the tables, the next call
    /// checks them again.
    fn observe<T>(&self, said: Result<T, StoreError>) -> Result<T, StoreError> {
        said.map_err(|error| {
            if doubts_the_tables(&error) {
                self.opened.store(false, Ordering::Release);
            }
            match error {
                // With a turn, a timeout of the pool means that the server gave no connection.
                StoreError::Busy => StoreError::Unavailable(sqlx::Error::PoolTimedOut),
                error => error,
            }
        })
    }

    /// The time limit for writing these records. It grows with their number: a large batch that
    /// timed out would be retried for ever.
    fn patience(&self, records: &[Record]) -> Duration {
        let lawyers: usize = records.iter().map(Record::lawyers).sum();
        let timeouts = u32::try_from(1 + lawyers / LAWYERS_A_TIMEOUT).unwrap_or(u32::MAX);
        self.timeout.saturating_mul(timeouts)
    }
}

#[async_trait]
impl Backend for Postgres {
    async fn append(&self, records: &[Record], owner: Option<Uuid>) -> Result<Kept, StoreError> {
        let mut connection = self.connection(&self.writing).await?;
        let done = timeout(self.patience(records), async {
            let mut transaction = connection.begin().await?;
            let mut events = same_id::insert(&mut *transaction, records).await?.into_iter();
            let mut shadows = shadow::insert(&mut transaction, records).await?;
            let new = records.iter().map(|record| match record.shadow() {
                // Removed, so that the same key later in `records` counts as a duplicate.
                Some(shadow) => {
                    let is_new = shadows.remove(&(shadow.request_id, shadow.case_id));
                    is_new.then(|| shadow.comparison_id())
                }
                None => events.next().flatten(),
            });
            let new: Vec<Option<Uuid>> = new.collect();
            let queued = match owner {
                Some(owner) => queue::push(&mut transaction, owner, &Entry::of_all(records, &new)).await?,
                None => None,
            };
            transaction.commit().await?;
            Ok(Kept::new(&new, queued))
        });
        let done = done.await;
        // Records kept during an outage take megabytes; the connection would never free that
        // buffer.
        connection.shrink_buffers();
        self.answered(connection, done)
    }

    async fn impressions(&self, asked: &[(Uuid, Uuid)], search: &mut Search<'_>) -> Result<(), StoreError> {
        let mut connection = self.connection(&self.reading).await?;
        let done = timeout(self.timeout, events::impressions(&mut connection, asked, search)).await;
        self.answered(connection, done)
    }

    async fn events_between(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Readable<Event>, StoreError> {
        self.ready().await?;
        let _turn = self.reading.turn(self.timeout).await?;
        self.observe(events::between(&self.pool, from, to).await)
    }

    async fn event_days(&self) -> Result<Vec<EventDay>, StoreError> {
        self.ready().await?;
        let _turn = self.reading.turn(self.timeout).await?;
        self.observe(days::event_days(&self.pool).await)
    }

    async fn event_keys(&self, day: Option<NaiveDate>) -> Result<Vec<String>, StoreError> {
        self.ready().await?;
        let _turn = self.reading.turn(self.timeout).await?;
        self.observe(days::event_keys(&self.pool, day).await)
    }

    async fn stored_events(&self, keys: &[String]) -> Result<Vec<StoredRow>, StoreError> {
        self.ready().await?;
        let _turn = self.reading.turn(self.timeout).await?;
        self.observe(days::stored_events(&self.pool, keys).await)
    }

    async fn comparison_days(&self) -> Result<Vec<EventDay>, StoreError> {
        self.ready().await?;
        let _turn = self.reading.turn(self.timeout).await?;
        self.observe(days::comparison_days(&self.pool).await)
    }

    async fn comparison_keys(&self, day: Option<NaiveDate>) -> Result<Vec<ComparisonKey>, StoreError> {
        self.ready().await?;
        let _turn = self.reading.turn(self.timeout).await?;
        self.observe(days::comparison_keys(&self.pool, day).await)
    }

    async fn comparisons(&self, keys: &[ComparisonKey]) -> Result<Vec<StoredComparison>, StoreError> {
        self.ready().await?;
        let _turn = self.reading.turn(self.timeout).await?;
        self.observe(days::comparisons(&self.pool, keys).await)
    }

    async fn salt_id(&self, given: Option<Uuid>) -> Result<Option<Uuid>, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, agreed::salt_id(&mut connection, given)).await;
        self.answered(connection, done)
    }

    async fn rollout(&self) -> Result<RolloutState, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, rollout::state(&mut connection)).await;
        self.answered(connection, done)
    }

    async fn save_rollout(&self, state: &RolloutState, entry: &HistoryEntry) -> Result<(), StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, rollout::save(&mut connection, state, entry)).await;
        self.answered(connection, done)
    }

    async fn history(&self, limit: u32) -> Result<Vec<HistoryEntry>, StoreError> {
        let mut connection = self.connection(&self.control).await?;
        let done = timeout(self.timeout, rollout::history(&mut connection, limit)).await;
        self.answered(connection, done)
    }

    async fn each_shadow_case(
        &self,
        model_version: &str,
        closed_before: DateTime<Utc>,
        reading: &mut Reading<'_>,
    ) -> Result<(), StoreError> {
        self.ready().await?;
        let mut next = Some(shadow::Place::first());
        while let Some(after) = next {
            let turn = self.reading.turn(self.timeout).await?;
            let page = shadow::page(&self.pool, model_version, closed_before, &after, reading);
            next = self.observe(page.await)?;
            drop(turn);
            // A server that answers at once would let nobody else queue for the turn.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn compared_versions(&self) -> Result<Vec<String>, StoreError> {
        let mut connection = self.connection(&self.reading).await?;
        let done = timeout(NEXT_LABELLED, shadow::compared_versions(&mut connection)).await;
        self.answered(connection, done)
    }

    async fn next_labelled(
        &self,
        model_version: &str,
        after: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let mut connection = self.connection(&self.reading).await?;
        let done = timeout(
            NEXT_LABELLED,
            shadow::next_labelled(&mut connection, model_version, after),
        )
        .await;
        self.answered(connection, done)
    }

    async fn label_cases(&self, cases: &[Uuid], labels: &[(Uuid, String, f32)]) -> Result<u64, StoreError> {
        self.ready().await?;
        let _turn = self.writing.turn(self.timeout).await?;
        self.observe(shadow::label_cases(&self.pool, cases, labels).await)
    }

    async fn label_rest(
        &self,
        closed_before: DateTime<Utc>,
        given_up_before: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        self.ready().await?;
        let _turn = self.writing.turn(self.timeout).await?;
        self.observe(shadow::label_rest(&self.pool, closed_before, given_up_before).await)
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// Whether the server could not be trusted: another one answers, or `ca_file` names the wrong
/// authorities.
fn is_distrust(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        // A handshake that fails on the certificate.
        sqlx::Error::Io(error) => error.kind() == ErrorKind::InvalidData,
        _ => false,
    }
}

/// The connection options from a `postgres://` URL. Only the password may come from the
/// environment. Parameters are refused, because they could weaken what this module promises.
fn options_of(address: Address<'_>) -> Result<PgConnectOptions, StoreError> {
    let url = address.url;
    let (_, rest) = url.split_once("://").unwrap_or_default();
    if rest.contains(['?', '#']) {
        return Err(wrong_url("it has parameters (? or #)"));
    }
    let Some((authority, database)) = rest.split_once('/') else {
        return Err(wrong_url("it names no database"));
    };
    let Some((user, server)) = authority.rsplit_once('@') else {
        return Err(wrong_url("it names no user"));
    };
    if user.is_empty() || user.starts_with(':') {
        return Err(wrong_url("it names no user"));
    }
    if server.is_empty() || server.starts_with(':') {
        return Err(wrong_url("it names no server"));
    }
    if database.is_empty() || database.contains('/') {
        return Err(wrong_url("it names no database"));
    }
    let options = PgConnectOptions::from_str(url).map_err(|error| wrong_url(error.to_string()))?;
    let options = if server.contains(':') {
        options
    } else {
        options.port(5432)
    };
    let Some(file) = address.ca_file else {
        return Ok(options.ssl_mode(PgSslMode::Prefer));
    };
    let refused = |source| StoreError::Authorities {
        file: file.to_owned(),
        source,
    };
    // The limit is a dozen times the size of a system's own bundle of authorities.
    let authorities = regular_file::read_to_string(file, regular_file::Links::Follow, 4 << 20).map_err(refused)?;
    if !authorities.contains("-----BEGIN CERTIFICATE-----") {
        let problem = std::io::Error::new(ErrorKind::InvalidData, "there is no certificate in it (PEM)");
        return Err(refused(problem));
    }
    Ok(options
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert_from_pem(authorities.into_bytes()))
}

/// The server and its database, without credentials.
fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_default();
    format!("{}:{}/{database}", options.get_host(), options.get_port())
}

//! PostgreSQL, through a pool. A commit is durable before it is reported, whatever the server's own default.

mod columns;
mod events;
mod rollout;
mod shadow;

use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use ranking::events::Event;
use ranking::verdict::ShadowCase;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use uuid::Uuid;

use crate::backend::Backend;
use crate::{Appended, HistoryEntry, Limits, Record, RolloutState, StoreError, wrong_url};

const MIGRATIONS: &[(&str, &str)] = &[
    ("initial", include_str!("../../migrations/postgres/0001_initial.sql")),
    (
        "fewer_indexes",
        include_str!("../../migrations/postgres/0002_fewer_indexes.sql"),
    ),
];

/// Lawyers that any server writes within the shortest timeout that is of use.
const LAWYERS_A_TIMEOUT: usize = 5_000;

pub(crate) struct Postgres {
    pool: PgPool,
    /// For an answer; a server that was stopped or cut off gives none, and no error either.
    timeout: Duration,
}

impl Postgres {
    pub async fn open(url: &str, limits: Limits) -> Result<Postgres, StoreError> {
        let lock_timeout = format!("{}ms", limits.timeout.as_millis());
        let options = options_of(url)?
            .application_name("ltr")
            .options([("synchronous_commit", "on"), ("lock_timeout", &lock_timeout)]);
        // A connection of its own rather than one of the pool, which says of every failure only that time was up.
        let opening = timeout(limits.timeout, options.connect()).await;
        let mut connection = opening
            .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
            .map_err(|source| StoreError::Open {
                place: place(&options),
                source,
            })?;
        // Programs that start at once take turns by a lock of the migrator's.
        crate::migrator(MIGRATIONS)
            .run(&mut connection)
            .await
            .map_err(StoreError::Migrate)?;
        connection.close().await?;
        let pool = PgPoolOptions::new()
            .max_connections(limits.max_connections)
            .acquire_timeout(limits.timeout)
            .connect_lazy_with(options);
        Ok(Postgres {
            pool,
            timeout: limits.timeout,
        })
    }

    /// How long these may take. A large batch that is given up half-way would be tried again for ever.
    fn patience(&self, records: &[Record]) -> Duration {
        let lawyers: usize = records.iter().map(Record::lawyers).sum();
        let timeouts = u32::try_from(1 + lawyers / LAWYERS_A_TIMEOUT).unwrap_or(u32::MAX);
        self.timeout.saturating_mul(timeouts)
    }
}

#[async_trait]
impl Backend for Postgres {
    async fn append(&self, records: &[Record]) -> Result<Vec<Appended>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let done = timeout(self.patience(records), async {
            let mut transaction = connection.begin().await?;
            let mut events = events::insert(&mut transaction, records).await?;
            let mut shadows = shadow::insert(&mut transaction, records).await?;
            transaction.commit().await?;
            let outcomes = records.iter().map(|record| {
                // Taken out, so that the same key later in `records` is a duplicate.
                let stored = match record {
                    Record::Event(event) => events.remove(&event.event_id),
                    Record::Shadow(shadow) => shadows.remove(&shadow.request_id),
                };
                if stored { Appended::Stored } else { Appended::Duplicate }
            });
            Ok(outcomes.collect())
        });
        let done = done.await;
        answered(connection, done)
    }

    async fn shown(&self, cases: &[Uuid]) -> Result<Vec<(Uuid, String)>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let done = timeout(self.timeout, events::shown(&mut connection, cases)).await;
        answered(connection, done)
    }

    async fn events_between(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<Event>, StoreError> {
        events::between(&self.pool, from, to).await
    }

    async fn rollout(&self) -> Result<RolloutState, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let done = timeout(self.timeout, rollout::state(&mut connection)).await;
        answered(connection, done)
    }

    async fn save_rollout(&self, state: &RolloutState, entry: &HistoryEntry) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        let done = timeout(self.timeout, rollout::save(&mut connection, state, entry)).await;
        answered(connection, done)
    }

    async fn history(&self, limit: u32) -> Result<Vec<HistoryEntry>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let done = timeout(self.timeout, rollout::history(&mut connection, limit)).await;
        answered(connection, done)
    }

    async fn shadow_cases(
        &self,
        model_version: &str,
        closed_before: DateTime<Utc>,
    ) -> Result<Vec<ShadowCase>, StoreError> {
        shadow::cases(&self.pool, model_version, closed_before).await
    }

    async fn label_shadow(
        &self,
        labels: &[(Uuid, String, f32)],
        closed_before: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        shadow::label(&self.pool, labels, closed_before).await
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// What came of a call. A connection that did not answer in time is dropped and not given back: the pool would wait
/// for it as long as the network does.
fn answered<T>(
    connection: PoolConnection<sqlx::Postgres>,
    done: Result<Result<T, StoreError>, Elapsed>,
) -> Result<T, StoreError> {
    done.unwrap_or_else(|_| {
        drop(connection.detach());
        Err(StoreError::timed_out())
    })
}

/// The parts of a `postgres://` URL, of which nothing is left to the environment but the password. Parameters are
/// refused, because they could undo what is promised here.
fn options_of(url: &str) -> Result<PgConnectOptions, StoreError> {
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
    Ok(match server.contains(':') {
        true => options,
        false => options.port(5432),
    })
}

/// The server and its database, without credentials.
fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_default();
    format!("{}:{}/{database}", options.get_host(), options.get_port())
}

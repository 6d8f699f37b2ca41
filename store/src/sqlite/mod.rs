//! One SQLite file: WAL with `synchronous = FULL`, one connection that writes, the others read.

mod agreed;
mod columns;
mod events;
mod many;
mod rollout;
mod shadow;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use ranking::events::Event;
use ranking::verdict::ShadowCase;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use uuid::Uuid;

use crate::backend::Backend;
use crate::shown::Search;
use crate::{Appended, HistoryEntry, Limits, Readable, Record, RolloutState, StoreError, wrong_url};

const MIGRATIONS: &[(&str, &str)] = &[
    ("initial", include_str!("../../migrations/sqlite/0001_initial.sql")),
    (
        "fewer_indexes",
        include_str!("../../migrations/sqlite/0002_fewer_indexes.sql"),
    ),
    (
        "comparisons",
        include_str!("../../migrations/sqlite/0003_comparisons.sql"),
    ),
    (
        "lasting_form",
        include_str!("../../migrations/sqlite/0004_lasting_form.sql"),
    ),
];

/// Further attempts at what another program is in the way of, where SQLite itself does not wait.
const ATTEMPTS: u32 = 3;
/// Before each of them.
const PAUSE: Duration = Duration::from_millis(50);
/// SQLite's code for a file that another program has locked.
const BUSY: &str = "5";

pub(crate) struct Sqlite {
    /// One connection: SQLite has one writer at a time, so more of them would only wait for each other.
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Sqlite {
    pub async fn open(path: &str, limits: Limits) -> Result<Sqlite, StoreError> {
        // `:memory:` and `?mode=` would each give the writer and the readers databases of their own.
        if path.is_empty() || path.contains(['?', '#']) || path.starts_with(':') {
            return Err(wrong_url(format!("{path:?} is not the path of a file")));
        }
        if let Some(folder) = Path::new(path).parent() {
            std::fs::create_dir_all(folder).map_err(|source| StoreError::Folder {
                path: folder.to_owned(),
                source,
            })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(limits.timeout);
        let opened = |source| StoreError::Open {
            place: path.to_owned(),
            source,
        };
        let writer = writer(for_writing(options.clone())).await.map_err(opened)?;
        migrate(&writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(limits.max_connections.saturating_sub(1).max(1))
            .acquire_timeout(limits.timeout)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await
            .map_err(opened)?;
        Ok(Sqlite { writer, readers })
    }
}

#[async_trait]
impl Backend for Sqlite {
    async fn append(&self, records: &[Record]) -> Result<Vec<Appended>, StoreError> {
        // Taking the write lock at once lets a second process wait its turn; a transaction that reads first and
        // writes later would be refused instead.
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut events = events::insert(&mut transaction, records).await?;
        let mut outcomes = Vec::with_capacity(records.len());
        for record in records {
            outcomes.push(match (record.shadow(), record.event_id()) {
                (Some(shadow), _) => shadow::insert(&mut transaction, shadow).await?,
                // Taken out, so that the same key later in `records` is a duplicate.
                (None, Some(event_id)) if events.remove(&event_id) => Appended::Stored,
                (None, _) => Appended::Duplicate,
            });
        }
        transaction.commit().await?;
        Ok(outcomes)
    }

    async fn impressions(&self, asked: &[(Uuid, Uuid)], search: &mut Search<'_>) -> Result<(), StoreError> {
        events::impressions(&self.readers, asked, search).await
    }

    async fn events_between(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Readable<Event>, StoreError> {
        events::between(&self.readers, from, to).await
    }

    async fn salt_id(&self, given: Uuid) -> Result<Uuid, StoreError> {
        agreed::salt_id(&self.writer, given).await
    }

    async fn rollout(&self) -> Result<RolloutState, StoreError> {
        rollout::state(&self.readers).await
    }

    async fn save_rollout(&self, state: &RolloutState, entry: &HistoryEntry) -> Result<(), StoreError> {
        rollout::save(&self.writer, state, entry).await
    }

    async fn history(&self, limit: u32) -> Result<Vec<HistoryEntry>, StoreError> {
        rollout::history(&self.readers, limit).await
    }

    async fn shadow_cases(
        &self,
        model_version: &str,
        closed_before: DateTime<Utc>,
    ) -> Result<Readable<ShadowCase>, StoreError> {
        shadow::cases(&self.readers, model_version, closed_before).await
    }

    async fn label_shadow(
        &self,
        labels: &[(Uuid, String, f32)],
        closed_before: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        shadow::label(&self.writer, labels, closed_before).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Ids that callers chose are random, so that each insert meets another page of their index: pages are read again and
/// again unless the cache (KiB) holds them, and go from the log to the file less often if the log may grow (pages).
/// A new file has larger pages (bytes): an impression of five lawyers is more than half of one of 4 KiB, so that each
/// would fill one alone.
fn for_writing(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .page_size(8192)
        .pragma("wal_autocheckpoint", "4000")
        .pragma("cache_size", "-8192")
}

/// Of two programs that make a new file a WAL at once, SQLite refuses one instead of letting it wait.
async fn writer(options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let mut attempts = 0;
    loop {
        let pool = SqlitePoolOptions::new().max_connections(1);
        match pool.connect_with(options.clone()).await {
            Err(sqlx::Error::Database(error)) if attempts < ATTEMPTS && error.code().as_deref() == Some(BUSY) => {
                attempts += 1;
                tokio::time::sleep(PAUSE).await;
            }
            opened => return opened,
        }
    }
}

async fn migrate(writer: &SqlitePool) -> Result<(), StoreError> {
    let migrator = crate::migrator(MIGRATIONS);
    // Two programs that start on a new file at once both find it empty; the one that comes second fails on the
    // first's tables, and finds them in place when it looks again.
    let mut attempts = 0;
    loop {
        match migrator.run(writer).await {
            Ok(()) => return Ok(()),
            Err(error) if attempts == ATTEMPTS => return Err(StoreError::Migrate(error)),
            Err(_) => {
                attempts += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "SELECT shadow_id, ts_utc, case_id, user_id, lawyer_id, rank_legacy, rank_ltr, label \
                       FROM ltr_shadow_log ORDER BY shadow_id";
    type Row = (String, String, String, String, String, u16, Option<u16>, Option<f64>);

    /// A file as the version with the first `migrations` left it, with a comparison of two lawyers.
    async fn older(path: &str, migrations: usize) {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        crate::migrator(&MIGRATIONS[..migrations]).run(&pool).await.unwrap();
        let rows = match migrations {
            1 | 2 => {
                "INSERT INTO ltr_shadow_request VALUES
                ('9d3c0000-0000-4000-8000-00000000abcd', '2026-10-01T00:00:00.000000000Z', 'c', 'v', 'ok', 7);
            INSERT INTO ltr_shadow_log VALUES
                ('one', '2026-10-01T00:00:00.000000000Z', 'c', 'u', 'adv_1', 1, 2, 0.3,
                 '9d3c0000-0000-4000-8000-00000000abcd', 'v', 0.5, 0.25, '{}'),
                ('two', '2026-10-01T00:00:00.000000000Z', 'c', 'u', 'adv_2', 2, NULL, NULL,
                 '9d3c0000-0000-4000-8000-00000000abcd', 'v', 0.25, NULL, '{}')"
            }
            _ => {
                "INSERT INTO ltr_shadow_request VALUES
                (7, '9d3c0000-0000-4000-8000-00000000abcd', '2026-10-01T00:00:00.000000000Z', 'c', 'v', 'ok', 7, 'u');
            INSERT INTO ltr_shadow_row VALUES
                (7, 1, 2, 'adv_1', 0.3, 0.5, 0.25, '{}'),
                (7, 2, NULL, 'adv_2', NULL, 0.25, NULL, '{}')"
            }
        };
        sqlx::raw_sql(rows).execute(&pool).await.unwrap();
        pool.close().await;
    }

    #[tokio::test]
    async fn the_log_of_older_versions_is_kept_and_labels_are_filled_in_through_it() {
        for migrations in [1, 2, 3] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("ltr.db").to_str().unwrap().to_owned();
            older(&path, migrations).await;
            let store = Sqlite::open(&path, Limits::default()).await.unwrap();
            let row = |rank: u16, ltr, label| -> Row {
                (
                    format!("9d3c0000-0000-000{rank}-8000-00000000abcd"),
                    "2026-10-01T00:00:00.000000000Z".into(),
                    "c".into(),
                    "u".into(),
                    format!("adv_{rank}"),
                    rank,
                    ltr,
                    label,
                )
            };
            let log: Vec<Row> = sqlx::query_as(LOG).fetch_all(&store.readers).await.unwrap();
            assert_eq!(log, [row(1, Some(2), Some(0.3)), row(2, None, None)]);

            let fill = "UPDATE ltr_shadow_log SET label = 0.6 WHERE case_id = 'c' AND lawyer_id = 'adv_2'";
            sqlx::query(fill).execute(&store.writer).await.unwrap();
            let log: Vec<Row> = sqlx::query_as(LOG).fetch_all(&store.readers).await.unwrap();
            assert_eq!(log, [row(1, Some(2), Some(0.3)), row(2, None, Some(0.6))]);
            store.close().await;
        }
    }
}

//! What must survive: events, the shadow log, and the state of the rollout, in one SQLite file.
//!
//! The gateway writes through one connection, the nightly run opens the same file beside it. Every commit
//! reaches the disk before it is reported (WAL with `synchronous = FULL`), and every record has a key of its
//! own, so that writing it a second time changes nothing.
//!
//! ```no_run
//! # async fn example() -> Result<(), store::StoreError> {
//! let store = store::Store::open("sqlite://var/ltr.db").await?;
//! let state = store.rollout().await?;
//! println!("weight {} %", state.weight);
//! # Ok(())
//! # }
//! ```

mod columns;
mod error;
mod events;
mod rollout;
mod shadow;

use std::path::Path;
use std::time::Duration;

use ranking::events::Event;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqlSafeStr, SqlitePool};

pub use error::StoreError;
pub use rollout::{HistoryEntry, RolloutState};
pub use shadow::ShadowRecord;

/// How long a statement waits for another process that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const READERS: u32 = 4;

/// A handle to the database; clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    /// One connection: SQLite has one writer at a time, so more of them would only wait for each other.
    writer: SqlitePool,
    readers: SqlitePool,
}

/// One thing to be kept.
#[derive(Clone, Debug)]
pub enum Record {
    Event(Event),
    Shadow(ShadowRecord),
}

/// What became of a [`Record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is on disk now.
    Stored,
    /// One with the same key was there already, and stays as it was.
    Duplicate,
}

impl Store {
    /// Opens the database that `url` names (`sqlite://` and a path, relative to the working directory unless it
    /// begins with `/`), making the file and its folder where they are missing, and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError::Url`] for any other kind of URL, [`StoreError::Open`] when the file cannot be opened,
    /// [`StoreError::Migrate`] when its tables come from a newer program.
    pub async fn open(url: &str) -> Result<Store, StoreError> {
        let path = path_of(url)?;
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
            .busy_timeout(BUSY_TIMEOUT);
        let opened = |source| StoreError::Open {
            path: path.into(),
            source,
        };
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await
            .map_err(opened)?;
        migrate(&writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await
            .map_err(opened)?;
        Ok(Store { writer, readers })
    }

    /// Keeps all of `records`, or none of them: one transaction, on disk when this returns. The answer has one
    /// entry a record, in order.
    pub async fn append(&self, records: &[Record]) -> Result<Vec<Appended>, StoreError> {
        // Taking the write lock at once lets a second process wait its turn; a transaction that reads first and
        // writes later would be refused instead.
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut outcomes = Vec::with_capacity(records.len());
        for record in records {
            outcomes.push(match record {
                Record::Event(event) => events::insert(&mut transaction, event).await?,
                Record::Shadow(shadow) => shadow::insert(&mut transaction, shadow).await?,
            });
        }
        transaction.commit().await?;
        Ok(outcomes)
    }

    /// Closes every connection; what is being written is finished first.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// The path inside a `sqlite://` URL.
fn path_of(url: &str) -> Result<&str, StoreError> {
    let path = url.strip_prefix("sqlite://").unwrap_or_default();
    // `:memory:` and `?mode=` would each give the writer and the readers databases of their own.
    if path.is_empty() || path.contains(['?', '#']) || path.starts_with(':') {
        return Err(StoreError::Url { url: url.into() });
    }
    Ok(path)
}

async fn migrate(writer: &SqlitePool) -> Result<(), StoreError> {
    let initial = Migration::new(
        1,
        "initial".into(),
        MigrationType::Simple,
        include_str!("../migrations/0001_initial.sql").into_sql_str(),
        false,
    );
    let migrator = Migrator::with_migrations(vec![initial]);
    // Two programs that start on a new file at once both find it empty; the one that comes second fails on the
    // first's tables, and finds them in place when it looks again.
    let mut attempts = 0;
    loop {
        match migrator.run(writer).await {
            Ok(()) => return Ok(()),
            Err(error) if attempts == 3 => return Err(StoreError::Migrate(error)),
            Err(_) => {
                attempts += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

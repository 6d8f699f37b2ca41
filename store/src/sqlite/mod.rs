//! One SQLite file in WAL mode with `synchronous = FULL`. One connection writes, the others read.

mod agreed;
mod batch_insert;
mod codec;
mod days;
mod events;
mod evidence;
mod files;
mod gateways;
mod labels;
mod lease;
mod ledger;
mod outbox;
mod outcomes;
mod queue;
mod release;
mod rollout;
mod shadow;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use ranking::events::Event;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};
use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use uuid::Uuid;

use self::files::Files;
use crate::backend::Backend;
use crate::comparisons::Reading;
use crate::error::passes;
use crate::queue::{Entry, Kept};
use crate::shown::Search;
use crate::{
    ComparisonKey, EventDay, HistoryEntry, Limits, Readable, Record, RolloutState, StoreError, StoredComparison,
    StoredRow, same_id, wrong_url,
};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Retries while another program is in the way, where SQLite itself does not wait.
const ATTEMPTS: u32 = 3;
/// The pause before each retry.
const PAUSE: Duration = Duration::from_millis(50);
/// SQLite's code for a file that another program has locked (`SQLITE_BUSY`).
const BUSY: &str = "5";

pub(crate) struct Sqlite {
    path: String,
    limits: Limits,
    /// The one connection that writes: SQLite allows one writer at a time, so more would only wait
    /// for each other. A call takes it out, and puts it back if all went well. A failed or
    /// cancelled transaction thus leaves nothing for the next call.
    writer: Mutex<Option<Writer>>,
    /// The files last opened for writing. Once set, a missing file is never recreated: usually it
    /// has only been moved for a while. A new one would know neither the rollout nor any record.
    opened: parking_lot::Mutex<Option<Files>>,
    readers: parking_lot::Mutex<Readers>,
}

struct Writer {
    connection: SqliteConnection,
    files: Files,
    /// Whether a transaction on it did not end. It then only serves to save what was committed.
    is_tainted: bool,
}

/// Pools that open their connections on demand.
#[derive(Clone)]
struct Readers {
    data: SqlitePool,
    /// One turn per connection of `data`: see `Lane` in `postgres`.
    turns: Arc<Semaphore>,
    /// Read the rollout, the release record and the salt id, so that an operator waits for no other
    /// kind of call.
    control: SqlitePool,
    files: Files,
}

/// A transaction. If dropped before [`Writing::commit`], it is rolled back, and no other
/// transaction gets its connection.
struct Writing<'a> {
    turn: MutexGuard<'a, Option<Writer>>,
    /// `None` once it was given back.
    writer: Option<Writer>,
    path: &'a str,
}

impl Writing<'_> {
    fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.writer.as_mut().expect("only `commit` gives it back").connection
    }

    async fn commit(mut self) -> Result<(), StoreError> {
        sqlx::query("COMMIT").execute(self.connection()).await?;
        // Given back even if its files are no longer at the path: the next call saves their
        // contents.
        let writer = self.turn.insert(self.writer.take().expect("only this gives it back"));
        if writer.files == Files::at(self.path) {
            Ok(())
        } else {
            Err(gone(self.path))
        }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        // A log that was deleted or moved may hold acknowledged transactions, which would be lost
        // with the connection.
        if let Some(writer) = self.writer.take()
            && writer.files != Files::at(self.path)
        {
            *self.turn = Some(Writer {
                is_tainted: true,
                ..writer
            });
        }
    }
}

impl Sqlite {
    pub(crate) async fn open(path: &str, limits: Limits) -> Result<Sqlite, StoreError> {
        let sqlite = Sqlite::unopened(path, limits)?;
        *sqlite.writer.lock().await = Some(sqlite.open_writer().await?);
        Ok(sqlite)
    }

    /// As [`Sqlite::open`], but a full disk or another program's lock is no error: a later call
    /// brings the tables up to date.
    pub(crate) async fn open_later(path: &str, limits: Limits) -> Result<Sqlite, StoreError> {
        let sqlite = Sqlite::unopened(path, limits)?;
        match sqlite.open_writer().await {
            Ok(writer) => *sqlite.writer.lock().await = Some(writer),
            Err(StoreError::Open { source, .. }) if matches!(source, sqlx::Error::Database(_)) && passes(&source) => {
                tracing::warn!("the database cannot be used yet: {source}");
            }
            Err(error) => return Err(error),
        }
        Ok(sqlite)
    }

    fn unopened(path: &str, limits: Limits) -> Result<Sqlite, StoreError> {
        // `:memory:` and `?mode=` would give the writer and the readers separate databases.
        if path.is_empty() || path.contains(['?', '#']) || path.starts_with(':') {
            return Err(wrong_url(format!("{path:?} is not the path of a file")));
        }
        Ok(Sqlite {
            path: path.to_owned(),
            limits,
            writer: Mutex::new(None),
            opened: parking_lot::Mutex::new(None),
            readers: parking_lot::Mutex::new(readers(path, limits)),
        })
    }

    /// Opens the file for writing, and brings its tables up to date. Makes the file and its folder
    /// if they are missing.
    async fn open_writer(&self) -> Result<Writer, StoreError> {
        let path = Path::new(&self.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| StoreError::Folder {
                path: folder.to_owned(),
                source,
            })?;
        }
        let opened = |source| StoreError::Open {
            place: self.path.clone(),
            source,
        };
        files::make_private(path).map_err(|source| opened(sqlx::Error::Io(source)))?;
        let before = Files::at(&self.path);
        let options = options(&self.path, self.limits).create_if_missing(true);
        let mut connection = connect(for_writing(options)).await.map_err(opened)?;
        migrate(&mut connection).await.map_err(|error| match error {
            MigrateError::Execute(source) if passes(&source) => opened(source),
            error => StoreError::Migrate(error),
        })?;
        let files = Files::at(&self.path);
        if !files.are_of(&before) || !files.are_all_there() {
            return Err(gone(&self.path));
        }
        *self.opened.lock() = Some(files);
        Ok(Writer {
            connection,
            files,
            is_tainted: false,
        })
    }

    /// Waits for its turn, and begins a transaction in the file now at the path.
    async fn writing(&self) -> Result<Writing<'_>, StoreError> {
        let turn = timeout(self.limits.timeout, self.writer.lock()).await;
        let mut turn = turn.map_err(|_| StoreError::Busy)?;
        let writer = match turn.take() {
            Some(writer) if !writer.is_tainted && writer.files == Files::at(&self.path) => writer,
            left => {
                let former = *self.opened.lock();
                if former.is_some() && !files::may_be_a_database(Path::new(&self.path)) {
                    // The database may come back, and would then need its log.
                    *turn = left;
                    return Err(gone(&self.path));
                }
                if let Some(left) = left {
                    self.abandon(left).await;
                }
                let writer = self.open_writer().await.map_err(StoreError::while_running)?;
                if former.is_some_and(|former| !former.are_of(&writer.files)) {
                    // The call fails, because its caller's earlier answers came from the former
                    // database.
                    *turn = Some(writer);
                    return Err(gone(&self.path));
                }
                writer
            }
        };
        let mut writing = Writing {
            turn,
            writer: Some(writer),
            path: &self.path,
        };
        // With the write lock taken at once, a second process waits its turn. A transaction that
        // reads first and writes later would be refused instead.
        sqlx::query("BEGIN IMMEDIATE").execute(writing.connection()).await?;
        Ok(writing)
    }

    /// Closes every connection to files that were deleted or replaced. SQLite would take their
    /// index in shared memory for the index of the new log. Bounded in time, because a caller may
    /// still use a connection.
    async fn abandon(&self, mut left: Writer) {
        tracing::error!(
            path = self.path,
            "the database file or its log was deleted or replaced; what is at its path now is used instead"
        );
        let readers = self.readers.lock().clone();
        let closing = async {
            readers.data.close().await;
            readers.control.close().await;
            if left.is_tainted {
                sqlx::query("ROLLBACK").execute(&mut left.connection).await.ok();
            }
            // If the file was only moved, its log is written into it, wherever it is now.
            let moved = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
            if let Err(error) = moved.execute(&mut left.connection).await {
                tracing::warn!(path = self.path, %error, "the former database's log cannot be written into it");
            }
            left.connection.close().await
        };
        if !matches!(timeout(self.limits.timeout, closing).await, Ok(Ok(()))) {
            tracing::warn!(
                path = self.path,
                "a connection to the former database file is still in use"
            );
        }
        left.files.disown_wal(&self.path);
        // Other calls may hold the pools that are closed now; they are replaced.
        *self.readers.lock() = self::readers(&self.path, self.limits);
    }

    /// Connections to the file now at the path.
    fn readers(&self) -> Readers {
        let mut readers = self.readers.lock();
        if readers.files != Files::at(&self.path) {
            *readers = self::readers(&self.path, self.limits);
        }
        readers.clone()
    }

    /// Waits for a turn, to be held while a connection of `data` is used.
    async fn turn(&self, readers: &Readers) -> Result<OwnedSemaphorePermit, StoreError> {
        let turn = timeout(self.limits.timeout, readers.turns.clone().acquire_owned()).await;
        turn.map_err(|_| StoreError::Busy)?
            .map_err(|_| StoreError::Unavailable(sqlx::Error::PoolClosed))
    }
}

#[async_trait]
impl Backend for Sqlite {
    async fn append(&self, records: &[Record], owner: Option<Uuid>) -> Result<Kept, StoreError> {
        let mut writing = self.writing().await?;
        let connection = writing.connection();
        let mut events = same_id::insert(connection, records).await?.into_iter();
        let mut new = Vec::with_capacity(records.len());
        for record in records {
            new.push(match record.shadow() {
                Some(shadow) => {
                    let is_new = shadow::insert(connection, shadow).await?;
                    is_new.then(|| shadow.comparison_id())
                }
                None => events.next().flatten(),
            });
        }
        let queued = match owner {
            Some(owner) => queue::push(connection, owner, &Entry::of_all(records, &new)).await?,
            None => None,
        };
        writing.commit().await?;
        Ok(Kept::new(&new, queued))
    }

    async fn impressions(&self, asked: &[(Uuid, Uuid)], search: &mut Search<'_>) -> Result<(), StoreError> {
        let readers = self.readers();
        let _turn = self.turn(&readers).await?;
        events::impressions(&readers.data, asked, search).await
    }

    async fn events_between(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Readable<Event>, StoreError> {
        let readers = self.readers();
        let _turn = self.turn(&readers).await?;
        events::between(&readers.data, from, to).await
    }

    async fn event_days(&self) -> Result<Vec<EventDay>, StoreError> {
        let readers = self.readers();
        let _turn = self.turn(&readers).await?;
        days::event_days(&readers.data).await
    }

    async fn event_keys(&self, day: Option<NaiveDate>) -> Result<Vec<String>, StoreError> {
        let readers = self.readers();
        let _turn = self.turn(&readers).await?;
        days::event_keys(&readers.data, day).await
    }

    async fn stored_events(&self, keys: &[String]) -> Result<Vec<StoredRow>, StoreError> {
        let readers = self.readers();
        let _turn = self.turn(&readers).await?;
        days::stored_events(&readers.data, keys).await
    }

    async fn comparison_days(&self) -> Result<Vec<EventDay>, StoreError> {
        let readers = self.readers();
        let _turn = self.turn(&readers).await?;
        days::comparison_days(&readers.data).await
    }

    async fn comparison_keys(&self, day: Option<NaiveDate>) -> Result<Vec<ComparisonKey>, StoreError> {
        let readers = self.readers();
        let _turn = self.turn(&readers).await?;
        days::comparison_keys(&readers.data, day).await
    }

    async fn comparisons(&self, keys: &[ComparisonKey]) -> Result<Vec<StoredComparison>, StoreError> {
        let readers = self.readers();
        let _turn = self.turn(&readers).await?;
        days::comparisons(&readers.data, keys).await
    }

    async fn salt_id(&self, given: Option<Uuid>) -> Result<Option<Uuid>, StoreError> {
        // Read first, so that a full disk does not keep a gateway from serving.
        let on_record = agreed::salt_id(&self.readers().control).await?;
        let (None, Some(given)) = (on_record, given) else {
            return Ok(on_record);
        };
        let mut writing = self.writing().await?;
        agreed::set_salt_id(writing.connection(), given).await?;
        let on_record = agreed::salt_id(writing.connection()).await?;
        writing.commit().await?;
        Ok(on_record)
    }

    async fn rollout(&self) -> Result<RolloutState, StoreError> {
        rollout::state(&self.readers().control).await
    }

    async fn save_rollout(&self, state: &RolloutState, entry: &HistoryEntry) -> Result<(), StoreError> {
        let mut writing = self.writing().await?;
        rollout::save(writing.connection(), state, entry).await?;
        writing.commit().await
    }

    async fn history(&self, limit: u32) -> Result<Vec<HistoryEntry>, StoreError> {
        rollout::history(&self.readers().control, limit).await
    }

    async fn each_shadow_case(
        &self,
        model_version: &str,
        closed_before: DateTime<Utc>,
        reading: &mut Reading<'_>,
    ) -> Result<(), StoreError> {
        // Of one file for all pages, even if another one takes its place.
        let readers = self.readers();
        let mut next = Some(shadow::Place::first());
        while let Some(after) = next {
            let turn = self.turn(&readers).await?;
            next = shadow::page(&readers.data, model_version, closed_before, &after, reading).await?;
            drop(turn);
            // Pages that are ready at once would let nobody else queue for the turn.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn compared_versions(&self) -> Result<Vec<String>, StoreError> {
        let readers = self.readers();
        let _turn = self.turn(&readers).await?;
        shadow::compared_versions(&readers.data).await
    }

    async fn next_labelled(
        &self,
        model_version: &str,
        after: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let readers = self.readers();
        let _turn = self.turn(&readers).await?;
        shadow::next_labelled(&readers.data, model_version, after).await
    }

    async fn label_cases(&self, cases: &[Uuid], labels: &[(Uuid, String, f32)]) -> Result<u64, StoreError> {
        labels::label_cases(self, cases, labels).await
    }

    async fn label_rest(
        &self,
        closed_before: DateTime<Utc>,
        given_up_before: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        labels::label_rest(self, closed_before, given_up_before).await
    }

    async fn close(&self) {
        let readers = self.readers();
        readers.data.close().await;
        readers.control.close().await;
        if let Some(writer) = self.writer.lock().await.take() {
            // Its commits are on disk; an error on closing changes nothing.
            let _ = writer.connection.close().await;
        }
    }
}

/// Settings of the connection that writes. Ids chosen by callers are random, so each insert touches
/// another page of an index. A larger cache (KiB) avoids reading those pages again, and a longer
/// log (pages) avoids copying them often. Pages (bytes) of a new file are large: an impression of
/// five lawyers fills more than half of a 4 KiB page, so that each would occupy one alone.
fn for_writing(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .page_size(8192)
        .pragma("wal_autocheckpoint", "4000")
        .pragma("cache_size", "-8192")
}

fn options(path: &str, limits: Limits) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(limits.timeout)
}

fn readers(path: &str, limits: Limits) -> Readers {
    let options = options(path, limits).read_only(true);
    let pool = |connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(limits.timeout)
            .connect_lazy_with(options.clone())
    };
    let data = limits.max_connections.saturating_sub(2).max(1);
    Readers {
        data: pool(data),
        turns: Arc::new(Semaphore::new(data as usize)),
        control: pool(2),
        files: Files::at(path),
    }
}

fn gone(path: &str) -> StoreError {
    let said = format!("the file {path} was deleted or replaced; put it back, or start anew for a new one");
    StoreError::Unavailable(sqlx::Error::Io(io::Error::new(io::ErrorKind::NotFound, said)))
}

/// Connects, with retries: if two programs switch a new file to WAL at once, SQLite refuses one
/// instead of letting it wait.
async fn connect(options: SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    let mut attempts = 0;
    loop {
        match options.connect().await {
            Err(sqlx::Error::Database(error)) if attempts < ATTEMPTS && error.code().as_deref() == Some(BUSY) => {
                attempts += 1;
                tokio::time::sleep(PAUSE).await;
            }
            opened => return opened,
        }
    }
}

async fn migrate(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    // Two programs that start at once on a new file both find it empty. The second fails on the
    // first's tables, and finds them in place on the next attempt.
    let mut attempts = 0;
    loop {
        // Not `run`: its future does not fit a trait object.
        match MIGRATIONS.run_direct(None, connection, false).await {
            Err(_) if attempts < ATTEMPTS => {
                attempts += 1;
                tokio::time::sleep(PAUSE).await;
            }
            migrated => return migrated,
        }
    }
}

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use sqlx::error::ErrorKind;
use sqlx::postgres::PgDatabaseError;

/// Why the database could not do what it was asked. None of these ever holds the password of the URL.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operator's: the URL in the configuration. It is not repeated, because what is wrong with it may be
    /// where its password stands.
    #[error("database.url: {problem}; allowed: sqlite://PATH or postgres://USER[:PASSWORD]@HOST[:PORT]/DB")]
    Url { problem: String },
    #[error("database.url: cannot make the folder {}: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("database.ca_file: {}: {source}", file.display())]
    Authorities { file: PathBuf, source: std::io::Error },
    /// `place` is the file, or the server and its database.
    #[error("database.url: cannot open {place}: {source}")]
    Open { place: String, source: sqlx::Error },
    #[error("the database's tables cannot be brought up to date: {0}")]
    Migrate(sqlx::migrate::MigrateError),
    /// The same call may succeed later without anybody changing it: the server is away, starting, out of space or
    /// does not answer in time; another process held the file for longer than the timeout.
    #[error("the database is unavailable: {0}")]
    Unavailable(sqlx::Error),
    /// The same call will be refused again: a constraint, a missing right.
    #[error("the database refuses: {0}")]
    Refused(sqlx::Error),
    /// A row that this program did not write as it stands.
    #[error("table {table}, row {key}: {reason}")]
    Row {
        table: &'static str,
        key: String,
        reason: String,
    },
    /// The operator's: this program would give every user another pseudonym than the others have given.
    #[error(
        "privacy.salt_file: its salt has the id {ours}, and the pseudonyms in the database were made with the salt {theirs}; \
         allowed: the file that the other programs on this database have"
    )]
    OtherSalt { ours: uuid::Uuid, theirs: uuid::Uuid },
    /// The caller's: a value outside what the table holds.
    #[error("{field}: {value} is out of range; allowed: {allowed}")]
    Value {
        field: &'static str,
        value: String,
        allowed: &'static str,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing it.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, StoreError::Unavailable(_))
    }

    /// Whether what was to be written is to blame, and not the database or who may use it: it will never be taken as it
    /// is, and others will.
    pub fn blames_the_record(&self) -> bool {
        match self {
            StoreError::Value { .. } => true,
            StoreError::Refused(sqlx::Error::Database(error)) => {
                // PostgreSQL's class 22: a value that a column cannot hold.
                !matches!(error.kind(), ErrorKind::Other) || error.code().is_some_and(|code| code.starts_with("22"))
            }
            _ => false,
        }
    }

    /// What a call meets that was not answered in time.
    pub(crate) fn timed_out() -> StoreError {
        StoreError::Unavailable(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        if passes(&error) {
            StoreError::Unavailable(error)
        } else {
            StoreError::Refused(error)
        }
    }
}

/// Whether what a statement met may pass by itself.
pub(crate) fn passes(error: &sqlx::Error) -> bool {
    use sqlx::Error::{Database, Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
    let error = match error {
        // A connection that broke in the middle of an answer shows as a breach of the protocol.
        Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed => return true,
        Database(error) => error,
        _ => return false,
    };
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<PgDatabaseError>().is_some() {
        // https://www.postgresql.org/docs/current/errcodes-appendix.html: connection, transaction rollback (deadlock),
        // resources, operator intervention (shutdown, cancelled), system; a lock not had in time; a server that is
        // a standby for now.
        const CLASSES: [&str; 5] = ["08", "40", "53", "57", "58"];
        const CODES: [&str; 3] = ["55P03", "25006", "25P03"];
        CODES.contains(&&*code) || CLASSES.iter().any(|class| code.starts_with(class))
    } else {
        // https://www.sqlite.org/rescode.html: BUSY, LOCKED, IOERR, FULL, CANTOPEN. Extended codes carry the primary
        // code in the low byte.
        const PRIMARY: [i32; 5] = [5, 6, 10, 13, 14];
        code.parse::<i32>().is_ok_and(|code| PRIMARY.contains(&(code & 0xff)))
    }
}

//! The errors of the database, and whether the record or the database is to blame.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::path::PathBuf;

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

/// Why the database could not do what it was asked. None of these ever holds the password of the URL.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operator's: the URL in the configuration. It is not repeated, because what is wrong with it may be
    /// where its password stands.
    #[error("database.url: {problem}; allowed: sqlite://PATH or postgres://USER[:PASSWORD]@HOST[:PORT]/DB")]
    Url {
        /// What is wrong with it, in words.
        problem: String,
    },
    /// The operator's: SQLite's folder is missing and cannot be made.
    #[error("database.url: cannot make the folder {}: {source}", path.display())]
    Folder {
        /// The folder of the database's file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The operator's: the authorities cannot be read, or are no certificates in PEM.
    #[error("database.ca_file: {}: {source}", file.display())]
    Authorities {
        /// The file, as configured.
        file: PathBuf,
        /// The operating system's error; `InvalidData` without a certificate.
        source: std::io::Error,
    },
    /// The database cannot be reached or opened, or its tables cannot be brought up to date now.
    #[error("database.url: cannot open {place}: {source}")]
    Open {
        /// SQLite: the file's path. PostgreSQL: `HOST:PORT/DB`, without credentials.
        place: String,
        /// The first error of connecting, or of bringing the tables up to date.
        source: sqlx::Error,
    },
    /// Not every text could be kept there.
    #[error("database.url: {place} keeps text as {found}; allowed: UTF8")]
    Encoding {
        /// `HOST:PORT/DB`, without credentials; only PostgreSQL has this error.
        place: String,
        /// The server's encoding, for example `LATIN1`.
        found: String,
    },
    /// A migration failed for a reason that does not pass by itself, or the tables come from other
    /// migrations, such as those of a newer program.
    #[error("the database's tables cannot be brought up to date: {0}")]
    Migrate(sqlx::migrate::MigrateError),
    /// Nothing of the call is to blame, so that the same call succeeds once the cause is gone: the server is away,
    /// refuses the password or the right, lacks a table, is out of space, does not answer in time; the file was deleted or
    /// is locked by another process.
    #[error("the database is unavailable: {0}")]
    Unavailable(sqlx::Error),
    /// As [`StoreError::Unavailable`], for one event: somebody else's trigger or rule lost it.
    #[error("match_events neither took the event {key} nor has it: is there a trigger or a rule on the table?")]
    NotTaken {
        /// The key of the event's row.
        key: uuid::Uuid,
    },
    /// Other callers of this program had every connection for as long as a call waits. It says nothing of the database.
    #[error("no connection to the database was free in time")]
    Busy,
    /// What was to be written is to blame: a value that a column cannot hold, a constraint.
    #[error("the database refuses: {0}")]
    Refused(sqlx::Error),
    /// A row that this program did not write as it stands.
    #[error("table {table}, row {key}: {reason}")]
    Row {
        /// The table's name.
        table: &'static str,
        /// Which row: the value that cannot be read, as `COLUMN = VALUE`, or the row's key.
        key: String,
        /// What is wrong with it, in words.
        reason: String,
    },
    /// The operator's: this program would give every user another pseudonym than the others have given.
    #[error(
        "privacy.salt_file: its salt has the id {ours}, and the pseudonyms in the database were made with the salt {theirs}; \
         allowed: the file that the other programs on this database have"
    )]
    OtherSalt {
        /// The id of this program's salt.
        ours: uuid::Uuid,
        /// The salt id on record in the database.
        theirs: uuid::Uuid,
    },
    /// The caller's: a value outside what the table holds.
    #[error("{field}: {value} is out of range; allowed: {allowed}")]
    Value {
        /// The column or the parameter.
        field: &'static str,
        /// The value as text; a label comes with its case and its lawyer.
        value: String,
        /// The values allowed, for example `0 to 1`.
        allowed: &'static str,
    },
}

impl StoreError {
    /// Whether the database is to blame, and the same call may succeed later.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::NotTaken { .. })
    }

    /// Whether too many calls came at once.
    pub fn is_busy(&self) -> bool {
        matches!(self, StoreError::Busy)
    }

    /// Whether what was to be written is to blame, and not the database or who may use it: it will never be taken as it
    /// is, and others will.
    pub fn blames_the_record(&self) -> bool {
        matches!(self, StoreError::Refused(_) | StoreError::Value { .. })
    }

    /// Whether the database itself said that it cannot, so that it may say otherwise of another record.
    pub fn was_answered(&self) -> bool {
        matches!(
            self,
            StoreError::Unavailable(sqlx::Error::Database(_)) | StoreError::NotTaken { .. }
        )
    }

    /// What a call meets that was not answered in time.
    pub(crate) fn timed_out() -> StoreError {
        StoreError::Unavailable(sqlx::Error::Io(ErrorKind::TimedOut.into()))
    }

    /// An error of opening, met by a program that runs: nothing is lost by trying again, and nobody is there to read a
    /// message and start anew.
    pub(crate) fn while_running(self) -> StoreError {
        StoreError::Unavailable(match self {
            StoreError::Open { source, .. } => source,
            StoreError::Migrate(error) => sqlx::Error::Migrate(Box::new(error)),
            StoreError::Folder { source, .. } => sqlx::Error::Io(source),
            same @ (StoreError::Unavailable(_) | StoreError::NotTaken { .. } | StoreError::Busy) => return same,
            other => sqlx::Error::Configuration(other.into()),
        })
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        match error {
            sqlx::Error::PoolTimedOut => StoreError::Busy,
            error if blames_the_record(&error) => StoreError::Refused(error),
            error => StoreError::Unavailable(error),
        }
    }
}

/// Whether a statement was refused for the values in it. Only what is known to mean that does: of anything else, a record
/// that is tried again loses nothing, and one that is given up may.
fn blames_the_record(error: &sqlx::Error) -> bool {
    let error = match error {
        // A value that has no form in the protocol.
        sqlx::Error::Encode(_) => return true,
        sqlx::Error::Database(error) => error,
        _ => return false,
    };
    match Code::of(&**error) {
        // https://www.postgresql.org/docs/current/errcodes-appendix.html: numbers and times out of range or malformed, text
        // with a NUL or of another encoding, JSON that is none. Our columns of text have no length, and our keys and NOT
        // NULLs hold for every record that we make: where such a rule is broken, it is somebody else's.
        Code::Postgres(code) => match &*code {
            "22003" | "22007" | "22008" | "22021" | "22032" | "22P02" | "22P05" => true,
            "23514" => error.constraint().is_some_and(|name| OUR_CHECKS.contains(&name)),
            _ => false,
        },
        // https://www.sqlite.org/rescode.html: TOOBIG, MISMATCH, and CONSTRAINT_CHECK alone of the constraints.
        Code::Sqlite(code) => [18, 20].contains(&(code & 0xff)) || code == 275,
    }
}

/// The checks of our own tables, as PostgreSQL names them.
const OUR_CHECKS: [&str; 6] = [
    "match_events_event_check",
    "match_events_rank_pos_check",
    "ltr_shadow_request_score_us_check",
    "ltr_shadow_log_rank_legacy_check",
    "ltr_shadow_log_rank_ltr_check",
    "ltr_shadow_log_label_check",
];

/// Whether what kept a database from being opened may pass by itself, so that a program may start without it.
pub(crate) fn passes(error: &sqlx::Error) -> bool {
    use sqlx::Error::{Database, Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
    let error = match error {
        // A connection that broke in the middle of an answer shows as a breach of the protocol.
        Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed => return true,
        Database(error) => error,
        _ => return false,
    };
    match Code::of(&**error) {
        // Connection, transaction rollback (deadlock), resources, operator intervention (shutdown, cancelled), system; a
        // lock not had in time; a server that is a standby for now.
        Code::Postgres(code) => {
            const CLASSES: [&str; 5] = ["08", "40", "53", "57", "58"];
            const CODES: [&str; 3] = ["55P03", "25006", "25P03"];
            CODES.contains(&&*code) || CLASSES.iter().any(|class| code.starts_with(class))
        }
        // BUSY, LOCKED, READONLY, IOERR, FULL.
        Code::Sqlite(code) => [5, 6, 8, 10, 13].contains(&(code & 0xff)),
    }
}

/// Whether the tables may not be what they were, because somebody renamed or dropped them, or made the database anew.
pub(crate) fn doubts_the_tables(error: &StoreError) -> bool {
    let StoreError::Unavailable(sqlx::Error::Database(error)) = error else {
        return false;
    };
    match Code::of(&**error) {
        // An unknown database or schema, an undefined table or column; but not a missing right, of which migrations may
        // need more than records do.
        Code::Postgres(code) => ["3D", "3F", "42"].iter().any(|class| code.starts_with(class)) && code != "42501",
        Code::Sqlite(_) => false,
    }
}

/// A database's own code for an error.
enum Code<'a> {
    /// SQLSTATE.
    Postgres(Cow<'a, str>),
    /// Extended, with the primary code in the low byte.
    Sqlite(i32),
}

impl Code<'_> {
    fn of(error: &dyn DatabaseError) -> Code<'_> {
        let code = error.code().unwrap_or_default();
        match error.try_downcast_ref::<PgDatabaseError>() {
            Some(_) => Code::Postgres(code),
            None => Code::Sqlite(code.parse().unwrap_or_default()),
        }
    }
}

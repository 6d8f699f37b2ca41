use std::path::PathBuf;

/// Why the database could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operator's: the URL in the configuration.
    #[error("database.url: {url:?} is not a database this program can open; allowed: sqlite://PATH")]
    Url { url: String },
    #[error("database.url: cannot make the folder {}: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("database.url: cannot open {}: {source}", path.display())]
    Open { path: PathBuf, source: sqlx::Error },
    #[error("the database's tables cannot be brought up to date: {0}")]
    Migrate(sqlx::migrate::MigrateError),
    /// What a statement met: a full disk, another process that held the file too long.
    #[error("database: {0}")]
    Sql(#[from] sqlx::Error),
    /// A row that this program did not write as it stands.
    #[error("table {table}, row {key}: {reason}")]
    Row {
        table: &'static str,
        key: String,
        reason: String,
    },
    /// The caller's: a value outside what the table holds.
    #[error("{field}: {value} is out of range; allowed: {allowed}")]
    Value {
        field: &'static str,
        value: String,
        allowed: &'static str,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing anything: the file was held by another
    /// process for longer than the timeout.
    pub fn is_busy(&self) -> bool {
        const SQLITE_BUSY: i32 = 5;
        let StoreError::Sql(sqlx::Error::Database(error)) = self else {
            return false;
        };
        // Extended codes carry the primary code in the low byte.
        error
            .code()
            .and_then(|code| code.parse::<i32>().ok())
            .is_some_and(|code| code & 0xff == SQLITE_BUSY)
    }
}

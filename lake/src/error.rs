use thiserror::Error;

/// Why the lake cannot be used.
#[derive(Debug, Error)]
pub enum LakeError {
    /// The disk or the object store.
    #[error("the lake at {url}: {error}")]
    Store {
        /// Where the lake is.
        url: String,
        /// What it said.
        error: object_store_lake::Error,
    },
    /// A file of the lake that is none of its files, or is damaged.
    #[error("{path}: {problem}; {remedy}")]
    File {
        /// Its path in the lake.
        path: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Somebody else writes the same at the same time.
    #[error("{path}: {problem}")]
    Busy {
        /// Its path in the lake.
        path: String,
        /// What happened.
        problem: String,
    },
    /// The address of the lake.
    #[error("the lake {value:?}: {problem}")]
    Address {
        /// The address.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A query of `lake/sql`.
    #[error("{query}: {error}")]
    Query {
        /// The file with the SQL.
        query: &'static str,
        /// What the engine said.
        error: datafusion::error::DataFusionError,
    },
    /// The database with the events.
    #[error(transparent)]
    Database(#[from] store::StoreError),
    /// The bus.
    #[error(transparent)]
    Bus(#[from] bus::BusError),
    /// A column of a feature that has the name of another column.
    #[error("ranking.features: {name:?} is a column of the lake already; allowed: another name")]
    Reserved {
        /// The feature's name.
        name: String,
    },
}

impl LakeError {
    /// The same, to be said again.
    pub(crate) fn again(&self) -> LakeError {
        match self {
            LakeError::File { path, problem, remedy } => LakeError::File {
                path: path.clone(),
                problem: problem.clone(),
                remedy,
            },
            other => LakeError::Busy {
                path: "the lake".to_owned(),
                problem: other.to_string(),
            },
        }
    }
}

/// What is wrong with rows that this program makes itself.
pub(crate) fn never(error: impl std::fmt::Display) -> String {
    format!("rows that do not fit their own table: {error}")
}

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a file was not read.
#[derive(Debug, Error)]
pub enum RowsError {
    #[error("cannot read {}: {cause}", file.display())]
    Io { file: PathBuf, cause: io::Error },
    #[error("{} is not a Parquet file that can be read: {message}", file.display())]
    Parquet { file: PathBuf, message: String },
    /// A header, or a Parquet schema, without columns that are needed.
    #[error(
        "{} lacks {} needed columns: {}; it has {found} columns",
        file.display(), missing.len(), few(missing)
    )]
    MissingColumns {
        file: PathBuf,
        missing: Vec<String>,
        found: usize,
    },
    /// A place that breaks a rule.
    #[error("{}{place}: {value} is refused; allowed: {allowed}", file.display())]
    Refused {
        file: PathBuf,
        place: Place,
        /// What stands there, shortened.
        value: String,
        allowed: String,
    },
}

/// A place in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: Option<u64>,
    /// The column's name where it has one, else its number from 0.
    pub column: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        Ok(())
    }
}

/// A [`RowsError`] before the file is known, so that readers take any reader.
#[derive(Debug)]
pub(crate) enum Trouble {
    Io(io::Error),
    Parquet(String),
    MissingColumns {
        missing: Vec<String>,
        found: usize,
    },
    Refused {
        place: Place,
        value: String,
        allowed: String,
    },
}

impl Trouble {
    pub fn refused(line: u64, column: Option<String>, value: &str, allowed: impl Into<String>) -> Trouble {
        let line = Some(line).filter(|line| *line > 0);
        Trouble::Refused {
            place: Place { line, column },
            value: shorten(value),
            allowed: allowed.into(),
        }
    }

    pub fn in_file(self, file: &Path) -> RowsError {
        let file = file.to_owned();
        match self {
            Trouble::Io(cause) => RowsError::Io { file, cause },
            Trouble::Parquet(message) => RowsError::Parquet { file, message },
            Trouble::MissingColumns { missing, found } => RowsError::MissingColumns { file, missing, found },
            Trouble::Refused { place, value, allowed } => RowsError::Refused {
                file,
                place,
                value,
                allowed,
            },
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Io(error)
    }
}

/// Cut to what fits in a message, quoted.
fn shorten(value: &str) -> String {
    const MOST: usize = 60;
    if value.chars().count() <= MOST {
        return format!("{value:?}");
    }
    let head: String = value.chars().take(MOST).collect();
    format!("{head:?}...")
}

fn few(names: &[String]) -> String {
    const MOST: usize = 10;
    let shown = names
        .iter()
        .take(MOST)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > MOST {
        format!("{shown}, ...")
    } else {
        shown
    }
}

//! Why a file of rows was not read, and where in it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::foreign::Kind;

/// Why a file was not read.
#[derive(Debug, Error)]
pub enum RowsError {
    /// The file cannot be opened or read.
    #[error("cannot read {}: {cause}", file.display())]
    Io {
        /// Path of the file; `standard input` for `-`.
        file: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A Parquet file that is damaged, or uses what the reader does not support.
    #[error("{} is not a Parquet file that can be read: {message}", file.display())]
    Parquet {
        /// As in [`RowsError::Io`].
        file: PathBuf,
        /// What the reader says is wrong.
        message: String,
    },
    /// A file that is no table of rows.
    #[error("{} is {what}", file.display())]
    OtherKind {
        /// As in [`RowsError::Io`].
        file: PathBuf,
        /// What it is, and what to do.
        what: String,
    },
    /// A model whose categories cannot be looked up.
    #[error(
        "{} is not read for this model, because {why}; allowed: codes in its categorical columns, with --category-codes",
        file.display()
    )]
    Categories {
        /// As in [`RowsError::Io`].
        file: PathBuf,
        /// What is wrong with the model's categories, not with the file.
        why: String,
    },
    /// A header, or a Parquet schema, without columns that are needed.
    #[error(
        "{} lacks {} needed columns: {}; it has {} columns: {}",
        file.display(), missing.len(), few(missing), found.len(), few(found)
    )]
    MissingColumns {
        /// As in [`RowsError::Io`].
        file: PathBuf,
        /// The needed columns that the file lacks, in the caller's order.
        missing: Vec<String>,
        /// All columns of the file, in its order.
        found: Vec<String>,
    },
    /// A place that breaks a rule.
    #[error("{}{place}: {value} is refused; allowed: {allowed}", file.display())]
    Refused {
        /// As in [`RowsError::Io`].
        file: PathBuf,
        /// Line and column, as far as the rule is about one.
        place: Place,
        /// What stands there, shortened.
        value: String,
        /// What may stand there, in words.
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
pub(crate) enum ReadError {
    Io(io::Error),
    Parquet(String),
    OtherKind(Kind),
    /// Categories that cannot be looked up: why.
    Categories(String),
    MissingColumns {
        missing: Vec<String>,
        found: Vec<String>,
    },
    Refused {
        place: Place,
        value: String,
        allowed: String,
    },
}

impl ReadError {
    pub(crate) fn refused(line: u64, column: Option<String>, value: &str, allowed: impl Into<String>) -> ReadError {
        let line = Some(line).filter(|line| *line > 0);
        ReadError::Refused {
            place: Place { line, column },
            value: shorten(value),
            allowed: allowed.into(),
        }
    }

    pub(crate) fn in_file(self, file: &Path) -> RowsError {
        let file = if file.as_os_str() == "-" {
            PathBuf::from("standard input")
        } else {
            file.to_owned()
        };
        match self {
            ReadError::Io(cause) => RowsError::Io { file, cause },
            ReadError::Parquet(message) => RowsError::Parquet { file, message },
            ReadError::OtherKind(kind) => RowsError::OtherKind {
                file,
                what: kind.to_string(),
            },
            ReadError::Categories(why) => RowsError::Categories { file, why },
            ReadError::MissingColumns { missing, found } => RowsError::MissingColumns { file, missing, found },
            ReadError::Refused { place, value, allowed } => RowsError::Refused {
                file,
                place,
                value,
                allowed,
            },
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Io(error)
    }
}

/// Cut to what fits in a message, quoted.
fn shorten(value: &str) -> String {
    const MOST: usize = 80;
    if value.chars().count() <= MOST {
        return format!("{value:?}");
    }
    let head: String = value.chars().take(MOST).collect();
    format!("{head:?}...")
}

/// The first names, each cut, with commas between.
pub(crate) fn few(names: &[impl AsRef<str>]) -> String {
    const MOST: usize = 10;
    let cut = |name: &str| match name.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    };
    let mut shown: Vec<String> = names.iter().take(MOST).map(|name| cut(name.as_ref())).collect();
    if names.len() > MOST {
        shown.push("...".to_owned());
    }
    shown.join(", ")
}

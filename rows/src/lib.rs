//! Feature rows from files: CSV, SVMlight/LETOR and Parquet.
//!
//! Everything is read into one dense row-major matrix of `f64`; missing is NaN. Numbers are taken to the nearest
//! `f64`. A file that breaks a rule is refused with the file, the line, the column, the value and what is allowed.

mod csv;
mod error;
mod format;
mod parquet;
pub mod svmlight;

use std::fs::File;
use std::path::Path;

pub use error::RowsError;
pub use format::Format;

/// Most values (rows times columns) of one table: 3.2 GB of `f64`.
pub const MAX_VALUES: usize = 400_000_000;
/// Most columns of one table.
pub const MAX_COLUMNS: usize = 1_000_000;

/// What the caller needs of a file that it scores.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// Columns a row.
    pub width: usize,
    /// Their names, in order. CSV with a header and Parquet are then matched by name, and further columns ignored;
    /// without names columns count by position.
    pub names: Option<&'a [String]>,
}

/// Rows of features.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Column names, where the file has them.
    pub names: Option<Vec<String>>,
    /// Columns a row.
    pub width: usize,
    /// Row-major, `rows() * width`; NaN where missing.
    pub values: Vec<f64>,
    /// One a row, where the file has them (SVMlight).
    pub labels: Option<Vec<f64>>,
    /// Query of each row, where the file has them (SVMlight's `qid:`).
    pub qids: Option<Vec<u64>>,
    rows: usize,
}

impl Table {
    /// How many rows there are. Not `values.len() / width`: rows without columns are rows too.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

/// Reads a file. `format`: `None` goes by the file's ending, then by its first bytes (see [`Format::of`]).
///
/// With `expect` the table has exactly those columns. CSV without a header must have exactly as many; SVMlight may
/// have fewer (absent is 0) or more (ignored, as LightGBM does).
///
/// # Errors
/// What cannot be read, and the first place that breaks a rule.
pub fn read(path: &Path, format: Option<Format>, expect: Option<&Expect>) -> Result<Table, RowsError> {
    let format = match format {
        Some(format) => format,
        None => Format::of(path)?,
    };
    match format {
        Format::Csv => csv::read(open(path)?, expect).map_err(|e| e.in_file(path)),
        Format::SvmLight => svmlight::read(open(path)?, expect.map(|e| e.width)).map_err(|e| e.in_file(path)),
        Format::Parquet => parquet::read(open(path)?, expect).map_err(|e| e.in_file(path)),
    }
}

fn open(path: &Path) -> Result<File, RowsError> {
    File::open(path).map_err(|e| error::Trouble::from(e).in_file(path))
}

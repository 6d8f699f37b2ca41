//! Feature rows from files: CSV and its kin, SVMlight/LETOR and Parquet.
//!
//! Everything is read into one dense row-major matrix of `f64`; missing is NaN. Numbers are taken to the nearest
//! `f64`. A file that breaks a rule is refused with the file, the line, the column, the value and what is allowed: a
//! table is right, or there is none.

mod categories;
mod columns;
mod csv;
mod error;
mod foreign;
mod format;
mod input;
mod number;
mod parquet;
pub mod svmlight;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

pub use categories::{Categories, Category};
use error::ReadError;
pub use error::{Place, RowsError};
pub use format::Format;
use input::Input;

/// Most values (rows times columns) of one table: 3.2 GB of `f64`.
pub const MAX_VALUES: usize = 400_000_000;
/// Most columns of one table.
pub const MAX_COLUMNS: usize = 1_000_000;
/// Longest line of text, and longest CSV record over several lines.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// How a file is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `None` goes by the file's first bytes and its ending.
    pub format: Option<Format>,
    /// Whether the first line of a CSV file names the columns.
    pub header: Header,
}

/// Whether the first line names the columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Header {
    /// To be told from the line and the names that are wanted; what could be either is refused.
    #[default]
    Unknown,
    /// It does: columns are matched by name, unless [`Expect::by_position`] is set.
    Present,
    /// It is a row: the file must have exactly the expected columns, in their order.
    Absent,
}

/// The columns that the caller needs.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// Their names, in order.
    pub names: &'a [String],
    /// Take the file's columns in their order, whatever their names; there must be exactly as many. Otherwise CSV with
    /// a header and Parquet are matched by name, and further columns ignored.
    pub by_position: bool,
    /// Columns whose values stand for codes.
    pub categories: Option<&'a Categories>,
}

/// Rows of features.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Columns per row.
    pub width: usize,
    /// Row-major, `rows() * width`; NaN where missing.
    pub values: Vec<f64>,
    /// One per row, where the file has them (SVMlight).
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

/// Reads a file, or standard input where `path` is `-`. The bytes are read once, so that pipes will do; only Parquet
/// needs a file, because its table of contents is at the end.
///
/// CSV without a header must have exactly the columns that are expected; SVMlight may have fewer (absent is 0).
///
/// # Errors
/// What cannot be read, and the first place that breaks a rule.
pub fn read(path: &Path, options: &Options, expect: &Expect) -> Result<Table, RowsError> {
    let read = || {
        let input = Input::open(path)?;
        let format = format::of(path, &input, options)?;
        match format {
            Format::Csv => csv::read(input.into_text(), options, expect),
            Format::Tsv => csv::read(
                input.into_text(),
                &Options {
                    format: Some(Format::Tsv),
                    ..*options
                },
                expect,
            ),
            Format::SvmLight => svmlight::read(input.into_text(), expect),
            Format::Parquet => {
                let file = input.into_file()?;
                // The reader asserts here and there what a damaged file does not hold. It has nothing of ours to spoil.
                let read = catch_unwind(AssertUnwindSafe(|| parquet::read(file, expect)));
                read.unwrap_or_else(|_| Err(ReadError::Parquet("its parts contradict each other".to_owned())))
            }
        }
    };
    read().map_err(|error| error.in_file(path))
}

#[expect(clippy::disallowed_methods, reason = "a pipe is welcome here: `<(zcat FILE)`")]
fn open(path: &Path) -> Result<File, RowsError> {
    File::open(path).map_err(|e| ReadError::from(e).in_file(path))
}

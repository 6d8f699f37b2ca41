//! Reads the rows for a component from a file, and runs them through it in batches.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use rows::{Expect, Format, Header, Options, RowsError, Table};

use super::component_file::Loaded;

/// Time limit of a batch. It takes milliseconds to seconds, so a slower component is in an endless
/// loop.
pub(super) const BATCH_TIMEOUT: Duration = Duration::from_secs(60);

/// An input file, and how to read it.
#[derive(Clone, Debug, clap::Args)]
pub struct RowsArgs {
    /// File with one row of features per line (or Parquet row), or - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub input: PathBuf,
    #[command(flatten)]
    pub reading: ReadingArgs,
}

/// How to read an input file.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct ReadingArgs {
    /// Format of the input [default: detected from its first bytes and file extension]
    #[arg(long, value_name = "FORMAT", value_parser = format_parser(), requires = "input")]
    pub format: Option<Format>,
    /// Take the columns in the model's order and ignore their names
    #[arg(long, requires = "input")]
    pub by_position: bool,
    /// The first line of a CSV file names the columns [default: detected]
    #[arg(long, requires = "input")]
    pub header: bool,
    /// The first line of a CSV file is a row
    #[arg(long, requires = "input", conflicts_with = "header")]
    pub no_header: bool,
    /// Columns of pandas categories hold codes (indices into the model's lists), not values
    #[arg(long, requires = "input")]
    pub category_codes: bool,
}

fn format_parser() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(["csv", "tsv", "svm", "parquet"])
        .map(|name| name.parse().expect("the parser lets only formats through"))
}

impl RowsArgs {
    /// Reads the rows, with the scorer's columns in its order.
    pub(super) fn read(&self, loaded: &Loaded) -> anyhow::Result<Table> {
        self.reading.read(&self.input, loaded)
    }
}

impl ReadingArgs {
    pub(super) fn read(&self, input: &Path, loaded: &Loaded) -> anyhow::Result<Table> {
        let names = &loaded.scorer.description().feature_names;
        let options = Options {
            format: self.format,
            header: match (self.header, self.no_header) {
                (true, _) => Header::Present,
                (false, true) => Header::Absent,
                (false, false) => Header::Unknown,
            },
        };
        let expect = Expect {
            names,
            by_position: self.by_position,
            categories: loaded.categories.as_ref().filter(|_| !self.category_codes),
        };
        rows::read(input, &options, &expect).map_err(|error| match error {
            RowsError::MissingColumns { .. } => anyhow!(
                "{error}; allowed: every feature of the model by name, or --by-position with exactly {} columns",
                names.len()
            ),
            other => other.into(),
        })
    }
}

/// Runs `call` on batches of up to `batch` values, in parallel on all processors. Passes each batch
/// and its result to `take`, in the order of the rows.
pub(super) fn batch_by_batch<T: Send>(
    values: &[f64],
    batch: usize,
    call: impl Fn(&[f64]) -> T + Sync,
    mut take: impl FnMut(&[f64], T) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let batches: Vec<&[f64]> = values.chunks(batch).collect();
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    for wave in batches.chunks(at_once) {
        for (batch, answer) in wave.iter().zip(in_parallel(wave, &call)) {
            take(batch, answer)?;
        }
    }
    Ok(())
}

fn in_parallel<T: Send>(wave: &[&[f64]], call: &(impl Fn(&[f64]) -> T + Sync)) -> Vec<T> {
    if let [batch] = wave {
        return vec![call(batch)];
    }
    thread::scope(|scope| {
        let running: Vec<_> = wave.iter().map(|batch| scope.spawn(|| call(batch))).collect();
        let finish = running.into_iter().map(|thread| {
            let answered = thread.join();
            answered.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        finish.collect()
    })
}

//! The rows that a component is given: where they come from, and their way through it.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use rows::{Expect, Format, Header, Options, RowsError, Table};

use super::component::Loaded;

/// A batch takes milliseconds to seconds; a component that needs this long for one spins.
pub(super) const BATCH_TIMEOUT: Duration = Duration::from_secs(60);

/// A file of rows, and how to read it.
#[derive(Clone, Debug, clap::Args)]
pub struct RowsArgs {
    /// File with one row of features a line (or a Parquet row), or - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub input: PathBuf,
    #[command(flatten)]
    pub reading: ReadingArgs,
}

/// How a file of rows is read.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct ReadingArgs {
    /// Format of the input [default: by its first bytes and its ending]
    #[arg(long, value_name = "FORMAT", value_parser = format_parser(), requires = "input")]
    pub format: Option<Format>,
    /// Take columns in the model's order, whatever their names
    #[arg(long, requires = "input")]
    pub by_position: bool,
    /// The first line of a CSV file names the columns [default: told from the line]
    #[arg(long, requires = "input")]
    pub header: bool,
    /// The first line of a CSV file is a row
    #[arg(long, requires = "input", conflicts_with = "header")]
    pub no_header: bool,
    /// Columns of pandas' categories hold codes (places in the model's lists) and not values
    #[arg(long, requires = "input")]
    pub category_codes: bool,
}

fn format_parser() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(["csv", "tsv", "svm", "parquet"])
        .map(|name| name.parse().expect("the parser lets only formats through"))
}

impl RowsArgs {
    /// The file's rows, with the columns of this scorer in its order.
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

/// Calls for batches of up to `batch` values, as many at a time as there are processors, and hands the answers on in the
/// order of the rows, each with its batch.
pub(super) fn batch_by_batch<T: Send>(
    values: &[f64],
    batch: usize,
    call: impl Fn(&[f64]) -> T + Sync,
    mut take: impl FnMut(&[f64], T) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let batches: Vec<&[f64]> = values.chunks(batch).collect();
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    for wave in batches.chunks(at_once) {
        for (batch, answer) in wave.iter().zip(together(wave, &call)) {
            take(batch, answer)?;
        }
    }
    Ok(())
}

fn together<T: Send>(wave: &[&[f64]], call: &(impl Fn(&[f64]) -> T + Sync)) -> Vec<T> {
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

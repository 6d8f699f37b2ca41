//! The rows that a component is given: where they come from, and their way through it.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use rows::{Expect, Format, RowsError, Table};
use runtime::Scorer;

/// A batch takes milliseconds to seconds; a component that needs this long for one spins.
pub(super) const BATCH_TIMEOUT: Duration = Duration::from_secs(60);

/// A file of rows, and how to read it.
#[derive(Clone, Debug, clap::Args)]
pub struct RowsArgs {
    /// File with one row of features a line (or a Parquet row)
    #[arg(short, long, value_name = "FILE")]
    pub input: PathBuf,
    /// Format of the input [default: by its ending, else by its first bytes]
    #[arg(long, value_name = "FORMAT", value_parser = format_parser())]
    pub format: Option<Format>,
    /// Take columns in the model's order, whatever their names
    #[arg(long)]
    pub by_position: bool,
}

pub(super) fn format_parser() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(["csv", "svm", "parquet"])
        .map(|name| name.parse().expect("the parser lets only formats through"))
}

impl RowsArgs {
    /// The file's rows, with the columns of this scorer in its order.
    pub(super) fn read(&self, scorer: &Scorer) -> anyhow::Result<Table> {
        let names = &scorer.description().feature_names;
        let expect = Expect {
            width: names.len(),
            names: (!self.by_position).then_some(names.as_slice()),
        };
        rows::read(&self.input, self.format, Some(&expect)).map_err(|error| match error {
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

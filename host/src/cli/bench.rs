//! `ltr-host bench`: measures a component's scoring time per row.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, ensure};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use ranking::statistics::quantile;
use runtime::{Output, Scorer};
use serde::Serialize;

use super::component_file;
use super::output;
use super::rows_in::{self, ReadingArgs};

/// Number of random rows, which the calls use in turn.
const RANDOM_ROWS: usize = 4096;
/// Minimum time of a round, so that the clock's resolution does not matter.
const ROUND_NANOSECONDS: f64 = 5e6;

const EXAMPLES: &str = "\
Measures one thread, from the slice of rows to the scores in this process: copies into and out of the
sandbox, the call, the instance from the pool. Each call gets different rows. The result is the median of
the rounds.

Rows come from --input, or are random: uniform between 0 and 1.

Examples:
  ltr-host bench scorer.wasm
  ltr-host bench scorer.wasm --input rows.csv --batch 1,100
  ltr-host bench scorer.wasm --json | jq '.results[] | select(.batch == 100).ns_per_row'";

/// Measure a component's scoring time per row.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// Component, as `ltr-trainer compile` writes it
    pub component: PathBuf,
    /// File with one row of features per line (or Parquet row) [default: random rows]
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap takes a doc comment for help")]
    pub reading: ReadingArgs,
    /// Rows per call
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_value = "1,10,100,1000",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch: Vec<u32>,
    /// Rounds per batch size
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: u32,
    /// JSON for programs instead of a table: {"results": [{"batch", "ns_per_row"}]}
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Report {
    results: Vec<Measured>,
}

#[derive(Serialize)]
struct Measured {
    batch: u32,
    /// Nanoseconds, the median of the rounds.
    ns_per_row: f64,
    /// Nanoseconds per row in the fastest and the slowest round.
    fastest: f64,
    slowest: f64,
}

/// Runs `ltr-host bench`. Takes some seconds.
///
/// # Errors
/// A component that is refused or fails, invalid rows, a standard output that cannot be written.
pub fn bench(args: &BenchArgs) -> anyhow::Result<()> {
    let loaded = component_file::load(&args.component)?;
    let scorer = &loaded.scorer;
    let values = match &args.input {
        Some(input) => args.reading.read(input, &loaded)?.values,
        None => random(RANDOM_ROWS * scorer.width()),
    };
    ensure!(!values.is_empty(), "the input has no rows; allowed: 1 or more");
    let mut results = Vec::new();
    for &batch in &args.batch {
        results.push(measure(scorer, &values, batch, args.rounds)?);
    }
    output::ignore_broken_pipe(print(&Report { results }, args.json))
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string(report)?)?);
    }
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_header(["rows per call", "ns per row", "fastest", "slowest"]);
    for measured in &report.results {
        let numbers = [measured.ns_per_row, measured.fastest, measured.slowest].map(|ns| format!("{ns:.0}"));
        table.add_row([vec![measured.batch.to_string()], numbers.to_vec()].concat());
    }
    table
        .column_iter_mut()
        .for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    Ok(writeln!(out, "{table}")?)
}

fn measure(scorer: &Scorer, values: &[f64], batch: u32, rounds: u32) -> anyhow::Result<Measured> {
    let mut rows = Rows::new(values, scorer.width(), batch as usize);
    let mut round = |calls: u32| -> anyhow::Result<f64> {
        let start = Instant::now();
        for _ in 0..calls {
            let scores = scorer.score(rows.next(), Output::Converted, rows_in::BATCH_TIMEOUT);
            black_box(scores.context("the component failed")?);
        }
        Ok(start.elapsed().as_nanos() as f64)
    };
    // Warm up, and find the number of calls that make a round.
    let mut calls = 1;
    while round(calls)? < ROUND_NANOSECONDS && calls < 1 << 20 {
        calls *= 2;
    }
    let rows_per_round = f64::from(calls) * f64::from(batch);
    let mut times = Vec::with_capacity(rounds as usize);
    for _ in 0..rounds {
        times.push(round(calls)? / rows_per_round);
    }
    times.sort_by(f64::total_cmp);
    let at = |p| quantile(&times, p).context("no round was measured");
    Ok(Measured {
        batch,
        ns_per_row: at(0.5)?,
        fastest: at(0.0)?,
        slowest: at(1.0)?,
    })
}

/// Cycles through some rows, one batch at a time.
struct Rows {
    /// The rows, followed by the first rows again so that every batch is contiguous.
    values: Vec<f64>,
    width: usize,
    count: usize,
    batch: usize,
    /// The next row.
    at: usize,
}

impl Rows {
    fn new(values: &[f64], width: usize, batch: usize) -> Rows {
        let cycled = values.iter().copied().cycle();
        Rows {
            values: cycled.take(values.len() + batch * width).collect(),
            width,
            count: values.len() / width,
            batch,
            at: 0,
        }
    }

    fn next(&mut self) -> &[f64] {
        let start = self.at * self.width;
        self.at = (self.at + self.batch) % self.count;
        &self.values[start..start + self.batch * self.width]
    }
}

/// Uniform numbers in [0, 1), the same in every run.
fn random(count: usize) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut unit = || (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    (0..count).map(|_| unit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_cycle_through_all_rows() {
        let values = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5];
        let mut rows = Rows::new(&values, 2, 2);
        assert_eq!(rows.next(), [0.0, 0.5, 1.0, 1.5]);
        assert_eq!(rows.next(), [2.0, 2.5, 0.0, 0.5]);
        assert_eq!(rows.next(), [1.0, 1.5, 2.0, 2.5]);
        assert_eq!(Rows::new(&values, 2, 7).next().len(), 14);
    }

    #[test]
    fn random_numbers_are_in_range_and_differ() {
        let mut numbers = random(1000);
        assert!(numbers.iter().all(|x| (0.0..1.0).contains(x)));
        numbers.sort_by(f64::total_cmp);
        numbers.dedup();
        assert_eq!(numbers.len(), 1000);
    }
}

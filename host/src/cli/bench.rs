//! `ltr-host bench`: how long a component takes for a row.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, ensure};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use runtime::{Output, Scorer};
use serde::Serialize;

use super::component;
use super::output;
use super::rows_in::{self, ReadingArgs};

/// Rows that are drawn, and used in turn.
const DRAWN_ROWS: usize = 4096;
/// Least time a round takes, so that the clock's grain does not matter.
const ROUND_NANOSECONDS: f64 = 5e6;

const EXAMPLES: &str = "\
One thread, everything from the slice of rows in this process to the scores in this process: copies into
the sandbox and out of it, the call, the instance from the pool. Each call gets other rows than the one before.
The median of the rounds is reported.

Rows are those of --input, or drawn: uniform between 0 and 1.

Examples:
  ltr-host bench scorer.wasm
  ltr-host bench scorer.wasm --input rows.csv --batch 1,100
  ltr-host bench scorer.wasm --json | jq '.results[] | select(.batch == 100).ns_per_row'";

/// Measure how long a component takes for a row.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// Component, as `ltr-trainer compile` writes it
    pub component: PathBuf,
    /// File with one row of features a line (or a Parquet row) [default: rows are drawn]
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    #[command(flatten)]
    pub reading: ReadingArgs,
    /// Rows in a call
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_value = "1,10,100,1000",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch: Vec<u32>,
    /// Rounds for each batch
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
    /// Of the quickest and the slowest round.
    fastest: f64,
    slowest: f64,
}

/// Runs `ltr-host bench`. Takes some seconds.
///
/// # Errors
/// A component that is refused or fails, rows that break a rule, a closed standard output.
pub fn bench(args: &BenchArgs) -> anyhow::Result<()> {
    let loaded = component::load(&args.component)?;
    let scorer = &loaded.scorer;
    let values = match &args.input {
        Some(input) => args.reading.read(input, &loaded)?.values,
        None => drawn(DRAWN_ROWS * scorer.width()),
    };
    ensure!(!values.is_empty(), "the input has no rows; allowed: 1 or more");
    let mut results = Vec::new();
    for &batch in &args.batch {
        results.push(measure(scorer, &values, batch, args.rounds)?);
    }
    output::until_enough(print(&Report { results }, args.json))
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
        .set_header(["rows in a call", "ns a row", "fastest", "slowest"]);
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
    // Warms up, and finds how many calls make a round.
    let mut calls = 1;
    while round(calls)? < ROUND_NANOSECONDS && calls < 1 << 20 {
        calls *= 2;
    }
    let rows_a_round = f64::from(calls) * f64::from(batch);
    let mut times = Vec::with_capacity(rounds as usize);
    for _ in 0..rounds {
        times.push(round(calls)? / rows_a_round);
    }
    times.sort_by(f64::total_cmp);
    Ok(Measured {
        batch,
        ns_per_row: times[times.len() / 2],
        fastest: times[0],
        slowest: times[times.len() - 1],
    })
}

/// Goes round and round through some rows, a batch at a time.
struct Rows {
    /// The rows, and behind the last one again as many as complete a batch.
    values: Vec<f64>,
    width: usize,
    count: usize,
    batch: usize,
    /// The row that comes next.
    at: usize,
}

impl Rows {
    fn new(values: &[f64], width: usize, batch: usize) -> Rows {
        let round_and_round = values.iter().copied().cycle();
        Rows {
            values: round_and_round.take(values.len() + batch * width).collect(),
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

/// Uniform numbers in [0, 1), the same in every run (SplitMix64).
fn drawn(count: usize) -> Vec<f64> {
    let mut state = 0_u64;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..count).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_go_round_through_all_rows() {
        let values = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5];
        let mut rows = Rows::new(&values, 2, 2);
        assert_eq!(rows.next(), [0.0, 0.5, 1.0, 1.5]);
        assert_eq!(rows.next(), [2.0, 2.5, 0.0, 0.5]);
        assert_eq!(rows.next(), [1.0, 1.5, 2.0, 2.5]);
        assert_eq!(Rows::new(&values, 2, 7).next().len(), 14);
    }

    #[test]
    fn drawn_numbers_are_in_range_and_differ() {
        let mut numbers = drawn(1000);
        assert!(numbers.iter().all(|x| (0.0..1.0).contains(x)));
        numbers.sort_by(f64::total_cmp);
        numbers.dedup();
        assert_eq!(numbers.len(), 1000);
    }
}

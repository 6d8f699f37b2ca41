//! `ltr-host explain`: shows what each feature contributed to the scores of rows.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use runtime::{Output, ScoreError, Scorer};
use serde::{Serialize, Serializer};

use super::component_file;
use super::output;
use super::rows_in::{self, RowsArgs};

/// Maximum rows per call. Explaining one row takes as long as scoring a few hundred.
const BATCH_ROWS: usize = 64;
/// Maximum numbers in a batch's result; a single row may exceed it.
const BATCH_VALUES: usize = 1 << 20;
/// Half the width of a bar, in characters. The largest contribution of a row has this length.
const BAR: usize = 12;

const EXAMPLES: &str = "\
A raw score is the expected value (the mean over the training rows) plus one contribution per
feature: Shapley values, as LightGBM's pred_contrib. The largest contributions come first. A bar
to the right raised the score, a bar to the left lowered it.

--json writes one object per line and row: {row, outputs: [{output, raw_score, expected_value,
sum, contributions: [{feature, value, contribution}], others: {features, contribution}}]}. A
missing value is null, an infinite one \"inf\" or \"-inf\". `sum` adds contributions, others and
expected value; it equals the raw score except for rounding.

Rows are read as by `ltr-host score`.

Examples:
  ltr-host explain scorer.wasm --input rows.csv --row 1
  ltr-host explain scorer.wasm --input rank.test --format svm --row 17 --top 5
  ltr-host explain scorer.wasm --input matrix.parquet --json | jq -c '.outputs[0].contributions[0]'";

/// Show what each feature contributed to the scores of rows.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// Component, as `ltr-trainer compile` writes it
    pub component: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap takes a doc comment for help")]
    pub rows: RowsArgs,
    /// Explain only this row, counted from 1 [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub row: Option<u64>,
    /// Show the K largest contributions and the sum of the others [default: all]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    pub top: Option<u64>,
    /// JSON for programs instead of tables, one object per line
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct RowReport<'a> {
    /// Counted from 1.
    row: usize,
    outputs: Vec<OutputReport<'a>>,
}

#[derive(Serialize)]
struct OutputReport<'a> {
    /// The class, counted from 0.
    output: usize,
    raw_score: f64,
    expected_value: f64,
    sum: f64,
    /// Largest first.
    contributions: Vec<Contribution<'a>>,
    others: Others,
}

#[derive(Serialize)]
struct Contribution<'a> {
    feature: &'a str,
    #[serde(serialize_with = "value_as_json")]
    value: f64,
    contribution: f64,
}

/// The contributions beyond `--top`, summed.
#[derive(Serialize)]
struct Others {
    features: usize,
    contribution: f64,
}

/// JSON has no number for a missing or infinite value.
fn value_as_json<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    match *value {
        x if x.is_nan() => to.serialize_none(),
        f64::INFINITY => to.serialize_str("inf"),
        f64::NEG_INFINITY => to.serialize_str("-inf"),
        x => to.serialize_f64(x),
    }
}

/// Runs `ltr-host explain`. Blocks until all rows are explained.
///
/// # Errors
/// A component that is refused or fails, invalid rows, a `--row` beyond the last one, a model that
/// cannot be explained.
pub fn explain(args: &ExplainArgs) -> anyhow::Result<()> {
    let loaded = component_file::load(&args.component)?;
    let table = args.rows.read(&loaded)?;
    let scorer = &loaded.scorer;
    let wanted = wanted(args, table.rows())?;
    let values = &table.values[wanted.start * table.width..wanted.end * table.width];
    let top = args
        .top
        .map_or(usize::MAX, |top| usize::try_from(top).unwrap_or(usize::MAX));
    let mut to = io::stdout().lock();
    let mut row = wanted.start;
    let batch_rows = (BATCH_VALUES / scorer.explained_width()).clamp(1, BATCH_ROWS);
    let written = rows_in::batch_by_batch(
        values,
        batch_rows * table.width,
        |rows| explain_batch(scorer, rows),
        |rows, answer| {
            let (scores, contributions) = answer.with_context(|| failure(args))?;
            let of_row = contributions.chunks(scorer.explained_width());
            let scores = scores.chunks(scorer.description().outputs as usize);
            for ((values, contributions), scores) in rows.chunks(table.width).zip(of_row).zip(scores) {
                row += 1;
                let report = report(scorer, row, values, scores, contributions, top);
                let text = if args.json {
                    serde_json::to_string(&report)? + "\n"
                } else {
                    page(&report)
                };
                to.write_all(text.as_bytes())?;
            }
            Ok(())
        },
    );
    output::ignore_broken_pipe(written.and_then(|()| Ok(to.flush()?)))
}

/// The rows to explain, counted from 0.
fn wanted(args: &ExplainArgs, rows: usize) -> anyhow::Result<Range<usize>> {
    let Some(row) = args.row else { return Ok(0..rows) };
    ensure!(
        row <= rows as u64,
        "--row {row}: {} has {rows} rows; allowed: 1 to {rows}",
        args.rows.input.display()
    );
    Ok(row as usize - 1..row as usize)
}

fn failure(args: &ExplainArgs) -> String {
    format!("{} does not explain these rows", args.component.display())
}

/// Raw scores and contributions of a batch.
fn explain_batch(scorer: &Scorer, rows: &[f64]) -> Result<(Vec<f64>, Vec<f64>), ScoreError> {
    let contributions = scorer.explain(rows, rows_in::BATCH_TIMEOUT)?;
    let scores = scorer.score(rows, Output::Raw, rows_in::BATCH_TIMEOUT)?;
    Ok((scores, contributions))
}

fn report<'a>(
    scorer: &'a Scorer,
    row: usize,
    values: &[f64],
    scores: &[f64],
    contributions: &[f64],
    top: usize,
) -> RowReport<'a> {
    let names = &scorer.description().feature_names;
    let outputs = contributions.chunks(values.len() + 1).zip(scores).enumerate();
    RowReport {
        row,
        outputs: outputs
            .map(|(output, (group, score))| output_report(names, values, output, *score, group, top))
            .collect(),
    }
}

fn output_report<'a>(
    names: &'a [String],
    values: &[f64],
    output: usize,
    raw_score: f64,
    group: &[f64],
    top: usize,
) -> OutputReport<'a> {
    let described = names.iter().zip(values).zip(group);
    let mut contributions: Vec<Contribution> = described
        .map(|((feature, value), contribution)| Contribution {
            feature,
            value: *value,
            contribution: *contribution,
        })
        .collect();
    // The sort is stable: equal contributions stay in the model's order.
    contributions.sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()));
    let others = contributions.split_off(top.min(contributions.len()));
    OutputReport {
        output,
        raw_score,
        expected_value: group[values.len()],
        sum: group.iter().sum(),
        contributions,
        others: Others {
            features: others.len(),
            // Starts from +0.0, because `sum` of nothing is -0.0.
            contribution: others.iter().fold(0.0, |sum, other| sum + other.contribution),
        },
    }
}

/// The report of a row as text: one table per output.
fn page(report: &RowReport) -> String {
    let mut page = String::new();
    for output in &report.outputs {
        let which = match report.outputs.len() {
            1 => String::new(),
            outputs => format!(", output {} (0 to {})", output.output, outputs - 1),
        };
        writeln!(page, "row {}{which}\n{}\n", report.row, table(output)).expect("a String takes every write");
    }
    page
}

fn table(output: &OutputReport) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["feature", "value", "contribution", ""]);
    let greatest = output
        .contributions
        .first()
        .map_or(0.0, |first| first.contribution.abs());
    for shown in &output.contributions {
        table.add_row([
            shown.feature.to_owned(),
            value_for_people(shown.value),
            signed(shown.contribution),
            bar(shown.contribution, greatest),
        ]);
    }
    let mut add = |what: &str, number: String| {
        table.add_row([what, "", &number, ""]);
    };
    if output.others.features > 0 {
        let others = match output.others.features {
            1 => "1 other feature".to_owned(),
            features => format!("{features} other features"),
        };
        add(&others, signed(output.others.contribution));
    }
    add("expected value", signed(output.expected_value));
    add("sum", signed(output.sum));
    add("raw score", signed(output.raw_score));
    for numbers in [1, 2] {
        if let Some(column) = table.column_mut(numbers) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn value_for_people(value: f64) -> String {
    let mut text = String::new();
    if value.is_nan() {
        text.push_str("missing")
    } else {
        output::push_number(&mut text, value)
    }
    text
}

/// With sign and six decimals; very small and very large numbers get an exponent.
fn signed(number: f64) -> String {
    match number.abs() {
        size if size == 0.0 || (1e-3..1e9).contains(&size) => format!("{number:+.6}"),
        _ => format!("{number:+.5e}"),
    }
}

/// A bar beside a line in the middle: to the right if positive, to the left if negative.
fn bar(contribution: f64, greatest: f64) -> String {
    if greatest == 0.0 {
        return format!("{:BAR$}│", "");
    }
    // At most BAR. Rounding up keeps every non-zero contribution visible.
    let length = (contribution.abs() / greatest * BAR as f64).ceil() as usize;
    let blocks = "█".repeat(length);
    if contribution < 0.0 {
        format!("{blocks:>BAR$}│")
    } else {
        format!("{:BAR$}│{blocks}", "")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        explain: ExplainArgs,
    }

    fn names() -> Vec<String> {
        ["geo", "price", "rating"].map(String::from).to_vec()
    }

    /// Expected value 2, raw score 0.5.
    const GROUP: [f64; 4] = [0.25, -2.0, 0.25, 2.0];

    #[test]
    fn rows_and_features_are_counted_from_one() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["explain", "s.wasm", "--input", "f"], args].concat());
        assert!(parse(&["--row", "1", "--top", "3", "--json", "--format", "svm"]).is_ok());
        for wrong in [["--row", "0"], ["--top", "0"], ["--row", "-1"]] {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
        let mut args = parse(&["--row", "3"]).map_err(|e| e.to_string()).unwrap().explain;
        assert_eq!(wanted(&args, 3).unwrap(), 2..3);
        let error = wanted(&args, 2).unwrap_err().to_string();
        assert_eq!(error, "--row 3: f has 2 rows; allowed: 1 to 2");
        args.row = None;
        assert_eq!(wanted(&args, 2).unwrap(), 0..2);
    }

    #[test]
    fn the_largest_come_first_and_the_others_are_summed() {
        let (names, values) = (names(), [0.5, f64::NAN, f64::INFINITY]);
        let all = serde_json::to_value(output_report(&names, &values, 0, 0.5, &GROUP, usize::MAX)).unwrap();
        assert_eq!(
            all,
            serde_json::json!({
                "output": 0, "raw_score": 0.5, "expected_value": 2.0, "sum": 0.5,
                "contributions": [
                    {"feature": "price", "value": null, "contribution": -2.0},
                    {"feature": "geo", "value": 0.5, "contribution": 0.25},
                    {"feature": "rating", "value": "inf", "contribution": 0.25},
                ],
                "others": {"features": 0, "contribution": 0.0},
            })
        );
        let one = serde_json::to_value(output_report(&names, &values, 0, 0.5, &GROUP, 1)).unwrap();
        assert_eq!(one["contributions"].as_array().unwrap().len(), 1);
        assert_eq!(one["others"], serde_json::json!({"features": 2, "contribution": 0.5}));
        assert_eq!(one["sum"], 0.5);
    }

    #[test]
    fn the_table_shows_values_signs_and_bars() {
        let names = names();
        let page = page(&RowReport {
            row: 7,
            outputs: vec![output_report(&names, &[0.5, f64::NAN, 1e300], 0, 0.5, &GROUP, 2)],
        });
        assert!(page.starts_with("row 7\n"), "{page}");
        for text in [
            "missing",
            "-2.000000",
            "████████████│",
            "│██ ",
            "1 other feature ",
            "+0.250000",
            "expected value",
            "raw score",
        ] {
            assert!(page.contains(text), "{text} in\n{page}");
        }
        assert_eq!(signed(1.25e-7), "+1.25000e-7");
        assert_eq!(signed(0.0), "+0.000000");
        assert_eq!(bar(0.0, 0.0), format!("{:12}│", ""));
        assert_eq!(bar(1e-9, 1.0), format!("{:12}│█", ""));
    }
}

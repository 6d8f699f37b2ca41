//! `ltr-host score`: rows in, scores out.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use rows::{Expect, Format, RowsError, Table};
use runtime::{Output, ScoreError, Scorer};

use super::output::{self, Destination};

/// Rows a component gets at a time.
const BATCH_ROWS: usize = 4096;
/// A batch takes milliseconds; a component that needs this long for one spins.
const BATCH_TIMEOUT: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Reads CSV (with or without a header), SVMlight/LETOR or Parquet. An empty field or nan is a missing value.
CSV with a header and Parquet are matched by feature name, further columns are ignored; CSV without a header
needs exactly the model's columns. SVMlight indices are columns as written, from 0; absent ones are 0.

Writes one line a row: the score in the fewest digits that read back to the same number; the scores of
several classes with commas between.

Examples:
  ltr-host score scorer.wasm --input rows.csv
  ltr-host score scorer.wasm --input rank.test --format svm --output scores.txt
  ltr-host score scorer.wasm --input matrix.parquet --raw | head";

/// Score the rows of a file with a component.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ScoreArgs {
    /// Component, as `ltr-trainer compile` writes it
    pub component: PathBuf,
    /// File with one row of features a line (or a Parquet row)
    #[arg(short, long, value_name = "FILE")]
    pub input: PathBuf,
    /// Write here, all or nothing, instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Sum of the trees, without the objective's conversion
    #[arg(long)]
    pub raw: bool,
    /// Format of the input [default: by its ending, else by its first bytes]
    #[arg(long, value_name = "FORMAT", value_parser = format_parser())]
    pub format: Option<Format>,
    /// Take columns in the model's order, whatever their names
    #[arg(long)]
    pub by_position: bool,
}

fn format_parser() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(["csv", "svm", "parquet"])
        .map(|name| name.parse().expect("the parser lets only formats through"))
}

/// Runs `ltr-host score`. Blocks until all rows are scored.
///
/// # Errors
/// A component that is refused, rows that break a rule, a component that fails, an output that cannot be written. A file
/// named by `--output` is then as it was.
pub fn score(args: &ScoreArgs) -> anyhow::Result<()> {
    let component = super::read_component(&args.component)?;
    let scorer = super::engine()?
        .load(&component)
        .with_context(|| format!("{} is refused", args.component.display()))?;
    let table = read_rows(args, &scorer)?;
    let which = if args.raw { Output::Raw } else { Output::Converted };
    let written = match &args.output {
        Some(path) => write_file(path, &scorer, &table, which),
        None => write_scores(&mut io::stdout().lock(), &scorer, &table, which),
    };
    // Whoever reads standard output may have seen enough, as `head` does.
    written.or_else(|error| match error.downcast_ref::<io::Error>() {
        Some(io) if args.output.is_none() && io.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

fn read_rows(args: &ScoreArgs, scorer: &Scorer) -> anyhow::Result<Table> {
    let names = &scorer.description().feature_names;
    let expect = Expect {
        width: names.len(),
        names: (!args.by_position).then_some(names.as_slice()),
    };
    rows::read(&args.input, args.format, Some(&expect)).map_err(|error| match error {
        RowsError::MissingColumns { .. } => anyhow!(
            "{error}; allowed: every feature of the model by name, or --by-position with exactly {} columns",
            names.len()
        ),
        other => other.into(),
    })
}

fn write_file(path: &Path, scorer: &Scorer, table: &Table, which: Output) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let mut destination = Destination::create(path).with_context(cannot)?;
    write_scores(&mut destination, scorer, table, which)?;
    destination.commit().with_context(cannot)
}

/// Scores batch by batch, as many at a time as there are processors, and writes them in order.
fn write_scores(to: &mut impl Write, scorer: &Scorer, table: &Table, which: Output) -> anyhow::Result<()> {
    let outputs = scorer.description().outputs as usize;
    let batches: Vec<&[f64]> = table.values.chunks(BATCH_ROWS * table.width).collect();
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    let mut text = String::new();
    for wave in batches.chunks(at_once) {
        for scores in score_wave(scorer, wave, which) {
            text.clear();
            output::push_lines(&mut text, &scores.context("the component failed")?, outputs);
            to.write_all(text.as_bytes())?;
        }
    }
    Ok(to.flush()?)
}

fn score_wave(scorer: &Scorer, wave: &[&[f64]], which: Output) -> Vec<Result<Vec<f64>, ScoreError>> {
    if let [batch] = wave {
        return vec![scorer.score(batch, which, BATCH_TIMEOUT)];
    }
    thread::scope(|scope| {
        let running: Vec<_> = wave
            .iter()
            .map(|batch| scope.spawn(|| scorer.score(batch, which, BATCH_TIMEOUT)))
            .collect();
        let finish = running.into_iter().map(|thread| {
            let scored = thread.join();
            scored.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        finish.collect()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        score: ScoreArgs,
    }

    fn parse(args: &[&str]) -> Result<ScoreArgs, String> {
        let args = ["score"].iter().chain(args);
        Cli::try_parse_from(args)
            .map(|cli| cli.score)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn the_formats_are_named_when_another_is_asked_for() {
        let args = parse(&["s.wasm", "--input", "f", "--format", "svm"]).unwrap();
        assert_eq!(
            (args.format, args.raw, args.by_position),
            (Some(Format::SvmLight), false, false)
        );
        let error = parse(&["s.wasm", "--input", "f", "--format", "xls"]).unwrap_err();
        assert!(error.contains("csv, svm, parquet"), "{error}");
        assert!(parse(&["s.wasm"]).unwrap_err().contains("--input"));
    }

    #[test]
    fn what_is_no_component_is_refused_by_name_and_the_output_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("model.txt"), "tree\n").unwrap();
        std::fs::write(at("rows.csv"), "1\n").unwrap();
        std::fs::write(at("out.txt"), "before").unwrap();
        let args = ScoreArgs {
            component: at("model.txt"),
            input: at("rows.csv"),
            output: Some(at("out.txt")),
            raw: false,
            format: None,
            by_position: false,
        };
        let error = format!("{:#}", score(&args).unwrap_err());
        assert!(
            error.contains("model.txt is refused: not a WebAssembly component"),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(at("out.txt")).unwrap(), "before");
        let absent = ScoreArgs {
            component: at("absent.wasm"),
            ..args
        };
        assert!(format!("{:#}", score(&absent).unwrap_err()).contains("absent.wasm"));
    }
}

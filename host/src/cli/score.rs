//! `ltr-host score`: scores the rows of a file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use regular_file::Draft;
use runtime::{Output, Scorer};

use super::component_file;
use super::output;
use super::rows_in::{self, RowsArgs};

/// Rows per call of the component.
const BATCH_ROWS: usize = 4096;

const EXAMPLES: &str = "\
Reads CSV (commas or tabs, with or without a header), SVMlight/LETOR or Parquet from a file. Standard
input works too, except for Parquet.

Values: an empty field, na, nan or null (in any case) is missing; true and false are 1 and 0.

CSV with a header and Parquet are matched by feature name (a blank in a name equals LightGBM's _); extra
columns are ignored. CSV without a header needs exactly the model's columns. If the first line may be a
header or a row, it is refused; use --header or --no-header. Empty lines are skipped, but in a file with one
column each is a missing value.

SVMlight indices are column numbers from 0. Absent ones are 0; an index beyond the model's columns is refused.

Columns of pandas' category type hold values, as for LightGBM's Python package; unknown values are missing.
With --category-codes they hold codes, like requests to the gateway and the Envoy filter.

Writes one line per row: the score in the fewest digits that read back to the same number. The scores of
several classes are separated by commas.

Examples:
  ltr-host score scorer.wasm --input rows.csv
  ltr-host score scorer.wasm --input rank.test --format svm --output scores.txt
  ltr-host score scorer.wasm --input matrix.parquet --raw | head
  gzip -dc rows.csv.gz | ltr-host score scorer.wasm --input -";

/// Score the rows of a file with a component.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ScoreArgs {
    /// Component, as `ltr-trainer compile` writes it
    pub component: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap takes a doc comment for help")]
    pub rows: RowsArgs,
    /// Write to this file, atomically, instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write raw scores: the sum of the trees, without the objective's conversion
    #[arg(long)]
    pub raw: bool,
}

/// Runs `ltr-host score`. Blocks until all rows are scored.
///
/// # Errors
/// A component that is refused or fails, invalid rows, an output that cannot be written. The file
/// named by `--output` is then unchanged.
pub fn score(args: &ScoreArgs) -> anyhow::Result<()> {
    let loaded = component_file::load(&args.component)?;
    let table = args.rows.read(&loaded)?;
    let scorer = &loaded.scorer;
    let which = if args.raw { Output::Raw } else { Output::Converted };
    match &args.output {
        Some(path) => write_file(path, scorer, &table.values, which),
        None => output::ignore_broken_pipe(write_scores(&mut io::stdout().lock(), scorer, &table.values, which)),
    }
}

fn write_file(path: &Path, scorer: &Scorer, rows: &[f64], which: Output) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let create = || Draft::create(&regular_file::replaceable(path)?, 0o666);
    let mut draft = create().with_context(cannot)?;
    write_scores(&mut draft, scorer, rows, which)?;
    draft.commit().with_context(cannot)
}

fn write_scores(to: &mut impl Write, scorer: &Scorer, rows: &[f64], which: Output) -> anyhow::Result<()> {
    let outputs = scorer.description().outputs as usize;
    let mut text = String::new();
    let score = |rows: &[f64]| scorer.score(rows, which, rows_in::BATCH_TIMEOUT);
    rows_in::batch_by_batch(rows, BATCH_ROWS * scorer.width(), score, |_, scores| {
        text.clear();
        output::push_lines(&mut text, &scores.context("the component failed")?, outputs);
        Ok(to.write_all(text.as_bytes())?)
    })?;
    Ok(to.flush()?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rows::Format;

    use super::*;
    use crate::cli::rows_in::ReadingArgs;

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
    fn an_unknown_format_is_refused_with_the_known_ones() {
        let args = parse(&["s.wasm", "--input", "f", "--format", "svm"]).unwrap();
        assert_eq!(
            (args.rows.reading.format, args.raw, args.rows.reading.by_position),
            (Some(Format::SvmLight), false, false)
        );
        let error = parse(&["s.wasm", "--input", "f", "--format", "xls"]).unwrap_err();
        assert!(error.contains("csv, tsv, svm, parquet"), "{error}");
        assert!(parse(&["s.wasm"]).unwrap_err().contains("--input"));
        let both = ["s.wasm", "--input", "f", "--header", "--no-header"];
        assert!(parse(&both).unwrap_err().contains("cannot be used with"));
    }

    #[test]
    fn a_file_that_is_not_a_component_is_refused_and_the_output_is_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("model.txt"), "tree\n").unwrap();
        std::fs::write(at("rows.csv"), "1\n").unwrap();
        std::fs::write(at("out.txt"), "before").unwrap();
        let args = ScoreArgs {
            component: at("model.txt"),
            rows: RowsArgs {
                input: at("rows.csv"),
                reading: ReadingArgs::default(),
            },
            output: Some(at("out.txt")),
            raw: false,
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

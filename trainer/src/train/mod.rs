//! `ltr-trainer train`: trains a model on a matrix, or on public ranking data (SVMlight files).

mod from_matrix;
mod limits;
mod params_file;
mod parts;
mod public_data;
mod report;
mod together;
mod warnings;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use clap::Parser;
use settings::Settings;

use crate::boosting::{self, CustomMetric, Fit, Schedule};
use crate::lightgbm::{Booster, Dataset, Parameters};
use crate::lineage::{self, Record};
use crate::machines::Machines;
use crate::night::{days_path, given_or, run_dir};
use crate::outcome::{Outcome, Permanent};
use crate::{console, progress};

pub use from_matrix::train_matrix;
pub(crate) use parts::Parts;
pub use parts::Recipe;
pub use report::{Importance, MatrixFacts, Size, TRAINING, Training};
pub use together::train_together;

const EXAMPLES: &str = "Examples:
  ltr-trainer train --as-of 2026-11-23T02:15:00Z
  ltr-trainer train --matrix var/lake/ltr/processed/2026-11-23/days.json --out var/runs/today
  ltr-trainer train --train rank.train --valid rank.test --params P.json --out D

On two machines, the same command on both:
  ltr-trainer train --machines train-0:12400,train-1:12400 --matrix /lake/days.json --out var/runs/today
As two processes of one machine:
  ltr-trainer train --machines localhost:12400,localhost:12401 --machine-rank 0 --matrix D.json --out a &
  ltr-trainer train --machines localhost:12400,localhost:12401 --machine-rank 1 --matrix D.json --out b";

/// Trains a model.
///
/// With --matrix: splits the cases by time into a training, a validation and a test part, fits the
/// scaler on the training part alone, and writes ltr_model.txt, feature_map.json and training.json.
///
/// The features are streamed into LightGBM's bins: about 50 bytes of memory a row, whatever the size
/// of the files. With `train.window_days`, only cases of the last days on the list are used.
///
/// With --machines, several machines grow the same trees, each on every n-th case. Each reads the whole
/// list of days and writes the model, which is the same on all. If one is lost, all others fail.
/// Connections are neither encrypted nor authenticated: use a private network.
///
/// With --train and --valid: reads SVMlight/LETOR files without scaling. Reads the `.query`,
/// `.weight`, `.position` and `.init` files beside them, as LightGBM does. Writes ltr_model.txt and
/// training.json.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Time of the night's run (RFC 3339), as `etl` had it: sets --matrix and --out unless they are given
    #[arg(long, value_name = "TIME", conflicts_with_all = ["train", "valid"])]
    pub as_of: Option<DateTime<Utc>>,
    /// List of days written by `etl`, or one matrix
    #[arg(long, value_name = "FILE", required_unless_present_any = ["train", "as_of"], conflicts_with_all = ["train", "valid"])]
    pub matrix: Option<PathBuf>,
    /// Training rows, SVMlight; query sizes in FILE.query or as qid fields
    #[arg(long, value_name = "FILE", requires = "valid")]
    pub train: Option<PathBuf>,
    /// Validation rows for early stopping, SVMlight
    #[arg(long, value_name = "FILE", requires = "train")]
    pub valid: Option<PathBuf>,
    /// JSON file with LightGBM parameters; replaces `[train]` params of the configuration
    #[arg(long, value_name = "JSON")]
    pub params: Option<PathBuf>,
    /// Machines that train together, this one included; the same list in the same order on all
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', conflicts_with_all = ["train", "valid"])]
    pub machines: Vec<String>,
    /// Place of this machine in --machines, from 0; default: the one whose host has an address of it
    #[arg(long, value_name = "N", requires = "machines")]
    pub machine_rank: Option<usize>,
    /// Longest wait for another machine: until it is there, and for each message
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "machines",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub machines_timeout: u64,
    /// Directory for the results
    #[arg(long, value_name = "DIR", required_unless_present = "as_of")]
    pub out: Option<PathBuf>,
    /// Print the report as JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// Unusable data or parameters; nothing is written then.
pub fn run(args: &Args, settings: &Settings, record: &mut Record) -> anyhow::Result<Outcome> {
    let parameters = args.params.as_deref().map(params_file::read).transpose()?;
    let lake = &settings.lake.dir;
    let out = given_or(
        args.out.as_deref(),
        "--out",
        args.as_of.map(|as_of| run_dir(lake, as_of)),
    )?;
    let training = if let (Some(train), Some(valid)) = (&args.train, &args.valid) {
        let parameters = match parameters {
            Some(parameters) => parameters,
            None => configured(settings)?,
        };
        let training = public_data::train_files(train, valid, parameters, settings, &out)?;
        record.read(lineage::Dataset::file(train).rows(training.train.rows as u64));
        record.read(lineage::Dataset::file(valid).rows(training.valid.rows as u64));
        training
    } else {
        let of_night = args.as_of.map(|as_of| days_path(lake, as_of.date_naive()));
        let matrix = given_or(args.matrix.as_deref(), "--matrix", of_night)?;
        record.read(lineage::Dataset::file(&matrix));
        let training = on_matrix(args, &matrix, parameters, settings, &out)?;
        record.read(training.read_from(&matrix));
        training
    };
    training.record(&out, record);
    if args.json {
        console::json(&training)?;
    } else {
        print_training(&training, &out);
    }
    Ok(Outcome::Done)
}

/// Trains on a matrix, alone or with the machines of `--machines`.
fn on_matrix(
    args: &Args,
    matrix: &Path,
    parameters: Option<Parameters>,
    settings: &Settings,
    out: &Path,
) -> anyhow::Result<Training> {
    if args.machines.is_empty() {
        return train_matrix(matrix, parameters, settings, out);
    }
    let machines = Machines::new(args.machines.clone(), args.machine_rank)?;
    let timeout = Duration::from_secs(args.machines_timeout);
    train_together(machines, timeout, matrix, parameters, settings, out)
}

/// The configuration's `[train] params` and `objective`.
fn configured(settings: &Settings) -> anyhow::Result<Parameters> {
    let params = serde_json::to_value(&settings.train.params).context("train.params of the configuration")?;
    let object = params
        .as_object()
        .context("train.params of the configuration is not a table")?;
    let mut parameters = Parameters::from_json(object).context("train.params of the configuration")?;
    let objective = settings.train.objective.name();
    if let Some(other) = parameters.get("objective")
        && other != objective
    {
        return Err(Permanent::Usage(format!(
            "train.params.objective: {other:?}; allowed: {objective:?}, as in train.objective; set only train.objective"
        ))
        .into());
    }
    parameters.set("objective", objective);
    Ok(parameters)
}

/// One part of the data but its features, in the layout that LightGBM expects.
#[derive(Default)]
struct Queries {
    labels: Vec<f32>,
    /// Number of rows of each query, in order.
    groups: Vec<u32>,
    weights: Option<Vec<f32>>,
    /// Position at which each row was shown.
    positions: Option<Vec<u32>>,
    /// All rows' scores of the first output, then those of the next.
    initial_scores: Option<Vec<f64>>,
}

impl Queries {
    fn size(&self) -> Size {
        Size {
            queries: self.groups.len(),
            rows: self.labels.len(),
        }
    }

    /// Hands everything over to the data set, which has the features.
    fn describe(&self, dataset: &mut Dataset) -> Result<(), crate::lightgbm::Error> {
        dataset.set_labels(&self.labels)?;
        dataset.set_groups(&self.groups)?;
        if let Some(weights) = &self.weights {
            dataset.set_weights(weights)?;
        }
        if let Some(positions) = &self.positions {
            dataset.set_positions(positions)?;
        }
        if let Some(scores) = &self.initial_scores {
            dataset.set_initial_scores(scores)?;
        }
        Ok(())
    }
}

/// Trains a model and shows a progress bar. If `custom_metric` is given, it decides early stopping.
/// `no_pairs`: no training query has two different labels.
fn grow(
    train: Dataset,
    valid: Dataset,
    parameters: &Parameters,
    schedule: &Schedule,
    no_pairs: bool,
    custom_metric: Option<&CustomMetric>,
) -> anyhow::Result<Fit> {
    let mut booster = Booster::new(train, parameters)?;
    booster.add_valid(valid)?;
    let custom = custom_metric.map(|metric| metric.name.to_owned());
    let Some(first) = custom.or_else(|| booster.metrics().first().map(|m| m.name.clone())) else {
        bail!("metric: none; allowed: at least one metric, to measure the validation part by");
    };
    let bar = progress::bar("train", schedule.rounds);
    let fit = boosting::fit(&mut booster, schedule, custom_metric, |round| {
        bar.set_position(round.round as u64);
        bar.set_message(format!("{first} {:.5}", round.scores[0]));
    });
    bar.finish_and_clear();
    let fit = fit?;
    if let Some(warning) = warnings::of(&fit, schedule, parameters, no_pairs) {
        tracing::warn!("{warning}");
    }
    Ok(fit)
}

/// Prints sizes, rounds, scores and the gain of each feature.
pub fn print_training(training: &Training, out: &Path) {
    let mut table = console::table(&["training", ""]);
    let size = |size: Size| format!("{} rows in {} queries", size.rows, size.queries);
    table.add_row(vec!["train".to_owned(), size(training.train)]);
    table.add_row(vec!["valid".to_owned(), size(training.valid)]);
    if let Some(matrix) = &training.matrix {
        let test = &matrix.test;
        let held_out = format!("{} rows in {} queries, from {}", test.rows, test.cases, test.start);
        table.add_row(vec!["test (held out)".to_owned(), held_out]);
    }
    let stopped = if training.stopped_early {
        "stopped early"
    } else {
        "ran to the end"
    };
    let rounds = format!("{} of {} rounds, {stopped}", training.best_iteration, training.rounds);
    table.add_row(vec!["best iteration".to_owned(), rounds]);
    for (metric, score) in &training.best_scores {
        table.add_row(vec![metric.clone(), format!("{score:.5}")]);
    }
    for importance in training.importance.iter().take(11) {
        let gain = format!("{:.1}", importance.gain);
        table.add_row(vec![format!("gain of {}", importance.feature), gain]);
    }
    table.add_row(vec!["seconds".to_owned(), format!("{:.2}", training.seconds)]);
    table.add_row(vec!["written to".to_owned(), out.display().to_string()]);
    println!("{table}");
}

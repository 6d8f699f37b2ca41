//! Trains on SVMlight/LETOR files, so that public ranking data works unchanged.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};
use rows::svmlight;
use runtime::artefact;
use settings::Settings;

use super::limits::{self, Labels};
use super::{Queries, TRAINING, Training, grow, warnings};
use crate::boosting::Schedule;
use crate::files;
use crate::lightgbm::{Dataset, Parameters};

/// Trains on `train` with early stopping on `valid`; writes the model and the report into `out`.
pub(super) fn train_files(
    train: &Path,
    valid: &Path,
    mut parameters: Parameters,
    settings: &Settings,
    out: &Path,
) -> anyhow::Result<Training> {
    let started = Instant::now();
    let schedule = Schedule::from_parameters(&parameters, settings.train.max_rounds as usize)?;
    parameters.set("num_iterations", schedule.rounds);
    if parameters.get("objective").is_none() {
        tracing::warn!(
            "no objective given; LightGBM's default is regression; for ranking, set objective to lambdarank"
        );
    }
    let (asked, judged) = (Labels::of_objective(&parameters)?, Labels::of_metrics(&parameters)?);
    let (train_queries, train_values, width) = read(train, asked)?;
    ensure!(
        width > 0,
        "{}: no row has a feature; needed: at least one index:value pair",
        train.display()
    );
    parameters.check_width(width)?;
    let (valid_queries, valid_values, valid_width) = read(valid, judged)?;
    let valid_values = match valid_width {
        0 => vec![0.0; valid_queries.labels.len() * width],
        _ => to_width(valid_values, valid_width, width),
    };
    check_initial_scores(train, &train_queries, asked)?;
    check_initial_scores(valid, &valid_queries, asked)?;
    warn_of_initial_scores((train, &train_queries), (valid, &valid_queries));
    warnings::of_validation(&valid_queries, judged, &valid.display().to_string());

    let training = || format!("training on {}", train.display());
    let mut train_set = Dataset::new(&train_values, width, &parameters, None).with_context(training)?;
    let mut valid_set = Dataset::new(&valid_values, width, &parameters, Some(&train_set)).with_context(training)?;
    // LightGBM has its own binned copy.
    drop((train_values, valid_values));
    train_queries.describe(&mut train_set).with_context(training)?;
    valid_queries.describe(&mut valid_set).with_context(training)?;
    let sizes = (train_queries.size(), valid_queries.size());
    let no_pairs = limits::has_no_preference_pairs(&train_queries);
    drop((train_queries, valid_queries));
    let fit = grow(train_set, valid_set, &parameters, &schedule, no_pairs, None).with_context(training)?;
    let seconds = started.elapsed().as_secs_f64();

    let names: Vec<String> = (0..width).map(|at| format!("Column_{at}")).collect();
    let training = Training::new(&fit, &names, &parameters, sizes, seconds);
    files::write(&out.join(artefact::MODEL), fit.model.as_bytes())?;
    files::write_json(&out.join(TRAINING), &training)?;
    Ok(training)
}

/// Reads the rows of `path` and the files beside it. Also returns the row-major values and the number
/// of features.
fn read(path: &Path, asked: Labels) -> anyhow::Result<(Queries, Vec<f64>, usize)> {
    let ranking =
        svmlight::read_ranking(path).with_context(|| format!("reading ranking data from {}", path.display()))?;
    let queries = Queries {
        labels: ranking.labels.iter().map(|&label| label as f32).collect(),
        groups: ranking.groups,
        weights: ranking.weights,
        positions: ranking.positions,
        initial_scores: ranking.initial_scores,
    };
    asked.check(&queries).map_err(|fault| {
        let query = fault.query.map(|query| match &ranking.qids {
            Some(qids) => format!(" (qid {})", qids[query]),
            None => format!(" (query {})", query + 1),
        });
        let (file, line) = (path.display(), ranking.lines[fault.row]);
        anyhow!("{file}:{line}{}: {}", query.unwrap_or_default(), fault.message)
    })?;
    Ok((queries, ranking.values, ranking.width))
}

fn check_initial_scores(path: &Path, queries: &Queries, asked: Labels) -> anyhow::Result<()> {
    let outputs = match asked {
        Labels::Classes(count) => count,
        _ => 1,
    };
    let scores = queries.initial_scores.as_ref().map(Vec::len);
    let found = scores.map_or(outputs, |scores| scores / queries.labels.len());
    ensure!(
        found == outputs,
        "{}.init: {found} scores on a line; allowed: {outputs}, one per output of the objective",
        path.display()
    );
    Ok(())
}

/// Warns that a model trained from initial scores does not contain them.
fn warn_of_initial_scores((train, train_queries): (&Path, &Queries), (valid, valid_queries): (&Path, &Queries)) {
    let (train, valid) = (train.display(), valid.display());
    if train_queries.initial_scores.is_some() {
        tracing::warn!(
            "the model corrects the scores in {train}.init but does not contain them; add them to its scores"
        );
        if valid_queries.initial_scores.is_none() {
            tracing::warn!("{valid}.init is missing; the metrics of {valid} measure the corrections alone");
        }
    }
}

/// Adapts validation rows to the training set's width, as LightGBM does: drops columns that the
/// training set does not have, and fills missing columns with 0.
fn to_width(values: Vec<f64>, from: usize, to: usize) -> Vec<f64> {
    if from == to {
        return values;
    }
    if from > to {
        tracing::warn!("the validation file has {from} columns, the training file {to}; the extra columns are ignored");
    }
    let mut fitted = Vec::with_capacity(values.len() / from * to);
    for row in values.chunks_exact(from) {
        fitted.extend_from_slice(&row[..from.min(to)]);
        fitted.resize(fitted.len() + to.saturating_sub(from), 0.0);
    }
    fitted
}

#[cfg(test)]
mod tests;

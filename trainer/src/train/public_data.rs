//! Training on SVMlight/LETOR files, so that public ranking data works as it comes.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use rows::svmlight;
use runtime::artefact;
use settings::Settings;

use super::{Queries, TRAINING, Training, grow};
use crate::boosting::Schedule;
use crate::files;
use crate::lightgbm::Parameters;

/// Trains on `train`, stops on `valid`, writes the model and the report into `out`.
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
    let (train_queries, width) = read(train)?;
    let (mut valid_queries, valid_width) = read(valid)?;
    valid_queries.values = to_width(valid_queries.values, valid_width, width);

    let train_set = train_queries.dataset(width, &parameters, None)?;
    let valid_set = valid_queries.dataset(width, &parameters, Some(&train_set))?;
    let sizes = (train_queries.size(), valid_queries.size());
    // LightGBM has its own, binned copy from here on.
    drop((train_queries, valid_queries));
    let fit = grow(train_set, valid_set, &parameters, &schedule)?;
    let seconds = started.elapsed().as_secs_f64();

    let names: Vec<String> = (0..width).map(|at| format!("Column_{at}")).collect();
    let training = Training::new(&fit, &names, &parameters, sizes, seconds);
    files::write(&out.join(artefact::MODEL), fit.model.as_bytes())?;
    files::write_json(&out.join(TRAINING), &training)?;
    Ok(training)
}

fn read(path: &Path) -> anyhow::Result<(Queries, usize)> {
    let ranking =
        svmlight::read_ranking(path).with_context(|| format!("reading ranking data from {}", path.display()))?;
    let queries = Queries {
        values: ranking.values,
        labels: ranking.labels.iter().map(|&label| label as f32).collect(),
        groups: ranking.groups,
    };
    Ok((queries, ranking.width))
}

/// Fits rows to the training set's width, as LightGBM does with a validation file: a column the
/// training set does not have is left out, one that the file never mentions is 0.
fn to_width(values: Vec<f64>, from: usize, to: usize) -> Vec<f64> {
    if from == to || from == 0 {
        return values;
    }
    if from > to {
        tracing::warn!("the validation file has {from} columns, the training file {to}: the last ones are left out");
    }
    let mut fitted = Vec::with_capacity(values.len() / from * to);
    for row in values.chunks_exact(from) {
        fitted.extend_from_slice(&row[..from.min(to)]);
        fitted.resize(fitted.len() + to.saturating_sub(from), 0.0);
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validation_rows_take_the_training_width() {
        let rows = vec![1.0, 2.0, 3.0, 4.0];
        assert_eq!(to_width(rows.clone(), 2, 2), rows);
        assert_eq!(to_width(rows.clone(), 2, 3), [1.0, 2.0, 0.0, 3.0, 4.0, 0.0]);
        assert_eq!(to_width(rows, 2, 1), [1.0, 3.0]);
    }
}

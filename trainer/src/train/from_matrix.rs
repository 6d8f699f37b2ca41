//! Training on a matrix: split by time, scale, grow.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, anyhow};
use ranking::Grade;
use runtime::artefact;
use settings::Settings;

use super::limits::{self, Labels};
use super::{MatrixFacts, Queries, TRAINING, Training, configured, grow, warnings};
use crate::boosting::Schedule;
use crate::feature_map::FeatureMap;
use crate::files::{self, sha256};
use crate::lightgbm::Parameters;
use crate::matrix::{self, Case, Matrix};
use crate::scaling::fit_min_max;
use crate::split::{Part, split};

/// Trains on the matrix at `path` and writes model, feature map and report into `out`.
/// `parameters` take the place of the configured ones.
///
/// # Errors
/// A matrix, parameters or a split that cannot be used; nothing is written then.
pub fn train_matrix(
    path: &Path,
    parameters: Option<Parameters>,
    settings: &Settings,
    out: &Path,
) -> anyhow::Result<Training> {
    let started = Instant::now();
    let parameters = match parameters {
        Some(parameters) => parameters,
        None => configured(settings)?,
    };
    let (matrix, data_sha256) = read_matrix(path, settings)?;
    let grown = grow_on(&matrix, parameters, settings).with_context(|| format!("training on {}", path.display()))?;
    let map = grown.map.to_json();
    let training = Training {
        seconds: started.elapsed().as_secs_f64(),
        matrix: Some(MatrixFacts {
            sha256: data_sha256,
            feature_map_sha256: sha256(map.as_bytes()),
            ..grown.facts
        }),
        ..grown.training
    };
    files::write(&out.join(artefact::MODEL), grown.model.as_bytes())?;
    files::write(&out.join(artefact::FEATURE_MAP), map.as_bytes())?;
    files::write_json(&out.join(TRAINING), &training)?;
    Ok(training)
}

/// The matrix at `path`, checked, and its SHA-256.
///
/// # Errors
/// An unreadable file or a matrix that breaks a rule.
pub fn read_matrix(path: &Path, settings: &Settings) -> anyhow::Result<(Matrix, String)> {
    let bytes = files::read(path)?;
    let hash = sha256(&bytes);
    let matrix =
        matrix::read(bytes, &settings.schema()).with_context(|| format!("reading the matrix {}", path.display()))?;
    Ok((matrix, hash))
}

/// A model and everything it was made with.
struct Grown {
    model: String,
    map: FeatureMap,
    training: Training,
    facts: MatrixFacts,
}

fn grow_on(matrix: &Matrix, mut parameters: Parameters, settings: &Settings) -> anyhow::Result<Grown> {
    let config = &settings.train;
    let parts = split(&matrix.cases, config.valid_fraction, config.test_fraction)?;
    let schedule = Schedule::from_parameters(&parameters, config.max_rounds as usize)?;
    reproducible(&mut parameters);
    parameters.set("num_iterations", schedule.rounds);
    parameters.set_default("label_gain", Grade::GAINS.map(|gain| gain.to_string()).join(","));

    let (train, valid) = (&matrix.cases[parts.train.clone()], &matrix.cases[parts.valid.clone()]);
    let width = matrix.schema.len();
    let (offset, scale) = fit_min_max(&matrix::values(train), width);
    let map = FeatureMap::new(matrix.schema.names().to_vec(), offset, scale)?;
    let (train_queries, valid_queries) = (queries(train, &map), queries(valid, &map));
    let judged = Labels::of_metrics(&parameters)?;
    check_labels(train, &train_queries, Labels::of_objective(&parameters)?)?;
    check_labels(valid, &valid_queries, judged)?;
    warnings::of_validation(&valid_queries, judged, "the validation part");
    parameters.check_width(width)?;

    let mut train_set = train_queries.dataset(width, &parameters, None)?;
    train_set.set_feature_names(matrix.schema.names())?;
    if config.position_bias {
        let rows = train.iter().flat_map(|case| &case.rows);
        train_set.set_positions(&rows.map(|row| row.position).collect::<Vec<u32>>())?;
    }
    let valid_set = valid_queries.dataset(width, &parameters, Some(&train_set))?;
    let sizes = (train_queries.size(), valid_queries.size());
    let no_order = limits::orders_nothing(&train_queries);
    let fit = grow(train_set, valid_set, &parameters, &schedule, no_order)?;
    Ok(Grown {
        training: Training::new(&fit, matrix.schema.names(), &parameters, sizes, 0.0),
        model: fit.model,
        map,
        facts: MatrixFacts {
            sha256: String::new(),
            feature_map_sha256: String::new(),
            position_bias: config.position_bias,
            valid_fraction: config.valid_fraction,
            test_fraction: config.test_fraction,
            train: Part::of(train),
            valid: Part::of(valid),
            test: Part::of(&matrix.cases[parts.test]),
        },
    })
}

/// The same matrix gives the same model on every machine: sums in one order, whatever the number
/// of cores. Parameters that are given win.
fn reproducible(parameters: &mut Parameters) {
    parameters.set_default("deterministic", true);
    parameters.set_default("num_threads", 1);
    if parameters.get("force_col_wise").is_none() {
        parameters.set_default("force_row_wise", true);
    }
}

fn check_labels(cases: &[Case], queries: &Queries, allowed: Labels) -> anyhow::Result<()> {
    allowed.check(queries).map_err(|fault| {
        let mut places = cases
            .iter()
            .flat_map(|case| (0..case.rows.len()).map(move |row| (case.qid, row)));
        let place = places
            .nth(fault.row)
            .map(|(case, row)| format!("case {case}, row {row}: "));
        anyhow!("{}{}", place.unwrap_or_default(), fault.message)
    })
}

fn queries(cases: &[Case], map: &FeatureMap) -> Queries {
    let mut values = matrix::values(cases);
    map.scale(&mut values);
    let rows = cases.iter().flat_map(|case| &case.rows);
    Queries {
        values,
        labels: rows.map(|row| f32::from(row.grade.value())).collect(),
        groups: cases.iter().map(|case| case.rows.len() as u32).collect(),
        ..Queries::default()
    }
}

#[cfg(test)]
mod tests;

//! Trains on a matrix: splits it by time, scales the features and grows the trees.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use ranking::Grade;
use runtime::artefact;
use settings::Settings;

use super::parts::{Parts, Recipe};
use super::{MatrixFacts, Size, TRAINING, Training, configured};
use crate::boosting::Schedule;
use crate::examination::Examination;
use crate::feature_map::FeatureMap;
use crate::files::{self, sha256};
use crate::lightgbm::{Network, Parameters};
use crate::machines::Share;
use crate::matrix::StoredMatrix;
use crate::outcome::Permanent;
use crate::scaling::MinMax;
use crate::split::{Part, Split, split};

/// Trains on the matrix or the list of days at `path` and writes model, feature map and report into
/// `out`. `parameters`, if given, replace the configured ones.
///
/// # Errors
/// An unusable matrix, split or parameter; nothing is written then.
pub fn train_matrix(
    path: &Path,
    parameters: Option<Parameters>,
    settings: &Settings,
    out: &Path,
) -> anyhow::Result<Training> {
    let parameters = match parameters {
        Some(parameters) => parameters,
        None => configured(settings)?,
    };
    train_on(path, parameters, settings, out, None)
}

/// As [`train_matrix`]; with a `network`, together with other machines.
pub(super) fn train_on(
    path: &Path,
    parameters: Parameters,
    settings: &Settings,
    out: &Path,
    network: Option<&Network>,
) -> anyhow::Result<Training> {
    let started = Instant::now();
    let matrix = StoredMatrix::open(path, settings.train.window_days, &settings.schema())?;
    let grown =
        grow_on(&matrix, parameters, settings, network).with_context(|| format!("training on {}", path.display()))?;
    let map = grown.map.to_json();
    let training = Training {
        seconds: started.elapsed().as_secs_f64(),
        machines: network.map_or(Share::WHOLE, Network::share).machines,
        matrix: Some(MatrixFacts {
            feature_map_sha256: sha256(map.as_bytes()),
            ..grown.facts
        }),
        ..grown.training
    };
    if let Some(network) = network {
        network.agree(&training.model_sha256)?;
    }
    files::write(&out.join(artefact::MODEL), grown.model.as_bytes())?;
    files::write(&out.join(artefact::FEATURE_MAP), map.as_bytes())?;
    files::write_json(&out.join(TRAINING), &training)?;
    Ok(training)
}

/// A trained model and what describes it.
struct Grown {
    model: String,
    map: FeatureMap,
    training: Training,
    facts: MatrixFacts,
}

fn grow_on(
    matrix: &StoredMatrix,
    mut parameters: Parameters,
    settings: &Settings,
    network: Option<&Network>,
) -> anyhow::Result<Grown> {
    let config = &settings.train;
    let recipe = Recipe::of(&parameters, config)?;
    let cases = &matrix.index().cases;
    let parts = split(cases, config.valid_fraction, config.test_fraction)?;
    check_share(&parts, network)?;
    let schedule = Schedule::from_parameters(&parameters, config.max_rounds as usize)?;
    reproducible(&mut parameters);
    parameters.set("num_iterations", schedule.rounds);
    parameters.set_default("label_gain", Grade::GAINS.map(|gain| gain.to_string()).join(","));

    let names = matrix.schema().names();
    let mut seen = MinMax::new(names.len());
    matrix.each_row(matrix.index().rows(&parts.train), |_, features| {
        seen.add(features);
        Ok(())
    })?;
    let (offset, scale) = seen.fit();
    let map = FeatureMap::new(names.to_vec(), offset, scale)?;
    let examination = Examination::estimate(matrix, parts.train.clone(), network)?;
    let parts_of = Parts {
        matrix,
        split: &parts,
        map: &map,
        examination: &examination,
        network,
    };
    let (fit, parameters) = parts_of.grow(recipe, &parameters, &schedule)?;
    let size = |part: &Part| Size {
        queries: part.cases,
        rows: part.rows,
    };
    let (train, valid) = (Part::of(&cases[parts.train]), Part::of(&cases[parts.valid]));
    Ok(Grown {
        training: Training::new(&fit, names, &parameters, (size(&train), size(&valid)), 0.0),
        model: fit.model,
        facts: MatrixFacts {
            sha256: matrix.sha256().to_owned(),
            window_days: config.window_days,
            feature_map_sha256: String::new(),
            position_bias: recipe.position_bias,
            examination,
            valid_fraction: config.valid_fraction,
            test_fraction: config.test_fraction,
            train,
            valid,
            test: Part::of(&cases[parts.test]),
        },
        map,
    })
}

/// Each machine needs a case: LightGBM refuses an empty data set.
fn check_share(parts: &Split, network: Option<&Network>) -> anyhow::Result<()> {
    let machines = network.map_or(Share::WHOLE, Network::share).machines;
    ensure!(
        parts.train.len() >= machines,
        Permanent::Usage(format!(
            "--machines: {machines} machines; allowed: at most one for each of the {} training cases",
            parts.train.len()
        ))
    );
    Ok(())
}

/// Makes the same matrix give the same model on every machine: one thread sums in one order. Does
/// not override given parameters.
fn reproducible(parameters: &mut Parameters) {
    parameters.set_default("deterministic", true);
    parameters.set_default("num_threads", 1);
    if parameters.get("force_col_wise").is_none() {
        parameters.set_default("force_row_wise", true);
    }
}

#[cfg(test)]
mod tests;

//! Trains on a matrix: splits it by time, scales the features and grows the trees.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, anyhow};
use ranking::Grade;
use runtime::artefact;
use settings::{Objective, Settings};

use super::limits::{self, Labels};
use super::{MatrixFacts, Queries, Size, TRAINING, Training, configured, grow, warnings};
use crate::boosting::{CustomMetric, Fit, Schedule};
use crate::examination::{DebiasedNdcg, Examination};
use crate::feature_map::FeatureMap;
use crate::files::{self, sha256};
use crate::lightgbm::Parameters;
use crate::matrix::{self, Case, Matrix};
use crate::scaling::fit_min_max;
use crate::split::{Part, split};

/// The name of debiased nDCG@5 in `training.json`.
const DEBIASED: &str = "ndcg@5_debiased";

/// Trains on the matrix at `path` and writes model, feature map and report into `out`.
/// `parameters`, if given, replace the configured ones.
///
/// # Errors
/// An unusable matrix, split or parameter; nothing is written then.
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

/// Reads and checks the matrix at `path`, or those that a list of days names. Also returns the SHA-256 of the
/// file at `path`.
///
/// # Errors
/// An unreadable file, or a matrix that breaks a rule.
pub fn read_matrix(path: &Path, settings: &Settings) -> anyhow::Result<(Matrix, String)> {
    matrix::days::read_listed(path, &settings.schema())
}

/// What to train: the objective, and whether to model position bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// The objective.
    pub objective: Objective,
    /// Whether LightGBM models position bias. Only lambdarank can; others ignore positions.
    pub position_bias: bool,
}

impl Recipe {
    /// The objective that `parameters` name, else the configured one.
    fn of(parameters: &Parameters, config: &settings::Train) -> anyhow::Result<Recipe> {
        let objective = match parameters.get("objective") {
            None => config.objective,
            Some(name) => Objective::from_name(name).with_context(|| {
                format!("objective: {name:?}; allowed for a matrix: lambdarank, rank_xendcg or regression")
            })?,
        };
        Ok(Recipe {
            objective,
            position_bias: config.position_bias && objective == Objective::Lambdarank,
        })
    }

    /// Adapts `parameters` to this recipe. A metric for another kind of objective is replaced: nDCG
    /// needs grades, squared error needs labels.
    fn apply(self, parameters: &Parameters) -> Parameters {
        let mut parameters = parameters.clone();
        parameters.set("objective", self.objective.name());
        match (self.objective, parameters.get("metric")) {
            (Objective::Regression, None | Some("ndcg")) => parameters.set("metric", "l2"),
            (Objective::Lambdarank | Objective::RankXendcg, None | Some("l2")) => parameters.set("metric", "ndcg"),
            _ => {}
        }
        parameters
    }
}

/// The parts of a matrix that models are trained on.
pub(crate) struct Parts<'a> {
    /// Cases to grow the trees on.
    pub train: &'a [Case],
    /// Cases for early stopping.
    pub valid: &'a [Case],
    pub map: &'a FeatureMap,
    pub examination: &'a Examination,
}

impl Parts<'_> {
    /// Trains a model by `recipe`.
    ///
    /// If position bias is modelled, debiased nDCG@5 decides early stopping: the scores then
    /// exclude the effect of the position, but clicks as shown include it. See
    /// [`crate::examination`].
    ///
    /// # Errors
    /// Unusable parameters.
    pub(crate) fn grow(
        &self,
        recipe: Recipe,
        parameters: &Parameters,
        schedule: &Schedule,
    ) -> anyhow::Result<(Fit, Parameters)> {
        let parameters = recipe.apply(parameters);
        let width = self.map.names().len();
        let train_queries = queries(self.train, self.map, recipe.objective);
        let valid_queries = queries(self.valid, self.map, recipe.objective);
        let judged = Labels::of_metrics(&parameters)?;
        check_labels(self.train, &train_queries, Labels::of_objective(&parameters)?)?;
        check_labels(self.valid, &valid_queries, judged)?;
        warnings::of_validation(&valid_queries, judged, "the validation part");
        parameters.check_width(width)?;
        let mut train_set = train_queries.dataset(width, &parameters, None)?;
        train_set.set_feature_names(self.map.names())?;
        if recipe.position_bias {
            let rows = self.train.iter().flat_map(|case| &case.rows);
            train_set.set_positions(&rows.map(|row| row.position).collect::<Vec<u32>>())?;
        }
        let valid_set = valid_queries.dataset(width, &parameters, Some(&train_set))?;
        let debiased = DebiasedNdcg::new(self.valid.iter(), self.examination);
        let metric = CustomMetric {
            name: DEBIASED,
            score: &|scores| debiased.of_scores(scores),
        };
        let custom_metric = recipe.position_bias.then_some(&metric);
        let no_pairs = limits::has_no_preference_pairs(&train_queries);
        let fit = grow(train_set, valid_set, &parameters, schedule, no_pairs, custom_metric)?;
        Ok((fit, parameters))
    }
}

/// A trained model and what describes it.
struct Grown {
    model: String,
    map: FeatureMap,
    training: Training,
    facts: MatrixFacts,
}

fn grow_on(matrix: &Matrix, mut parameters: Parameters, settings: &Settings) -> anyhow::Result<Grown> {
    let config = &settings.train;
    let recipe = Recipe::of(&parameters, config)?;
    let parts = split(&matrix.cases, config.valid_fraction, config.test_fraction)?;
    let schedule = Schedule::from_parameters(&parameters, config.max_rounds as usize)?;
    reproducible(&mut parameters);
    parameters.set("num_iterations", schedule.rounds);
    parameters.set_default("label_gain", Grade::GAINS.map(|gain| gain.to_string()).join(","));

    let (train, valid) = (&matrix.cases[parts.train.clone()], &matrix.cases[parts.valid.clone()]);
    let width = matrix.schema.len();
    let (offset, scale) = fit_min_max(&matrix::values(train), width);
    let map = FeatureMap::new(matrix.schema.names().to_vec(), offset, scale)?;
    let examination = Examination::estimate(train, width)?;
    let parts_of = Parts {
        train,
        valid,
        map: &map,
        examination: &examination,
    };
    let (fit, parameters) = parts_of.grow(recipe, &parameters, &schedule)?;
    Ok(Grown {
        training: Training::new(
            &fit,
            matrix.schema.names(),
            &parameters,
            (size(train), size(valid)),
            0.0,
        ),
        model: fit.model,
        facts: MatrixFacts {
            sha256: String::new(),
            feature_map_sha256: String::new(),
            position_bias: recipe.position_bias,
            examination,
            valid_fraction: config.valid_fraction,
            test_fraction: config.test_fraction,
            train: Part::of(train),
            valid: Part::of(valid),
            test: Part::of(&matrix.cases[parts.test]),
        },
        map,
    })
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

fn queries(cases: &[Case], map: &FeatureMap, objective: Objective) -> Queries {
    let mut values = matrix::values(cases);
    map.scale(&mut values);
    let rows = cases.iter().flat_map(|case| &case.rows);
    let label = |grade: Grade| match objective {
        Objective::Lambdarank | Objective::RankXendcg => f32::from(grade.value()),
        Objective::Regression => grade.label() as f32,
    };
    Queries {
        values,
        labels: rows.map(|row| label(row.grade)).collect(),
        groups: cases.iter().map(|case| case.rows.len() as u32).collect(),
        ..Queries::default()
    }
}

fn size(cases: &[Case]) -> Size {
    Size {
        queries: cases.len(),
        rows: cases.iter().map(|case| case.rows.len()).sum(),
    }
}

#[cfg(test)]
mod tests;

//! Grows a model on the training part of a matrix, with early stopping on the validation part.

use anyhow::{Context, anyhow};
use ranking::Grade;
use settings::Objective;

use super::limits::{self, Labels};
use super::{Queries, grow, warnings};
use crate::binning::{Rows, cases_of};
use crate::boosting::{CustomMetric, Fit, Schedule};
use crate::examination::{DebiasedNdcg, Examination};
use crate::feature_map::FeatureMap;
use crate::lightgbm::{Network, Parameters};
use crate::machines::Share;
use crate::matrix::{Index, IndexedCase, StoredMatrix};
use crate::split::Split;

/// The name of debiased nDCG@5 in `training.json`.
pub(super) const DEBIASED: &str = "ndcg@5_debiased";

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
    pub(super) fn of(parameters: &Parameters, config: &settings::Train) -> anyhow::Result<Recipe> {
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
    pub matrix: &'a StoredMatrix,
    /// The trees grow on the training part; the validation part is for early stopping.
    pub split: &'a Split,
    pub map: &'a FeatureMap,
    pub examination: &'a Examination,
    /// The machines that train together; `None`: this one alone.
    pub network: Option<&'a Network>,
}

impl Parts<'_> {
    /// Trains a model by `recipe`.
    ///
    /// If position bias is modelled, debiased nDCG@5 decides early stopping: the scores then
    /// exclude the effect of the position, but clicks as shown include it. See
    /// [`crate::examination`].
    ///
    /// Several machines share the training cases. Each has the whole validation part, so that all stop
    /// at the same round.
    ///
    /// # Errors
    /// Unusable parameters, or a matrix that cannot be read.
    pub(crate) fn grow(
        &self,
        recipe: Recipe,
        parameters: &Parameters,
        schedule: &Schedule,
    ) -> anyhow::Result<(Fit, Parameters)> {
        let parameters = recipe.apply(parameters);
        let index = self.matrix.index();
        let share = self.network.map_or(Share::WHOLE, Network::share);
        let train = cases_of(share, self.matrix, self.split.train.clone());
        let valid = cases_of(Share::WHOLE, self.matrix, self.split.valid.clone());
        let mut train_queries = queries(index, &train, recipe.objective);
        let valid_queries = queries(index, &valid, recipe.objective);
        let judged = Labels::of_metrics(&parameters)?;
        check_labels(&train, &train_queries, Labels::of_objective(&parameters)?)?;
        check_labels(&valid, &valid_queries, judged)?;
        warnings::of_validation(&valid_queries, judged, "the validation part");
        parameters.check_width(self.map.names().len())?;
        if recipe.position_bias {
            let positions = train
                .iter()
                .flat_map(|case| &index.positions[case.first_row..][..case.rows]);
            train_queries.positions = Some(positions.copied().collect());
        }
        let no_pairs = limits::has_no_preference_pairs(&train_queries);

        let scaler = self.map.scaler();
        let scaled = |_: usize, features: &[f64], columns: &mut Vec<f64>| {
            columns.extend_from_slice(features);
            let start = columns.len() - features.len();
            scaler.apply(&mut columns[start..]);
        };
        let rows = |cases| Rows {
            matrix: self.matrix,
            cases,
            width: self.map.names().len(),
            columns: &scaled,
        };
        let mut train_set = rows(self.split.train.clone()).bin(share, &parameters)?;
        train_set.set_feature_names(self.map.names())?;
        let mut valid_set = rows(self.split.valid.clone()).bin_like(&train_set, &parameters)?;
        train_queries.describe(&mut train_set)?;
        valid_queries.describe(&mut valid_set)?;
        // LightGBM has its own copy.
        drop((train_queries, valid_queries));

        let debiased = DebiasedNdcg::new(index.shown(self.split.valid.clone()), self.examination);
        let metric = CustomMetric {
            name: DEBIASED,
            score: &|scores| debiased.of_scores(scores),
        };
        let custom_metric = recipe.position_bias.then_some(&metric);
        // The report names the parameters of the model, not those of the machines.
        let mut of_booster = parameters.clone();
        let _online = self
            .network
            .map(|network| network.online(&mut of_booster))
            .transpose()?;
        let fit = grow(train_set, valid_set, &of_booster, schedule, no_pairs, custom_metric)?;
        Ok((fit, parameters))
    }
}

fn queries(index: &Index, cases: &[&IndexedCase], objective: Objective) -> Queries {
    let label = |grade: Grade| match objective {
        Objective::Lambdarank | Objective::RankXendcg => f32::from(grade.value()),
        Objective::Regression => grade.label() as f32,
    };
    let grades = cases
        .iter()
        .flat_map(|case| &index.grades[case.first_row..][..case.rows]);
    Queries {
        labels: grades.map(|grade| label(*grade)).collect(),
        groups: cases.iter().map(|case| case.rows as u32).collect(),
        ..Queries::default()
    }
}

fn check_labels(cases: &[&IndexedCase], queries: &Queries, allowed: Labels) -> anyhow::Result<()> {
    allowed.check(queries).map_err(|fault| {
        let mut places = cases.iter().flat_map(|case| (0..case.rows).map(|row| (case.qid, row)));
        let place = places
            .nth(fault.row)
            .map(|(case, row)| format!("case {case}, row {row}: "));
        anyhow!("{}{}", place.unwrap_or_default(), fault.message)
    })
}

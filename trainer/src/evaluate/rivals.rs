//! Rival models to compare the published model with. All use the same training, validation and test
//! part and are judged the same way.

use anyhow::{Context, ensure};
use ranking::{Candidate, Interval};
use serde::{Deserialize, Serialize};
use settings::Objective;

use super::arm::{Judge, Served};
use super::pointwise;
use super::{Arm, Gain};
use crate::boosting::Schedule;
use crate::lightgbm::{Parameters, Predictor};
use crate::matrix::{self, Case};
use crate::progress;
use crate::train::{Parts, Recipe};
use crate::training_run::TrainingRun;

/// A rival model and how it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rival {
    /// Its name, for people.
    pub name: String,
    /// How it did.
    #[serde(flatten)]
    pub result: RivalResult,
}

/// How a rival, or the champion, did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum RivalResult {
    /// It ranks, so it can be compared.
    Judged {
        /// Its metrics.
        arm: Box<Arm>,
        /// LTR minus this one, paired by case.
        over: Gain,
    },
    /// It is not compared: a rival that ranks nothing, whose metrics would measure only the tie-break; a champion that
    /// cannot be loaded.
    Failed {
        /// Why, e.g. `predicts one value for every row`.
        reason: String,
    },
}

impl RivalResult {
    /// LTR minus this one; `None`: it failed.
    pub fn over(&self) -> Option<&Gain> {
        match self {
            RivalResult::Judged { over, .. } => Some(over),
            RivalResult::Failed { .. } => None,
        }
    }
}

/// Whether an interval of "LTR minus a rival" shows that the rival is significantly better.
pub fn rival_is_better(ltr_minus_rival: &Interval) -> bool {
    ltr_minus_rival.high < 0.0
}

/// A rival's scores of the test cases.
pub(super) struct Scored {
    name: String,
    /// One list per case with one score per row; or why there are none.
    scores: Result<Vec<Vec<f64>>, String>,
}

impl Scored {
    /// Judges the scores; `gain` compares the published model with the served order, which is returned, too,
    /// unless the rival failed.
    pub(super) fn judged(self, judge: &Judge, gain: impl Fn(&Served) -> Gain) -> (Rival, Option<Served>) {
        let (result, served) = match self.scores.and_then(|scores| match ranks_nothing(&scores) {
            Some(reason) => Err(reason.to_owned()),
            None => Ok(scores),
        }) {
            Ok(scores) => {
                let served = judge.serve_ltr(&scores);
                let judged = RivalResult::Judged {
                    over: gain(&served),
                    arm: Box::new(judge.arm(&served)),
                };
                (judged, Some(served))
            }
            Err(reason) => (RivalResult::Failed { reason }, None),
        };
        let rival = Rival {
            name: self.name,
            result,
        };
        (rival, served)
    }
}

/// Why the scores order no case; `None`: they order at least one.
pub(super) fn ranks_nothing(scores: &[Vec<f64>]) -> Option<&'static str> {
    let mut all = scores.iter().flatten();
    if scores.iter().flatten().any(|score| !score.is_finite()) {
        return Some("predicts numbers that are not finite");
    }
    let first = all.next()?;
    if all.all(|score| score == first) {
        return Some("predicts one value for every row");
    }
    let tied = |case: &Vec<f64>| case.iter().all(|score| *score == case[0]);
    scores
        .iter()
        .all(tied)
        .then_some("predicts one value for all lawyers of each case")
}

/// Trains every rival, except one equal to the published model, and scores the test cases with it.
///
/// # Errors
/// Parameters in `training.json` that cannot be used.
pub(super) fn grow(run: &TrainingRun, parts: &Parts, test: &[(&Case, Vec<Candidate>)]) -> anyhow::Result<Vec<Scored>> {
    let map = &run.feature_map;
    let scaled = |case: &Case| {
        let mut values = matrix::values(std::slice::from_ref(case));
        map.scale(&mut values);
        values
    };
    let test_rows: Vec<Vec<f64>> = test.iter().map(|(case, _)| scaled(case)).collect();
    // The gbdt crate needs all values at once.
    let rows = parts.matrix.index().rows(&parts.split.train);
    let labels: Vec<f64> = parts.matrix.index().grades[rows.clone()]
        .iter()
        .map(|grade| grade.label())
        .collect();
    let mut values = parts.matrix.features(&rows.collect::<Vec<_>>())?;
    map.scale(&mut values);
    let spinner = progress::spinner("rivals");
    // The gbdt crate and LightGBM use one thread each.
    let rivals = std::thread::scope(|scope| {
        let gbdt = scope.spawn(|| {
            let model = pointwise::Model::fit(&values, &labels, map.names().len());
            let scores: Vec<Vec<f64>> = test_rows.iter().map(|rows| model.predict(rows)).collect();
            scores
        });
        let mut rivals = lightgbm(run, parts, &test_rows)?;
        // A panic of the crate fails only this rival, not the evaluation.
        let scores = gbdt.join().map_err(|_| "panicked while training".to_owned());
        rivals.push(Scored {
            name: "gbdt, pointwise".to_owned(),
            scores,
        });
        anyhow::Ok(rivals)
    });
    spinner.finish_and_clear();
    rivals
}

fn lightgbm(run: &TrainingRun, parts: &Parts, test_rows: &[Vec<f64>]) -> anyhow::Result<Vec<Scored>> {
    let given = &run.training.parameters;
    let object = given.iter().map(|(key, value)| (key.clone(), value.clone().into()));
    let parameters = Parameters::from_json(&object.collect()).context("the parameters of training.json")?;
    let objective = parameters.get("objective").and_then(Objective::from_name);
    let published = Recipe {
        objective: objective.context("training.json names no objective of a matrix")?,
        position_bias: run.matrix.position_bias,
    };
    let schedule = Schedule::from_parameters(&parameters, 1)?;
    let recipe = |objective, position_bias| Recipe {
        objective,
        position_bias,
    };
    let mut scored = Vec::new();
    for (name, recipe) in [
        ("LambdaMART", recipe(Objective::Lambdarank, true)),
        ("LambdaMART without position", recipe(Objective::Lambdarank, false)),
        ("LightGBM regression, pointwise", recipe(Objective::Regression, false)),
    ] {
        if recipe == published {
            continue;
        }
        let grown = parts.grow(recipe, &parameters, &schedule);
        let scores = grown.and_then(|(fit, _)| predict(&fit.model, test_rows));
        scored.push(Scored {
            name: name.to_owned(),
            scores: scores.map_err(|error| format!("{error:#}")),
        });
    }
    Ok(scored)
}

fn predict(model: &str, test_rows: &[Vec<f64>]) -> anyhow::Result<Vec<Vec<f64>>> {
    let predictor = Predictor::from_text(model)?;
    let scores = predictor.predict(&test_rows.concat())?;
    let mut rest = scores.as_slice();
    let mut by_case = Vec::with_capacity(test_rows.len());
    for rows in test_rows {
        let count = rows.len() / predictor.width().max(1);
        ensure!(
            count <= rest.len(),
            "LightGBM returned {} predictions too few",
            count - rest.len()
        );
        let (scores, others) = rest.split_at(count);
        by_case.push(scores.to_vec());
        rest = others;
    }
    Ok(by_case)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_order_no_case_are_distinguished_from_those_that_order_one() {
        let all = "predicts one value for every row";
        let each = "predicts one value for all lawyers of each case";
        let not = "predicts numbers that are not finite";
        for (scores, expected) in [
            (vec![vec![0.2, 0.2], vec![0.2]], Some(all)),
            (vec![vec![0.2, 0.2], vec![0.3, 0.3]], Some(each)),
            (vec![vec![0.2, 0.2], vec![0.3, 0.4]], None),
            (vec![vec![f64::NAN; 2], vec![f64::NAN; 2]], Some(not)),
            (vec![vec![0.1, f64::INFINITY]], Some(not)),
        ] {
            assert_eq!(ranks_nothing(&scores), expected, "{scores:?}");
        }
    }

    #[test]
    fn a_rival_is_better_only_if_significantly() {
        let interval = |low, high| Interval {
            estimate: (low + high) / 2.0,
            low,
            high,
        };
        assert!(rival_is_better(&interval(-0.02, -0.01)));
        assert!(!rival_is_better(&interval(-0.02, 0.001)));
        assert!(!rival_is_better(&interval(0.01, 0.02)));
    }
}

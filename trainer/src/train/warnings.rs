//! Warnings about a training that succeeded but may not be useful.

use super::Queries;
use super::limits::{self, Labels};
use crate::boosting::{Fit, Schedule};
use crate::lightgbm::{Metric, Parameters};

/// Warns if the validation rows (`name`) cannot distinguish good models from bad ones.
pub(super) fn of_validation(queries: &Queries, asked: Labels, name: &str) {
    if matches!(asked, Labels::Grades { .. }) && limits::has_no_preference_pairs(queries) {
        tracing::warn!("{name}: all labels of each query are equal, so nDCG is the same for all scores");
    }
}

/// The warning about a model; `None` if there is none. `no_pairs`: no training query has two
/// different labels.
pub(super) fn of(fit: &Fit, schedule: &Schedule, parameters: &Parameters, no_pairs: bool) -> Option<String> {
    const NO_SPLIT: &str = "no tree of the model has a split, so";
    const TOO_LITTLE: &str =
        "the features or the labels are constant, or min_data_in_leaf is too large for so few rows";
    if fit.gains.iter().all(|gain| *gain == 0.0) {
        return Some(if no_pairs && limits::objective(parameters) == "lambdarank" {
            format!("{NO_SPLIT} every score is 0: all labels of each query are equal")
        } else {
            format!("{NO_SPLIT} every row gets the same score: {TOO_LITTLE}")
        });
    }
    let rounds = schedule.rounds;
    ends_on_its_best_round(fit, schedule).then(|| {
        format!(
            "the best round is the last of {rounds}; increase num_iterations, because more rounds may improve the model"
        )
    })
}

/// Whether all rounds ran and the first metric was best in the last one.
fn ends_on_its_best_round(fit: &Fit, schedule: &Schedule) -> bool {
    let (Some(name), true) = (fit.metrics.first(), fit.rounds.len() == schedule.rounds) else {
        return false;
    };
    let sign = if (Metric { name: name.clone() }).higher_is_better() {
        1.0
    } else {
        -1.0
    };
    let scores: Vec<f64> = fit.rounds.iter().map(|round| sign * round.scores[0]).collect();
    scores
        .split_last()
        .is_some_and(|(last, before)| !before.is_empty() && before.iter().all(|score| score < last))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::boosting::Round;

    fn fit(metric: &str, scores: &[f64], gain: f64) -> Fit {
        let round = |(at, score): (usize, &f64)| Round {
            round: at + 1,
            scores: vec![*score],
        };
        Fit {
            metrics: vec![metric.to_owned()],
            rounds: scores.iter().enumerate().map(round).collect(),
            best_iteration: scores.len(),
            stopped_early: false,
            model: String::new(),
            gains: vec![0.0, gain],
        }
    }

    fn warnings(fit: &Fit, no_pairs: bool) -> String {
        let parameters = json!({"objective": "lambdarank", "num_iterations": 3});
        let parameters = Parameters::from_json(parameters.as_object().unwrap()).unwrap();
        let schedule = Schedule::from_parameters(&parameters, 1000).unwrap();
        of(fit, &schedule, &parameters, no_pairs).unwrap_or_default()
    }

    #[test]
    fn a_model_that_was_still_improving_is_warned_of() {
        for (metric, scores, expected) in [
            ("ndcg@5", &[0.1, 0.2, 0.3][..], true),
            ("ndcg@5", &[0.1, 0.3, 0.3], false),
            ("l2", &[0.3, 0.2, 0.1], true),
            ("l2", &[0.1, 0.2, 0.3], false),
            ("ndcg@5", &[0.1, 0.2], false),
        ] {
            let warning = warnings(&fit(metric, scores, 1.0), false);
            assert_eq!(
                warning.contains("the best round is the last of 3"),
                expected,
                "{metric} {scores:?}"
            );
        }
    }

    #[test]
    fn a_model_without_splits_is_warned_of_with_the_reason() {
        let flat = fit("ndcg@5", &[1.0, 1.0, 1.0], 0.0);
        assert!(warnings(&flat, true).contains("no tree of the model has a split"));
        assert!(warnings(&flat, true).contains("all labels of each query are equal"));
        assert!(warnings(&flat, false).contains("the features or the labels are constant"));
    }
}

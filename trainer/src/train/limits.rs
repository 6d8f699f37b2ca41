//! Checks labels and query sizes against the rules of LightGBM's objectives and metrics.
//!
//! LightGBM checks these as well, but its errors name only the value, not the row or what to do.

use super::Queries;
use crate::lightgbm::{ParameterError, Parameters};

/// Most rows in a query, for LambdaMART and nDCG (`dcg_calculator.cpp`, `kMaxPosition`).
const MAX_QUERY_ROWS: u32 = 10_000;
/// Number of gains if `label_gain` is not given (`DefaultLabelGain`).
const DEFAULT_GAINS: usize = 31;

/// The labels that an objective or metric allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Labels {
    /// Any number.
    Numbers,
    /// Integers from 0 to `gains - 1`.
    Grades {
        gains: usize,
        /// Whether `label_gain` is given.
        given: bool,
    },
    /// Integers below the number of classes.
    Classes(usize),
    NotNegative,
    UnitInterval,
}

/// A label or query that is not allowed.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    /// Index of the row, or of the query's first row.
    pub row: usize,
    /// Index of the query; `None`: the label is at fault.
    pub query: Option<usize>,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl Labels {
    /// The labels that the objective allows in training rows.
    pub(super) fn of_objective(parameters: &Parameters) -> Result<Labels, ParameterError> {
        Ok(match objective(parameters).as_str() {
            "lambdarank" => grades(parameters),
            "multiclass" | "softmax" | "multiclassova" | "multiclass_ova" | "ova" | "ovr" => classes(parameters)?,
            "poisson" | "gamma" | "tweedie" => Labels::NotNegative,
            "cross_entropy" | "xentropy" | "cross_entropy_lambda" | "xentlambda" => Labels::UnitInterval,
            _ => Labels::Numbers,
        })
    }

    /// The labels that the metrics allow in validation rows.
    pub(super) fn of_metrics(parameters: &Parameters) -> Result<Labels, ParameterError> {
        let named = parameters.get("metric").map(str::to_ascii_lowercase);
        // Without `metric`, LightGBM uses the objective's own.
        let named = named.unwrap_or_else(|| objective(parameters));
        if named.split(',').any(is_ndcg) {
            return Ok(grades(parameters));
        }
        Ok(match Labels::of_objective(parameters)? {
            // Multiclass metrics use the label as an index.
            Labels::Classes(count) => Labels::Classes(count),
            _ => Labels::Numbers,
        })
    }

    /// Checks every label, and the size of every query if the objective ranks.
    pub(super) fn check(self, queries: &Queries) -> Result<(), Fault> {
        for (row, &label) in queries.labels.iter().enumerate() {
            if let Some(allowed) = self.refused(label) {
                return Err(Fault {
                    row,
                    query: None,
                    message: format!("label {label}; allowed: {allowed}"),
                });
            }
        }
        let ranked = matches!(self, Labels::Grades { .. });
        let mut row = 0;
        for (query, &size) in queries.groups.iter().enumerate() {
            if ranked && size > MAX_QUERY_ROWS {
                return Err(Fault {
                    row,
                    query: Some(query),
                    message: format!(
                        "{size} rows in a query; allowed: up to {MAX_QUERY_ROWS}; drop rows or split the query"
                    ),
                });
            }
            row += size as usize;
        }
        Ok(())
    }

    /// The allowed labels, if this one is not allowed.
    fn refused(self, label: f32) -> Option<String> {
        match self {
            Labels::Numbers => (!label.is_finite()).then(|| "a number up to 3.4e38".to_owned()),
            Labels::Grades { .. } if !(label >= 0.0 && label.fract() == 0.0) => {
                Some("grades, integers from 0; label_gain gives the gain of each".to_owned())
            }
            Labels::Grades { gains, given } => (label >= gains as f32).then(|| {
                if given {
                    format!("below {gains}, the number of gains in label_gain")
                } else {
                    format!("below {gains}, or label_gain with a gain for each grade up to {label}")
                }
            }),
            Labels::Classes(count) if label >= 0.0 && label.fract() == 0.0 && label < count as f32 => None,
            Labels::Classes(count) => Some(format!(
                "a class, an integer from 0 and below num_class, which is {count}"
            )),
            Labels::NotNegative => (!(label >= 0.0 && label.is_finite())).then(|| "a number of at least 0".to_owned()),
            Labels::UnitInterval => (!(0.0..=1.0).contains(&label)).then(|| "a number from 0 to 1".to_owned()),
        }
    }
}

/// Whether no query has two different labels, so that all orders of its rows are equally good.
pub(super) fn has_no_preference_pairs(queries: &Queries) -> bool {
    let mut labels = queries.labels.as_slice();
    queries.groups.iter().all(|&size| {
        let (query, rest) = labels.split_at(size as usize);
        labels = rest;
        query.windows(2).all(|pair| pair[0] == pair[1])
    })
}

/// The objective's name or alias, in lower case as LightGBM reads it.
pub(super) fn objective(parameters: &Parameters) -> String {
    let given = parameters.get("objective").unwrap_or("regression");
    given.to_ascii_lowercase()
}

/// Whether LightGBM reads this name as nDCG (`config.h`, `ParseMetricAlias`).
fn is_ndcg(metric: &str) -> bool {
    matches!(
        metric,
        "ndcg" | "lambdarank" | "rank_xendcg" | "xendcg" | "xe_ndcg" | "xe_ndcg_mart" | "xendcg_mart"
    )
}

fn grades(parameters: &Parameters) -> Labels {
    let given = parameters.get("label_gain");
    Labels::Grades {
        gains: given.map_or(DEFAULT_GAINS, |gains| gains.split(',').count()),
        given: given.is_some(),
    }
}

fn classes(parameters: &Parameters) -> Result<Labels, ParameterError> {
    let count = parameters.integer("num_class")?.unwrap_or(1);
    match usize::try_from(count) {
        Ok(count) if count > 1 => Ok(Labels::Classes(count)),
        _ => Err(ParameterError::Value {
            key: "num_class".to_owned(),
            value: count.to_string(),
            allowed: "the number of classes, at least 2, for a multiclass objective",
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameters(json: serde_json::Value) -> Parameters {
        Parameters::from_json(json.as_object().unwrap()).unwrap()
    }

    fn queries(labels: &[f32], groups: &[u32]) -> Queries {
        Queries {
            labels: labels.to_vec(),
            groups: groups.to_vec(),
            ..Queries::default()
        }
    }

    #[test]
    fn each_objective_has_its_own_labels() {
        for (given, allowed, refused) in [
            (
                json!({"objective": "lambdarank"}),
                &[0.0, 30.0][..],
                &[31.0, -1.0, 0.5, f32::INFINITY][..],
            ),
            (
                json!({"objective": "lambdarank", "label_gain": [0, 1, 3]}),
                &[0.0, 2.0],
                &[3.0],
            ),
            (json!({"objective": "LambdaRank"}), &[30.0], &[31.0]),
            (json!({"objective": "rank_xendcg"}), &[40.0, 0.5], &[]),
            (
                json!({"objective": "binary"}),
                &[-1.0, 0.0, 1.0, 40.0],
                &[f32::INFINITY],
            ),
            (
                json!({"objective": "multiclass", "num_class": 3}),
                &[0.0, 2.0],
                &[3.0, -1.0, 0.5],
            ),
            (json!({"objective": "ova", "num_class": 2}), &[1.0], &[2.0]),
            (json!({"objective": "poisson"}), &[0.0, 2.5], &[-0.5]),
            (json!({"objective": "xentropy"}), &[0.0, 0.5, 1.0], &[-0.1, 1.5]),
            (json!({}), &[-2.5, 1e9], &[f32::INFINITY]),
        ] {
            let labels = Labels::of_objective(&parameters(given.clone())).unwrap();
            let checked = |label: &f32| labels.check(&queries(&[0.0, *label], &[2]));
            assert!(allowed.iter().all(|label| checked(label).is_ok()), "{given}");
            for label in refused {
                assert_eq!(checked(label).unwrap_err().row, 1, "{given}");
            }
        }
    }

    #[test]
    fn ndcg_needs_grades_for_every_objective() {
        for (given, expected) in [
            (json!({"objective": "rank_xendcg"}), true),
            (json!({"objective": "rank_xendcg", "metric": "auc"}), false),
            (json!({"objective": "binary", "metric": ["auc", "NDCG"]}), true),
            (json!({"objective": "lambdarank", "metric": "map"}), false),
        ] {
            let labels = Labels::of_metrics(&parameters(given.clone())).unwrap();
            assert_eq!(labels.check(&queries(&[40.0], &[1])).is_err(), expected, "{given}");
        }
    }

    #[test]
    fn a_fault_states_the_remedy() {
        let labels = |given| Labels::of_objective(&parameters(given)).unwrap();
        let of = |given, label| labels(given).check(&queries(&[label], &[1])).unwrap_err().message;
        assert_eq!(
            of(json!({"objective": "lambdarank"}), 40.0),
            "label 40; allowed: below 31, or label_gain with a gain for each grade up to 40"
        );
        assert_eq!(
            of(json!({"objective": "lambdarank", "label_gain": [0, 1]}), 2.0),
            "label 2; allowed: below 2, the number of gains in label_gain"
        );
        let long = queries(&[0.0; 10_003], &[2, 10_001]);
        let fault = labels(json!({"objective": "lambdarank"})).check(&long).unwrap_err();
        assert_eq!((fault.row, fault.query), (2, Some(1)));
        assert!(
            fault.message.starts_with("10001 rows in a query; allowed: up to 10000"),
            "{}",
            fault.message
        );
        assert!(labels(json!({"objective": "rank_xendcg"})).check(&long).is_ok());
        let refusal = Labels::of_objective(&parameters(json!({"objective": "multiclass"}))).unwrap_err();
        assert!(
            refusal
                .to_string()
                .starts_with("num_class: 1; allowed: the number of classes")
        );
    }

    #[test]
    fn a_preference_pair_needs_two_labels_in_one_query() {
        assert!(has_no_preference_pairs(&queries(&[1.0, 1.0, 0.0], &[2, 1])));
        assert!(has_no_preference_pairs(&queries(&[1.0, 0.0], &[1, 1])));
        assert!(!has_no_preference_pairs(&queries(&[1.0, 1.0, 0.0, 1.0], &[2, 2])));
    }
}

//! `training.json`: how a model came to be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::boosting::Fit;
use crate::examination::Examination;
use crate::files::sha256;
use crate::lightgbm::Parameters;
use crate::split::Part;

/// File name inside a training's output directory.
pub const TRAINING: &str = "training.json";

/// One training, as reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// 1-based; the saved model has this many iterations.
    pub best_iteration: usize,
    /// Whether early stopping ended the training before its last round.
    pub stopped_early: bool,
    /// Rounds grown.
    pub rounds: usize,
    /// The validation metrics at the best iteration.
    pub best_scores: BTreeMap<String, f64>,
    /// The validation metrics by round, the first round first.
    pub metrics: BTreeMap<String, Vec<f64>>,
    /// What LightGBM was given, under its main names.
    pub parameters: BTreeMap<String, String>,
    /// What the trees were grown on.
    pub train: Size,
    /// What early stopping watched.
    pub valid: Size,
    /// Total gain of the splits on each feature that was used, largest first.
    pub importance: Vec<Importance>,
    /// Wall-clock time from reading the data to the finished model.
    pub seconds: f64,
    /// Of `ltr_model.txt`.
    pub model_sha256: String,
    /// Where the data came from, when it was a matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<MatrixFacts>,
}

/// How much data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Queries (cases).
    pub queries: usize,
    /// Rows (lawyers shown).
    pub rows: usize,
}

/// What one feature contributed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Importance {
    /// Its name.
    pub feature: String,
    /// Total gain of the splits on it.
    pub gain: f64,
}

/// Which matrix, and how it was cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MatrixFacts {
    /// Of the Parquet file.
    pub sha256: String,
    /// Of `feature_map.json`.
    pub feature_map_sha256: String,
    /// Whether LightGBM modelled position bias.
    pub position_bias: bool,
    /// How often each position is looked at, from the first on, as a share of the first; estimated on the training
    /// part.
    #[serde(default)]
    pub examination: Examination,
    /// The share of cases early stopping watched.
    pub valid_fraction: f64,
    /// The share of cases the gate judges.
    pub test_fraction: f64,
    /// What the trees and the scaler were fit on.
    pub train: Part,
    /// What early stopping watched.
    pub valid: Part,
    /// What nothing has seen yet.
    pub test: Part,
}

impl Training {
    /// The report of `fit`; `names` are the feature names, in column order.
    pub(super) fn new(
        fit: &Fit,
        names: &[String],
        parameters: &Parameters,
        sizes: (Size, Size),
        seconds: f64,
    ) -> Training {
        let column = |at: usize| fit.rounds.iter().map(move |round| round.scores[at]);
        let metrics: BTreeMap<String, Vec<f64>> = fit
            .metrics
            .iter()
            .enumerate()
            .map(|(at, name)| (name.clone(), column(at).collect()))
            .collect();
        let best = |scores: &Vec<f64>| scores[fit.best_iteration - 1];
        let mut importance: Vec<Importance> = names
            .iter()
            .zip(&fit.gains)
            .filter(|(_, gain)| **gain > 0.0)
            .map(|(name, gain)| Importance {
                feature: name.clone(),
                gain: *gain,
            })
            .collect();
        importance.sort_by(|a, b| b.gain.total_cmp(&a.gain));
        Training {
            best_iteration: fit.best_iteration,
            stopped_early: fit.stopped_early,
            rounds: fit.rounds.len(),
            best_scores: metrics.iter().map(|(n, s)| (n.clone(), best(s))).collect(),
            metrics,
            parameters: parameters.clone().into_inner(),
            train: sizes.0,
            valid: sizes.1,
            importance,
            seconds,
            model_sha256: sha256(fit.model.as_bytes()),
            matrix: None,
        }
    }
}

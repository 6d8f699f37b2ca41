//! `training.json`: how a model was trained.

use std::collections::BTreeMap;
use std::path::Path;

use runtime::artefact;
use serde::{Deserialize, Serialize};

use crate::boosting::Fit;
use crate::examination::Examination;
use crate::files::sha256;
use crate::lightgbm::Parameters;
use crate::lineage::{Dataset, Record};
use crate::split::Part;

/// Name of the report in a training's output directory.
pub const TRAINING: &str = "training.json";

/// The report of one training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// 1-based; the saved model has this many iterations.
    pub best_iteration: usize,
    /// Whether the training ended before its last round.
    pub stopped_early: bool,
    /// Rounds trained.
    pub rounds: usize,
    /// The validation metrics at the best iteration.
    pub best_scores: BTreeMap<String, f64>,
    /// The validation metrics of each round, in order.
    pub metrics: BTreeMap<String, Vec<f64>>,
    /// The parameters passed to LightGBM, under their main names.
    pub parameters: BTreeMap<String, String>,
    /// Size of the training part.
    pub train: Size,
    /// Size of the validation part.
    pub valid: Size,
    /// Total gain of the splits on each feature that was used, largest first.
    pub importance: Vec<Importance>,
    /// Wall-clock time from reading the data to the finished model.
    pub seconds: f64,
    /// SHA-256 of `ltr_model.txt`.
    pub model_sha256: String,
    /// Machines that trained together.
    #[serde(default = "one")]
    pub machines: usize,
    /// Facts about the matrix; `None`: trained on SVMlight files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<MatrixFacts>,
}

/// Amount of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Queries (cases).
    pub queries: usize,
    /// Rows (lawyers shown).
    pub rows: usize,
}

/// The importance of one feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Importance {
    /// The feature's name.
    pub feature: String,
    /// Total gain of the splits on it.
    pub gain: f64,
}

/// Identifies the matrix and how it was split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MatrixFacts {
    /// SHA-256 of the Parquet file, or of the list of days.
    pub sha256: String,
    /// `train.window_days` of the training: how many days of the list were used; 0: all.
    #[serde(default)]
    pub window_days: u32,
    /// SHA-256 of `feature_map.json`.
    pub feature_map_sha256: String,
    /// Whether LightGBM modelled position bias.
    pub position_bias: bool,
    /// Examination propensity of each position, from the first on, estimated on the training part.
    #[serde(default)]
    pub examination: Examination,
    /// Share of cases in the validation part.
    pub valid_fraction: f64,
    /// Share of cases in the test part.
    pub test_fraction: f64,
    /// The trees and the scaler were fit on this part.
    pub train: Part,
    /// Early stopping used this part.
    pub valid: Part,
    /// Held out for the evaluation.
    pub test: Part,
}

impl MatrixFacts {
    /// The matrix at `path` for the run record.
    pub fn dataset(&self, path: &Path) -> Dataset {
        let rows = self.train.rows + self.valid.rows + self.test.rows;
        Dataset::file(path).sha256(&self.sha256).rows(rows as u64)
    }
}

impl Training {
    /// The matrix at `path`, which it was trained on, for the run record.
    pub fn read_from(&self, path: &Path) -> Dataset {
        match &self.matrix {
            Some(matrix) => matrix.dataset(path),
            None => Dataset::file(path),
        }
    }

    /// Records what a training wrote into `out`.
    pub fn record(&self, out: &Path, record: &mut Record) {
        record.wrote(Dataset::file(&out.join(artefact::MODEL)).sha256(&self.model_sha256));
        if let Some(matrix) = &self.matrix {
            record.wrote(Dataset::file(&out.join(artefact::FEATURE_MAP)).sha256(&matrix.feature_map_sha256));
        }
        record.wrote(Dataset::file(&out.join(TRAINING)));
    }

    /// Reports `fit`; `names` are the feature names in column order.
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
            machines: one(),
            matrix: None,
        }
    }
}

fn one() -> usize {
    1
}

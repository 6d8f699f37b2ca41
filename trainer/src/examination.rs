//! Estimates how often clients look at each position, and computes nDCG corrected for it.
//!
//! Clients look less often at lower positions, so lawyers there get fewer clicks than they deserve.
//! LightGBM's `position` removes this bias from the scores. The better such a model gets, the less
//! it agrees with the biased clicks, so nDCG on them stops the training after a few rounds, long
//! before its best. Inverse propensity weighting corrects this: each click is weighted by the
//! inverse of how often its position is looked at (Joachims, Swaminathan and Schnabel 2017).
//! Measurements: docs/position-bias.md.

use std::ops::Range;

use ranking::Grade;
use ranking::statistics::mean;
use serde::{Deserialize, Serialize};

use crate::binning::{Rows, cases_of};
use crate::lightgbm::{Booster, Network, Parameters, Predictor};
use crate::machines::Share;
use crate::matrix::StoredMatrix;

/// The cut-off of nDCG.
const K: usize = 5;
/// Lower positions count as this one: they get too few clicks to be told apart.
const MAX_POSITION: u32 = 50;
/// Limits the weight of a click to 20, so that single clicks far down cannot decide.
const MIN_SHARE: f64 = 0.05;
/// Rounds of the click model. It is small, because only its dependence on the position is used.
const ROUNDS: usize = 60;
/// Rows for which clicks are predicted at every position.
const SAMPLE: usize = 2_000;

/// Examination propensities: how often each position is looked at, relative to the first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Examination(Vec<f64>);

impl Examination {
    /// The propensity of a 1-based position, above 0 and at most 1; 1 without an estimate.
    pub fn share(&self, position: u32) -> f64 {
        let at = (position as usize).saturating_sub(1);
        self.0.get(at).or(self.0.last()).copied().unwrap_or(1.0)
    }

    /// Estimates the propensities from clicks.
    ///
    /// A model predicts the click from the features and the position; it is constrained so that a
    /// lower position never helps. The propensity of a position is the model's partial dependence:
    /// how its predictions fall when the same rows are moved there. The features separate the
    /// lawyers' merit from the effect of the position.
    ///
    /// Several machines train the click model together.
    ///
    /// # Errors
    /// A matrix that cannot be read, or a failure of LightGBM.
    pub fn estimate(
        matrix: &StoredMatrix,
        cases: Range<usize>,
        network: Option<&Network>,
    ) -> anyhow::Result<Examination> {
        let positions = &matrix.index().positions;
        let rows = matrix.index().rows(&cases);
        let deepest = positions[rows.clone()].iter().map(|&at| at.min(MAX_POSITION)).max();
        let model = click_model(matrix, cases, network)?;

        let step = rows.len().div_ceil(SAMPLE).max(1);
        let sample: Vec<usize> = rows.step_by(step).collect();
        let sample = matrix.features(&sample)?;
        let width = matrix.schema().len();
        let clicks = |position: u32| -> anyhow::Result<f64> {
            let moved = |features: &[f64]| -> Vec<f64> { [features, &[f64::from(position)]].concat() };
            let rows: Vec<f64> = sample.chunks_exact(width).flat_map(moved).collect();
            Ok(model.predict(&rows)?.iter().sum())
        };
        let first = clicks(1)?;
        let shares = (1..=deepest.unwrap_or(1)).map(|position| {
            let share = clicks(position)? / first;
            Ok(if share.is_finite() {
                share.clamp(MIN_SHARE, 1.0)
            } else {
                1.0
            })
        });
        shares.collect::<anyhow::Result<Vec<f64>>>().map(Examination)
    }
}

fn click_model(matrix: &StoredMatrix, cases: Range<usize>, network: Option<&Network>) -> anyhow::Result<Predictor> {
    let index = matrix.index();
    let width = matrix.schema().len() + 1;
    let mut parameters = Parameters::default();
    for (key, value) in [
        ("objective", "binary"),
        ("metric", "none"),
        ("learning_rate", "0.1"),
        ("num_leaves", "16"),
        ("min_data_in_leaf", "100"),
        ("seed", "42"),
        ("deterministic", "true"),
        ("force_row_wise", "true"),
        ("num_threads", "1"),
    ] {
        parameters.set(key, value);
    }
    // 0 (free) for each feature, -1 (decreasing) for the position.
    parameters.set("monotone_constraints", format!("{}-1", "0,".repeat(width - 1)));
    let rows = Rows {
        matrix,
        cases: cases.clone(),
        width,
        columns: |row: usize, features: &[f64], columns: &mut Vec<f64>| {
            columns.extend_from_slice(features);
            columns.push(f64::from(index.positions[row].min(MAX_POSITION)));
        },
    };
    let share = network.map_or(Share::WHOLE, Network::share);
    let mut dataset = rows.bin(share, &parameters)?;
    let mine = cases_of(share, matrix, cases);
    let grades = mine
        .iter()
        .flat_map(|case| &index.grades[case.first_row..][..case.rows]);
    let clicked: Vec<f32> = grades.map(|grade| f32::from(u8::from(*grade > Grade::Shown))).collect();
    dataset.set_labels(&clicked)?;
    let _online = network.map(|network| network.online(&mut parameters)).transpose()?;
    let mut booster = Booster::new(dataset, &parameters)?;
    for _ in 0..ROUNDS {
        booster.update()?;
    }
    Ok(Predictor::from_text(&booster.to_text(0)?)?)
}

/// nDCG as if every position were looked at as often as the first.
///
/// It divides by the mean of all cases' best gains, and not by each case's own best as nDCG does.
/// Otherwise the inverse weights would cancel in a case with one click, however far down.
#[derive(Debug)]
pub struct DebiasedNdcg {
    gains: Vec<Vec<f64>>,
    best: f64,
}

impl DebiasedNdcg {
    /// Prepares the metric for orders of these cases, given by grade and position of each row.
    pub fn new(cases: impl Iterator<Item = Vec<(Grade, u32)>>, examination: &Examination) -> DebiasedNdcg {
        let gain = |(grade, position): (Grade, u32)| grade.gain() / examination.share(position);
        let gains: Vec<Vec<f64>> = cases.map(|case| case.into_iter().map(gain).collect()).collect();
        let best = mean(gains.iter().map(|gains| discounted(gains, &by_score(gains))));
        DebiasedNdcg { gains, best }
    }

    /// The metric for one order of the `case`-th case. With the best orders, its mean over all
    /// cases is 1.
    pub fn of_case(&self, case: usize, order: &[usize]) -> f64 {
        if self.best > 0.0 {
            discounted(&self.gains[case], order) / self.best
        } else {
            0.0
        }
    }

    /// The mean over all cases, each ordered by its `scores`: one per row, case after case.
    pub fn of_scores(&self, scores: &[f64]) -> f64 {
        let mut rest = scores;
        let mut sum = 0.0;
        for (case, gains) in self.gains.iter().enumerate() {
            let (scores, others) = rest.split_at(gains.len().min(rest.len()));
            sum += self.of_case(case, &by_score(scores));
            rest = others;
        }
        sum / self.gains.len().max(1) as f64
    }
}

fn discounted(gains: &[f64], order: &[usize]) -> f64 {
    let top = order.iter().take(K).enumerate();
    top.map(|(rank, &at)| gains[at] / (2.0 + rank as f64).log2()).sum()
}

fn by_score(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

#[cfg(test)]
mod tests;

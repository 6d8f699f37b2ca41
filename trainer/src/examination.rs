//! How much less often clients look at lower positions, and what rankings are worth once that is taken out.
//!
//! Clicks are seen at the positions that were shown: a lawyer further down gathers fewer of them than they deserve. A
//! model that leaves the position out of its scores (LightGBM's `position`) therefore agrees less with the clicks as
//! shown the better it gets, and nDCG on those clicks stops it after a few rounds, long before its best. Clicks
//! weighted by the inverse of how often their position is looked at (Joachims, Swaminathan and Schnabel 2017) judge
//! it by what clients want. Figures: docs/position-bias.md.

use ranking::Grade;
use serde::{Deserialize, Serialize};

use crate::lightgbm::{Booster, Dataset, Error, Parameters, Predictor};
use crate::matrix::{self, Case};

/// The cut-off of the gain.
const K: usize = 5;
/// Positions below this one count as this one: too few clicks reach further to tell them apart.
const MAX_POSITION: u32 = 50;
/// No click counts for more than twenty, so that single ones far down cannot decide.
const MIN_SHARE: f64 = 0.05;
/// The click model: small, because only its dependence on the position is used.
const ROUNDS: usize = 60;
/// Rows whose clicks are predicted at every position.
const SAMPLE: usize = 2_000;

/// How often each position is looked at, as a share of how often the first is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Examination(Vec<f64>);

impl Examination {
    /// The share of a 1-based position, above 0 and at most 1; 1 where nothing is known.
    pub fn share(&self, position: u32) -> f64 {
        let at = (position as usize).saturating_sub(1);
        self.0.get(at).or(self.0.last()).copied().unwrap_or(1.0)
    }

    /// Estimates the shares from clicks: a model of the click given the features and the position, in which a lower
    /// position never helps; then how its predictions fall when the same lawyers are moved down (its partial
    /// dependence on the position). The features of lawyers that were shown at different positions tell what they are
    /// worth from where they stood.
    ///
    /// # Errors
    /// LightGBM's refusal.
    pub fn estimate(cases: &[Case], width: usize) -> Result<Examination, Error> {
        let shown = || cases.iter().flat_map(|case| &case.rows);
        let deepest = shown().map(|row| row.position.min(MAX_POSITION)).max().unwrap_or(1);
        let at = |features: &[f64], position: u32| features.iter().copied().chain([f64::from(position)]).collect();
        let values: Vec<f64> = shown()
            .flat_map(|row| -> Vec<f64> { at(&row.features, row.position.min(MAX_POSITION)) })
            .collect();
        let clicked: Vec<f32> = shown()
            .map(|row| f32::from(u8::from(row.grade > Grade::Shown)))
            .collect();
        let model = click_model(&values, &clicked, width + 1)?;

        let step = clicked.len().div_ceil(SAMPLE).max(1);
        let sample = || shown().step_by(step);
        let clicks = |position: u32| -> Result<f64, Error> {
            let rows: Vec<f64> = sample()
                .flat_map(|row| -> Vec<f64> { at(&row.features, position) })
                .collect();
            Ok(model.predict(&rows)?.iter().sum())
        };
        let first = clicks(1)?;
        let shares = (1..=deepest).map(|position| {
            let share = clicks(position)? / first;
            Ok(if share.is_finite() {
                share.clamp(MIN_SHARE, 1.0)
            } else {
                1.0
            })
        });
        shares.collect::<Result<Vec<f64>, Error>>().map(Examination)
    }
}

fn click_model(values: &[f64], clicked: &[f32], width: usize) -> Result<Predictor, Error> {
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
    // 0 for each feature, -1 for the position: it never helps to stand lower.
    parameters.set("monotone_constraints", format!("{}-1", "0,".repeat(width - 1)));
    let mut dataset = Dataset::new(values, width, &parameters, None)?;
    dataset.set_labels(clicked)?;
    let mut booster = Booster::new(dataset, &parameters)?;
    for _ in 0..ROUNDS {
        booster.update()?;
    }
    Predictor::from_text(&booster.to_text(0)?)
}

/// Judges orders by the gain they would bring if every position were looked at as often as the first.
///
/// The gain is not divided case by case by its best, as nDCG does: a case with one click far down would weigh as much
/// as any other, and the inverse weights would cancel. It is divided by the mean of the best gains.
#[derive(Debug)]
pub struct DebiasedNdcg {
    gains: Vec<Vec<f64>>,
    best: f64,
}

impl DebiasedNdcg {
    /// For the orders of these cases.
    pub fn new<'a>(cases: impl Iterator<Item = &'a Case>, examination: &Examination) -> DebiasedNdcg {
        let gain = |row: &matrix::Shown| row.grade.gain() / examination.share(row.position);
        let gains: Vec<Vec<f64>> = cases.map(|case| case.rows.iter().map(gain).collect()).collect();
        let best = gains.iter().map(|gains| discounted(gains, &by_score(gains)));
        let best = best.sum::<f64>() / gains.len().max(1) as f64;
        DebiasedNdcg { gains, best }
    }

    /// What an order of the `case`-th case is worth. The mean over all cases is 1 for the best orders.
    pub fn of_case(&self, case: usize, order: &[usize]) -> f64 {
        if self.best > 0.0 {
            discounted(&self.gains[case], order) / self.best
        } else {
            0.0
        }
    }

    /// The mean over all cases, each ordered by its `scores`: one a row, case after case.
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

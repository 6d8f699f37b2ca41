//! nDCG and MRR as if clients examined every displayed rank alike.
//!
//! A client acts on a lawyer only if they examine them, with a probability theta that falls with the displayed rank
//! ([`theta`]). So plain metrics favour whichever ranking was displayed. Each action here counts 1 / theta instead of
//! 1 (inverse propensity scoring: Joachims, Swaminathan, Schnabel, WSDM 2017; for gains that add up, as those of DCG
//! do: Agarwal, Takatsu, Zaitsev, Joachims, SIGIR 2019), and is divided by the sum of the weights (self-normalised:
//! Swaminathan and Joachims, NIPS 2015), so that the best order has 1.
//!
//! **What stays.** Weights are clipped at [`Weighting::CLIP`], so that ranks below it are corrected in part. Cases
//! with several actions count once in a mean, and a client signs one contract: both leave some of the bias in favour
//! of what was displayed. In this module's tests (clicks, equal rankers) nDCG keeps a fifteenth of it, and MRR, which
//! is no sum of gains, a third.

use serde::{Deserialize, Serialize};

use super::{dcg_at, ideal_dcg_at, reciprocal_rank_at};
use crate::bootstrap::{Interval, bootstrap};
use crate::propensities::theta;

/// How much an action counts, by the rank at which its lawyer was displayed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weighting {
    /// The exponent of examination: see [`theta`]. With 0 everything weighs 1, and the metrics are the plain ones.
    pub eta: f64,
}

/// One lawyer of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Displayed {
    /// What the client did, as [`Grade::value`](crate::labels::Grade::value).
    pub grade: u8,
    /// The rank at which the lawyer was displayed, from 1.
    pub rank: u32,
}

/// What a case adds to a weighted mean. Its metric alone is `value / weight`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// The weighted metric.
    pub value: f64,
    /// What the best order would have; above 0.
    pub weight: f64,
}

impl Weighting {
    /// Largest weight: single actions far down would outweigh all others.
    pub const CLIP: f64 = 10.0;

    /// `min(1 / theta(rank), CLIP)`.
    pub fn weight(&self, rank: u32) -> f64 {
        theta(rank, self.eta).recip().min(Weighting::CLIP)
    }

    /// nDCG@k. With gains g, weights w and DCG as of [`ndcg_at`](super::ndcg_at), a case has
    /// `value = DCG(g w) / IDCG(g)` and `weight = IDCG(g w) / IDCG(g)`.
    ///
    /// `None` where no lawyer gains anything.
    ///
    /// # Panics
    /// A grade without a gain.
    pub fn ndcg_at(&self, k: usize, in_ranked_order: &[Displayed], gains: &[f64]) -> Option<Part> {
        let plain: Vec<f64> = in_ranked_order.iter().map(|of| gains[usize::from(of.grade)]).collect();
        let weights = in_ranked_order.iter().map(|of| self.weight(of.rank));
        let weighted: Vec<f64> = plain.iter().zip(weights).map(|(gain, weight)| gain * weight).collect();
        let best = ideal_dcg_at(k, &plain);
        (best > 0.0).then(|| Part {
            value: dcg_at(k, &weighted) / best,
            weight: ideal_dcg_at(k, &weighted) / best,
        })
    }

    /// MRR@k. A case has `weight = min(1 / (1 - product of (1 - theta)), CLIP)` over the lawyers with at least
    /// `min_grade`: it is in the mean if one of them was examined. `value` is the [reciprocal
    /// rank](reciprocal_rank_at) times that.
    ///
    /// `None` where no lawyer has the grade.
    pub fn reciprocal_rank_at(&self, k: usize, in_ranked_order: &[Displayed], min_grade: u8) -> Option<Part> {
        let grades: Vec<u8> = in_ranked_order.iter().map(|of| of.grade).collect();
        let plain = reciprocal_rank_at(k, &grades, min_grade)?;
        let relevant = in_ranked_order.iter().filter(|of| of.grade >= min_grade);
        let unseen: f64 = relevant.map(|of| 1.0 - theta(of.rank, self.eta)).product();
        let weight = (1.0 - unseen).recip().min(Weighting::CLIP);
        Some(Part {
            value: plain * weight,
            weight,
        })
    }
}

/// The weighted mean over cases, `sum of values / sum of weights`, with its [`bootstrap`] over cases.
pub fn weighted_mean(parts: &[Part], resamples: usize, level: f64, seed: u64) -> Interval {
    bootstrap(parts.len(), resamples, level, seed, |cases| {
        let sum = |of: fn(&Part) -> f64| cases.iter().map(|&case| of(&parts[case])).sum::<f64>();
        sum(|part| part.value) / sum(|part| part.weight)
    })
}

/// How many equally weighted cases say as much: `(sum w)^2 / sum w^2` (Kish 1965); 0 without cases.
pub fn effective_cases(parts: &[Part]) -> f64 {
    let sum: f64 = parts.iter().map(|part| part.weight).sum();
    let squares: f64 = parts.iter().map(|part| part.weight * part.weight).sum();
    if squares == 0.0 { 0.0 } else { sum * sum / squares }
}

#[cfg(test)]
mod tests;

//! The metrics of one arm, weighted by how often each displayed rank is looked at.

use ranking::Interval;
use ranking::metrics::weighted::{Part, Weighting, effective_cases, weighted_mean};
use serde::{Deserialize, Serialize};
use settings::Evaluate;

/// By what the weighted metrics of an evaluation are weighted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propensities {
    /// Rank k is looked at `k^-eta` times as often as the first (`evaluate.eta`).
    Known {
        /// The exponent.
        eta: f64,
        /// Largest weight.
        clip: f64,
        /// How many equally weighted cases say as much about nDCG@5 as those that there are.
        effective_cases: f64,
    },
    /// There are no weighted metrics.
    Unknown {
        /// Why.
        reason: String,
    },
}

impl Default for Propensities {
    fn default() -> Propensities {
        Propensities::Unknown {
            reason:
                "how often each rank is looked at is not known: evaluate.eta is not set, and clicks on one ranking \
                     cannot tell it from relevance"
                    .to_owned(),
        }
    }
}

/// Both metrics of an arm, or what one arm has more than another, by weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Weighted {
    /// nDCG@5; see [`Weighting::ndcg_at`].
    pub ndcg5: Interval,
    /// MRR@5; see [`Weighting::reciprocal_rank_at`].
    pub mrr5: Interval,
}

/// What each case adds to the weighted metrics of an arm. Each metric covers the same cases, with the same weights,
/// in every arm.
pub(super) struct Parts {
    pub ndcg5: Vec<Part>,
    pub mrr5: Vec<Part>,
}

impl Parts {
    /// The arm's metrics.
    pub(super) fn metrics(&self, config: &Evaluate) -> Weighted {
        let mean = |parts: &[Part]| weighted_mean(parts, config.resamples, config.confidence, config.seed);
        Weighted {
            ndcg5: mean(&self.ndcg5),
            mrr5: mean(&self.mrr5),
        }
    }

    /// What it has more than another arm, paired by case.
    pub(super) fn over(&self, other: &Parts) -> Parts {
        Parts {
            ndcg5: differences(&self.ndcg5, &other.ndcg5),
            mrr5: differences(&self.mrr5, &other.mrr5),
        }
    }

    /// How these parts were weighted.
    pub(super) fn propensities(&self, weighting: Weighting) -> Propensities {
        Propensities::Known {
            eta: weighting.eta,
            clip: Weighting::CLIP,
            effective_cases: effective_cases(&self.ndcg5),
        }
    }
}

fn differences(ours: &[Part], theirs: &[Part]) -> Vec<Part> {
    let each = ours.iter().zip(theirs);
    each.map(|(ours, theirs)| Part {
        value: ours.value - theirs.value,
        weight: ours.weight,
    })
    .collect()
}

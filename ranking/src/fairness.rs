//! The fairness re-rank, applied to the legacy and the LTR ranking alike.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::candidates::Candidate;
use crate::weights::Weights;

/// Constants of the re-rank. All are shares or scores in [0, 1].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fairness {
    /// The elite reaches at least this far below the best score.
    pub elite_floor: f64,
    /// The elite reaches this share of the best score below it, where that is further.
    pub elite_share: f64,
    /// Weight of the score inside the elite.
    pub score_weight: f64,
    /// Weight of equity (free capacity) inside the elite.
    pub equity_weight: f64,
    /// Equity of a lawyer at or over capacity.
    pub equity_floor: f64,
    /// What a lawyer of an under-represented group gains.
    pub lambda: f64,
    /// A group that holds less than this share of the elite is under-represented.
    pub tau: f64,
}

impl Default for Fairness {
    fn default() -> Fairness {
        Fairness {
            elite_floor: 0.05,
            elite_share: 0.10,
            score_weight: 0.7,
            equity_weight: 0.3,
            equity_floor: 0.05,
            lambda: 0.05,
            tau: 0.30,
        }
    }
}

/// One place in a ranking.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// Which candidate, as an index into the list that was ranked.
    pub index: usize,
    /// The score the re-rank started from.
    pub score: f64,
    /// The score the order follows inside the elite; the plain score outside it.
    pub fair: f64,
    /// What `fair` has beside the score; `None` outside the elite.
    pub merits: Option<Merits>,
}

/// What the order inside the elite adds to the score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Merits {
    /// For free capacity: `equity_weight * equity`.
    pub equity: f64,
    /// `lambda` for a lawyer of an under-represented group, else 0.
    pub boost: f64,
}

impl Ranked {
    /// Whether the score alone puts this lawyer before a later one. It does not where `later` is outside the elite alone,
    /// has less free capacity, lacks a boost that this one has, or was behind by the tie-break.
    pub fn leads_by_score(&self, later: &Ranked) -> bool {
        let keeps_merits = match (self.merits, later.merits) {
            (Some(own), Some(others)) => own.equity <= others.equity && own.boost <= others.boost,
            (own, others) => own.is_none() && others.is_none(),
        };
        keeps_merits && self.fair > later.fair
    }
}

/// Orders candidates, best first.
///
/// The *elite* is everyone whose score is at least `best - max(elite_floor, elite_share * |best|)`. It comes
/// first, by `fair = score_weight * score + equity_weight * equity + boost`; the others follow by score.
/// `equity = 1 - cases_30d / monthly_capacity`, never below `equity_floor`. `boost` is `lambda` for a lawyer
/// whose group holds less than `tau` of the elite under any attribute (an unknown group earns none).
/// Ties: longest since last offered first (never offered is longest), then by `lawyer_id`.
///
/// `scores`: one finite number a candidate. Rules: design, "`rerank_fairness`".
pub fn rerank(candidates: &[Candidate], scores: &[f64], fairness: &Fairness) -> Vec<Ranked> {
    assert_eq!(candidates.len(), scores.len(), "one score a candidate");
    let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let reach = fairness.elite_floor.max(fairness.elite_share * best.abs());
    let (mut elite, mut others): (Vec<usize>, Vec<usize>) = (0..scores.len()).partition(|&i| scores[i] >= best - reach);

    let groups = GroupCounts::of(candidates, &elite);
    let mut fair = scores.to_vec();
    let mut merits = vec![None; scores.len()];
    for &i in &elite {
        let boost = if groups.under_represented(&candidates[i], fairness.tau) {
            fairness.lambda
        } else {
            0.0
        };
        let equity = fairness.equity_weight * equity(&candidates[i], fairness.equity_floor);
        fair[i] = fairness.score_weight * scores[i] + equity + boost;
        merits[i] = Some(Merits { equity, boost });
    }
    let by_fair = |&a: &usize, &b: &usize| {
        descending(fair[a], fair[b]).then_with(|| offered_longest_ago(&candidates[a], &candidates[b]))
    };
    elite.sort_by(by_fair);
    others.sort_by(by_fair);
    elite
        .into_iter()
        .chain(others)
        .map(|index| Ranked {
            index,
            score: scores[index],
            fair: fair[index],
            merits: merits[index],
        })
        .collect()
}

/// Scales scores to [0, 1] within the case; all equal (or one alone): all 1.0.
pub fn min_max(scores: &[f64]) -> Vec<f64> {
    let low = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low >= high {
        return vec![1.0; scores.len()];
    }
    let range = high - low;
    if range.is_finite() {
        scores.iter().map(|s| (s - low) / range).collect()
    } else {
        // Finite scores may lie further apart than an f64 can say; halves do not.
        let half_range = high / 2.0 - low / 2.0;
        scores.iter().map(|s| (s / 2.0 - low / 2.0) / half_range).collect()
    }
}

/// The legacy ranking: weighted features, then [`rerank`].
pub fn rank_legacy(candidates: &[Candidate], weights: &Weights, fairness: &Fairness) -> Vec<Ranked> {
    let scores: Vec<f64> = candidates.iter().map(|c| weights.score(&c.features)).collect();
    rerank(candidates, &scores, fairness)
}

/// The LTR ranking: the model's scores, scaled within the case, then [`rerank`].
pub fn rank_ltr(candidates: &[Candidate], raw_scores: &[f64], fairness: &Fairness) -> Vec<Ranked> {
    rerank(candidates, &min_max(raw_scores), fairness)
}

fn equity(candidate: &Candidate, floor: f64) -> f64 {
    if candidate.cases_30d >= candidate.monthly_capacity {
        return floor;
    }
    let load = f64::from(candidate.cases_30d) / f64::from(candidate.monthly_capacity);
    (1.0 - load).max(floor)
}

/// Larger first; -0.0 and 0.0 are one score, so that they tie.
fn descending(a: f64, b: f64) -> Ordering {
    (b + 0.0).total_cmp(&(a + 0.0))
}

fn offered_longest_ago(a: &Candidate, b: &Candidate) -> Ordering {
    // `None` (never offered) orders before any time.
    a.last_offered_at
        .cmp(&b.last_offered_at)
        .then_with(|| a.lawyer_id.cmp(&b.lawyer_id))
}

/// How many of the elite each (attribute, group) holds.
struct GroupCounts<'a> {
    elite: usize,
    counts: BTreeMap<(&'a str, &'a str), usize>,
}

impl<'a> GroupCounts<'a> {
    fn of(candidates: &'a [Candidate], elite: &[usize]) -> GroupCounts<'a> {
        let mut counts = BTreeMap::new();
        for &i in elite {
            for pair in known_groups(&candidates[i]) {
                *counts.entry(pair).or_insert(0) += 1;
            }
        }
        GroupCounts {
            elite: elite.len(),
            counts,
        }
    }

    fn under_represented(&self, candidate: &Candidate, tau: f64) -> bool {
        known_groups(candidate).any(|pair| {
            let holds = self.counts.get(&pair).copied().unwrap_or(0);
            (holds as f64) < tau * self.elite as f64
        })
    }
}

fn known_groups(candidate: &Candidate) -> impl Iterator<Item = (&str, &str)> {
    candidate
        .groups
        .iter()
        .filter(|(_, group)| !group.is_empty())
        .map(|(attribute, group)| (attribute.as_str(), group.as_str()))
}

#[cfg(test)]
mod tests;

//! One way to rank, judged on what users would have seen.

use std::collections::BTreeMap;

use ranking::metrics::fair_gap_interval;
use ranking::{
    Candidate, FairGap, Fairness, Grade, Interval, Ranked, fair_gap, mean_interval, min_max, ndcg_at,
    reciprocal_rank_at, rerank,
};
use serde::{Deserialize, Serialize};
use settings::Settings;

use crate::examination::DebiasedNdcg;
use crate::matrix::Case;

/// The cut-off of both metrics.
const K: usize = 5;

/// How well one way to rank does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// nDCG@5 of the served order, a mean over cases with a label above 0.
    pub ndcg5: Interval,
    /// MRR@5 of the served order, a mean over cases with a relevant lawyer.
    pub mrr5: Interval,
    /// Debiased nDCG@5 of the served order, a mean over all cases: every click weighted by the inverse of how often its
    /// position is looked at, see [`crate::examination`].
    pub debiased_ndcg5: Interval,
    /// nDCG@5 of the order by score alone, before the fairness re-rank.
    pub ndcg5_raw: f64,
    /// MRR@5 of the order by score alone.
    pub mrr5_raw: f64,
    /// Between groups' mean served score; the worst attribute counts.
    pub fair_gap: FairGap,
    /// Its bootstrap interval over cases.
    pub fair_gap_interval: Interval,
}

/// One arm's rankings of every case; the per-case metrics are over the same cases in every arm.
pub(super) struct Served {
    orders: Vec<Vec<Ranked>>,
    raw_orders: Vec<Vec<usize>>,
    /// A value a case that has a label above 0.
    pub ndcg5: Vec<f64>,
    /// A value a case that has a relevant lawyer.
    pub mrr5: Vec<f64>,
    /// A value a case.
    pub debiased: Vec<f64>,
}

/// Ranks cases and reckons metrics.
pub(super) struct Judge<'a> {
    cases: &'a [(&'a Case, Vec<Candidate>)],
    debiased: DebiasedNdcg,
    fairness: &'a Fairness,
    settings: &'a Settings,
}

impl<'a> Judge<'a> {
    /// `debiased` is of the same cases.
    pub(super) fn new(
        cases: &'a [(&'a Case, Vec<Candidate>)],
        debiased: DebiasedNdcg,
        settings: &'a Settings,
    ) -> Judge<'a> {
        Judge {
            cases,
            debiased,
            fairness: &settings.ranking.fairness,
            settings,
        }
    }

    /// Model scores: scaled within the case, then re-ranked.
    pub(super) fn serve_ltr(&self, scores: &[Vec<f64>]) -> Served {
        self.serve(scores, min_max)
    }

    /// Legacy scores: re-ranked as they are.
    pub(super) fn serve_legacy(&self, scores: &[Vec<f64>]) -> Served {
        self.serve(scores, <[f64]>::to_vec)
    }

    fn serve(&self, scores: &[Vec<f64>], scaled: impl Fn(&[f64]) -> Vec<f64>) -> Served {
        let cases = self.cases.iter().zip(scores);
        let orders: Vec<Vec<Ranked>> = cases
            .map(|((_, candidates), scores)| rerank(candidates, &scaled(scores), self.fairness))
            .collect();
        let served = |at: usize| -> Vec<usize> { orders[at].iter().map(|ranked| ranked.index).collect() };
        let raw = self.cases.iter().zip(scores);
        Served {
            ndcg5: self.ndcg5(served),
            mrr5: self.mrr5(served),
            debiased: (0..orders.len())
                .map(|at| self.debiased.of_case(at, &served(at)))
                .collect(),
            raw_orders: raw
                .map(|((_, candidates), scores)| by_score(candidates, scores))
                .collect(),
            orders,
        }
    }

    fn grades(&self, case: usize, order: &[usize]) -> Vec<u8> {
        let rows = &self.cases[case].0.rows;
        order.iter().map(|&at| rows[at].grade.value()).collect()
    }

    fn ndcg5(&self, order: impl Fn(usize) -> Vec<usize>) -> Vec<f64> {
        (0..self.cases.len())
            .filter_map(|case| ndcg_at(K, &self.grades(case, &order(case)), &Grade::GAINS))
            .collect()
    }

    fn mrr5(&self, order: impl Fn(usize) -> Vec<usize>) -> Vec<f64> {
        let least = self.settings.evaluate.mrr_min_grade;
        (0..self.cases.len())
            .filter_map(|case| reciprocal_rank_at(K, &self.grades(case, &order(case)), least))
            .collect()
    }

    /// The arm's report.
    pub(super) fn arm(&self, served: &Served) -> Arm {
        let config = &self.settings.evaluate;
        let interval = |values: &[f64]| mean_interval(values, config.resamples, config.confidence, config.seed);
        let raw = |case: usize| served.raw_orders[case].clone();
        let by_case: Vec<Vec<(&BTreeMap<String, String>, f64)>> = self
            .cases
            .iter()
            .zip(&served.orders)
            .map(|((_, candidates), order)| {
                let fair = |ranked: &Ranked| (&candidates[ranked.index].groups, ranked.fair);
                order.iter().map(fair).collect()
            })
            .collect();
        Arm {
            ndcg5: interval(&served.ndcg5),
            mrr5: interval(&served.mrr5),
            debiased_ndcg5: interval(&served.debiased),
            ndcg5_raw: mean(&self.ndcg5(raw)),
            mrr5_raw: mean(&self.mrr5(raw)),
            fair_gap: fair_gap(&by_case.concat(), config.fair_min_rows),
            fair_gap_interval: fair_gap_interval(
                &by_case,
                config.fair_min_rows,
                config.resamples,
                config.confidence,
                config.seed,
            ),
        }
    }
}

/// Best score first. Equal scores go by id and not by the order shown, which has seen the clicks: a model that
/// predicts one value would be credited with it.
fn by_score(candidates: &[Candidate], scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let id = |at: usize| &candidates[at].lawyer_id;
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then_with(|| id(a).cmp(id(b))));
    order
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.iter().sum::<f64>() / values.len() as f64
}

//! Judges one arm (one way to rank) by the order that users would see.

use std::collections::BTreeMap;

use ranking::metrics::fair_gap_interval;
use ranking::metrics::weighted::{Displayed, Weighting};
use ranking::statistics::mean;
use ranking::{
    Candidate, FairGap, Fairness, Grade, Interval, Ranked, fair_gap, mean_interval, min_max, ndcg_at,
    reciprocal_rank_at, rerank,
};
use serde::{Deserialize, Serialize};
use settings::Settings;

use super::weighted::{Parts, Propensities, Weighted};
use crate::examination::DebiasedNdcg;
use crate::matrix::Case;

/// The cut-off of nDCG and MRR.
const K: usize = 5;

/// The metrics of one arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// nDCG@5 of the served order, the mean over cases with a label above 0.
    pub ndcg5: Interval,
    /// MRR@5 of the served order, the mean over cases with a relevant lawyer.
    pub mrr5: Interval,
    /// Debiased nDCG@5 of the served order, the mean over all cases; see [`crate::examination`].
    pub debiased_ndcg5: Interval,
    /// nDCG@5 and MRR@5 of the served order by weights; `None`: see
    /// [`Propensities::Unknown`](super::Propensities::Unknown).
    #[serde(default)]
    pub weighted: Option<Weighted>,
    /// nDCG@5 of the order by score alone, before the fairness re-rank.
    pub ndcg5_raw: f64,
    /// MRR@5 of the order by score alone.
    pub mrr5_raw: f64,
    /// Largest difference between groups' mean served scores, over all attributes.
    pub fair_gap: FairGap,
    /// Bootstrap interval of the fair gap, over cases.
    pub fair_gap_interval: Interval,
}

/// One arm's rankings and metrics per case. Each metric covers the same cases in every arm.
pub(super) struct Served {
    /// The served order of each case.
    pub orders: Vec<Vec<Ranked>>,
    raw_orders: Vec<Vec<usize>>,
    /// One value per case with a label above 0.
    pub ndcg5: Vec<f64>,
    /// One value per case with a relevant lawyer.
    pub mrr5: Vec<f64>,
    /// One value per case.
    pub debiased: Vec<f64>,
    /// `None`: it is not known how often each rank is looked at.
    pub weighted: Option<Parts>,
}

/// Ranks the test cases by an arm's scores and computes its metrics.
pub(super) struct Judge<'a> {
    cases: &'a [(&'a Case, Vec<Candidate>)],
    debiased: DebiasedNdcg,
    weighting: Option<Weighting>,
    fairness: &'a Fairness,
    settings: &'a Settings,
}

impl<'a> Judge<'a> {
    /// `debiased` must have been made for the same cases.
    pub(super) fn new(
        cases: &'a [(&'a Case, Vec<Candidate>)],
        debiased: DebiasedNdcg,
        settings: &'a Settings,
    ) -> Judge<'a> {
        Judge {
            cases,
            debiased,
            weighting: settings.evaluate.eta().map(|eta| Weighting { eta }),
            fairness: &settings.ranking.fairness,
            settings,
        }
    }

    /// Serves model scores: scaled within each case, then re-ranked.
    pub(super) fn serve_ltr(&self, scores: &[Vec<f64>]) -> Served {
        self.serve(scores, min_max)
    }

    /// Serves legacy scores: re-ranked without scaling.
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
            weighted: self.weighting.map(|weighting| self.weighted(weighting, served)),
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

    fn weighted(&self, weighting: Weighting, order: impl Fn(usize) -> Vec<usize>) -> Parts {
        let least = self.settings.evaluate.mrr_min_grade;
        let displayed = |case: usize| -> Vec<Displayed> {
            let rows = &self.cases[case].0.rows;
            let of = |at: usize| Displayed {
                grade: rows[at].grade.value(),
                rank: rows[at].position,
            };
            order(case).into_iter().map(of).collect()
        };
        let cases = || (0..self.cases.len()).map(displayed);
        Parts {
            ndcg5: cases()
                .filter_map(|case| weighting.ndcg_at(K, &case, &Grade::GAINS))
                .collect(),
            mrr5: cases()
                .filter_map(|case| weighting.reciprocal_rank_at(K, &case, least))
                .collect(),
        }
    }

    /// By what the weighted metrics are weighted.
    pub(super) fn propensities(&self, served: &Served) -> Propensities {
        let known = self.weighting.zip(served.weighted.as_ref());
        known.map_or_else(Propensities::default, |(weighting, parts)| {
            parts.propensities(weighting)
        })
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
            weighted: served.weighted.as_ref().map(|parts| parts.metrics(config)),
            ndcg5_raw: mean(self.ndcg5(raw)),
            mrr5_raw: mean(self.mrr5(raw)),
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

/// Order by descending score. Ties are broken by id and not by the order shown: clicks depend on
/// that order, so a model that predicts a constant would get credit for it.
fn by_score(candidates: &[Candidate], scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let id = |at: usize| &candidates[at].lawyer_id;
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then_with(|| id(a).cmp(id(b))));
    order
}

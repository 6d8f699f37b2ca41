//! What a ranking would have been worth if it had been displayed, from logs of whatever was.
//!
//! A client acts on a lawyer whom they examine, with a probability theta_k that falls with rank ([`theta`]). An outcome
//! at displayed rank d is therefore worth theta_r / theta_d outcomes if the lawyer stood at rank r (inverse propensity
//! scoring: Joachims, Swaminathan, Schnabel, WSDM 2017).
//!
//! **Clicks, not contracts.** The model takes the lawyers of a case to be independent, which clicks nearly are. A client
//! signs one contract, so lawyers compete for it, and the estimate favours whoever was displayed: with true propensities
//! 1/rank, equal rankers come out 0.12 contracts a case apart in this module's tests. Interleaving decides contracts.
//!
//! The unit is the case, and cases of one client are a cluster.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bootstrap::Interval;
use crate::interleaving::TOP;
use crate::propensities::theta;
use crate::statistics::normal_quantile;

/// One lawyer of a case. Ranks are from 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lawyer {
    /// Where the lawyer was displayed; `None`: nowhere, so that no outcome could happen.
    pub displayed: Option<u32>,
    /// Where a fair coin would have displayed the lawyer, had it fallen otherwise ([`crate::Coin::other_place`], of a swap
    /// or of [`crate::interleaving::tosses`]); `None`: no coin.
    pub otherwise: Option<u32>,
    /// Where the legacy ranking would display the lawyer; `None`: nowhere, because its list ends before.
    pub legacy: Option<u32>,
    /// Where LTR's ranking would.
    pub ltr: Option<u32>,
    /// What happened, in [0, 1]: 1 for a click.
    pub outcome: f64,
    /// The outcome that a model expects of a client who examines the lawyer, in [0, 1].
    pub relevance: f64,
}

impl Lawyer {
    /// Whether LTR has the lawyer among its first [`TOP`].
    pub(crate) fn is_in_top(&self) -> bool {
        self.ltr.is_some_and(|rank| rank as usize <= TOP)
    }
}

/// A case whose labels are closed.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Whose case it is, by pseudonym.
    pub client: Uuid,
    /// All lawyers who were ranked.
    pub lawyers: Vec<Lawyer>,
}

/// How values are estimated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimator {
    /// Exponent of theta; see [`crate::propensities::Propensities`].
    pub eta: f64,
    /// Largest weight of an outcome. Rare outcomes at low places would outweigh all others; clipping takes from the value
    /// of a ranking that lifts them.
    pub clip: f64,
    /// Of the interval, in [0, 1].
    pub confidence: f64,
}

impl Default for Estimator {
    fn default() -> Estimator {
        Estimator {
            eta: 1.0,
            clip: 10.0,
            confidence: 0.95,
        }
    }
}

/// The value of both rankings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// Outcomes a case if the legacy ranking were displayed.
    pub legacy: f64,
    /// Outcomes a case if LTR's were.
    pub ltr: f64,
    /// LTR minus legacy, in outcomes a case, paired by case.
    pub difference: Interval,
    /// What clipping changed in `difference`, in outcomes a case.
    pub clipping: f64,
    /// Of LTR's weights: how many equally weighted outcomes say as much (Kish 1965: `(sum w)^2 / sum w^2`). Far fewer than
    /// the outcomes: few of them decide.
    pub effective_sample_size: f64,
    /// Lawyers with an outcome.
    pub outcomes: u64,
    /// Share of LTR's first [`TOP`] that was displayed to nobody. The log says nothing about them.
    pub unseen_top: f64,
    /// Cases.
    pub cases: u64,
}

/// What can be said while propensities are not identified.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// The smallest difference that agrees with the log, in outcomes a case, with the interval's lower end.
    pub worst: f64,
    /// The largest one, with the interval's upper end.
    pub best: f64,
}

impl Estimator {
    /// Inverse propensity scoring: `V = sum outcome * min(theta_rank / rho, clip)` a case, where rho is the mean theta over
    /// the places that the coin could give the lawyer; without a coin, `theta_displayed`.
    ///
    /// A lawyer who was not displayed counts as 0 in both rankings.
    pub fn ips(&self, cases: &[Case]) -> Value {
        self.value(cases, |_| 0.0)
    }

    /// The doubly robust estimate: the relevance model's value of the ranking, corrected by the log where lawyers were
    /// displayed (Oosterhuis, "Doubly robust estimation for correcting position bias in click feedback", TOIS 41(3),
    /// 2023, arXiv 2203.17118):
    ///
    /// ```text
    /// V = sum theta_rank * relevance + min(theta_rank / rho, clip) * (outcome - theta_displayed * relevance)
    /// ```
    ///
    /// If the relevance is right, neither clipping nor lawyers who were not displayed bias it, and the coins add no
    /// noise. If the relevance is wrong it is what [`Estimator::ips`] is, but for those lawyers. Both need theta. Where
    /// no coin was tossed, nothing clipped and everybody displayed, both are the same: the model cancels.
    pub fn doubly_robust(&self, cases: &[Case]) -> Value {
        self.value(cases, |lawyer| lawyer.relevance)
    }

    fn value(&self, cases: &[Case], relevance: impl Fn(&Lawyer) -> f64) -> Value {
        let mut differences = Clusters::default();
        let mut sums = Sums::default();
        for case in cases {
            let worth = self.case_worth(&case.lawyers, &relevance);
            sums.legacy += worth.legacy;
            sums.ltr += worth.ltr;
            sums.unclipped += worth.unclipped;
            for lawyer in &case.lawyers {
                sums.count(lawyer, self);
            }
            differences.add(case.client, worth.ltr - worth.legacy);
        }
        let n = (cases.len() as f64).max(1.0);
        let difference = differences.interval(self.confidence);
        Value {
            legacy: sums.legacy / n,
            ltr: sums.ltr / n,
            difference,
            clipping: difference.estimate - sums.unclipped / n,
            effective_sample_size: ratio(sums.weights * sums.weights, sums.squares),
            outcomes: sums.outcomes,
            unseen_top: ratio(sums.unseen as f64, sums.top as f64),
            cases: cases.len() as u64,
        }
    }

    /// What the lawyers of one case add to both values.
    pub(crate) fn case_worth(&self, lawyers: &[Lawyer], relevance: impl Fn(&Lawyer) -> f64) -> Worth {
        let mut worth = Worth::default();
        for lawyer in lawyers {
            let expected = relevance(lawyer);
            if lawyer.outcome == 0.0 && expected == 0.0 {
                continue;
            }
            let of = |rank, clip| self.worth(lawyer, rank, expected, clip);
            worth.legacy += of(lawyer.legacy, self.clip);
            worth.ltr += of(lawyer.ltr, self.clip);
            worth.unclipped += of(lawyer.ltr, f64::INFINITY) - of(lawyer.legacy, f64::INFINITY);
        }
        worth
    }

    /// What a lawyer adds to the value of a ranking that displays them at `rank`; `None`: nowhere.
    fn worth(&self, lawyer: &Lawyer, rank: Option<u32>, relevance: f64, clip: f64) -> f64 {
        let Some(rank) = rank else {
            return 0.0;
        };
        let modelled = theta(rank, self.eta) * relevance;
        let Some(displayed) = lawyer.displayed else {
            return modelled;
        };
        let surprise = lawyer.outcome - theta(displayed, self.eta) * relevance;
        modelled + self.weight(lawyer, displayed, rank).min(clip) * surprise
    }

    /// What LTR's ranking counts an outcome of this lawyer for, clipped; `None`: there was none.
    pub(crate) fn outcome_weight(&self, lawyer: &Lawyer) -> Option<f64> {
        let displayed = lawyer.displayed.filter(|_| lawyer.outcome > 0.0)?;
        let weight = lawyer.ltr.map_or(0.0, |rank| self.weight(lawyer, displayed, rank));
        Some(weight.min(self.clip))
    }

    fn weight(&self, lawyer: &Lawyer, displayed: u32, rank: u32) -> f64 {
        let otherwise = lawyer.otherwise.unwrap_or(displayed);
        let rho = f64::midpoint(theta(displayed, self.eta), theta(otherwise, self.eta));
        theta(rank, self.eta) / rho
    }

    /// The worst and the best difference for any eta in `etas` and any relevance of the lawyers who were not displayed:
    /// 0 or 1, whichever is worse, or better. The ends of the intervals, so that chance is in the bounds, too.
    ///
    /// `eta` is tried at 33 values, both ends among them; between neighbours the difference hardly changes.
    pub fn bounds(&self, cases: &[Case], etas: RangeInclusive<f64>) -> Bounds {
        const STEPS: u32 = 32;
        let (low, high) = etas.into_inner();
        let nothing = Bounds {
            worst: f64::INFINITY,
            best: f64::NEG_INFINITY,
        };
        (0..=STEPS).fold(nothing, |bounds, step| {
            let eta = low + (high - low) * f64::from(step) / f64::from(STEPS);
            let (worst, best) = Estimator { eta, ..*self }.extremes(cases);
            Bounds {
                worst: bounds.worst.min(worst),
                best: bounds.best.max(best),
            }
        })
    }

    /// The bounds for this eta.
    fn extremes(&self, cases: &[Case]) -> (f64, f64) {
        let [mut worst, mut best] = [Clusters::default(), Clusters::default()];
        for case in cases {
            let (low, high) = self.case_extremes(&case.lawyers);
            worst.add(case.client, low);
            best.add(case.client, high);
        }
        (worst.interval(self.confidence).low, best.interval(self.confidence).high)
    }

    /// The smallest and the largest difference, LTR minus legacy, that one case may add: a lawyer who was displayed to
    /// nobody may be worth 0 or 1.
    pub(crate) fn case_extremes(&self, lawyers: &[Lawyer]) -> (f64, f64) {
        let (mut low, mut high) = (0.0, 0.0);
        for lawyer in lawyers {
            let worth = |relevance| {
                self.worth(lawyer, lawyer.ltr, relevance, self.clip)
                    - self.worth(lawyer, lawyer.legacy, relevance, self.clip)
            };
            // Where a lawyer was displayed, the outcome says it all.
            let unknown = if lawyer.displayed.is_none() { worth(1.0) } else { 0.0 };
            low += worth(0.0) + unknown.min(0.0);
            high += worth(0.0) + unknown.max(0.0);
        }
        (low, high)
    }
}

/// What one case adds to both values.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Worth {
    pub(crate) legacy: f64,
    pub(crate) ltr: f64,
    /// LTR minus legacy without clipping.
    pub(crate) unclipped: f64,
}

#[derive(Default)]
struct Sums {
    legacy: f64,
    ltr: f64,
    unclipped: f64,
    weights: f64,
    squares: f64,
    outcomes: u64,
    top: u64,
    unseen: u64,
}

impl Sums {
    fn count(&mut self, lawyer: &Lawyer, estimator: &Estimator) {
        if lawyer.is_in_top() {
            self.top += 1;
            self.unseen += u64::from(lawyer.displayed.is_none());
        }
        if let Some(weight) = estimator.outcome_weight(lawyer) {
            self.weights += weight;
            self.squares += weight * weight;
            self.outcomes += 1;
        }
    }
}

fn ratio(above: f64, below: f64) -> f64 {
    if below == 0.0 { 0.0 } else { above / below }
}

/// Sums and numbers of cases by client.
#[derive(Default)]
struct Clusters(BTreeMap<Uuid, (f64, f64)>);

impl Clusters {
    fn add(&mut self, client: Uuid, value: f64) {
        let (sum, cases) = self.0.entry(client).or_default();
        *sum += value;
        *cases += 1.0;
    }

    /// The mean over cases, with the normal interval of a ratio of sums over clients (Cochran 1977, section 9A.1);
    /// 0 without cases.
    fn interval(&self, confidence: f64) -> Interval {
        let clients = self.0.len() as f64;
        let (sum, cases) = self.0.values().fold((0.0, 0.0), |all, of| (all.0 + of.0, all.1 + of.1));
        if cases == 0.0 {
            return Interval::default();
        }
        let mean = sum / cases;
        if clients < 2.0 {
            // One client says nothing about others.
            return Interval {
                estimate: mean,
                low: f64::MIN,
                high: f64::MAX,
            };
        }
        let squares: f64 = self.0.values().map(|(sum, cases)| (sum - mean * cases).powi(2)).sum();
        let error = (squares * clients / (clients - 1.0)).sqrt() / cases;
        let reach = normal_quantile(f64::midpoint(confidence, 1.0)) * error;
        Interval {
            estimate: mean,
            low: mean - reach,
            high: mean + reach,
        }
    }
}

#[cfg(test)]
mod tests;

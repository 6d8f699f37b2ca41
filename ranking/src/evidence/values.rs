//! The value of both rankings on clicks, as sums of a day that can be added: for a grid of exponents of position bias, so
//! that whatever becomes known of it later, the days that were counted stay as they are.

use serde::{Deserialize, Serialize};

use super::ComparedCase;
use crate::bootstrap::Interval;
use crate::counterfactual::{Bounds, Estimator, Lawyer, Worth};
use crate::propensities::theta;
use crate::statistics::normal_quantile;

/// The grid: eta = 0, 1/8, ..., 2.
const ETAS: usize = 17;
const STEP: f64 = 0.125;
const LARGEST: f64 = STEP * (ETAS - 1) as f64;

/// Ranks of LTR that have a click rate of their own in the relevance model; those behind, and lawyers on no list of LTR,
/// share one.
const BUCKETS: usize = 11;

/// What one estimator adds up, over users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Paired {
    legacy: f64,
    ltr: f64,
    /// Of LTR minus legacy, squared.
    squares: f64,
    /// LTR minus legacy, had nothing been clipped.
    unclipped: f64,
}

/// The sums for one eta.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct AtEta {
    ips: Paired,
    doubly_robust: Paired,
    /// Of what LTR's ranking counts each click for.
    weights: f64,
    weight_squares: f64,
    /// The smallest differences that agree with the log, and their squares.
    worst: [f64; 2],
    /// The largest ones.
    best: [f64; 2],
}

/// Sums over users. Their size is fixed, whatever the traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValueSums {
    /// Users, each once a day.
    users: u64,
    /// Displayed lawyers who were clicked.
    outcomes: u64,
    /// Lawyers among LTR's first three.
    top: u64,
    /// Those of them who were displayed to nobody.
    unseen_top: u64,
    /// By step of the grid.
    by_eta: [AtEta; ETAS],
}

/// The value of both rankings by one estimator.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Clicks a user if the legacy ranking were displayed.
    pub legacy: f64,
    /// Clicks a user if LTR's were.
    pub ltr: f64,
    /// LTR minus legacy, paired, with the normal interval for a number of users that was fixed beforehand.
    pub difference: Interval,
    /// What clipping changed in `difference`.
    pub clipping: f64,
}

/// What the sums say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// Users with a case of which both rankings are known, each once a day.
    pub users: u64,
    /// Clicks.
    pub clicks: u64,
    /// Inverse propensity scoring; `None`: propensities are not known.
    pub ips: Option<Estimate>,
    /// The doubly robust estimate.
    pub doubly_robust: Option<Estimate>,
    /// How many equally weighted clicks say as much as LTR's weighted ones (Kish 1965).
    pub effective_sample_size: Option<f64>,
    /// The worst and the best difference, with the ends of their intervals, for every eta of `etas` and whatever the lawyers
    /// are worth who were displayed to nobody; `None`: too few users.
    pub bounds: Option<Bounds>,
    /// The exponents that the log leaves open.
    pub etas: [f64; 2],
    /// Share of LTR's first three that was displayed to nobody.
    pub unseen_top: f64,
    /// Whether a value is known, or why not.
    pub reason: String,
    /// In which directions the figures are known to be wrong.
    pub known_biases: Vec<String>,
}

impl ValueSums {
    /// Adds the cases of users, one each. The doubly robust estimate's relevance is the click rate by LTR's rank of the
    /// other half of the users, by their pseudonyms, so that no case is judged by a rate that it is part of (cross-fitting:
    /// Chernozhukov et al., Econometrics Journal 21(1), 2018).
    pub(super) fn add_users(&mut self, cases: &[&ComparedCase]) {
        let cases: Vec<(usize, Vec<Lawyer>)> = cases
            .iter()
            .map(|case| ((case.user.as_u128() & 1) as usize, case.lawyers_of_lists()))
            .collect();
        self.users += cases.len() as u64;
        for lawyer in cases.iter().flat_map(|(_, lawyers)| lawyers) {
            self.outcomes += u64::from(lawyer.displayed.is_some() && lawyer.outcome > 0.0);
            self.top += u64::from(lawyer.is_in_top());
            self.unseen_top += u64::from(lawyer.is_in_top() && lawyer.displayed.is_none());
        }
        for (step, at) in self.by_eta.iter_mut().enumerate() {
            let estimator = Estimator {
                eta: step as f64 * STEP,
                ..Estimator::default()
            };
            let rates = [0, 1].map(|half| Rates::of(&cases, 1 - half, estimator.eta));
            for (half, lawyers) in &cases {
                let relevance = |lawyer: &Lawyer| rates[*half].of_lawyer(lawyer);
                at.ips.add(estimator.case_worth(lawyers, |_| 0.0));
                at.doubly_robust.add(estimator.case_worth(lawyers, relevance));
                for weight in lawyers.iter().filter_map(|lawyer| estimator.outcome_weight(lawyer)) {
                    at.weights += weight;
                    at.weight_squares += weight * weight;
                }
                let (low, high) = estimator.case_extremes(lawyers);
                for (sums, value) in [(&mut at.worst, low), (&mut at.best, high)] {
                    *sums = [sums[0] + value, sums[1] + value * value];
                }
            }
        }
    }

    /// Adds other sums, as of another day.
    pub fn merge(&mut self, other: &ValueSums) {
        self.users += other.users;
        self.outcomes += other.outcomes;
        self.top += other.top;
        self.unseen_top += other.unseen_top;
        for (at, more) in self.by_eta.iter_mut().zip(&other.by_eta) {
            at.add(more, 1.0);
        }
    }

    /// The sums at any eta of the grid's range, interpolated between its neighbours. Values hardly bend between them, and
    /// squares bend upwards, so that intervals come out a little wide rather than narrow.
    fn at(&self, eta: f64) -> AtEta {
        let place = (eta.clamp(0.0, LARGEST) / STEP).min((ETAS - 1) as f64);
        let below = (place.floor() as usize).min(ETAS - 2);
        let share = place - below as f64;
        let mut at = AtEta::default();
        at.add(&self.by_eta[below], 1.0 - share);
        at.add(&self.by_eta[below + 1], share);
        at
    }

    fn interval(&self, sum: f64, squares: f64, confidence: f64) -> Interval {
        let n = self.users as f64;
        let mean = sum / n;
        let variance = (squares - sum * mean).max(0.0) / (n - 1.0);
        let reach = normal_quantile(f64::midpoint(confidence, 1.0)) * (variance / n).sqrt();
        Interval {
            estimate: mean,
            low: mean - reach,
            high: mean + reach,
        }
    }

    fn estimate(&self, sums: &Paired, confidence: f64) -> Estimate {
        let n = self.users as f64;
        let difference = self.interval(sums.ltr - sums.legacy, sums.squares, confidence);
        Estimate {
            legacy: sums.legacy / n,
            ltr: sums.ltr / n,
            difference,
            clipping: difference.estimate - sums.unclipped / n,
        }
    }

    /// The extremes over all etas between two. Between neighbours of the grid sums are interpolated, so that the ends of
    /// intervals are extreme at a neighbour, or nearly so.
    fn bounds(&self, [low, high]: [f64; 2], confidence: f64) -> Bounds {
        let inner = (0..ETAS).map(|step| step as f64 * STEP);
        let inner = inner.filter(|eta| (low..=high).contains(eta));
        let nothing = Bounds {
            worst: f64::INFINITY,
            best: f64::NEG_INFINITY,
        };
        inner.chain([low, high]).fold(nothing, |bounds, eta| {
            let at = self.at(eta);
            let [worst, best] = [at.worst, at.best].map(|[sum, squares]| self.interval(sum, squares, confidence));
            Bounds {
                worst: bounds.worst.min(worst.low),
                best: bounds.best.max(best.high),
            }
        })
    }
}

impl Paired {
    fn add(&mut self, worth: Worth) {
        let difference = worth.ltr - worth.legacy;
        self.legacy += worth.legacy;
        self.ltr += worth.ltr;
        self.squares += difference * difference;
        self.unclipped += worth.unclipped;
    }

    fn add_part(&mut self, other: &Paired, part: f64) {
        self.legacy += part * other.legacy;
        self.ltr += part * other.ltr;
        self.squares += part * other.squares;
        self.unclipped += part * other.unclipped;
    }
}

impl AtEta {
    fn add(&mut self, other: &AtEta, part: f64) {
        self.ips.add_part(&other.ips, part);
        self.doubly_robust.add_part(&other.doubly_robust, part);
        self.weights += part * other.weights;
        self.weight_squares += part * other.weight_squares;
        for (sums, more) in [(&mut self.worst, other.worst), (&mut self.best, other.best)] {
            *sums = [sums[0] + part * more[0], sums[1] + part * more[1]];
        }
    }
}

/// Clicks per examination by bucket of LTR's rank; 0 where nobody was displayed.
struct Rates([f64; BUCKETS]);

impl Rates {
    /// Of one half of the users.
    fn of(cases: &[(usize, Vec<Lawyer>)], half: usize, eta: f64) -> Rates {
        let [mut clicks, mut examined] = [[0.0; BUCKETS]; 2];
        let lawyers = cases
            .iter()
            .filter(|(of, _)| *of == half)
            .flat_map(|(_, lawyers)| lawyers);
        for lawyer in lawyers {
            if let Some(place) = lawyer.displayed {
                clicks[bucket(lawyer)] += lawyer.outcome;
                examined[bucket(lawyer)] += theta(place, eta);
            }
        }
        let mut rates = [0.0; BUCKETS];
        for ((rate, clicks), examined) in rates.iter_mut().zip(clicks).zip(examined) {
            if examined > 0.0 {
                *rate = f64::min(clicks / examined, 1.0);
            }
        }
        Rates(rates)
    }

    fn of_lawyer(&self, lawyer: &Lawyer) -> f64 {
        self.0[bucket(lawyer)]
    }
}

fn bucket(lawyer: &Lawyer) -> usize {
    let rank = lawyer.ltr.map_or(BUCKETS, |rank| rank as usize);
    rank.clamp(1, BUCKETS) - 1
}

/// Judges the sums. `eta`: the exponent of position bias with its interval, as coin-tossed neighbours show it; `None`: they
/// show nothing yet. `is_identified`: whether it is known well enough to divide by. `confidence`: of the intervals.
pub fn judge(sums: &ValueSums, eta: Option<Interval>, is_identified: bool, confidence: f64) -> Judged {
    let in_grid = |eta: &Interval| eta.low >= 0.0 && eta.high <= LARGEST;
    let known = eta.filter(|eta| is_identified && in_grid(eta));
    // An interval that lies outside says no more than its nearer end.
    let etas = eta.map_or([0.0, LARGEST], |eta| {
        [eta.low, eta.high].map(|end| end.clamp(0.0, LARGEST))
    });
    let is_enough = sums.users >= 2;
    let at = known.filter(|_| is_enough).map(|eta| sums.at(eta.estimate));
    let ips = at.map(|at| sums.estimate(&at.ips, confidence));
    let unseen_top = if sums.top == 0 {
        0.0
    } else {
        sums.unseen_top as f64 / sums.top as f64
    };
    Judged {
        users: sums.users,
        clicks: sums.outcomes,
        ips,
        doubly_robust: at.map(|at| sums.estimate(&at.doubly_robust, confidence)),
        effective_sample_size: at
            .filter(|at| at.weight_squares > 0.0)
            .map(|at| at.weights * at.weights / at.weight_squares),
        bounds: is_enough.then(|| sums.bounds(etas, confidence)),
        etas,
        unseen_top,
        reason: reason(sums.users, eta, known),
        known_biases: known_biases(unseen_top, ips),
    }
}

fn reason(users: u64, eta: Option<Interval>, known: Option<Interval>) -> String {
    let said = |eta: Interval| format!("{:.2} [{:.2}, {:.2}]", eta.estimate, eta.low, eta.high);
    match (users, eta, known) {
        (0 | 1, ..) => "fewer than two users had a case of which both rankings are known".to_owned(),
        (.., Some(eta)) => format!("position bias is known: eta is {}", said(eta)),
        (_, None, _) => format!(
            "no coin says how attention falls with rank, so that only the bounds hold, for any eta from 0 to {LARGEST}"
        ),
        (_, Some(eta), None) => {
            let eta = said(eta);
            format!("eta is {eta}, which is too wide, or outside 0 to {LARGEST}: only the bounds hold")
        }
    }
}

fn known_biases(unseen_top: f64, ips: Option<Estimate>) -> Vec<String> {
    let mut biases = vec![
        "clicks only: lawyers of a case compete for its one contract, so that the same figures on contracts would favour \
         whoever is displayed"
            .to_owned(),
        "a user counts once a day, and on another day as somebody else".to_owned(),
    ];
    if unseen_top > 0.0 {
        biases.push(format!(
            "{:.1} % of LTR's first three were displayed to nobody; inverse propensity scoring counts them as worth nothing",
            100.0 * unseen_top
        ));
    }
    let clip = Estimator::default().clip;
    if let Some(ips) = ips.filter(|ips| ips.clipping.abs() > 1e-12) {
        biases.push(format!(
            "weights are clipped at {clip}, which changed the difference by {:+.4}",
            ips.clipping
        ));
    }
    biases
}

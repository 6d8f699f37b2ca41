//! Position bias: how much less a lower place is examined, from coin-tossed swaps.
//!
//! A client can act only on a lawyer whom they examine. The model is theta_k = k^-eta, the probability that rank k is
//! examined relative to rank 1 (Craswell et al., WSDM 2008; Joachims, Swaminathan, Schnabel, WSDM 2017). Logs of one
//! ranker cannot tell eta from relevance (Hager, Zoeter, de Rijke, ICTIR 2025, arXiv 2506.20501). Two places whose
//! lawyers a fair coin arranged have the same lawyers on average, so the ratio of their clicks is the ratio of their
//! thetas.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::bootstrap::Interval;
use crate::events::Coin;
use crate::statistics::normal_quantile;

/// The probability that `rank` (from 1) is examined, relative to rank 1: `rank^-eta`.
pub fn theta(rank: u32, eta: f64) -> f64 {
    f64::from(rank).powf(-eta)
}

/// What was counted for one pair of places, over both outcomes of the coin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TossedPair {
    /// The two places, from 1, the upper one first.
    pub pair: [u32; 2],
    /// How often a coin was tossed over them.
    pub tosses: u64,
    /// How often each place was clicked.
    pub clicks: [u64; 2],
}

/// Counts of coin-tossed pairs. Integers, so the order of counting does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swaps {
    /// Ascending by place.
    pairs: Vec<TossedPair>,
}

/// A toss that must not be counted.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum InvalidCoin {
    /// One outcome is more frequent, so the two places do not have the same lawyers on average.
    #[error("coin.probability is {0}; allowed: 0.5")]
    Loaded(f64),
    /// Not two different places from 1.
    #[error("coin.pair is {} and {}; allowed: two different places from 1", .0[0], .0[1])]
    NoPair([u32; 2]),
}

impl Swaps {
    /// Counts a ranking whose coin was tossed, whether or not it swapped; `is_clicked` says whether the lawyer at a
    /// place was.
    ///
    /// # Errors
    /// The coin was not fair, or is not over two places.
    pub fn add(&mut self, coin: &Coin, is_clicked: impl Fn(u32) -> bool) -> Result<(), InvalidCoin> {
        if coin.probability != 0.5 {
            return Err(InvalidCoin::Loaded(coin.probability));
        }
        let [a, b] = coin.pair;
        if a == b || a.min(b) == 0 {
            return Err(InvalidCoin::NoPair(coin.pair));
        }
        let pair = [a.min(b), a.max(b)];
        self.count(&TossedPair {
            pair,
            tosses: 1,
            clicks: pair.map(|place| u64::from(is_clicked(place))),
        });
        Ok(())
    }

    /// Adds other counts, as of another day.
    pub fn merge(&mut self, other: &Swaps) {
        other.pairs.iter().for_each(|pair| self.count(pair));
    }

    /// The counts by pair, ascending.
    pub fn pairs(&self) -> &[TossedPair] {
        &self.pairs
    }

    /// All tosses.
    pub fn tosses(&self) -> u64 {
        self.pairs.iter().map(|pair| pair.tosses).sum()
    }

    fn count(&mut self, more: &TossedPair) {
        match self.pairs.binary_search_by_key(&more.pair, |pair| pair.pair) {
            Ok(at) => {
                let pair = &mut self.pairs[at];
                pair.tosses += more.tosses;
                pair.clicks[0] += more.clicks[0];
                pair.clicks[1] += more.clicks[1];
            }
            Err(at) => self.pairs.insert(at, *more),
        }
    }
}

/// Why there is no estimate yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unidentified {
    /// No lawyer at a tossed place was clicked.
    #[error("no click at a coin-tossed place in {tosses} tosses")]
    NoClicks {
        /// Tosses so far.
        tosses: u64,
    },
    /// All clicks were at upper places, or all at lower ones: the likelihood has no maximum.
    #[error("all {clicks} clicks were at the same side of their pairs")]
    OneSided {
        /// Clicks so far.
        clicks: u64,
    },
}

/// An estimate of eta.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Propensities {
    /// eta with its interval.
    pub eta: Interval,
    /// Standard error of eta.
    pub standard_error: f64,
    /// Tosses that it comes from.
    pub tosses: u64,
}

impl Propensities {
    /// The maximum-likelihood estimate, with the normal interval at this confidence.
    ///
    /// Given a click at one of two tossed places a < b, it is at b with probability 1 / (1 + (b/a)^eta): a logistic
    /// regression on ln(b/a) without a constant. Clicks at both places of one ranking are counted as two; they are rarer
    /// than independence would have it, so the interval is a little wide.
    ///
    /// # Errors
    /// There are no clicks, or all are at the same side.
    pub fn fit(swaps: &Swaps, confidence: f64) -> Result<Propensities, Unidentified> {
        let tosses = swaps.tosses();
        let side = |at: usize| swaps.pairs.iter().map(|pair| pair.clicks[at]).sum::<u64>();
        match (side(0), side(1)) {
            (0, 0) => return Err(Unidentified::NoClicks { tosses }),
            (0, clicks) | (clicks, 0) => return Err(Unidentified::OneSided { clicks }),
            _ => {}
        }
        let mut eta = 0.0_f64;
        // Newton's method on a concave function of one variable. Far out it is almost flat, so that no step may change
        // the odds of any pair by more than a factor of e.
        let widest = swaps.pairs.iter().map(|pair| log_ratio(pair.pair)).fold(0.0, f64::max);
        for _ in 0..200 {
            let (score, information) = derivatives(swaps, eta);
            let step = (score / information).clamp(-widest.recip(), widest.recip());
            eta += step;
            if step.abs() * widest < 1e-12 {
                break;
            }
        }
        let standard_error = derivatives(swaps, eta).1.sqrt().recip();
        let reach = normal_quantile(f64::midpoint(confidence, 1.0)) * standard_error;
        let eta = Interval {
            estimate: eta,
            low: eta - reach,
            high: eta + reach,
        };
        Ok(Propensities {
            eta,
            standard_error,
            tosses,
        })
    }

    /// The probability that `rank` is examined, relative to rank 1.
    pub fn theta(&self, rank: u32) -> f64 {
        theta(rank, self.eta.estimate)
    }

    /// Whether the interval of eta is narrower than `width`. Until then propensities are not known, and what is divided
    /// by them says nothing.
    pub fn identified(&self, width: f64) -> bool {
        self.eta.high - self.eta.low < width
    }

    /// Days until [`identified`](Propensities::identified) at so many tosses a day over the same pairs; 0 if it is,
    /// `None` if nothing is tossed. The interval narrows with the root of the tosses.
    pub fn days_until(&self, width: f64, tosses_a_day: f64) -> Option<u64> {
        let narrower = (self.eta.high - self.eta.low) / width;
        let missing = self.tosses as f64 * (narrower * narrower - 1.0).max(0.0);
        if missing == 0.0 {
            return Some(0);
        }
        (tosses_a_day > 0.0).then(|| (missing / tosses_a_day).ceil() as u64)
    }
}

/// How many tosses over one pair make the interval of eta as narrow as `width`, if eta is about `eta` and so many clicks
/// a toss come at the two places together: for the design, before anything was tossed.
///
/// Neighbours further down say less: ln(b/a) is smaller, and so are their clicks.
pub fn planned_tosses(pair: [u32; 2], clicks_a_toss: f64, eta: f64, width: f64, confidence: f64) -> f64 {
    information_of_an_interval(width, confidence) / (clicks_a_toss * information_of_a_click(pair, eta))
}

/// What a day is expected to bring for one pair of places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlannedPair {
    /// The two places, from 1, the upper one first.
    pub pair: [u32; 2],
    /// Tosses over them a day.
    pub tosses: f64,
    /// Clicks at the two places together, a toss.
    pub clicks_a_toss: f64,
}

/// As [`planned_tosses`] for a design of several pairs, in days; `None`: nothing is tossed, or nobody clicks there.
pub fn planned_days(pairs: &[PlannedPair], eta: f64, width: f64, confidence: f64) -> Option<u64> {
    let of_pair = |planned: &PlannedPair| {
        let information = information_of_a_click(planned.pair, eta);
        planned.tosses * planned.clicks_a_toss * information
    };
    let information_a_day: f64 = pairs.iter().map(of_pair).sum();
    let days = information_of_an_interval(width, confidence) / information_a_day;
    (information_a_day > 0.0).then(|| days.ceil() as u64)
}

/// Fisher's information at which the normal interval is so wide: the inverse of the squared standard error.
fn information_of_an_interval(width: f64, confidence: f64) -> f64 {
    let standard_error = width / 2.0 / normal_quantile(f64::midpoint(confidence, 1.0));
    (standard_error * standard_error).recip()
}

/// The first derivative of the log likelihood by eta, and the negative second one.
fn derivatives(swaps: &Swaps, eta: f64) -> (f64, f64) {
    swaps.pairs.iter().fold((0.0, 0.0), |(score, information), pair| {
        let clicks = (pair.clicks[0] + pair.clicks[1]) as f64;
        let expected_below = clicks * share_below(pair.pair, eta);
        (
            score + log_ratio(pair.pair) * (expected_below - pair.clicks[1] as f64),
            information + clicks * information_of_a_click(pair.pair, eta),
        )
    })
}

fn information_of_a_click(pair: [u32; 2], eta: f64) -> f64 {
    let below = share_below(pair, eta);
    log_ratio(pair).powi(2) * below * (1.0 - below)
}

fn share_below(pair: [u32; 2], eta: f64) -> f64 {
    (1.0 + (eta * log_ratio(pair)).exp()).recip()
}

fn log_ratio([upper, lower]: [u32; 2]) -> f64 {
    (f64::from(lower) / f64::from(upper)).ln()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::simulated::Market;

    fn coin(pair: [u32; 2], swapped: bool) -> Coin {
        Coin {
            pair,
            swapped,
            probability: 0.5,
        }
    }

    /// So many tosses, each over one of `pairs`, in lists that were ranked well: the lawyers differ by place.
    fn tossed(market: &mut Market, pairs: &[[u32; 2]], tosses: usize) -> Swaps {
        let mut swaps = Swaps::default();
        for _ in 0..tosses {
            let relevance = market.case();
            let mut displayed = market.ranked(&relevance, 0.1);
            let pair = pairs[market.draws.below(pairs.len())];
            let coin = coin(pair, market.draws.uniform() < 0.5);
            if coin.swapped {
                displayed.swap(pair[0] as usize - 1, pair[1] as usize - 1);
            }
            let clicked = market.clicks(&relevance, &displayed);
            swaps.add(&coin, |place| clicked[place as usize - 1]).unwrap();
        }
        swaps
    }

    #[test]
    fn eta_is_found_and_its_interval_holds_it_in_nineteen_of_twenty_runs() {
        let mut market = Market::new(1);
        let pairs = [[1, 2], [2, 3], [3, 4]];
        let precise = Propensities::fit(&tossed(&mut market, &pairs, 20_000), 0.95).unwrap();
        assert!(
            (precise.eta.estimate - 1.0).abs() < 3.0 * precise.standard_error,
            "{precise:?}"
        );
        assert!(precise.identified(0.4) && !precise.identified(0.05), "{precise:?}");
        assert!((precise.theta(4) - 0.25).abs() < 0.05);
        let holds = (0..300).filter(|_| {
            let eta = Propensities::fit(&tossed(&mut market, &pairs, 400), 0.95).unwrap().eta;
            eta.low <= 1.0 && 1.0 <= eta.high
        });
        let holds = holds.count();
        println!(
            "eta {:?}; the interval of 400 tosses holds it in {holds} of 300",
            precise.eta
        );
        // 285 expected; three standard deviations of a binomial below it.
        assert!(holds >= 273, "{holds} of 300");
    }

    #[test]
    fn the_plan_says_when_the_interval_will_be_narrow_enough() {
        let mut market = Market::new(2);
        let first = tossed(&mut market, &[[1, 2]], 3_000);
        let clicks = first.pairs()[0].clicks.iter().sum::<u64>() as f64 / 3_000.0;
        // A standard error of 0.2.
        let width = 0.4 * normal_quantile(0.975);
        let planned = planned_tosses([1, 2], clicks, 1.0, width, 0.95);
        let further_down = planned_tosses([5, 6], clicks / 4.0, 1.0, width, 0.95);
        println!("tosses for a standard error of 0.2: {planned:.0} over 1-2, {further_down:.0} over 5-6");
        let half = Propensities::fit(&tossed(&mut market, &[[1, 2]], planned as usize / 2), 0.95).unwrap();
        assert!(!half.identified(width));
        let days = half.days_until(width, planned / 20.0).unwrap();
        assert!((6..=16).contains(&days), "{days} days for the other half");
        let all = Propensities::fit(&tossed(&mut market, &[[1, 2]], (planned * 1.3) as usize), 0.95).unwrap();
        assert!(all.identified(width));
        assert_eq!(all.days_until(width, 0.0), Some(0));
        assert_eq!(half.days_until(width, 0.0), None);
        assert!(further_down > 20.0 * planned);
        let a_day = |pair, clicks_a_toss| PlannedPair {
            pair,
            tosses: planned / 10.0,
            clicks_a_toss,
        };
        let (top, below) = (a_day([1, 2], clicks), a_day([5, 6], clicks / 4.0));
        assert_eq!(planned_days(&[top], 1.0, width, 0.95), Some(10));
        assert_eq!(
            planned_days(&[top, below], 1.0, width, 0.95),
            Some(10),
            "it adds little"
        );
        let alone = planned_days(&[below], 1.0, width, 0.95).unwrap();
        assert_eq!(alone, (further_down / planned * 10.0).ceil() as u64);
        assert_eq!(planned_days(&[a_day([1, 2], 0.0)], 1.0, width, 0.95), None);
        assert_eq!(planned_days(&[], 1.0, width, 0.95), None);
    }

    #[test]
    fn without_clicks_on_both_sides_nothing_is_estimated() {
        let mut swaps = Swaps::default();
        swaps.add(&coin([1, 2], true), |_| false).unwrap();
        let no_clicks = Propensities::fit(&swaps, 0.95).unwrap_err();
        assert_eq!(no_clicks.to_string(), "no click at a coin-tossed place in 1 tosses");
        swaps.add(&coin([2, 1], false), |place| place == 1).unwrap();
        assert_eq!(
            swaps.pairs(),
            [TossedPair {
                pair: [1, 2],
                tosses: 2,
                clicks: [1, 0]
            }]
        );
        let one_sided = Propensities::fit(&swaps, 0.95).unwrap_err();
        assert_eq!(one_sided, Unidentified::OneSided { clicks: 1 });
    }

    #[test]
    fn loaded_coins_and_pairs_that_are_none_are_refused() {
        let mut swaps = Swaps::default();
        let loaded = Coin {
            probability: 0.2,
            ..coin([1, 2], true)
        };
        let message = swaps.add(&loaded, |_| true).unwrap_err().to_string();
        assert_eq!(message, "coin.probability is 0.2; allowed: 0.5");
        for pair in [[0, 1], [3, 3]] {
            assert_eq!(swaps.add(&coin(pair, true), |_| true), Err(InvalidCoin::NoPair(pair)));
        }
        assert_eq!(swaps, Swaps::default());
    }

    proptest! {
        #[test]
        fn days_may_be_merged_in_any_order(
            tosses in proptest::collection::vec((1u32..5, any::<bool>(), any::<[bool; 2]>()), 0..40), cut in 0usize..40
        ) {
            let count = |tosses: &[(u32, bool, [bool; 2])]| {
                let mut swaps = Swaps::default();
                for (place, swapped, clicked) in tosses {
                    let coin = coin([*place, place + 1], *swapped);
                    swaps.add(&coin, |at| clicked[(at - place) as usize]).unwrap();
                }
                swaps
            };
            let (first, second) = tosses.split_at(cut.min(tosses.len()));
            let mut merged = count(second);
            merged.merge(&count(first));
            prop_assert_eq!(&merged, &count(&tosses));
            let stored: Swaps = serde_json::from_str(&serde_json::to_string(&merged).unwrap()).unwrap();
            prop_assert_eq!(stored, merged);
        }

        #[test]
        fn one_pair_has_the_closed_form(upper in 1u64..500, lower in 1u64..500, place in 1u32..9999) {
            let pair = TossedPair { pair: [place, place + 1], tosses: upper + lower, clicks: [upper, lower] };
            let fit = Propensities::fit(&Swaps { pairs: vec![pair] }, 0.95).unwrap();
            let exact = (upper as f64 / lower as f64).ln() / (f64::from(place + 1) / f64::from(place)).ln();
            prop_assert!((fit.eta.estimate - exact).abs() < 1e-6 * f64::from(place), "{} {exact}", fit.eta.estimate);
        }
    }
}

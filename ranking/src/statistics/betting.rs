//! The one-sided betting test: is the mean above a bound? It may be looked at every day.

use serde::{Deserialize, Serialize};

use super::day::{Day, Moments, OutOfRange, strictly_between};

/// A one-sided test of H0: E\[X | past\] <= m, for observations X in [0, 1].
///
/// It is a gambler who bets on X above m, and whose wealth is the evidence (Waudby-Smith and Ramdas, "Estimating means of
/// bounded random variables by betting", JRSS-B 86, 2024, arXiv 2010.09686):
///
/// ```text
/// E = product over observations of (1 + lambda (X - m))
/// lambda = clip((mean - m) / (variance + (mean - m)^2), 0, 0.5 / m)
/// ```
///
/// `mean` and `variance` are those of the days before, with one more observation at 1/2 of variance 1/4. Under H0 each
/// factor has an expectation of at most 1, so E is a supermartingale, and reaches 1/alpha *at any time* with a
/// probability of at most alpha (Ville 1939). The mean may drift, as long as it stays at or below m. `past` includes the
/// earlier observations of the same day: count a user once a day, so that a day's observations do not repeat each other.
///
/// With one observation a day this is confseq's `lambda_aKelly`, bets below 0 left out. With more, all observations of
/// a day have one bet, where confseq would move it after each; so their order does not matter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Betting {
    m: f64,
    moments: Moments,
    log_e: f64,
    highest_log_e: f64,
}

impl Betting {
    /// A test of E\[X | past\] <= `m` without any day.
    ///
    /// # Errors
    /// `m` is not between 0 and 1.
    pub fn new(m: f64) -> Result<Betting, OutOfRange> {
        Ok(Betting {
            m: strictly_between("m", m, 0.0, 1.0)?,
            moments: Moments::default(),
            log_e: 0.0,
            highest_log_e: 0.0,
        })
    }

    /// The bet of the next day: the stake as a multiple of wealth for each unit of X - m.
    pub fn bet(&self) -> f64 {
        let gain = self.moments.mean() - self.m;
        // Half of what would risk all of the wealth on one observation.
        (gain / (self.moments.variance() + gain * gain)).clamp(0.0, 0.5 / self.m)
    }

    /// Counts a closed day: each value with how often it was observed. Returns how much the day added to
    /// [`log_e`](Betting::log_e).
    ///
    /// # Errors
    /// A value outside [0, 1], or NaN; nothing is counted.
    pub fn add_day(&mut self, observations: &[(f64, u64)]) -> Result<f64, OutOfRange> {
        let day = Day::of_shares(observations)?;
        let bet = self.bet();
        let won = day.sum(|x| (bet * (x - self.m)).ln_1p());
        self.log_e += won;
        self.highest_log_e = self.highest_log_e.max(self.log_e);
        self.moments.add(&day);
        Ok(won)
    }

    /// The natural logarithm of the evidence against H0 now.
    pub fn log_e(&self) -> f64 {
        self.log_e
    }

    /// The highest [`log_e`](Betting::log_e) at the end of any day.
    pub fn highest_log_e(&self) -> f64 {
        self.highest_log_e
    }

    /// Whether H0 is rejected at level `alpha`: the evidence reached 1 / `alpha` at the end of some day.
    pub fn ever(&self, alpha: f64) -> bool {
        self.highest_log_e >= -alpha.ln()
    }

    /// The bound that is tested.
    pub fn m(&self) -> f64 {
        self.m
    }

    /// Observations so far.
    pub fn n(&self) -> u64 {
        self.moments.n
    }

    /// The plain mean of the observations; 0 without any.
    pub fn mean(&self) -> f64 {
        self.moments.plain_mean()
    }
}

/// A difference in [-1, 1] as an observation in [0, 1]: E\[D\] <= delta is E\[X\] <= `from_difference(delta)`.
pub fn from_difference(difference: f64) -> f64 {
    f64::midpoint(difference, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::simulated::{Draws, confseq};

    #[test]
    fn one_observation_a_day_is_confseqs_approximate_kelly_bet() {
        for vector in confseq() {
            for (m, expected) in &vector.betting {
                let mut test = Betting::new(m.parse().unwrap()).unwrap();
                for (at, &x) in vector.x.iter().enumerate() {
                    assert!((test.bet() - expected.bet[at]).abs() < 1e-9, "{} {m} {at}", vector.name);
                    test.add_day(&[(x, 1)]).unwrap();
                    assert!(
                        (test.log_e() - expected.log_e[at]).abs() < 1e-9,
                        "{} {m} {at}",
                        vector.name
                    );
                }
                assert_eq!(test.n(), vector.x.len() as u64);
                assert!((test.mean() - vector.x.iter().sum::<f64>() / vector.x.len() as f64).abs() < 1e-12);
            }
        }
    }

    /// Days of 1 to 20 observations of {0, 1/2, 1}, until `days` have passed or H0 is rejected; the day of that.
    fn rejected_on(draws: &mut Draws, m: f64, p_half: f64, mean: f64, days: usize) -> Option<usize> {
        let mut test = Betting::new(m).unwrap();
        (1..=days).find(|_| {
            let mut counts = [(0.0, 0), (0.5, 0), (1.0, 0)];
            for _ in 0..1 + draws.below(20) {
                let u = draws.uniform();
                let p_one = mean - p_half / 2.0;
                counts[if u < p_one { 2 } else { usize::from(u < p_one + p_half) }].1 += 1;
            }
            test.add_day(&counts).unwrap();
            test.ever(0.05)
        })
    }

    #[test]
    fn without_an_effect_one_run_in_twenty_at_most_is_ever_rejected() {
        for (m, p_half) in [(0.5, 0.0), (0.3, 0.0), (0.5, 0.6), (0.525, 0.75)] {
            let mut draws = Draws::new(1);
            let rejected = (0..2000)
                .filter(|_| rejected_on(&mut draws, m, p_half, m, 60).is_some())
                .count();
            // 100 expected at most; four standard deviations of a binomial above it.
            assert!(rejected <= 139, "m {m}: {rejected} of 2000");
            assert!(rejected > 0, "a test that never rejects says nothing");
        }
    }

    #[test]
    fn five_points_at_thirty_cases_a_day_are_found_within_weeks() {
        // Differences of -1, 0 and 1 with mean 0.05 and standard deviation 0.5; 30 a day.
        let days: Vec<Option<usize>> = (0..400)
            .map(|run| {
                let mut draws = Draws::new(run);
                let mut test = Betting::new(from_difference(0.0)).unwrap();
                (1..=60).find(|_| {
                    let mut counts = [(0.0, 0), (0.5, 0), (1.0, 0)];
                    for _ in 0..30 {
                        let u = draws.uniform();
                        counts[if u < 0.151_25 {
                            2
                        } else {
                            usize::from(u < 1.0 - 0.101_25)
                        }]
                        .1 += 1;
                    }
                    test.add_day(&counts).unwrap();
                    test.ever(0.05)
                })
            })
            .collect();
        let mut found: Vec<usize> = days.into_iter().flatten().collect();
        found.sort_unstable();
        println!("found in {} of 400, the 200th on day {}", found.len(), found[199]);
        assert!(found.len() >= 348, "{} of 400", found.len());
        assert!((15..=32).contains(&found[199]), "median day {}", found[199]);
    }

    #[test]
    fn what_no_observation_can_be_is_refused_by_name_and_changes_nothing() {
        let mut test = Betting::new(0.5).unwrap();
        test.add_day(&[(0.75, 3)]).unwrap();
        let before = test.clone();
        for wrong in [-0.001, 1.001, f64::NAN, f64::INFINITY] {
            assert!(test.add_day(&[(1.0, 1), (wrong, 1)]).is_err());
        }
        let message = test.add_day(&[(1.5, 1)]).unwrap_err().to_string();
        assert_eq!(message, "observation is 1.5; allowed: 0 to 1");
        assert_eq!(test, before);
        for wrong in [0.0, 1.0, f64::NAN] {
            assert!(Betting::new(wrong).is_err());
        }
    }

    #[test]
    fn a_rejection_stays_when_the_evidence_falls_again() {
        let mut test = Betting::new(0.5).unwrap();
        for _ in 0..40 {
            test.add_day(&[(1.0, 1)]).unwrap();
        }
        assert!(test.ever(0.05));
        test.add_day(&[(0.0, 40)]).unwrap();
        assert!(test.log_e() < 0.0 && test.ever(0.05));
    }

    proptest! {
        #[test]
        fn order_and_splitting_inside_a_day_change_no_bit(
            (days, shuffled) in proptest::collection::vec(
                proptest::collection::vec((prop_oneof![Just(-0.0), Just(0.5), 0.0..=1.0], 0u64..5), 0..12)
                    .prop_flat_map(|day| (Just(day.clone()), Just(day).prop_shuffle())),
                1..6,
            ).prop_map(|days| days.into_iter().unzip::<_, _, Vec<_>, Vec<_>>())
        ) {
            let (mut one, mut other) = (Betting::new(0.4).unwrap(), Betting::new(0.4).unwrap());
            for (day, shuffled) in days.iter().zip(&shuffled) {
                one.add_day(day).unwrap();
                let split: Vec<(f64, u64)> = shuffled
                    .iter()
                    .flat_map(|(value, count)| std::iter::repeat_n((*value, 1), *count as usize))
                    .collect();
                other.add_day(&split).unwrap();
            }
            prop_assert_eq!(one.log_e().to_bits(), other.log_e().to_bits());
            let stored: Betting = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
            prop_assert_eq!(stored, other);
        }
    }
}

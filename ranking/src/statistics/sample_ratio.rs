//! Whether a sampler chooses as often as it should, by a test that may be looked at daily.

use serde::{Deserialize, Serialize};

use super::day::{OutOfRange, strictly_between};

/// How many observations the prior is worth: its standard deviation is 2.2 points around 1/2, the size of the mismatches that
/// are worth finding soon. Larger ones are found sooner still, smaller ones a little later than they could be.
const CONCENTRATION: f64 = 500.0;

/// The sample-ratio test as a martingale: the likelihood of the counts under a Beta mixture of shares over that under the
/// expected share p,
///
/// ```text
/// M = B(cp + k, c(1 - p) + n - k) / (B(cp, c(1 - p)) p^k (1 - p)^(n - k))
/// ```
///
/// with k of n observations inside (Robbins, Ann. Math. Statist. 41(5), 1970; as a test of sample ratios: Lindon and Malek,
/// "Anytime-valid inference for multinomial count data", NeurIPS 2022, arXiv 2011.03567, with two categories). If each
/// observation is inside with probability p whatever came before, M is a martingale that begins at 1, so that it ever
/// reaches 1/alpha with a probability of at most alpha (Ville).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleRatio {
    expected: f64,
    inside: u64,
    all: u64,
    highest: f64,
}

impl SampleRatio {
    /// A test of this share, between 0 and 1.
    ///
    /// # Errors
    /// The share is not between 0 and 1: nobody is chosen by chance then.
    pub fn new(expected: f64) -> Result<SampleRatio, OutOfRange> {
        Ok(SampleRatio {
            expected: strictly_between("expected", expected, 0.0, 1.0)?,
            inside: 0,
            all: 0,
            highest: 0.0,
        })
    }

    /// Counts a closed day. How its observations are ordered changes nothing.
    pub fn add_day(&mut self, inside: u64, outside: u64) {
        self.inside += inside;
        self.all += inside + outside;
        self.highest = self.highest.max(self.log_e());
    }

    /// The logarithm of the evidence for another share.
    pub fn log_e(&self) -> f64 {
        let (inside, outside) = (self.inside as f64, (self.all - self.inside) as f64);
        let (p, q) = (self.expected, 1.0 - self.expected);
        let (a, b) = (CONCENTRATION * p, CONCENTRATION * q);
        let mixture = ln_beta(a + inside, b + outside) - ln_beta(a, b);
        mixture - inside * p.ln() - outside * q.ln()
    }

    /// Whether the evidence has reached 1/`alpha` at the end of any day.
    pub fn ever(&self, alpha: f64) -> bool {
        self.highest >= -alpha.ln()
    }

    /// The observed share; `None` before the first observation.
    pub fn observed(&self) -> Option<f64> {
        (self.all > 0).then(|| self.inside as f64 / self.all as f64)
    }

    /// The share that was asked for.
    pub fn expected(&self) -> f64 {
        self.expected
    }

    /// Observations.
    pub fn n(&self) -> u64 {
        self.all
    }
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// The logarithm of the gamma function for `x` above 0: Stirling's series (Abramowitz and Stegun 1964, 6.1.41), after the
/// recurrence has carried `x` to where five terms leave less than 1e-13.
fn ln_gamma(x: f64) -> f64 {
    const LARGE: f64 = 12.0;
    const TERMS: [f64; 5] = [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0];
    let (mut x, mut carried) = (x, 0.0);
    while x < LARGE {
        carried += x.ln();
        x += 1.0;
    }
    let inverse = x.recip();
    let series = TERMS.iter().rev().fold(0.0, |sum, term| sum * inverse * inverse + term) * inverse;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - carried
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::simulated::{Binomial, Draws};

    const ALPHA: f64 = 0.05;

    /// On which of 365 days of `users` the test of 1/2 finds out about `share`.
    fn found(draws: &mut Draws, users: u64, share: f64) -> Option<u64> {
        let of_day = Binomial::new(users, share);
        let mut test = SampleRatio::new(0.5).unwrap();
        (1..=365).find(|_| {
            let inside = of_day.draw(draws);
            test.add_day(inside, users - inside);
            test.ever(ALPHA)
        })
    }

    #[test]
    fn a_year_of_daily_looks_at_a_fair_sampler_ends_in_an_alarm_in_one_of_twenty_at_most() {
        let mut draws = Draws::new(1);
        let alarms = (0..600).filter(|_| found(&mut draws, 100, 0.5).is_some()).count();
        println!("{alarms} false alarms in 600 years");
        // 30 at most expected; four standard deviations above it.
        assert!(alarms <= 51, "{alarms}");
    }

    #[test]
    fn three_points_too_many_are_found_within_some_thousand_users() {
        let mut draws = Draws::new(2);
        let mut days: Vec<u64> = (0..100)
            .map(|_| found(&mut draws, 200, 0.53).unwrap_or(u64::MAX))
            .collect();
        days.sort_unstable();
        println!(
            "days of 200 users until 53 % are found: median {}, p90 {}",
            days[50], days[90]
        );
        assert!(days[50] <= 20 && days[90] <= 40, "{days:?}");
    }

    #[test]
    fn the_evidence_is_that_of_the_counts() {
        // By hand: of 2 observations both inside, p = 1/2: (250 / 500) (251 / 501) / (1/4).
        let mut test = SampleRatio::new(0.5).unwrap();
        assert_eq!((test.observed(), test.ever(0.99)), (None, false));
        test.add_day(2, 0);
        assert!((test.log_e() - (4.0 * 0.5 * 251.0 / 501.0_f64).ln()).abs() < 1e-10);
        assert_eq!((test.observed(), test.n()), (Some(1.0), 2));
        for none in [0.0, 1.0, f64::NAN] {
            assert!(SampleRatio::new(none).is_err());
        }
    }

    #[test]
    fn the_logarithm_of_factorials_is_exact() {
        let mut factorial = 0.0_f64;
        for n in 1..200_u32 {
            assert!(
                (ln_gamma(f64::from(n)) - factorial).abs() < 1e-12 * factorial.max(1.0),
                "{n}"
            );
            factorial += f64::from(n).ln();
        }
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-12);
    }

    proptest! {
        /// What makes it a martingale: one more observation leaves the expected evidence as it is.
        #[test]
        fn the_next_observation_changes_nothing_on_average(p in 0.01f64..0.99, inside in 0u64..3_000, outside in 0u64..3_000) {
            let after = |more: [u64; 2]| {
                let mut test = SampleRatio::new(p).unwrap();
                test.add_day(inside + more[0], outside + more[1]);
                test.log_e()
            };
            let now = after([0, 0]);
            let expected = p * (after([1, 0]) - now).exp() + (1.0 - p) * (after([0, 1]) - now).exp();
            prop_assert!((expected - 1.0).abs() < 1e-8, "{expected}");
        }
    }
}

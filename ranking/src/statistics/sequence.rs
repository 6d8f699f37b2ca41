//! Confidence sequences for a mean: intervals that hold at all times at once.

use serde::{Deserialize, Serialize};

use super::day::{Day, Moments, OutOfRange, strictly_between};
use crate::bootstrap::Interval;

/// A lower bound on the mean of X in [0, 1] that holds at all times at once with a probability of 1 - alpha: the
/// predictable-mixture empirical-Bernstein bound (Waudby-Smith and Ramdas, JRSS-B 2024, theorem 2, arXiv 2010.09686).
///
/// ```text
/// lower = (sum lambda_i X_i - ln(1/alpha) - sum (X_i - mean_{i-1})^2 psi(lambda_i)) / sum lambda_i
/// psi(l) = -ln(1 - l) - l
/// lambda = min(1/2, sqrt(2 ln(1/alpha) / (variance_{i-1} t ln(1 + t))))
/// ```
///
/// `mean` is the plain one, from 0; `variance` has one more observation before the first, of variance 1/4.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LowerBound {
    alpha: f64,
    cases_a_day: u64,
    moments: Moments,
    lambdas: f64,
    weighted: f64,
    penalty: f64,
    /// The highest at the end of any day.
    highest: f64,
}

impl LowerBound {
    fn new(alpha: f64, cases_a_day: u64) -> LowerBound {
        LowerBound {
            alpha,
            cases_a_day,
            moments: Moments::default(),
            lambdas: 0.0,
            weighted: 0.0,
            penalty: 0.0,
            highest: 0.0,
        }
    }

    fn add(&mut self, day: &Day) {
        let t = (self.moments.n + self.cases_a_day) as f64;
        let spread = self.moments.variance() * t * t.ln_1p();
        let lambda = (2.0 * -self.alpha.ln() / spread).sqrt().min(0.5);
        let psi = -(-lambda).ln_1p() - lambda;
        let mean = self.moments.plain_mean();
        self.lambdas += lambda * day.len() as f64;
        self.weighted += lambda * day.sum(|x| x);
        self.penalty += psi * day.sum(|x| (x - mean) * (x - mean));
        self.moments.add(day);
        self.highest = self.highest.max(self.now());
    }

    /// The bound of all days so far; 0 before the first.
    fn now(&self) -> f64 {
        if self.lambdas == 0.0 {
            return 0.0;
        }
        let bound = (self.weighted + self.alpha.ln() - self.penalty) / self.lambdas;
        bound.max(0.0)
    }
}

/// A lower confidence sequence for the mean of X in [a, b], updated by closed days.
///
/// With one observation a day, and one expected, it is confseq's `predmix_empbern_lower_cs`. With more a day, `lambda` is
/// fixed from the days before, with t = (observations before) + (`cases_a_day`), so that order does not matter and the
/// first day does not get the large `lambda` that one observation would.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LowerSequence {
    range: (f64, f64),
    bound: LowerBound,
}

impl LowerSequence {
    /// A bound that holds at all times with probability `confidence`. `cases_a_day`: how many observations a day are
    /// expected, at least 1; it makes the bound sharp, and is not needed for it to hold.
    ///
    /// # Errors
    /// `confidence` is not between 0 and 1, or the range is empty.
    pub fn new(range: (f64, f64), confidence: f64, cases_a_day: u64) -> Result<LowerSequence, OutOfRange> {
        let confidence = strictly_between("confidence", confidence, 0.0, 1.0)?;
        Ok(LowerSequence {
            range: checked(range)?,
            bound: LowerBound::new(1.0 - confidence, cases_a_day.max(1)),
        })
    }

    /// Counts a closed day: each value with how often it was observed.
    ///
    /// # Errors
    /// A value outside the range, or NaN; nothing is counted.
    pub fn add_day(&mut self, observations: &[(f64, u64)]) -> Result<(), OutOfRange> {
        self.bound.add(&Day::new(observations, self.range.0, self.range.1)?);
        Ok(())
    }

    /// The highest bound so far, in the unit of X. It takes the mean to be constant, as [`Sequence::interval`] does.
    pub fn low(&self) -> f64 {
        unscaled(self.range, self.bound.highest)
    }
}

/// A two-sided confidence sequence for the mean of X in [a, b]: a [`LowerSequence`] on each side, at half of the
/// error each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    range: (f64, f64),
    lower: LowerBound,
    /// Of 1 - X.
    upper: LowerBound,
}

impl Sequence {
    /// An interval that holds at all times with probability `confidence`; see [`LowerSequence::new`].
    ///
    /// # Errors
    /// `confidence` is not between 0 and 1, or the range is empty.
    pub fn new(range: (f64, f64), confidence: f64, cases_a_day: u64) -> Result<Sequence, OutOfRange> {
        let confidence = strictly_between("confidence", confidence, 0.0, 1.0)?;
        let side = LowerBound::new((1.0 - confidence) / 2.0, cases_a_day.max(1));
        Ok(Sequence {
            range: checked(range)?,
            lower: side.clone(),
            upper: side,
        })
    }

    /// Counts a closed day: each value with how often it was observed.
    ///
    /// # Errors
    /// A value outside the range, or NaN; nothing is counted.
    pub fn add_day(&mut self, observations: &[(f64, u64)]) -> Result<(), OutOfRange> {
        let day = Day::new(observations, self.range.0, self.range.1)?;
        self.upper.add(&day.mirrored());
        self.lower.add(&day);
        Ok(())
    }

    /// The mean, between the best lower and the best upper bound of all days so far. The whole range before the first.
    ///
    /// Holds for a mean that stays constant. If it has moved so far that the bounds cross ([`Sequence::has_moved`]), the
    /// interval is [`Sequence::latest`]. The estimate is the plain mean, which may lie outside.
    pub fn interval(&self) -> Interval {
        if self.has_moved() {
            return self.latest();
        }
        self.between(self.lower.highest, self.upper.highest)
    }

    /// The mean by the bounds of the last day alone. Where the mean drifts, this still holds, at all times at once, for
    /// the average of the means so far, weighted by `lambda`.
    pub fn latest(&self) -> Interval {
        self.between(self.lower.now(), self.upper.now())
    }

    /// Whether no constant mean agrees with all days: the best lower bound is above the best upper one.
    pub fn has_moved(&self) -> bool {
        self.lower.highest > 1.0 - self.upper.highest
    }

    /// Observations so far.
    pub fn n(&self) -> u64 {
        self.lower.moments.n
    }

    fn between(&self, low: f64, from_above: f64) -> Interval {
        // Without observations the middle is as good as any.
        let mean = if self.n() == 0 {
            0.5
        } else {
            self.lower.moments.plain_mean()
        };
        Interval {
            estimate: unscaled(self.range, mean),
            low: unscaled(self.range, low),
            high: unscaled(self.range, 1.0 - from_above),
        }
    }
}

fn unscaled((low, high): (f64, f64), share: f64) -> f64 {
    low + share * (high - low)
}

/// The range, whose ends must be finite and in order.
fn checked((low, high): (f64, f64)) -> Result<(f64, f64), OutOfRange> {
    strictly_between("lower end of the range", low, f64::MIN, f64::MAX)?;
    strictly_between("upper end of the range", high, low, f64::MAX)?;
    Ok((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::simulated::{Draws, confseq};

    #[test]
    fn one_observation_a_day_is_confseqs_empirical_bernstein_sequence() {
        for vector in confseq() {
            let mut both = Sequence::new((0.0, 1.0), 0.95, 1).unwrap();
            let mut one = LowerSequence::new((0.0, 1.0), 0.95, 1).unwrap();
            // The same in [-1, 1]: an interval of twice the width.
            let mut scaled = Sequence::new((-1.0, 1.0), 0.95, 1).unwrap();
            for (at, &x) in vector.x.iter().enumerate() {
                both.add_day(&[(x, 1)]).unwrap();
                one.add_day(&[(x, 1)]).unwrap();
                scaled.add_day(&[(2.0 * x - 1.0, 1)]).unwrap();
                let (interval, wide) = (both.interval(), scaled.interval());
                for (ours, theirs) in [
                    (interval.low, vector.low[at]),
                    (interval.high, vector.high[at]),
                    (one.low(), vector.one_sided_low[at]),
                    (f64::midpoint(wide.low, 1.0), vector.low[at]),
                    (f64::midpoint(wide.high, 1.0), vector.high[at]),
                ] {
                    assert!((ours - theirs).abs() < 1e-9, "{} {at}: {ours} {theirs}", vector.name);
                }
            }
        }
    }

    #[test]
    fn the_true_mean_stays_inside_at_all_times_in_nineteen_of_twenty_runs() {
        for (p_one, p_half) in [(0.2, 0.5), (0.02, 0.05), (0.7, 0.0)] {
            let mean = p_one + p_half / 2.0;
            let mut left = 0;
            let mut width = 0.0;
            for run in 0..500 {
                let mut draws = Draws::new(run);
                let mut sequence = Sequence::new((0.0, 1.0), 0.95, 20).unwrap();
                let stayed = (0..40).all(|_| {
                    let mut counts = [(0.0, 0), (0.5, 0), (1.0, 0)];
                    for _ in 0..1 + draws.below(39) {
                        let u = draws.uniform();
                        counts[if u < p_one { 2 } else { usize::from(u < p_one + p_half) }].1 += 1;
                    }
                    sequence.add_day(&counts).unwrap();
                    let Interval { low, high, .. } = sequence.interval();
                    low <= mean && mean <= high
                });
                left += usize::from(!stayed);
                width += (sequence.interval().high - sequence.interval().low) / 500.0;
            }
            println!("mean {mean}: left in {left} of 500 runs, width after 800 cases {width:.3}");
            assert!(left <= 25, "mean {mean}: {left} of 500");
            assert!(width < 0.2, "an interval of width {width} says nothing");
        }
    }

    #[test]
    fn an_expected_day_sharpens_and_the_range_bounds_what_nothing_says() {
        let nothing = Sequence::new((-1.0, 3.0), 0.9, 1).unwrap().interval();
        assert_eq!((nothing.low, nothing.estimate, nothing.high), (-1.0, 1.0, 3.0));
        let width = |expected| {
            let mut sequence = Sequence::new((0.0, 1.0), 0.95, expected).unwrap();
            sequence.add_day(&[(0.0, 150), (1.0, 150)]).unwrap();
            sequence.interval().high - sequence.interval().low
        };
        assert!(width(300) < width(1), "{} {}", width(300), width(1));
    }

    #[test]
    fn a_mean_that_moves_is_noticed() {
        let mut sequence = Sequence::new((0.0, 1.0), 0.95, 100).unwrap();
        for _ in 0..30 {
            sequence.add_day(&[(0.0, 90), (1.0, 10)]).unwrap();
        }
        assert!(!sequence.has_moved());
        for _ in 0..90 {
            sequence.add_day(&[(0.0, 10), (1.0, 90)]).unwrap();
        }
        assert!(sequence.has_moved());
        let Interval { low, high, .. } = sequence.interval();
        assert!(low < high);
    }

    #[test]
    fn impossible_parameters_and_values_are_refused_by_name() {
        for wrong in [0.0, 1.0, f64::NAN] {
            assert_eq!(Sequence::new((0.0, 1.0), wrong, 1).unwrap_err().name, "confidence");
        }
        for wrong in [(1.0, 1.0), (0.0, f64::NAN), (f64::NEG_INFINITY, 0.0)] {
            assert!(LowerSequence::new(wrong, 0.9, 1).is_err());
        }
        let mut sequence = Sequence::new((-1.0, 1.0), 0.95, 1).unwrap();
        let message = sequence.add_day(&[(1.25, 1)]).unwrap_err().to_string();
        assert_eq!(message, "observation is 1.25; allowed: -1 to 1");
        assert_eq!(sequence.n(), 0);
    }
}

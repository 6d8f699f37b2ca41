//! A closed day of observations, which is the unit that sequential tests are updated by.
//!
//! Labels arrive late, so a day is counted once, when no label of it can change. Bets are fixed from the days before.
//! A day is therefore a multiset: how its observations are ordered, or split into counts, changes no bit of the result.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A value that a test cannot take.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("{name} is {value}; allowed: {low} to {high}")]
pub struct OutOfRange {
    /// What has the value: `observation`, or the name of a parameter.
    pub name: &'static str,
    /// The refused value; it may be NaN.
    pub value: f64,
    /// Smallest allowed value.
    pub low: f64,
    /// Largest allowed value.
    pub high: f64,
}

/// Refuses a parameter outside the open interval between `low` and `high`, NaN included.
pub(crate) fn strictly_between(name: &'static str, value: f64, low: f64, high: f64) -> Result<f64, OutOfRange> {
    if value > low && value < high {
        return Ok(value);
    }
    Err(OutOfRange {
        name,
        value,
        low: low.next_up(),
        high: high.next_down(),
    })
}

/// A day's observations in [0, 1]: each value once, ascending, with how often it was observed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Day(Vec<(f64, u64)>);

impl Day {
    /// Observations between `low` and `high`, scaled to [0, 1].
    ///
    /// # Errors
    /// A value outside, or NaN.
    pub(crate) fn new(observations: &[(f64, u64)], low: f64, high: f64) -> Result<Day, OutOfRange> {
        // Non-negative floats are ordered as their bits are.
        let mut counts = BTreeMap::new();
        for &(value, count) in observations {
            if !(low..=high).contains(&value) {
                let name = "observation";
                return Err(OutOfRange { name, value, low, high });
            }
            // Adding 0 makes -0 and 0 one value. Rounding may carry the quotient past 1 by a bit.
            let scaled = ((value - low) / (high - low) + 0.0).min(1.0);
            *counts.entry(scaled.to_bits()).or_insert(0) += count;
        }
        let counted = counts.into_iter().filter(|(_, count)| *count > 0);
        Ok(Day(counted
            .map(|(bits, count)| (f64::from_bits(bits), count))
            .collect()))
    }

    /// Observations in [0, 1].
    ///
    /// # Errors
    /// A value outside, or NaN.
    pub(crate) fn of_shares(observations: &[(f64, u64)]) -> Result<Day, OutOfRange> {
        Day::new(observations, 0.0, 1.0)
    }

    /// The day of 1 - X.
    pub(crate) fn mirrored(&self) -> Day {
        Day(self
            .0
            .iter()
            .rev()
            .map(|&(value, count)| (1.0 - value, count))
            .collect())
    }

    /// How many observations there are.
    pub(crate) fn len(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// The sum of `f` over the observations, always in ascending order.
    pub(crate) fn sum(&self, f: impl Fn(f64) -> f64) -> f64 {
        self.0.iter().map(|&(value, count)| count as f64 * f(value)).sum()
    }
}

/// Mean and variance of what was observed in [0, 1], with one more observation at 1/2 of variance 1/4 before the first:
/// bets are made from the first day on (Waudby-Smith and Ramdas, JRSS-B 2024, section 3.2).
///
/// The variance is around the mean as it was known at the end of each day, which is confseq's definition where a day is
/// one observation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moments {
    /// Observations, without the one before the first.
    pub(crate) n: u64,
    /// Their sum.
    pub(crate) sum: f64,
    squares: f64,
}

impl Moments {
    /// The mean, drawn to 1/2 by one observation.
    pub(crate) fn mean(&self) -> f64 {
        (0.5 + self.sum) / (1.0 + self.n as f64)
    }

    /// The variance, drawn to 1/4 by one observation.
    pub(crate) fn variance(&self) -> f64 {
        (0.25 + self.squares) / (1.0 + self.n as f64)
    }

    /// The plain mean of the observations; 0 without any.
    pub(crate) fn plain_mean(&self) -> f64 {
        if self.n == 0 { 0.0 } else { self.sum / self.n as f64 }
    }

    /// Counts a day.
    pub(crate) fn add(&mut self, day: &Day) {
        self.n += day.len();
        self.sum += day.sum(|x| x);
        let mean = self.mean();
        self.squares += day.sum(|x| (x - mean) * (x - mean));
    }
}

//! Bootstrap intervals.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::statistics::quantile;

/// An estimate with the interval around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The statistic over all units, each once; 0 without units.
    pub estimate: f64,
    /// Lower end, in the unit of `estimate`. Equal to `estimate` if nothing was resampled.
    pub low: f64,
    /// Upper end, in the unit of `estimate`. Equal to `estimate` if nothing was resampled.
    pub high: f64,
}

impl Interval {
    /// An interval of no width.
    pub fn point(estimate: f64) -> Interval {
        Interval {
            estimate,
            low: estimate,
            high: estimate,
        }
    }
}

/// Percentile bootstrap (Efron 1979; Efron and Tibshirani 1993, chapter 13): `resamples` times, `n` units are drawn with
/// replacement; the interval lies between the `(1 - level) / 2` and `(1 + level) / 2` quantiles of the statistic.
///
/// `statistic` gets unit indices below `n` and returns a finite number; the estimate is its value over all units,
/// each once. Draws come from ChaCha8 seeded with `seed`, so the same input gives the same interval everywhere.
///
/// Without units there is nothing to estimate: the interval is 0 to 0 and `statistic` is not called, so that no NaN
/// reaches a report. Without resamples the interval is the estimate alone. Callers look at `n` before they conclude.
pub fn bootstrap(
    n: usize,
    resamples: usize,
    level: f64,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> f64,
) -> Interval {
    if n == 0 {
        return Interval::default();
    }
    let mut units: Vec<usize> = (0..n).collect();
    let estimate = statistic(&units);
    if resamples == 0 {
        return Interval::point(estimate);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut values = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        for unit in &mut units {
            *unit = draw(&mut rng, n);
        }
        values.push(statistic(&units));
    }
    percentiles(estimate, values, level)
}

/// [`bootstrap`] of the mean of `values`.
pub fn mean_interval(values: &[f64], resamples: usize, level: f64, seed: u64) -> Interval {
    let [interval] = mean_intervals(values.len(), resamples, level, seed, |unit| [values[unit]]);
    interval
}

/// [`bootstrap`] of the means of `N` variables over the same `n` units; `values` returns those of a unit.
///
/// Each interval is the one of the variable alone, bit for bit: one seed draws the same units for all. They are drawn
/// once for all variables, and nothing is kept of a draw but its sums.
pub fn mean_intervals<const N: usize>(
    n: usize,
    resamples: usize,
    level: f64,
    seed: u64,
    values: impl Fn(usize) -> [f64; N],
) -> [Interval; N] {
    if n == 0 {
        return [Interval::default(); N];
    }
    let estimates = means(n, 0..n, &values);
    if resamples == 0 {
        return estimates.map(Interval::point);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut resampled: [Vec<f64>; N] = std::array::from_fn(|_| Vec::with_capacity(resamples));
    for _ in 0..resamples {
        let drawn = means(n, (0..n).map(|_| draw(&mut rng, n)), &values);
        resampled.iter_mut().zip(drawn).for_each(|(all, mean)| all.push(mean));
    }
    let mut estimates = estimates.into_iter();
    resampled.map(|means| {
        let estimate = estimates.next().expect("there are as many estimates as variables");
        percentiles(estimate, means, level)
    })
}

/// The means of the variables over `n` units, summed in their order.
fn means<const N: usize>(
    n: usize,
    units: impl Iterator<Item = usize>,
    values: &impl Fn(usize) -> [f64; N],
) -> [f64; N] {
    let mut sums = [0.0; N];
    for unit in units {
        sums.iter_mut().zip(values(unit)).for_each(|(sum, value)| *sum += value);
    }
    sums.map(|sum| sum / n as f64)
}

fn percentiles(estimate: f64, mut resampled: Vec<f64>, level: f64) -> Interval {
    resampled.sort_by(f64::total_cmp);
    let tail = (1.0 - level.clamp(0.0, 1.0)) / 2.0;
    let at = |p| quantile(&resampled, p).unwrap_or(estimate);
    Interval {
        estimate,
        low: at(tail),
        high: at(1.0 - tail),
    }
}

/// An index below `n`: the high half of a 64-bit draw times `n` (Lemire 2019, without the rejection step, whose
/// bias of n / 2^64 no statistic here can see).
fn draw(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_interval_of_a_mean_agrees_with_the_normal_theory() {
        // 0 and 1 in equal parts: standard error 0.5 / sqrt(400) = 0.025.
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let interval = mean_interval(&values, 4000, 0.95, 42);
        assert_eq!(interval.estimate, 0.5);
        assert!((interval.low - (0.5 - 1.96 * 0.025)).abs() < 0.006, "{interval:?}");
        assert!((interval.high - (0.5 + 1.96 * 0.025)).abs() < 0.006, "{interval:?}");
    }

    #[test]
    fn nothing_to_estimate_is_zero_and_not_nan() {
        let nothing = bootstrap(0, 100, 0.95, 1, |_| f64::NAN);
        assert_eq!(nothing, Interval::default());
        assert_eq!(mean_interval(&[0.25], 100, 0.95, 1), Interval::point(0.25));
        assert_eq!(mean_interval(&[1.0, 2.0], 0, 0.95, 1), Interval::point(1.5));
    }

    #[test]
    fn the_seed_decides() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(i * i % 17)).collect();
        let of = |seed| mean_interval(&values, 200, 0.95, seed);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    proptest! {
        #[test]
        fn means_of_the_same_units_have_the_intervals_that_each_has_alone(
            pairs in proptest::collection::vec([-10.0f64..10.0, -1.0f64..1.0], 0..60), seed in any::<u64>()
        ) {
            let both = mean_intervals(pairs.len(), 50, 0.9, seed, |unit| pairs[unit]);
            for (at, interval) in both.into_iter().enumerate() {
                let alone = bootstrap(pairs.len(), 50, 0.9, seed, |units| {
                    crate::statistics::mean(units.iter().map(|&unit| pairs[unit][at]))
                });
                prop_assert_eq!(interval, alone);
            }
        }

        #[test]
        fn the_interval_holds_the_estimate_and_stays_inside_the_data(
            values in proptest::collection::vec(-10.0f64..10.0, 5..60), seed in any::<u64>()
        ) {
            let interval = mean_interval(&values, 400, 0.95, seed);
            prop_assert!(interval.low <= interval.estimate + 1e-9);
            prop_assert!(interval.estimate <= interval.high + 1e-9);
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(interval.low >= low - 1e-9 && interval.high <= high + 1e-9);
        }

        #[test]
        fn a_higher_level_is_a_wider_interval(
            values in proptest::collection::vec(-10.0f64..10.0, 2..60), seed in any::<u64>()
        ) {
            let narrow = mean_interval(&values, 200, 0.80, seed);
            let wide = mean_interval(&values, 200, 0.99, seed);
            prop_assert!(wide.low <= narrow.low && narrow.high <= wide.high);
        }
    }
}

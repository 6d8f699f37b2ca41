//! Means, quantiles and exact sums, defined once; the tests that stand daily looks.

pub mod betting;
mod day;
pub mod detector;
pub mod elond;
pub mod sample_ratio;
pub mod sequence;
#[cfg(test)]
pub(crate) mod simulated;

pub use day::OutOfRange;

/// The mean; 0 without values, so that no NaN reaches a report. Callers look at the number of values first.
pub fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut count = 0_usize;
    let sum: f64 = values.into_iter().inspect(|_| count += 1).sum();
    if count == 0 { 0.0 } else { sum / count as f64 }
}

/// The `p` quantile of ascending values, interpolated linearly between neighbours (type 7 of Hyndman and Fan 1996:
/// "Sample quantiles in statistical packages"); `None` without values. `p` is held between 0 and 1.
pub fn quantile(sorted: &[f64], p: f64) -> Option<f64> {
    quantile_by(sorted.len(), p, |at| sorted[at])
}

/// [`quantile`] of `n` values that need not lie in a slice: `nth` returns the value at an index of their ascending order.
pub fn quantile_by(n: usize, p: f64, nth: impl Fn(usize) -> f64) -> Option<f64> {
    let last = n.checked_sub(1)?;
    let at = p.clamp(0.0, 1.0) * last as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    Some(nth(below) + (nth(above) - nth(below)) * (at - below as f64))
}

/// The middle value, or the mean of the two middle ones; `None` without values.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// The `p` quantile of the standard normal distribution, to 1e-6 (Wichura 1988: algorithm AS 241, PPND7). `p` is held
/// between 1e-10 and 1 - 1e-10.
pub fn normal_quantile(p: f64) -> f64 {
    let polynomial = |coefficients: &[f64], x: f64| coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c);
    let p = p.clamp(1e-10, 1.0 - 1e-10);
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        let above = polynomial(&[3.387_132_717_9, 50.434_271_938, 159.291_132_02, 59.109_374_72], r);
        return q * above / polynomial(&[1.0, 17.895_169_469, 78.757_757_664, 67.187_563_6], r);
    }
    let r = (-p.min(1.0 - p).ln()).sqrt() - 1.6;
    let above = polynomial(&[1.423_437_277_7, 2.756_815_39, 1.306_728_481_6, 0.170_238_211_03], r);
    (above / polynomial(&[1.0, 0.737_001_642_5, 0.120_211_329_75], r)).copysign(q)
}

/// A sum of floats that is rounded once, at the end: any order of the values gives the same bits (Shewchuk 1997:
/// "Adaptive precision floating-point arithmetic and fast robust geometric predicates"; Python's `math.fsum`).
///
/// It holds a few floats, however many values are added: their exact sum, as parts that do not overlap.
#[derive(Clone, Debug, Default)]
pub struct ExactSum {
    /// In ascending magnitude.
    parts: Vec<f64>,
}

impl ExactSum {
    /// No value may lie as far from 0, so that fewer than 10^20 of them cannot overflow.
    const TOO_LARGE: f64 = 1e288;

    /// Whether [`add`](ExactSum::add) takes the value: it is a number between -1e288 and 1e288.
    pub fn takes(value: f64) -> bool {
        value.abs() < ExactSum::TOO_LARGE
    }

    /// Adds a value, which [`takes`](ExactSum::takes) must hold of.
    pub fn add(&mut self, value: f64) {
        debug_assert!(ExactSum::takes(value), "{value} is too large to be summed");
        let mut sum = value;
        let mut kept = 0;
        for at in 0..self.parts.len() {
            let (high, low) = two_sum(sum, self.parts[at]);
            sum = high;
            if low != 0.0 {
                self.parts[kept] = low;
                kept += 1;
            }
        }
        self.parts.truncate(kept);
        self.parts.push(sum);
    }

    /// The float that is nearest to the sum; ties to even, as with every other operation.
    pub fn value(&self) -> f64 {
        let mut parts = self.parts.iter().rev().copied();
        let mut sum = parts.next().unwrap_or(0.0);
        let mut rest = 0.0;
        for part in parts.by_ref() {
            (sum, rest) = two_sum(sum, part);
            if rest != 0.0 {
                break;
            }
        }
        // `sum` was rounded as if the parts below `rest` were nothing. If `rest` is half a place, their sign decides.
        let below = parts.next().unwrap_or(0.0);
        if (rest < 0.0 && below < 0.0) || (rest > 0.0 && below > 0.0) {
            let other = sum + 2.0 * rest;
            if other - sum == 2.0 * rest {
                return other;
            }
        }
        sum
    }
}

/// The rounded sum of two floats, and the rest that the rounding lost; both are exact (Knuth 1997, 4.2.2, theorem B).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    (sum, (a - (sum - of_b)) + (b - of_b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let mut sum = ExactSum::default();
        values.iter().for_each(|value| sum.add(*value));
        sum.value()
    }

    #[test]
    fn a_sum_is_rounded_once() {
        assert_eq!(sum(&[]), 0.0);
        assert_eq!(sum(&[0.1; 10]), 1.0);
        assert_eq!(sum(&[1e200, 1.0, -1e200, 1e-200]), 1.0);
        let half = f64::EPSILON / 2.0;
        assert_eq!(sum(&[1.0, half]), 1.0, "a tie, to even");
        assert_eq!(sum(&[1.0, half, 1e-300]), 1.0 + f64::EPSILON);
        assert_eq!(sum(&[1.0, half, -1e-300]), 1.0);
        assert!(ExactSum::takes(-9e287) && !ExactSum::takes(1e288));
        assert!(!ExactSum::takes(f64::NAN) && !ExactSum::takes(f64::NEG_INFINITY));
    }

    proptest! {
        #[test]
        fn a_sum_does_not_depend_on_the_order(
            (values, shuffled) in proptest::collection::vec(-1e9f64..1e9, 0..40)
                .prop_flat_map(|values| (Just(values.clone()), Just(values).prop_shuffle()))
        ) {
            prop_assert_eq!(sum(&values).to_bits(), sum(&shuffled).to_bits());
            prop_assert!((sum(&values) - values.iter().sum::<f64>()).abs() < 1e-4);
        }

        #[test]
        fn sums_of_fractions_are_those_of_integers(values in proptest::collection::vec(-(1i64 << 40)..1 << 40, 0..60)) {
            let scale = f64::powi(2.0, -60);
            let floats: Vec<f64> = values.iter().map(|value| *value as f64 * scale).collect();
            prop_assert_eq!(sum(&floats), values.iter().sum::<i64>() as f64 * scale);
        }
    }

    #[test]
    fn normal_quantiles_are_those_of_the_tables() {
        for (p, z) in [
            (0.5, 0.0),
            (0.9, 1.281_551_6),
            (0.975, 1.959_964_0),
            (0.995, 2.575_829_3),
            (0.9999, 3.719_016_5),
        ] {
            assert!((normal_quantile(p) - z).abs() < 1e-6, "{p}");
            assert!((normal_quantile(1.0 - p) + z).abs() < 1e-6, "{p}");
        }
        assert!(normal_quantile(0.0) < -6.0 && normal_quantile(1.0) > 6.0);
    }

    #[test]
    fn quantiles_interpolate_between_neighbours() {
        let of = |p| quantile(&[1.0, 2.0, 4.0], p);
        assert_eq!([of(0.5), of(0.75), of(1.0)], [Some(2.0), Some(3.0), Some(4.0)]);
        assert_eq!([of(-1.0), of(2.0)], [Some(1.0), Some(4.0)]);
        assert_eq!(quantile(&[7.0], 0.3), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_median_is_the_middle_value_whatever_the_order() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(vec![9.0, 1.0, 5.0, 7.0]), Some(6.0));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn the_mean_of_nothing_is_zero_and_not_nan() {
        assert_eq!(mean([]), 0.0);
        assert_eq!(mean([1.0, 2.0, 6.0]), 3.0);
    }
}

//! The population stability index: how far a distribution has moved from an earlier one.

use serde::{Deserialize, Serialize};

use crate::statistics::quantile;

/// Stands for the share of an empty bin, whose logarithm is infinite: one row in ten thousand.
const EMPTY: f64 = 1e-4;

/// Bins of numbers, between the deciles of reference data, with one more for values that are missing.
///
/// A number belongs to the bin that ends with the first cut it does not exceed. A cut that is there twice holds a bin of
/// its own: a value that a tenth of the reference shares is told from what lies beside it, as 0 and 1 of a flag are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bins {
    /// Ascending, each at most twice.
    cuts: Vec<f64>,
}

impl Bins {
    /// The bins between the deciles of these ascending numbers; one bin for all without numbers.
    pub fn between_deciles(sorted: &[f64]) -> Bins {
        let mut cuts: Vec<f64> = Vec::new();
        for tenth in 1..10 {
            let Some(cut) = quantile(sorted, f64::from(tenth) / 10.0) else {
                continue;
            };
            if !cuts.ends_with(&[cut, cut]) {
                cuts.push(cut);
            }
        }
        Bins { cuts }
    }

    /// How many of these ascending numbers lie in each bin, from the lowest; the last count is that of `missing` values.
    pub fn counts(&self, sorted: &[f64], missing: u64) -> Vec<u64> {
        let mut counts = Vec::with_capacity(self.cuts.len() + 2);
        let mut below = 0;
        for (at, cut) in self.cuts.iter().enumerate() {
            let opens_its_own = self.cuts.get(at + 1) == Some(cut);
            let upto = sorted.partition_point(|value| if opens_its_own { value < cut } else { value <= cut });
            // Neighbouring cuts may lie in the wrong order by a rounding.
            let upto = upto.max(below);
            counts.push((upto - below) as u64);
            below = upto;
        }
        counts.push((sorted.len() - below) as u64);
        counts.push(missing);
        counts
    }
}

/// The population stability index of two samples, counted in the same bins: the sum of `(p - q) * ln(p / q)` over the
/// bins' shares `p` and `q`; `None` if one sample is empty. It is 0 for equal shares, the same both ways, and never
/// negative.
///
/// Formula and thresholds: Siddiqi 2006, "Credit Risk Scorecards" (below 0.1 no change to speak of, above 0.25 a
/// considerable one); as a divergence it is that of Jeffreys 1946. Its expectation for samples of one distribution is
/// about `(bins - 1) * (1 / n + 1 / m)` for `n` and `m` rows (Yurdakul 2018, "Statistical Properties of Population
/// Stability Index"), so a threshold of 0.1 needs some hundred rows.
///
/// # Panics
/// Different numbers of bins.
pub fn stability_index(a: &[u64], b: &[u64]) -> Option<f64> {
    assert_eq!(a.len(), b.len(), "both are counted in the same bins");
    let (all_a, all_b) = (a.iter().sum::<u64>(), b.iter().sum::<u64>());
    if all_a == 0 || all_b == 0 {
        return None;
    }
    let share = |count: u64, all: u64| (count as f64 / all as f64).max(EMPTY);
    let bins = a.iter().zip(b).map(|(&a, &b)| {
        let (p, q) = (share(a, all_a), share(b, all_b));
        (p - q) * (p / q).ln()
    });
    Some(bins.sum())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(mut values: Vec<f64>) -> Vec<f64> {
        values.sort_by(f64::total_cmp);
        values
    }

    /// The index of `now` against `reference`, with no missing values.
    fn index(reference: &[f64], now: &[f64]) -> f64 {
        let bins = Bins::between_deciles(reference);
        stability_index(&bins.counts(reference, 0), &bins.counts(now, 0)).unwrap()
    }

    #[test]
    fn the_index_is_the_formula() {
        // Shares 0.5, 0.5 and 0.2, 0.8.
        let expected = 0.3 * (0.5_f64 / 0.2).ln() - 0.3 * (0.5_f64 / 0.8).ln();
        assert!((stability_index(&[50, 50], &[20, 80]).unwrap() - expected).abs() < 1e-12);
        assert_eq!(stability_index(&[0, 0], &[1, 2]), None);
    }

    #[test]
    fn each_tenth_of_the_reference_is_a_bin() {
        let reference: Vec<f64> = (0..1000).map(f64::from).collect();
        let bins = Bins::between_deciles(&reference);
        assert_eq!(
            bins.counts(&reference, 7),
            [100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 7]
        );
        assert_eq!(Bins::between_deciles(&[]).counts(&[], 3), [0, 3]);
    }

    #[test]
    fn a_value_that_many_rows_share_is_told_from_both_its_sides() {
        let constant = vec![0.5; 100];
        assert_eq!(
            Bins::between_deciles(&constant).counts(&[0.4, 0.5, 0.5, 0.6], 1),
            [1, 2, 1, 1]
        );
        for moved in [0.2, 0.8] {
            assert!(index(&constant, &[moved; 100]) > 10.0, "{moved}");
        }
        let flag = sorted((0..100).map(|at| f64::from(u8::from(at % 5 == 0))).collect());
        assert!(index(&flag, &[0.0; 100]) > 1.0);
        assert!(index(&flag, &[1.0; 100]) > 1.0);
    }

    #[test]
    fn values_that_go_missing_are_a_change() {
        let reference: Vec<f64> = (0..1000).map(f64::from).collect();
        let bins = Bins::between_deciles(&reference);
        let half = bins.counts(&sorted(reference.iter().copied().step_by(2).collect()), 500);
        assert!(stability_index(&bins.counts(&reference, 0), &half).unwrap() > 1.0);
    }

    fn counts() -> impl Strategy<Value = (Vec<u64>, Vec<u64>)> {
        prop::collection::vec((0..1000_u64, 0..1000_u64), 1..20).prop_map(|bins| {
            let (mut a, mut b): (Vec<u64>, Vec<u64>) = bins.into_iter().unzip();
            a[0] += 1;
            b[0] += 1;
            (a, b)
        })
    }

    proptest! {
        #[test]
        fn the_index_is_symmetric_finite_and_never_negative((a, b) in counts()) {
            let there = stability_index(&a, &b).unwrap();
            let back = stability_index(&b, &a).unwrap();
            prop_assert!(there >= 0.0 && there.is_finite(), "{there}");
            prop_assert!((there - back).abs() <= 1e-12 * there.max(1.0), "{there} {back}");
        }

        #[test]
        fn equal_shares_give_0_whatever_their_number((a, _) in counts(), times in 1..9_u64) {
            let more: Vec<u64> = a.iter().map(|count| count * times).collect();
            prop_assert_eq!(stability_index(&a, &more), Some(0.0));
        }

        #[test]
        fn a_moved_share_gives_more_than_0(a in prop::collection::vec(10..1000_u64, 2..20)) {
            let mut b = a.clone();
            b[0] -= 5;
            b[1] += 5;
            prop_assert!(stability_index(&a, &b).unwrap() > 0.0);
        }

        #[test]
        fn every_value_is_in_one_bin(
            reference in prop::collection::vec(prop_oneof![0.0..1.0_f64, Just(0.0), Just(0.5), Just(1.0)], 0..80),
            values in prop::collection::vec(prop_oneof![-1.0..2.0_f64, Just(0.0), Just(0.5), Just(1.0)], 0..80),
            missing in 0..9_u64,
        ) {
            let bins = Bins::between_deciles(&sorted(reference));
            let counts = bins.counts(&sorted(values.clone()), missing);
            prop_assert_eq!(counts.iter().sum::<u64>(), values.len() as u64 + missing);
            prop_assert_eq!(counts.last(), Some(&missing));
        }

        #[test]
        fn identical_data_has_not_drifted(values in prop::collection::vec(-5.0..5.0_f64, 1..200)) {
            let values = sorted(values);
            prop_assert_eq!(index(&values, &values), 0.0);
        }
    }
}

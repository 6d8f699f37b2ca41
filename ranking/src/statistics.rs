//! Means and quantiles, defined once.

/// The mean; 0 without values, so that no NaN reaches a report. Callers look at the number of values first.
pub fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut count = 0_usize;
    let sum: f64 = values.into_iter().inspect(|_| count += 1).sum();
    if count == 0 { 0.0 } else { sum / count as f64 }
}

/// The `p` quantile of ascending values, interpolated linearly between neighbours (type 7 of Hyndman and Fan 1996:
/// "Sample quantiles in statistical packages"); `None` without values. `p` is held between 0 and 1.
pub fn quantile(sorted: &[f64], p: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = p.clamp(0.0, 1.0) * last as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (at - below as f64))
}

/// The middle value, or the mean of the two middle ones; `None` without values.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

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

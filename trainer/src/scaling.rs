//! Fits the min-max scaler, on the training part alone.

/// Offset (minimum) and scale (range) of each column of row-major `values`.
///
/// `(x - offset) / scale` spans [0, 1] over the present values; NaN means missing and is ignored.
/// The scale is 1 if the column is constant, always missing, or if its range overflows an `f64`.
pub fn fit_min_max(values: &[f64], width: usize) -> (Vec<f64>, Vec<f64>) {
    let mut low = vec![f64::INFINITY; width];
    let mut high = vec![f64::NEG_INFINITY; width];
    for row in values.chunks_exact(width) {
        for (at, &value) in row.iter().enumerate() {
            if !value.is_nan() {
                low[at] = low[at].min(value);
                high[at] = high[at].max(value);
            }
        }
    }
    let ranges = low.iter().zip(&high).map(|(low, high)| high - low);
    let scale = ranges
        .map(|range| if range > 0.0 && range.is_finite() { range } else { 1.0 })
        .collect();
    let offset = low
        .into_iter()
        .map(|low| if low.is_finite() { low } else { 0.0 })
        .collect();
    (offset, scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: f64 = f64::NAN;

    #[test]
    fn what_is_present_spans_zero_to_one() {
        let values = [2.0, MISSING, 4.0, 5.0, 3.0, 6.0];
        let (offset, scale) = fit_min_max(&values, 2);
        assert_eq!(offset, [2.0, 5.0]);
        assert_eq!(scale, [2.0, 1.0]);
    }

    #[test]
    fn a_constant_or_absent_column_is_only_shifted() {
        let values = [7.0, MISSING, -1e308, 7.0, MISSING, 1e308];
        let (offset, scale) = fit_min_max(&values, 3);
        assert_eq!(offset, [7.0, 0.0, -1e308]);
        assert_eq!(scale, [1.0, 1.0, 1.0]);
    }
}

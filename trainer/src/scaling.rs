//! Fits the min-max scaler, on the training part alone.

/// The least and the largest value of each column so far.
#[derive(Debug, Clone)]
pub struct MinMax {
    low: Vec<f64>,
    high: Vec<f64>,
}

impl MinMax {
    /// Of no row yet.
    pub fn new(width: usize) -> MinMax {
        MinMax {
            low: vec![f64::INFINITY; width],
            high: vec![f64::NEG_INFINITY; width],
        }
    }

    /// Adds a row; NaN means missing and is ignored.
    pub fn add(&mut self, row: &[f64]) {
        for (at, &value) in row.iter().enumerate() {
            if !value.is_nan() {
                self.low[at] = self.low[at].min(value);
                self.high[at] = self.high[at].max(value);
            }
        }
    }

    /// Offset (minimum) and scale (range) of each column.
    ///
    /// `(x - offset) / scale` spans [0, 1] over the present values. The scale is 1 if the column is
    /// constant, always missing, or if its range overflows an `f64`.
    pub fn fit(self) -> (Vec<f64>, Vec<f64>) {
        let ranges = self.low.iter().zip(&self.high).map(|(low, high)| high - low);
        let scale = ranges
            .map(|range| if range > 0.0 && range.is_finite() { range } else { 1.0 })
            .collect();
        let low = self.low.into_iter();
        let offset = low.map(|low| if low.is_finite() { low } else { 0.0 }).collect();
        (offset, scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: f64 = f64::NAN;

    fn fit<const WIDTH: usize>(rows: &[[f64; WIDTH]]) -> (Vec<f64>, Vec<f64>) {
        let mut seen = MinMax::new(WIDTH);
        rows.iter().for_each(|row| seen.add(row));
        seen.fit()
    }

    #[test]
    fn what_is_present_spans_zero_to_one() {
        let (offset, scale) = fit(&[[2.0, MISSING], [4.0, 5.0], [3.0, 6.0]]);
        assert_eq!(offset, [2.0, 5.0]);
        assert_eq!(scale, [2.0, 1.0]);
    }

    #[test]
    fn a_constant_or_absent_column_is_only_shifted() {
        let (offset, scale) = fit(&[[7.0, MISSING, -1e308], [7.0, MISSING, 1e308]]);
        assert_eq!(offset, [7.0, 0.0, -1e308]);
        assert_eq!(scale, [1.0, 1.0, 1.0]);
    }
}

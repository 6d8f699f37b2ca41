//! Rows to train on and rows to score: as many as are asked for, never the same twice.

use std::f64::consts::TAU;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How the values of a column are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shape {
    /// Uniform in [0, 1), hardly ever the same value twice
    Uniform,
    /// Lognormal, two significant digits: skewed, with heavy ties
    Lognormal,
}

impl Shape {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Shape::Uniform => "uniform",
            Shape::Lognormal => "lognormal with ties",
        }
    }
}

/// Where rows come from.
#[derive(Debug)]
pub(crate) enum Source {
    Synthetic(Columns),
    /// Rows of a file, two of them crossed: each value is either's, at the toss of a coin.
    Crossed {
        values: Vec<f64>,
        width: usize,
    },
}

/// Independent columns.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    pub width: usize,
    pub shape: Shape,
    /// The first columns are categories, 0 to one below this each.
    pub categories: Vec<u32>,
    /// Part of the values that is NaN.
    pub missing: f64,
}

impl Source {
    pub(crate) fn width(&self) -> usize {
        match self {
            Source::Synthetic(columns) => columns.width,
            Source::Crossed { width, .. } => *width,
        }
    }

    /// `n` rows, row-major.
    pub(crate) fn draw(&self, rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
        match self {
            Source::Synthetic(columns) => (0..n * columns.width)
                .map(|i| columns.value(rng, i % columns.width))
                .collect(),
            Source::Crossed { values, width } => {
                let mut rows = Vec::with_capacity(n * width);
                for _ in 0..n {
                    let [a, b] = [(); 2].map(|()| rng.random_range(0..values.len() / width) * width);
                    rows.extend((0..*width).map(|i| values[if rng.random() { a } else { b } + i]));
                }
                rows
            }
        }
    }
}

impl Columns {
    fn value(&self, rng: &mut ChaCha8Rng, column: usize) -> f64 {
        if self.missing > 0.0 && rng.random::<f64>() < self.missing {
            return f64::NAN;
        }
        match (self.categories.get(column), self.shape) {
            (Some(&categories), _) => f64::from(rng.random_range(0..categories)),
            (None, Shape::Uniform) => rng.random(),
            (None, Shape::Lognormal) => two_digits(normal(rng).exp()),
        }
    }

    /// A target with thresholds and interactions on every column, so that the trees use all of them.
    pub(crate) fn target(&self, row: &[f64], rng: &mut ChaCha8Rng) -> f32 {
        let effect = |(column, &x): (usize, &f64)| {
            if x.is_nan() {
                0.3
            } else if column < self.categories.len() {
                // Neighbouring categories have nothing in common.
                ((x + 1.0) * (column as f64 + 1.7)).sin()
            } else if self.shape == Shape::Lognormal {
                x / (1.0 + x)
            } else {
                x
            }
        };
        let effects: Vec<f64> = row.iter().enumerate().map(effect).collect();
        let pairs = effects.windows(2).map(|w| if w[0] > 0.4 { w[1] * w[1] } else { w[0] });
        (pairs.sum::<f64>() + 0.2 * rng.random::<f64>()) as f32
    }
}

/// A generator of its own for each purpose, so that what one draws does not shift the others.
pub(crate) fn generator(seed: u64, case: &str, purpose: u64) -> ChaCha8Rng {
    let name = case
        .bytes()
        .fold(seed, |hash, byte| hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte));
    let mut rng = ChaCha8Rng::seed_from_u64(name);
    rng.set_stream(purpose);
    rng
}

/// Standard normal, by Box and Muller.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (TAU * rng.random::<f64>()).cos()
}

fn two_digits(x: f64) -> f64 {
    let unit = 10f64.powf(x.log10().floor() - 1.0);
    (x / unit).round() * unit
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn columns(shape: Shape) -> Columns {
        Columns {
            width: 4,
            shape,
            categories: vec![5],
            missing: 0.15,
        }
    }

    #[test]
    fn a_category_is_a_whole_number_below_its_limit_and_the_missing_are_nan() {
        let rows = Source::Synthetic(columns(Shape::Uniform)).draw(&mut generator(1, "case", 0), 4_000);
        let missing = rows.iter().filter(|x| x.is_nan()).count() as f64 / rows.len() as f64;
        assert!((0.12..0.18).contains(&missing), "{missing}");
        let categories = rows.iter().step_by(4).filter(|x| !x.is_nan());
        let seen: HashSet<u64> = categories.map(|x| x.to_bits()).collect();
        assert_eq!(seen, (0..5).map(|c| f64::from(c).to_bits()).collect());
    }

    #[test]
    fn uniform_values_hardly_tie_and_lognormal_ones_tie_heavily_and_are_skewed() {
        let second = |shape| -> Vec<f64> {
            let rows = Source::Synthetic(columns(shape)).draw(&mut generator(1, "case", 0), 4_000);
            rows.into_iter().skip(1).step_by(4).filter(|x| !x.is_nan()).collect()
        };
        let distinct = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<HashSet<_>>().len();
        let (uniform, lognormal) = (second(Shape::Uniform), second(Shape::Lognormal));
        assert_eq!(distinct(&uniform), uniform.len());
        assert!(distinct(&lognormal) < lognormal.len() / 10, "{}", distinct(&lognormal));
        let above_mean = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            values.iter().filter(|&&x| x > mean).count() as f64 / values.len() as f64
        };
        assert!(above_mean(&lognormal) < 0.4, "{}", above_mean(&lognormal));
    }

    #[test]
    fn two_significant_digits_are_kept() {
        for (x, rounded) in [(1.2345, 1.2), (0.012_67, 0.013), (98.7, 99.0), (9.96, 10.0)] {
            assert!((two_digits(x) - rounded).abs() < 1e-12, "{x}");
        }
    }

    #[test]
    fn crossed_rows_hold_values_of_the_file_in_their_columns() {
        let source = Source::Crossed {
            values: vec![1.0, 10.0, 2.0, 20.0, 3.0, 30.0],
            width: 2,
        };
        let rows = source.draw(&mut generator(1, "case", 0), 200);
        assert_eq!(rows.len(), 400);
        for row in rows.chunks(2) {
            assert!([1.0, 2.0, 3.0].contains(&row[0]) && [10.0, 20.0, 30.0].contains(&row[1]));
        }
        assert!(rows.chunks(2).any(|row| row[0] * 10.0 != row[1]));
    }

    #[test]
    fn the_same_seed_gives_the_same_rows_and_another_purpose_other_ones() {
        let source = Source::Synthetic(Columns {
            missing: 0.0,
            ..columns(Shape::Lognormal)
        });
        let draw = |seed, purpose| source.draw(&mut generator(seed, "case", purpose), 50);
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
        assert_ne!(draw(1, 0), draw(2, 0));
    }
}

//! The pointwise rival: the `gbdt` crate predicts the label of each row on its own.

use gbdt::config::Config;
use gbdt::decision_tree::{Data, DataVec};
use gbdt::gradient_boost::GBDT;

/// A usual model size for such data. On the demo, five times as many leaves (100 trees of depth 5)
/// took three times as long and did not rank better.
const TREES: usize = 40;
const DEPTH: u32 = 4;
const SHRINKAGE: f32 = 0.2;
const MIN_LEAF: usize = 20;

/// Replaces a missing value; far below every scaled value, so that one split separates it.
///
/// The crate's own constant for missing values, `VALUE_TYPE_UNKNOWN`, cannot be used. In training,
/// `fit_node` drops the rows whose split feature is unknown. For these rows, `fit` then adds the
/// cache's initial value, `f32::MIN`, to the prediction so far. Their next target is about 3e37,
/// and all later trees fit only that. With a few hundred such rows all sums overflow, and the model
/// predicts a constant. The test `the_crate_loses_rows_with_its_own_unknown` is the smallest
/// reproduction.
const MISSING: f32 = -1_000.0;

/// A pointwise regression on the labels.
pub(super) struct Model {
    trees: GBDT,
    width: usize,
}

impl Model {
    /// Fits squared error on row-major `values` (scaled; NaN = missing) and one label per row.
    pub(super) fn fit(values: &[f64], labels: &[f64], width: usize) -> Model {
        let mut rows: DataVec = values
            .chunks_exact(width)
            .zip(labels)
            .map(|(row, &label)| Data::new_training_data(known(row), 1.0, label as f32, None))
            .collect();
        let mut trees = GBDT::new(&config(width));
        trees.fit(&mut rows);
        Model { trees, width }
    }

    /// The predicted label of each row.
    pub(super) fn predict(&self, values: &[f64]) -> Vec<f64> {
        let rows: DataVec = values
            .chunks_exact(self.width)
            .map(|row| Data::new_test_data(known(row), None))
            .collect();
        let labels = self.trees.predict(&rows);
        labels.into_iter().map(f64::from).collect()
    }
}

fn config(width: usize) -> Config {
    let mut config = Config::new();
    config.set_feature_size(width);
    config.set_iterations(TREES);
    config.set_max_depth(DEPTH);
    config.set_shrinkage(SHRINKAGE);
    config.set_min_leaf_size(MIN_LEAF);
    config.set_loss("SquaredError");
    config
}

fn known(row: &[f64]) -> Vec<f32> {
    let value = |&x: &f64| if x.is_nan() { MISSING } else { x as f32 };
    row.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use gbdt::decision_tree::VALUE_TYPE_UNKNOWN;

    use super::*;

    /// One feature with a step in the label at 0.5. Every fourth row lacks the feature and has the
    /// label 0.3.
    fn step() -> (Vec<f64>, Vec<f64>) {
        let row = |i: u32| match i % 4 {
            0 => (f64::NAN, 0.3),
            _ => {
                let value = f64::from(i % 100) / 100.0;
                (value, f64::from(u8::from(value >= 0.5)))
            }
        };
        (0..400).map(row).unzip()
    }

    #[test]
    fn a_step_is_learned_in_a_feature_that_is_often_missing() {
        let (values, labels) = step();
        let scores = Model::fit(&values, &labels, 1).predict(&[0.9, 0.1, f64::NAN]);
        let truth = [1.0, 0.0, 0.3];
        assert!(
            scores
                .iter()
                .zip(truth)
                .all(|(score, truth)| (score - truth).abs() < 0.1),
            "{scores:?}"
        );
    }

    /// The reason for [`MISSING`]. Once this fails with a newer version of the crate, use the
    /// crate's constant instead.
    #[test]
    fn the_crate_loses_rows_with_its_own_unknown() {
        let (values, labels) = step();
        let rows = values.iter().zip(&labels);
        let mut rows: DataVec = rows
            .map(|(&x, &label)| {
                let x = if x.is_nan() { VALUE_TYPE_UNKNOWN } else { x as f32 };
                Data::new_training_data(vec![x], 1.0, label as f32, None)
            })
            .collect();
        let mut trees = GBDT::new(&config(1));
        trees.fit(&mut rows);
        let missing = trees.predict(&vec![Data::new_test_data(vec![VALUE_TYPE_UNKNOWN], None)]);
        assert!(
            missing[0].is_nan() || missing[0].abs() >= 1e6,
            "the label is 0.3: {missing:?}"
        );
    }
}

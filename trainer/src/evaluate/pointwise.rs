//! The rival that ranks by predicting each lawyer's label alone: the `gbdt` crate.

use gbdt::config::Config;
use gbdt::decision_tree::{Data, DataVec, VALUE_TYPE_UNKNOWN};
use gbdt::gradient_boost::GBDT;

/// A model of the usual size for tables of this kind; it is a yardstick, not a competitor to tune.
const TREES: usize = 100;
const DEPTH: u32 = 5;
const SHRINKAGE: f32 = 0.1;
const MIN_LEAF: usize = 20;

/// A pointwise regression on the labels.
pub(super) struct Model {
    trees: GBDT,
    width: usize,
}

impl Model {
    /// Fits squared error on row-major `values` (NaN = missing) and one label a row.
    pub(super) fn fit(values: &[f64], labels: &[f64], width: usize) -> Model {
        let mut config = Config::new();
        config.set_feature_size(width);
        config.set_iterations(TREES);
        config.set_max_depth(DEPTH);
        config.set_shrinkage(SHRINKAGE);
        config.set_min_leaf_size(MIN_LEAF);
        config.set_loss("SquaredError");
        let mut rows: DataVec = values
            .chunks_exact(width)
            .zip(labels)
            .map(|(row, &label)| Data::new_training_data(known(row), 1.0, label as f32, None))
            .collect();
        let mut trees = GBDT::new(&config);
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

/// `gbdt` keeps a value of its own for what is missing and sends it down a branch of its own.
fn known(row: &[f64]) -> Vec<f32> {
    let value = |&x: &f64| {
        if x.is_nan() { VALUE_TYPE_UNKNOWN } else { x as f32 }
    };
    row.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_in_one_feature_is_learned_beside_missing_values() {
        let values: Vec<f64> = (0..400)
            .flat_map(|i| [f64::from(i % 100) / 100.0, if i % 3 == 0 { f64::NAN } else { 0.5 }])
            .collect();
        let steps = values.chunks_exact(2).map(|row| f64::from(u8::from(row[0] >= 0.5)));
        let labels: Vec<f64> = steps.collect();
        let model = Model::fit(&values, &labels, 2);
        let scores = model.predict(&[0.9, f64::NAN, 0.1, 0.5]);
        assert!(scores[0] > 0.9 && scores[1] < 0.1, "{scores:?}");
    }
}

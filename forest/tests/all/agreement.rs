//! The packed evaluator gives the oracle's scores to the last bit.

use forest::{Forest, Model, Output, Scaler, oracle, pack};
use proptest::prelude::*;

use crate::generator::{Random, model_text, rows};
use crate::shapes::shapes;

/// Bits, with every NaN as one: its payload means nothing.
pub(crate) fn bits(scores: &[f64]) -> Vec<u64> {
    scores
        .iter()
        .map(|x| if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() })
        .collect()
}

fn by_the_rules(model: &Model, rows: &[f64], output: Output) -> Vec<f64> {
    let outputs = model.num_outputs();
    let mut scores = vec![0.0; rows.len() / model.num_features() * outputs];
    for (row, out) in rows.chunks(model.num_features()).zip(scores.chunks_mut(outputs)) {
        oracle::score(model, row, output, out);
    }
    scores
}

fn packed(model: &Model, scaler: Option<&Scaler>, rows: &[f64], output: Output) -> Vec<f64> {
    let image = pack(model, scaler);
    let forest = Forest::new(&image).expect("pack makes valid images");
    assert_eq!(forest.width(), model.num_features());
    assert_eq!(forest.trees(), model.num_trees());
    let mut scores = vec![f64::NAN; rows.len() / forest.width() * forest.outputs()];
    forest.score(rows, output, &mut scores);
    scores
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn packed_scores_are_the_oracles(shape in shapes(), count in 1..=40_usize) {
        let (text, thresholds) = model_text(&shape);
        let model = Model::parse(text.as_bytes()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(model.num_trees(), shape.iterations * shape.outputs());
        let rows = rows(count, shape.features, &thresholds, &mut Random(shape.seed ^ 1));
        for output in [Output::Raw, Output::Converted] {
            let expected = by_the_rules(&model, &rows, output);
            prop_assert_eq!(bits(&packed(&model, None, &rows, output)), bits(&expected));
        }
    }

    #[test]
    fn a_scaled_forest_scores_as_scaling_first_does(shape in shapes(), count in 1..=12_usize) {
        let (text, thresholds) = model_text(&shape);
        let model = Model::parse(text.as_bytes()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let mut random = Random(shape.seed ^ 2);
        let offset = (0..shape.features).map(|_| random.unit() - 0.5).collect();
        let scale = (0..shape.features).map(|_| random.unit() + 0.1).collect();
        let scaler = Scaler::new(offset, scale).expect("finite, above 0");
        let rows = rows(count, shape.features, &thresholds, &mut random);
        let mut scaled = rows.clone();
        scaled.chunks_mut(shape.features).for_each(|row| scaler.apply(row));
        let expected = by_the_rules(&model, &scaled, Output::Raw);
        prop_assert_eq!(bits(&packed(&model, Some(&scaler), &rows, Output::Raw)), bits(&expected));
    }

    #[test]
    fn packing_is_deterministic(shape in shapes()) {
        let (text, _) = model_text(&shape);
        let image = || pack(&Model::parse(text.as_bytes()).expect("valid"), None);
        prop_assert_eq!(image(), image());
    }
}

#[test]
fn scalers_refuse_what_cannot_scale() {
    assert!(Scaler::new(vec![0.0], vec![]).is_err());
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = Scaler::new(vec![0.0, 0.0], vec![1.0, scale]).unwrap_err();
        assert!(error.to_string().contains("feature 1"), "{error}");
    }
    assert!(Scaler::new(vec![f64::NEG_INFINITY], vec![1.0]).is_err());
}

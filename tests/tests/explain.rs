//! Models that LightGBM grows are explained as LightGBM explains them (`pred_contrib`): by the compiled component in
//! the sandbox and by the packed forest outside WebAssembly. What LightGBM refuses is refused.

mod models;

use forest::{ExplainError, Forest, Model, Output, pack};
use ltr_trainer::lightgbm::Predictor;
use runtime::{Engine, Limits, ScoreError, Scorer};
use serde_json::{Value, json};

use models::*;
use testkit::PATIENCE;

/// Of LightGBM's value, and beyond it.
const TOLERANCE: f64 = 1e-9;

/// Grows a model on rows with missing values, and holds every evaluator to LightGBM's contributions for hostile rows,
/// and the contributions' sum to the score. The model's text comes back.
fn check(parameters: Value, label: fn(f64) -> f32) -> String {
    let data = Data::new(true);
    let (text, _) = grow(&data, parameters, label);
    let rows = hostile_rows(&data, &text);
    let lightgbm = Predictor::from_text(&text).unwrap();
    let expected = lightgbm.predict_contributions(&rows).unwrap();
    let raw = lightgbm.predict_raw(&rows).unwrap();
    assert_eq!(expected.len(), raw.len() * (WIDTH + 1), "a group a score");

    let native = natively(&text, &rows).unwrap();
    close("LightGBM's", &native, &expected);
    let sums: Vec<f64> = native.chunks(WIDTH + 1).map(|group| group.iter().sum()).collect();
    close("the raw scores", &sums, &raw);

    let scorer = load(&text);
    for batch in [1, 7, rows.len() / WIDTH] {
        // A row at a time costs a call each: some of them are enough.
        let rows = &rows[..rows.len().min(batch * 400 * WIDTH)];
        let sandboxed = in_batches(rows, batch, |rows| scorer.explain(rows, PATIENCE).unwrap());
        let same = sandboxed.iter().zip(&native).all(|(a, b)| bits(*a) == bits(*b));
        assert!(same, "the component differs from the forest, {batch} rows at a time");
    }
    text
}

/// The greatest difference is printed, for whoever asks for the output of a test that holds.
fn close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let mut greatest = 0.0_f64;
    for (at, (a, b)) in found.iter().zip(expected).enumerate() {
        let difference = (a - b).abs();
        assert!(
            difference <= TOLERANCE + TOLERANCE * b.abs(),
            "{what}: number {at} is {a:e} instead of {b:e}"
        );
        greatest = greatest.max(difference);
    }
    let exact = found.iter().zip(expected).filter(|(a, b)| a.to_bits() == b.to_bits());
    println!(
        "{what}: {} of {} to the last bit, greatest difference {greatest:e}",
        exact.count(),
        found.len()
    );
}

fn natively(text: &str, rows: &[f64]) -> Result<Vec<f64>, ExplainError> {
    let model = Model::parse(text.as_bytes()).unwrap();
    let image = pack(&model, None);
    let forest = Forest::new(&image).unwrap();
    let mut out = vec![f64::NAN; rows.len() / WIDTH * forest.outputs() * (WIDTH + 1)];
    forest.explain(rows, &mut out).map(|()| out)
}

fn load(text: &str) -> Scorer {
    Engine::new(Limits::default()).unwrap().load(&compiled(text)).unwrap()
}

#[test]
fn numbers_with_missing_values() {
    let text = check(json!({"objective": "regression"}), real);
    assert!(decision_types(&text).iter().any(|&d| missing_type(d) == 2));
    assert!(thresholds(&text).iter().any(|&(_, t)| t.abs() == ZERO));
}

#[test]
fn zero_as_missing() {
    let text = check(json!({"objective": "regression", "zero_as_missing": true}), real);
    assert!(decision_types(&text).iter().any(|&d| missing_type(d) == 1));
}

#[test]
fn missing_values_without_a_meaning() {
    let text = check(json!({"objective": "regression", "use_missing": false}), real);
    assert!(decision_types(&text).iter().all(|&d| missing_type(d) == 0));
}

#[test]
fn categories() {
    let mut parameters = with_categories("multiclass");
    parameters["num_class"] = json!(3);
    let text = check(parameters, class);
    assert!(decision_types(&text).iter().any(|&d| categorical(d)));
    check(with_categories("binary"), yes);
}

#[test]
fn classes_and_constant_trees() {
    let text = check(json!({"objective": "multiclass", "num_class": 4}), class);
    assert!(text.contains("num_leaves=1\n"), "no constant tree");
    check(
        json!({"objective": "multiclassova", "num_class": 3, "sigmoid": 0.6}),
        class,
    );
}

#[test]
fn scores_that_an_objective_converts_are_explained_raw() {
    check(json!({"objective": "binary", "sigmoid": 1.7}), yes);
    check(json!({"objective": "poisson"}), count);
    check(json!({"objective": "gamma"}), positive);
    check(json!({"objective": "cross_entropy"}), share);
    check(json!({"objective": "regression", "reg_sqrt": true}), real);
}

#[test]
fn rankings() {
    check(json!({"objective": "lambdarank"}), grade);
    check(json!({"objective": "rank_xendcg"}), grade);
}

#[test]
fn a_random_forest_is_explained_before_it_is_averaged() {
    let text = check(forest_of("regression"), real);
    assert!(text.contains("\naverage_output\n"));
    let mut classes = forest_of("multiclass");
    classes["num_class"] = json!(3);
    check(classes, class);
}

#[test]
fn dart_and_goss() {
    check(
        json!({"objective": "regression", "boosting": "dart", "drop_rate": 0.3, "num_iterations": 30}),
        real,
    );
    check(json!({"objective": "binary", "data_sample_strategy": "goss"}), yes);
}

#[test]
fn deep_trees_that_ask_a_feature_again_and_again() {
    let parameters = json!({
        "objective": "regression", "num_leaves": 300, "min_data_in_leaf": 1, "num_iterations": 6,
        "learning_rate": 0.3, "min_sum_hessian_in_leaf": 0.0,
    });
    let text = check(parameters, real);
    assert!(text.contains("num_leaves=300\n"));
}

#[test]
fn a_constant_label() {
    let text = check(json!({"objective": "regression"}), constant);
    assert!(thresholds(&text).is_empty());
}

#[test]
fn linear_trees_are_refused_as_lightgbm_refuses_them() {
    let (text, _) = grow(&Data::new(true), linear("regression"), real);
    let row = [0.0; WIDTH];
    let lightgbm = Predictor::from_text(&text).unwrap();
    let refusal = lightgbm.predict_contributions(&row).unwrap_err();
    assert!(refusal.to_string().contains("linear trees"), "{refusal}");
    assert_eq!(natively(&text, &row), Err(ExplainError::LinearTrees));
    refused(&text, "linear trees");
}

#[test]
fn a_model_without_counts_is_scored_and_not_explained() {
    let (text, _) = grow(&Data::new(true), json!({"objective": "regression"}), real);
    let kept = |line: &&str| !line.starts_with("leaf_count=") && !line.starts_with("tree_sizes=");
    let without: String = text.lines().filter(kept).flat_map(|line| [line, "\n"]).collect();
    refused(&without, "leaf_count and internal_count");
}

/// The component says no and why, and goes on scoring.
fn refused(text: &str, reason: &str) {
    let scorer = load(text);
    let row = [0.5; WIDTH];
    let before = scorer.score(&row, runtime::Output::Raw, PATIENCE).unwrap();
    match scorer.explain(&row, PATIENCE) {
        Err(ScoreError::Refused(said)) => assert!(said.contains(reason), "{said}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(scorer.score(&row, runtime::Output::Raw, PATIENCE).unwrap(), before);
    let model = Model::parse(text.as_bytes()).unwrap();
    let mut native = [0.0];
    Forest::new(&pack(&model, None))
        .unwrap()
        .score(&row, Output::Raw, &mut native);
    assert_eq!(native.as_slice(), before);
}

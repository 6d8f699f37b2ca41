//! Models that LightGBM grows are scored as LightGBM scores them, to the last bit: by the compiled
//! component in the sandbox, by the packed forest outside WebAssembly, and by the oracle.

mod models;

use std::collections::BTreeSet;
use std::time::Duration;

use forest::{Forest, Model, Output, oracle, pack};
use runtime::{Engine, Limits, Scorer, inspect};
use serde_json::{Value, json};

use models::*;

/// Grows a model on rows with missing values and holds every evaluator to LightGBM's scores.
/// `objective` is the line LightGBM is to write; the model's text comes back.
fn check(objective: &str, parameters: Value, label: fn(f64) -> f32) -> String {
    agree(objective, parameters, label, &Data::new(true))
}

/// As [`check`], on rows without missing values.
fn check_complete(objective: &str, parameters: Value, label: fn(f64) -> f32) -> String {
    agree(objective, parameters, label, &Data::new(false))
}

fn agree(objective: &str, parameters: Value, label: fn(f64) -> f32, data: &Data) -> String {
    let (text, lightgbm) = grow(data, parameters, label);
    let model = Model::parse(text.as_bytes()).unwrap();
    assert_eq!(model.objective(), objective);
    let rows = hostile_rows(data, &text);

    let component = compiled(&text);
    assert!(inspect(&component).unwrap().imports.is_empty());
    assert_eq!(component, compiled(&text), "the same model, other bytes");
    let engine = Engine::new(Limits::default()).unwrap();
    let scorer = engine.load(&component).unwrap();
    assert_eq!(scorer.width(), WIDTH);
    assert_eq!(scorer.description().trees as usize, model.num_trees());

    let image = pack(&model, None);
    let packed = Forest::new(&image).unwrap();

    for output in [Output::Raw, Output::Converted] {
        let expected = predict(&lightgbm, &rows, output);
        assert_eq!(expected.len(), rows.len() / WIDTH * model.num_outputs());
        if !thresholds(&text).is_empty() {
            let scores: BTreeSet<u64> = expected.iter().map(|&x| bits(x)).collect();
            assert!(scores.len() > 40, "only {} different scores", scores.len());
        }
        let hold = |evaluator: &str, scores: &[f64]| {
            same(&format!("{evaluator}, {output:?}"), &rows, scores, &expected);
        };
        hold("oracle", &by_the_rules(&model, &rows, output));
        for batch in [1, 7, rows.len() / WIDTH] {
            hold(
                &format!("packed, {batch} rows at a time"),
                &in_batches(&rows, batch, |rows| natively(&packed, rows, output)),
            );
            hold(
                &format!("component, {batch} rows at a time"),
                &in_batches(&rows, batch, |rows| sandboxed(&scorer, rows, output)),
            );
        }
    }
    text
}

fn predict(lightgbm: &lightgbm3::Booster, rows: &[f64], output: Output) -> Vec<f64> {
    let (width, threads) = (WIDTH as i32, "num_threads=1");
    match output {
        Output::Raw => lightgbm.raw_scores_with_params(rows, width, true, threads),
        Output::Converted => lightgbm.predict_with_params(rows, width, true, threads),
    }
    .unwrap()
}

fn by_the_rules(model: &Model, rows: &[f64], output: Output) -> Vec<f64> {
    in_batches(rows, 1, |row| {
        let mut scores = vec![f64::NAN; model.num_outputs()];
        oracle::score(model, row, output, &mut scores);
        scores
    })
}

fn natively(forest: &Forest, rows: &[f64], output: Output) -> Vec<f64> {
    let mut scores = vec![f64::NAN; rows.len() / WIDTH * forest.outputs()];
    forest.score(rows, output, &mut scores);
    scores
}

fn sandboxed(scorer: &Scorer, rows: &[f64], output: Output) -> Vec<f64> {
    let output = match output {
        Output::Raw => runtime::Output::Raw,
        Output::Converted => runtime::Output::Converted,
    };
    // A minute: the test is about values, also on a busy machine.
    scorer.score(rows, output, Duration::from_secs(60)).unwrap()
}

fn same(evaluator: &str, rows: &[f64], scores: &[f64], expected: &[f64]) {
    assert_eq!(scores.len(), expected.len(), "{evaluator}: scores");
    let differs = |at: &usize| bits(scores[*at]) != bits(expected[*at]);
    let wrong: Vec<usize> = (0..scores.len()).filter(differs).collect();
    if let Some(&first) = wrong.first() {
        let row = first * (rows.len() / WIDTH) / scores.len();
        panic!(
            "{evaluator}: {} of {} scores differ; the first, in row {row} {:?}: {:e} instead of {:e}",
            wrong.len(),
            scores.len(),
            &rows[row * WIDTH..][..WIDTH],
            scores[first],
            expected[first]
        );
    }
}

#[test]
fn regression() {
    let text = check("regression", json!({"objective": "regression"}), real);
    assert!(decision_types(&text).iter().any(|&d| missing_type(d) == 2));
    assert!(
        thresholds(&text).iter().any(|&(_, t)| t.abs() == ZERO),
        "no threshold at zero's"
    );
}

#[test]
fn l1() {
    check("regression_l1", json!({"objective": "l1"}), real);
}

#[test]
fn huber() {
    check("huber", json!({"objective": "huber", "alpha": 0.8}), real);
}

#[test]
fn fair() {
    check("fair", json!({"objective": "fair", "fair_c": 0.7}), real);
}

#[test]
fn poisson() {
    check("poisson", json!({"objective": "poisson"}), count);
}

#[test]
fn quantile() {
    let parameters = json!({"objective": "quantile", "alpha": 0.7});
    check("quantile", parameters, real);
}

#[test]
fn mape() {
    check("mape", json!({"objective": "mape"}), positive);
}

#[test]
fn gamma() {
    check("gamma", json!({"objective": "gamma"}), positive);
}

#[test]
fn tweedie() {
    let parameters = json!({"objective": "tweedie", "tweedie_variance_power": 1.3});
    check("tweedie", parameters, count);
}

#[test]
fn square_root_of_the_label() {
    let parameters = json!({"objective": "regression", "reg_sqrt": true});
    check("regression sqrt", parameters, real);
}

#[test]
fn binary() {
    check("binary sigmoid:1", json!({"objective": "binary"}), yes);
}

#[test]
fn binary_with_a_steeper_sigmoid() {
    let parameters = json!({"objective": "binary", "sigmoid": 1.7});
    check("binary sigmoid:1.7", parameters, yes);
}

#[test]
fn multiclass() {
    let parameters = json!({"objective": "multiclass", "num_class": 3});
    check("multiclass num_class:3", parameters, class);
}

#[test]
fn multiclass_with_a_class_that_never_occurs() {
    let parameters = json!({"objective": "multiclass", "num_class": 4});
    let text = check("multiclass num_class:4", parameters, class);
    assert!(text.contains("num_leaves=1\n"), "no constant tree");
}

#[test]
fn multiclass_one_against_all() {
    let parameters = json!({"objective": "multiclassova", "num_class": 3, "sigmoid": 0.6});
    check("multiclassova num_class:3 sigmoid:0.6", parameters, class);
}

#[test]
fn cross_entropy() {
    check("cross_entropy", json!({"objective": "cross_entropy"}), share);
}

#[test]
fn cross_entropy_lambda() {
    let parameters = json!({"objective": "cross_entropy_lambda"});
    check("cross_entropy_lambda", parameters, share);
}

#[test]
fn random_forest() {
    let text = check("regression", forest_of("regression"), real);
    assert!(text.contains("\naverage_output\n"));
}

#[test]
fn random_forest_with_a_converted_mean() {
    let text = check("binary sigmoid:1", forest_of("binary"), yes);
    assert!(text.contains("\naverage_output\n"));
}

#[test]
fn random_forest_of_classes() {
    let mut parameters = forest_of("multiclass");
    parameters["num_class"] = json!(3);
    let text = check("multiclass num_class:3", parameters, class);
    assert!(text.contains("\naverage_output\n"));
}

#[test]
fn dart() {
    let parameters = json!({
        "objective": "regression", "boosting": "dart", "drop_rate": 0.3, "num_iterations": 30,
    });
    check("regression", parameters, real);
}

#[test]
fn goss() {
    let parameters = json!({
        "objective": "binary", "data_sample_strategy": "goss", "num_iterations": 30,
    });
    check("binary sigmoid:1", parameters, yes);
}

#[test]
fn linear_trees() {
    let text = check_complete("regression", linear("regression"), real);
    assert!(text.contains("is_linear=1"));
}

#[test]
fn linear_trees_with_missing_values() {
    let text = check("regression", linear("regression"), real);
    assert!(text.contains("is_linear=1"));
}

#[test]
fn linear_trees_of_classes() {
    let mut parameters = linear("multiclass");
    parameters["num_class"] = json!(3);
    let text = check("multiclass num_class:3", parameters, class);
    assert!(text.contains("is_linear=1"));
}

#[test]
fn linear_tree_of_a_constant_label() {
    let text = check("regression", linear("regression"), constant);
    assert!(thresholds(&text).is_empty());
}

#[test]
fn categories() {
    let text = check_complete("regression", with_categories("regression"), real);
    assert!(decision_types(&text).iter().any(|&d| categorical(d)));
}

#[test]
fn categories_with_missing_values() {
    let text = check("binary sigmoid:1", with_categories("binary"), yes);
    let types = decision_types(&text);
    assert!(types.iter().any(|&d| categorical(d) && missing_type(d) == 2));
}

#[test]
fn categories_one_against_the_rest() {
    let mut parameters = with_categories("multiclass");
    parameters["num_class"] = json!(3);
    parameters["max_cat_to_onehot"] = json!(200);
    let text = check("multiclass num_class:3", parameters, class);
    assert!(decision_types(&text).iter().any(|&d| categorical(d)));
}

#[test]
fn categories_beside_linear_leaves() {
    let mut parameters = linear("regression");
    parameters["categorical_feature"] = json!(CATEGORY.to_string());
    let text = check("regression", parameters, real);
    assert!(text.contains("is_linear=1"));
    assert!(decision_types(&text).iter().any(|&d| categorical(d)));
}

#[test]
fn zero_as_missing() {
    let parameters = json!({"objective": "regression", "zero_as_missing": true});
    let text = check("regression", parameters, real);
    assert!(decision_types(&text).iter().any(|&d| missing_type(d) == 1));
}

#[test]
fn missing_values_without_a_meaning() {
    let parameters = json!({"objective": "regression", "use_missing": false});
    let text = check("regression", parameters, real);
    assert!(decision_types(&text).iter().all(|&d| missing_type(d) == 0));
}

#[test]
fn constant_label() {
    let text = check("regression", json!({"objective": "regression"}), constant);
    assert!(thresholds(&text).is_empty());
}

#[test]
fn lambdarank() {
    check("lambdarank", json!({"objective": "lambdarank"}), grade);
}

#[test]
fn rank_xendcg() {
    check("rank_xendcg", json!({"objective": "rank_xendcg"}), grade);
}

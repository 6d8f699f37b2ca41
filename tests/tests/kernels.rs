//! Models that reach the borders of the scoring kernels, grown by LightGBM: what the compiled component, the packed forest
//! and the oracle score is, for few rows and for many, what LightGBM scores.

#[allow(dead_code, reason = "this test grows models of its own")]
mod models;

use std::time::Duration;

use forest::{Forest, Model, Output, oracle, pack};
use runtime::{Engine, Limits, Scorer};
use serde_json::{Value, json};

use models::{Random, bits, compiled, decision_types, thresholds};

const ROWS: usize = 6000;
const WIDTH: usize = 6;
/// The columns that are categories: some dozens, and more than a byte can number.
const CATEGORIES: [usize; 2] = [1, 2];
const COUNTS: [usize; 6] = [1, 10, 100, 128, 129, 1000];

/// Training rows, and a label that takes every column to predict.
fn data() -> (Vec<f64>, Vec<f64>) {
    let mut random = Random(5);
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..ROWS {
        let mut row = [0.0; WIDTH];
        row[0] = random.unit() * 40.0 - 20.0;
        row[1] = random.below(60) as f64;
        row[2] = random.below(700) as f64;
        row[3] = (random.unit() * 40.0).exp() * 1e-9;
        row[4] = if random.unit() < 0.3 { 0.0 } else { random.unit() - 0.5 };
        row[5] = (random.unit() * 1000.0).round() / 1000.0;
        let categories = (row[1] * 37.0) % 11.0 / 5.0 + (row[2] * 73.0) % 29.0 / 9.0;
        labels.push(
            (row[0] * 1.7).sin() * 2.0 + categories + (row[3].ln() * 3.0).cos() + row[4] * 4.0 + (row[5] * 90.0).sin(),
        );
        for (column, share) in [(0, 0.05), (2, 0.1), (3, 0.2), (4, 0.1)] {
            if random.unit() < share {
                row[column] = f64::NAN;
            }
        }
        values.extend(row);
    }
    (values, labels)
}

fn grow(own: Value, label: fn(f64) -> f32) -> String {
    let mut parameters = json!({
        "learning_rate": 0.2, "min_data_in_leaf": 2, "min_data_in_bin": 1, "max_bin": 2000,
        "min_data_per_group": 2, "cat_smooth": 1.0, "cat_l2": 1.0, "max_cat_threshold": 256,
        "num_threads": 1, "deterministic": true, "force_row_wise": true, "seed": 7, "verbosity": -1,
    });
    let object = parameters.as_object_mut().unwrap();
    object.extend(own.as_object().unwrap().clone());
    let (values, labels) = data();
    let labels: Vec<f32> = labels.iter().map(|&y| label(y)).collect();
    models::train(&values, WIDTH, &labels, None, object)
}

/// Ordinary rows, with thresholds of the model, their neighbours and special values strewn in.
fn rows(text: &str) -> Vec<f64> {
    const SPECIAL: [f64; 12] = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        1e-36,
        -1.0,
        -0.5,
        700.0,
        1e6,
        2_147_483_648.0,
        f64::MIN,
    ];
    let mut random = Random(6);
    let mut of_feature = vec![SPECIAL.to_vec(); WIDTH];
    for (feature, threshold) in thresholds(text) {
        of_feature[feature].extend([threshold.next_down(), threshold, threshold.next_up()]);
    }
    let (mut rows, _) = data();
    rows.truncate(1000 * WIDTH);
    for row in rows.chunks_mut(WIDTH) {
        for (x, values) in row.iter_mut().zip(&of_feature) {
            if random.unit() < 0.4 {
                *x = values[random.below(values.len())];
            }
        }
    }
    rows
}

fn check(text: &str) {
    let lightgbm = lightgbm3::Booster::from_string(text).unwrap();
    let model = Model::parse(text.as_bytes()).unwrap();
    let engine = Engine::new(Limits::default()).unwrap();
    let scorer = engine.load(&compiled(text)).unwrap();
    let image = pack(&model, None);
    let forest = Forest::new(&image).unwrap();
    let (rows, outputs) = (rows(text), model.num_outputs());
    for output in [Output::Raw, Output::Converted] {
        let (width, threads) = (WIDTH as i32, "num_threads=1");
        let expected = match output {
            Output::Raw => lightgbm.raw_scores_with_params(&rows, width, true, threads),
            Output::Converted => lightgbm.predict_with_params(&rows, width, true, threads),
        }
        .unwrap();
        for (row, expected) in rows.chunks(WIDTH).zip(expected.chunks(outputs)) {
            let mut scores = vec![f64::NAN; outputs];
            oracle::score(&model, row, output, &mut scores);
            same("oracle", &scores, expected);
        }
        for count in COUNTS {
            for (rows, expected) in rows.chunks(count * WIDTH).zip(expected.chunks(count * outputs)) {
                let mut scores = vec![f64::NAN; expected.len()];
                forest.score(rows, output, &mut scores);
                same(&format!("forest, {count} rows"), &scores, expected);
                same(
                    &format!("component, {count} rows"),
                    &sandboxed(&scorer, rows, output),
                    expected,
                );
            }
        }
    }
}

fn sandboxed(scorer: &Scorer, rows: &[f64], output: Output) -> Vec<f64> {
    let output = match output {
        Output::Raw => runtime::Output::Raw,
        Output::Converted => runtime::Output::Converted,
    };
    // A minute: the test is about values, also on a busy machine.
    scorer.score(rows, output, Duration::from_secs(60)).unwrap()
}

fn same(evaluator: &str, scores: &[f64], expected: &[f64]) {
    assert_eq!(scores.len(), expected.len(), "{evaluator}: scores");
    for (at, (score, expected)) in scores.iter().zip(expected).enumerate() {
        assert_eq!(
            bits(*score),
            bits(*expected),
            "{evaluator}: {score:e} instead of {expected:e}, score {at}"
        );
    }
}

/// Most thresholds of a feature.
fn most_thresholds(text: &str) -> usize {
    let of = |feature: usize| {
        let of_feature = thresholds(text).into_iter().filter(|(other, _)| *other == feature);
        let distinct: std::collections::BTreeSet<u64> = of_feature.map(|(_, threshold)| threshold.to_bits()).collect();
        distinct.len()
    };
    let numerical = (0..WIDTH).filter(|feature| !CATEGORIES.contains(feature));
    numerical.map(of).max().unwrap()
}

fn real(y: f64) -> f32 {
    y as f32
}

fn class_of_five(y: f64) -> f32 {
    (y + 1.0).div_euclid(1.5).clamp(0.0, 4.0) as f32
}

fn categories() -> String {
    CATEGORIES.map(|column| column.to_string()).join(",")
}

#[test]
fn many_thresholds_a_feature() {
    let text = grow(
        json!({"objective": "regression", "num_iterations": 100, "num_leaves": 63}),
        real,
    );
    assert!(most_thresholds(&text) > 300, "{} thresholds", most_thresholds(&text));
    check(&text);
}

#[test]
fn trees_of_255_leaves() {
    let text = grow(
        json!({"objective": "regression", "num_iterations": 20, "num_leaves": 255, "zero_as_missing": true}),
        real,
    );
    assert!(text.contains("num_leaves=255\n"));
    check(&text);
}

#[test]
fn trees_of_1000_leaves() {
    let text = grow(
        json!({"objective": "regression", "num_iterations": 12, "num_leaves": 1000}),
        real,
    );
    assert!(text.contains("num_leaves=1000\n"));
    assert!(most_thresholds(&text) > 1000, "{} thresholds", most_thresholds(&text));
    check(&text);
}

#[test]
fn five_classes() {
    let parameters = json!({
        "objective": "multiclass", "num_class": 5, "num_iterations": 12, "num_leaves": 31,
        "categorical_feature": categories(),
    });
    let text = grow(parameters, class_of_five);
    check(&text);
}

#[test]
fn many_categories() {
    let parameters = json!({
        "objective": "regression", "num_iterations": 30, "num_leaves": 100, "categorical_feature": categories(),
    });
    let text = grow(parameters, real);
    assert!(decision_types(&text).iter().any(|&kind| models::categorical(kind)));
    check(&text);
}

/// Hundreds of stumps and small trees: masks, where rows are few.
#[test]
fn many_small_trees() {
    let text = grow(
        json!({"objective": "regression", "num_iterations": 500, "num_leaves": 7}),
        real,
    );
    check(&text);
}

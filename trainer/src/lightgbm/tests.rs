use serde_json::json;

use super::*;

fn parameters(json: serde_json::Value) -> Result<Parameters, ParameterError> {
    Parameters::from_json(json.as_object().unwrap())
}

fn ranker() -> Parameters {
    parameters(json!({
        "objective": "lambdarank", "metric": "ndcg", "eval_at": [3], "num_leaves": 7,
        "min_data_in_leaf": 3, "verbosity": -1, "num_threads": 1, "deterministic": true,
    }))
    .unwrap()
}

/// 40 queries of 5 rows: grade 1 where the first of two columns is large.
fn rows() -> (Vec<f64>, Vec<f32>, Vec<u32>) {
    let column = |i: u32| f64::from(i * 7919 % 101) / 101.0;
    let values = (0..200).flat_map(|i| [column(i), column(i + 31)]).collect();
    let labels = (0..200).map(|i| if column(i) > 0.7 { 1.0 } else { 0.0 }).collect();
    (values, labels, vec![5; 40])
}

fn dataset(parameters: &Parameters, reference: Option<&Dataset>) -> Dataset {
    let (values, labels, groups) = rows();
    let mut dataset = Dataset::new(&values, 2, parameters, reference).unwrap();
    dataset.set_labels(&labels).unwrap();
    dataset.set_groups(&groups).unwrap();
    dataset
}

fn message(result: Result<impl std::fmt::Debug, Error>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn lightgbms_own_errors_reach_the_caller_unchanged() {
    let mut unknown = ranker();
    unknown.set("objective", "no_such_objective");
    let refusal = message(Booster::new(dataset(&ranker(), None), &unknown));
    assert!(refusal.contains("no_such_objective"), "{refusal}");
    assert!(refusal.contains("LGBM_BoosterCreate"), "{refusal}");

    let refusal = message(Predictor::from_text("tree\nversion=v4\nnum_class=x\n"));
    assert!(refusal.contains("LGBM_BoosterLoadModelFromString"), "{refusal}");
}

#[test]
fn a_ranking_objective_without_groups_is_refused() {
    let (values, labels, _) = rows();
    let mut ungrouped = Dataset::new(&values, 2, &ranker(), None).unwrap();
    ungrouped.set_labels(&labels).unwrap();
    let refusal = message(Booster::new(ungrouped, &ranker()));
    assert!(refusal.contains("query"), "{refusal}");
}

#[test]
fn fields_that_do_not_fit_the_rows_are_refused_with_both_numbers() {
    let mut dataset = dataset(&ranker(), None);
    let cases = [
        (message(dataset.set_groups(&[199])), "199", "200"),
        (message(dataset.set_groups(&[200, 0])), "0 (query 1)", ">= 1"),
        (message(dataset.set_labels(&[1.0; 3])), "3 values", "200"),
        (message(dataset.set_weights(&[1.0; 3])), "3 values", "200"),
        (message(dataset.set_positions(&[1; 3])), "3 values", "200"),
        (
            message(dataset.set_positions(&[u32::MAX; 200])),
            "4294967295",
            "2147483647",
        ),
        (message(dataset.set_feature_names(&["a".to_owned()])), "1", "2"),
        (
            message(Dataset::new(&[1.0; 3], 2, &ranker(), None)),
            "3",
            "multiple of the width, 2",
        ),
    ];
    for (refusal, value, allowed) in cases {
        assert!(refusal.contains(value) && refusal.contains(allowed), "{refusal}");
    }
}

#[test]
fn a_booster_learns_evaluates_names_its_features_and_predicts_what_it_saved() {
    let mut train = dataset(&ranker(), None);
    train
        .set_feature_names(&["geo".to_owned(), "review".to_owned()])
        .unwrap();
    let valid = dataset(&ranker(), Some(&train));
    let mut booster = Booster::new(train, &ranker()).unwrap();
    booster.add_valid(valid).unwrap();
    assert_eq!(
        booster.metrics(),
        [Metric {
            name: "ndcg@3".to_owned()
        }]
    );
    assert!(booster.metrics()[0].higher_is_better());
    for _ in 0..20 {
        booster.update().unwrap();
    }
    assert!(booster.evaluate(0).unwrap()[0] > 0.99);
    assert!(message(booster.evaluate(1)).contains("below 1"));
    let gains = booster.gain_importance(0).unwrap();
    assert!(gains[0] > gains[1], "{gains:?}");

    let text = booster.to_text(3).unwrap();
    assert!(text.contains("feature_names=geo review"));
    assert_eq!(text.matches("\nTree=").count(), 3);
    let predictor = Predictor::from_text(&text).unwrap();
    let scores = predictor.predict(&[0.95, 0.5, 0.05, 0.5]).unwrap();
    assert!(scores[0] > scores[1], "{scores:?}");
    assert!(message(predictor.predict(&[0.5; 3])).contains("multiple of the width, 2"));
}

#[test]
fn positions_change_what_is_learned() {
    let grow = |positions: Option<Vec<u32>>| {
        let mut train = dataset(&ranker(), None);
        if let Some(positions) = positions {
            train.set_positions(&positions).unwrap();
        }
        let mut booster = Booster::new(train, &ranker()).unwrap();
        for _ in 0..5 {
            booster.update().unwrap();
        }
        booster.to_text(0).unwrap()
    };
    let by_rank: Vec<u32> = (0..200).map(|i| i % 5 + 1).collect();
    assert_ne!(grow(None), grow(Some(by_rank)));
    assert_eq!(grow(None), grow(None));
}

#[test]
fn every_alias_resolves_to_lightgbms_main_name() {
    for alias in [
        "num_iterations",
        "num_iteration",
        "n_iter",
        "num_tree",
        "num_trees",
        "num_round",
        "num_rounds",
        "nrounds",
        "num_boost_round",
        "n_estimators",
        "max_iter",
    ] {
        let parameters = parameters(json!({ alias: 7 })).unwrap();
        assert_eq!(parameters.integer("num_iterations").unwrap(), Some(7), "{alias}");
    }
    for alias in [
        "early_stopping_round",
        "early_stopping_rounds",
        "early_stopping",
        "n_iter_no_change",
    ] {
        let parameters = parameters(json!({ alias: 9 })).unwrap();
        assert_eq!(parameters.integer("early_stopping_round").unwrap(), Some(9), "{alias}");
    }
}

#[test]
fn parameters_are_handed_over_as_lightgbm_writes_them() {
    let parameters = parameters(json!({
        "ndcg_eval_at": [1, 5], "eta": 0.05, "deterministic": true, "objective": "lambdarank",
        "n_estimators": 10, "num_trees": 10,
    }))
    .unwrap();
    assert_eq!(
        parameters.to_string(),
        "deterministic=true eval_at=1,5 learning_rate=0.05 num_iterations=10 objective=lambdarank"
    );
}

#[test]
fn values_are_written_as_pythons_package_writes_them() {
    for (given, expected) in [
        (
            json!({"interaction_constraints": [[0, 1], [2]]}),
            "interaction_constraints=[0,1],[2]",
        ),
        (
            json!({"interaction_constraints": "[0, 1], [2]"}),
            "interaction_constraints=[0,1],[2]",
        ),
        (
            json!({"random_state": null, "n_estimators": null, "num_trees": 3}),
            "num_iterations=3",
        ),
        (
            json!({"monotone_constraints": [1, 0, -1]}),
            "monotone_constraints=1,0,-1",
        ),
        (json!({"task": "train", "num_machines": 1}), "num_machines=1 task=train"),
        (
            json!({"eta": "0.1", "xgboost_dart_mode": false}),
            "learning_rate=0.1 xgboost_dart_mode=false",
        ),
    ] {
        assert_eq!(parameters(given).unwrap().to_string(), expected);
    }
}

#[test]
fn constraints_must_name_existing_columns() {
    let constrained = parameters(json!({"interaction_constraints": [[0, 1], [12]]})).unwrap();
    assert!(constrained.check_width(13).is_ok());
    let refusal = constrained.check_width(12).unwrap_err().to_string();
    assert_eq!(
        refusal,
        "interaction_constraints: 12; allowed: numbers of existing columns, counted from 0"
    );
    let categorical = parameters(json!({"categorical_feature": [0, 5]})).unwrap();
    assert!(categorical.check_width(6).is_ok() && categorical.check_width(5).is_err());
    assert!(parameters(json!({})).unwrap().check_width(1).is_ok());
}

#[test]
fn parameters_that_cannot_be_passed_on_are_rejected_by_name() {
    for (given, expected) in [
        (
            json!({"learning_rat": 0.1}),
            "learning_rat: unknown LightGBM parameter (value 0.1)",
        ),
        (
            json!({"num_leaves": {"deep": 1}}),
            "num_leaves: {\"deep\":1}; allowed: a number",
        ),
        (json!({"eval_at": [[5]]}), "eval_at: [[5]]; allowed: a number"),
        (json!({"eval_at": []}), "eval_at: []; allowed: a number"),
        (
            json!({"interaction_constraints": [0, 1]}),
            "interaction_constraints: [0,1]; allowed: a list of lists of column numbers, e.g. [[0, 1], [2]]",
        ),
        (
            json!({"interaction_constraints": [[0], []]}),
            "allowed: a list of lists",
        ),
        (
            json!({"interaction_constraints": [["a", "b"]]}),
            "allowed: a list of lists",
        ),
        (json!({"interaction_constraints": "0,1"}), "allowed: a list of lists"),
        (
            json!({"forcedsplits_filename": "/no/such/file.json"}),
            "forcedsplits_filename: \"/no/such/file.json\"; allowed: the name of a readable JSON file",
        ),
        (
            json!({"weight": 0}),
            "weight: 0; allowed: no value, because row weights are read from FILE.weight",
        ),
        (
            json!({"model_in": "old.txt"}),
            "model_in: old.txt; allowed: no value, because training cannot continue",
        ),
        (json!({"num_machines": 2}), "num_machines: 2; allowed: 1"),
        (json!({"task": "predict"}), "task: predict; allowed: train"),
        (
            json!({"metric": "ndcg num_leaves=2"}),
            "metric: \"ndcg num_leaves=2\"; allowed",
        ),
        (
            json!({"n_estimators": 10, "num_round": 20}),
            "both set num_iterations; allowed: one of them",
        ),
    ] {
        let refusal = parameters(given).unwrap_err().to_string();
        assert!(refusal.contains(expected), "{refusal}");
    }
    let text = parameters(json!({"num_iterations": "ten"})).unwrap();
    let refusal = text.integer("num_iterations").unwrap_err().to_string();
    assert_eq!(refusal, "num_iterations: ten; allowed: a whole number");
}

/// Rows for several batches, with missing values and zeros, so that bins differ from row to row.
fn many_rows(rows: u32) -> Vec<f64> {
    let value = |at: u32| match at.wrapping_mul(2_654_435_761) % 1_000 {
        0..50 => f64::NAN,
        50..150 => 0.0,
        other => f64::from(other) / 7.0,
    };
    (0..rows * 3).map(value).collect()
}

fn grown(mut train: Dataset, mut valid: Dataset, parameters: &Parameters) -> (String, Vec<f64>) {
    for set in [&mut train, &mut valid] {
        let label = |row: usize| if row * 7919 % 101 > 60 { 1.0 } else { 0.0 };
        set.set_labels(&(0..set.rows()).map(label).collect::<Vec<f32>>())
            .unwrap();
        set.set_groups(&vec![10; set.rows() / 10]).unwrap();
    }
    let mut booster = Booster::new(train, parameters).unwrap();
    booster.add_valid(valid).unwrap();
    for _ in 0..5 {
        booster.update().unwrap();
    }
    (booster.to_text(0).unwrap(), booster.valid_predictions(0).unwrap())
}

#[test]
fn a_set_that_is_filled_row_by_row_is_the_one_that_is_made_at_once() {
    let (values, others) = (many_rows(100_000), many_rows(1_000));
    let mut sampling = ranker();
    sampling.set("bin_construct_sample_cnt", 5_000);
    let mut linear = ranker();
    linear.set("objective", "regression");
    linear.set("linear_tree", true);
    for parameters in [ranker(), sampling, linear] {
        let train = Dataset::new(&values, 3, &parameters, None).unwrap();
        let valid = Dataset::new(&others, 3, &parameters, Some(&train)).unwrap();
        let at_once = grown(train, valid, &parameters);

        let sample = bin_rows(100_000, &parameters).unwrap();
        let sampled: Vec<f64> = sample.iter().flat_map(|row| &values[row * 3..][..3]).copied().collect();
        let mut train = Filling::new(&sampled, 3, 100_000, 100_000, &parameters).unwrap();
        values.chunks_exact(3).for_each(|row| train.push(row).unwrap());
        let train = train.finish().unwrap();
        let mut valid = Filling::like(&train, 1_000, &parameters).unwrap();
        others.chunks_exact(3).for_each(|row| valid.push(row).unwrap());
        let filled = grown(train, valid.finish().unwrap(), &parameters);
        assert!(at_once == filled, "{parameters}");
    }
}

#[test]
fn a_set_is_filled_with_exactly_the_announced_rows() {
    let filling = |rows: usize| {
        let mut filling = Filling::new(&[0.0, 1.0, 2.0, 3.0], 2, 3, 3, &ranker()).unwrap();
        for row in 0..rows {
            filling.push(&[row as f64, 1.0])?;
        }
        filling.finish()
    };
    assert_eq!(filling(3).unwrap().rows(), 3);
    assert!(message(filling(2)).contains("rows: 2; allowed: 3"));
    assert!(message(filling(4)).contains("one row too many; allowed: 3"));
    let mut filling = Filling::new(&[0.0; 4], 2, 2, 2, &ranker()).unwrap();
    assert!(message(filling.push(&[1.0])).contains("values of a row: 1; allowed: 2"));
    assert!(message(Filling::new(&[0.0; 3], 2, 2, 2, &ranker())).contains("multiple of the width, 2"));
}

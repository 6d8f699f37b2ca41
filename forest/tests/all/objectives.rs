//! Each objective's conversion, on models of constant trees whose sums are known.

use forest::{Model, Output, math, oracle};

/// A model of one constant tree an entry of `sums`, all of one iteration.
fn constant(objective: &str, flags: &str, sums: &[f64]) -> String {
    let outputs = sums.len();
    let mut text = format!(
        "tree\nnum_class={outputs}\nnum_tree_per_iteration={outputs}\nmax_feature_idx=0\n{flags}feature_names=x\nobjective={objective}\n\n"
    );
    for (number, sum) in sums.iter().enumerate() {
        text += &format!("Tree={number}\nnum_leaves=1\nnum_cat=0\nleaf_value={sum}\n\n");
    }
    text + "end of trees\n"
}

fn convert(objective: &str, flags: &str, sums: &[f64]) -> Vec<f64> {
    let outputs = sums.len();
    let model = Model::parse(constant(objective, flags, sums).as_bytes()).unwrap();
    let mut scores = vec![0.0; outputs];
    oracle::score(&model, &[0.0], Output::Raw, &mut scores);
    assert_eq!(scores, sums, "the raw score is not converted");
    oracle::score(&model, &[0.0], Output::Converted, &mut scores);
    scores
}

#[test]
fn identity_for_ranking_and_custom_objectives() {
    for objective in [
        "lambdarank",
        "rank_xendcg",
        "xendcg",
        "regression",
        "rmse",
        "mae",
        "huber sqrt",
        "custom",
        "none",
        "na",
    ] {
        assert_eq!(convert(objective, "", &[-1.5]), [-1.5], "{objective}");
    }
}

#[test]
fn an_objective_that_lightgbm_does_not_know_is_refused() {
    for objective in [
        "never_heard_of",
        "Binary sigmoid:1",
        "regressio",
        "rank",
        "",
        " ",
        "sigmoid:1 binary",
    ] {
        let error = Model::parse(constant(objective, "", &[1.0]).as_bytes()).unwrap_err();
        assert_eq!((error.line(), error.key()), (6, "objective"));
        let message = error.to_string();
        for known in [
            "lambdarank",
            "multiclassova",
            "cross_entropy_lambda",
            "objective=custom",
        ] {
            assert!(message.contains(known), "{message}");
        }
    }
}

#[test]
fn a_parameter_that_the_conversion_needs_is_refused_if_it_is_missing_or_makes_no_sense() {
    for (objective, expected) in [
        ("binary", "sigmoid:S"),
        ("binary sigmoid:abc", "sigmoid:S"),
        ("binary sigmoid:0", "sigmoid:S"),
        ("binary sigmoid:nan", "sigmoid:S"),
        ("multiclassova num_class:2", "sigmoid:S"),
        (
            "multiclass",
            "num_class:N with N equal to num_tree_per_iteration, which is 2",
        ),
        ("multiclass num_class:3", "num_class:N"),
        ("multiclass num_class:-1", "num_class:N"),
    ] {
        let error = Model::parse(constant(objective, "", &[1.0, 2.0]).as_bytes())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!("objective: `{objective}`: expected a parameter {expected}")),
            "{error}"
        );
    }
}

#[test]
fn probabilities() {
    assert_eq!(convert("binary sigmoid:2", "", &[0.5]), [1.0 / (1.0 + math::exp(-1.0))]);
    assert_eq!(convert("cross_entropy", "", &[0.5]), [1.0 / (1.0 + math::exp(-0.5))]);
    let ova = convert("multiclassova num_class:2 sigmoid:1", "", &[0.5, -2.0]);
    assert_eq!(ova, [1.0 / (1.0 + math::exp(-0.5)), 1.0 / (1.0 + math::exp(2.0))]);
}

#[test]
fn softmax_is_stable_and_sums_to_one() {
    let scores = convert("multiclass num_class:3", "", &[1000.0, 999.0, -1000.0]);
    assert_eq!(scores[0], 1.0 / (1.0 + math::exp(-1.0)));
    assert_eq!(scores[2], 0.0);
}

#[test]
fn exponentials_and_squares() {
    for objective in ["poisson", "gamma", "tweedie"] {
        assert_eq!(convert(objective, "", &[1.25]), [math::exp(1.25)], "{objective}");
    }
    assert_eq!(
        convert("cross_entropy_lambda", "", &[1.25]),
        [math::log1p(math::exp(1.25))]
    );
    assert_eq!(convert("regression sqrt", "", &[-3.0]), [-9.0]);
    assert_eq!(convert("quantile sqrt", "", &[3.0]), [9.0]);
}

#[test]
fn a_random_forest_is_averaged_before_the_conversion() {
    let text = "tree\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=0\nobjective=poisson\naverage_output\nfeature_names=x\n\n\
        Tree=0\nnum_leaves=1\nnum_cat=0\nleaf_value=1\n\n\nTree=1\nnum_leaves=1\nnum_cat=0\nleaf_value=2\n\n\nend of trees\n";
    let model = Model::parse(text.as_bytes()).unwrap();
    let mut score = [0.0];
    oracle::score(&model, &[0.0], Output::Converted, &mut score);
    assert_eq!(score, [math::exp(1.5)]);
    oracle::score(&model, &[0.0], Output::Raw, &mut score);
    assert_eq!(score, [3.0]);
}

//! What is no model is refused with the line, the key and what was expected; nothing panics.

use forest::{Model, pack};
use proptest::prelude::*;

use crate::generator::{Random, model_text};
use crate::shapes::shapes;

const MODEL: &str = "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=1\nobjective=regression\nfeature_names=a b\nfeature_infos=[0:1] [0:1]\ntree_sizes=TOTAL\n\nTree=0\nnum_leaves=3\nnum_cat=1\nsplit_feature=0 1\nsplit_gain=1 1\nthreshold=0.25 0\ndecision_type=2 1\nleft_child=1 -2\nright_child=-1 -3\nleaf_value=0.5 -1e-3 7\nleaf_weight=1 1 1\ncat_boundaries=0 1\ncat_threshold=6\nis_linear=0\nshrinkage=1\n\n\nend of trees\n\npandas_categorical:null\n";

fn model() -> String {
    let size = MODEL.find("end of trees").unwrap() - MODEL.find("Tree=0").unwrap();
    MODEL.replace("TOTAL", &size.to_string())
}

/// The model without `tree_sizes`, so that a line may change its length, with one text replaced.
fn changed(from: &str, to: &str) -> String {
    let text = MODEL.replace("tree_sizes=TOTAL\n", "");
    assert!(text.contains(from), "{from} is in the model");
    text.replacen(from, to, 1)
}

#[test]
fn what_a_model_says_about_itself() {
    let model = Model::parse(model().as_bytes()).unwrap();
    assert_eq!(
        (model.num_features(), model.num_outputs(), model.num_trees()),
        (2, 1, 1)
    );
    assert_eq!(model.feature_names(), ["a", "b"]);
    assert_eq!(model.objective(), "regression");
}

#[test]
fn windows_line_ends_are_read() {
    let text = changed("version=v4", "version=v4").replace('\n', "\r\n");
    assert!(Model::parse(text.as_bytes()).is_ok());
}

#[test]
fn each_fault_is_named() {
    let faults = [
        ("tree\n", "forest\n", "line 1: tree: not a LightGBM text model"),
        ("num_class=1\n", "", "num_class: missing"),
        ("num_class=1\n", "num_class=x\n", "num_class: `x`"),
        (
            "num_class=1\n",
            "num_class=1\nnum_class=1\n",
            "num_class: given twice, first on line 3",
        ),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=0", "expected 1 to"),
        (
            "num_tree_per_iteration=1",
            "num_tree_per_iteration=2",
            "expected num_class",
        ),
        ("max_feature_idx=1", "max_feature_idx=-1", "max_feature_idx: `-1`"),
        (
            "max_feature_idx=1",
            "max_feature_idx=2000000000",
            "feature_names: 2 names",
        ),
        (
            "max_feature_idx=1",
            "max_feature_idx=18446744073709551615",
            "feature_names: 2 names",
        ),
        (
            "objective=regression",
            "objective=multiclass num_class:3",
            "objective: `multiclass num_class:3`",
        ),
        ("objective=regression", "objective=binary sigmoid:-1", "sigmoid:S"),
        ("num_leaves=3", "num_leaves=0", "num_leaves: 0"),
        (
            "num_leaves=3",
            "num_leaves=2000000000",
            "leaf_value: 3 values: expected 2000000000",
        ),
        ("num_leaves=3", "num_leaves=4", "leaf_value: 3 values: expected 4"),
        ("num_cat=1\n", "", "num_cat: missing"),
        ("num_cat=1\n", "num_cat=18446744073709551615\n", "cat_boundaries: "),
        (
            "split_feature=0 1",
            "split_feature=0 2",
            "feature 2: expected a number below 2",
        ),
        ("threshold=0.25 0", "threshold=0,25 0", "`0,25`: expected a number"),
        ("threshold=0.25 0", "threshold=nan 0", "threshold: nan"),
        ("threshold=0.25 0", "threshold=0.25 1", "bitset number below 1"),
        ("decision_type=2 1", "decision_type=2 300", "decision_type: `300`"),
        ("left_child=1 -2", "left_child=0 -2", "not a tree"),
        ("left_child=1 -2", "left_child=-3 -2", "not a tree"),
        ("left_child=1 -2", "left_child=2 -2", "expected -3 to 1"),
        ("left_child=1 -2", "left_child=-2147483648 -2", "expected -3 to 1"),
        (
            "leaf_value=0.5 -1e-3 7",
            "leaf_value=0.5 -1e-3",
            "leaf_value: 2 values: expected 3",
        ),
        ("cat_boundaries=0 1", "cat_boundaries=1 1", "begin at 0"),
        (
            "cat_boundaries=0 1",
            "cat_boundaries=0 4000000000",
            "cat_threshold: 1 values",
        ),
        (
            "is_linear=0",
            "is_linear=1\nnum_features=1 0 0\nleaf_features=2\nleaf_coeff=1",
            "feature 2",
        ),
        (
            "is_linear=0",
            "is_linear=1\nnum_features=4294967295 4294967295 0\nleaf_features=2\nleaf_coeff=1",
            "expected 8589934590",
        ),
        ("end of trees\n\npandas_categorical:null\n", "", "cut short"),
    ];
    for (from, to, expected) in faults {
        let error = Model::parse(changed(from, to).as_bytes())
            .expect_err(expected)
            .to_string();
        assert!(error.starts_with("line ") && error.contains(expected), "{to}: {error}");
    }
}

#[test]
fn a_model_cut_inside_its_trees_is_refused() {
    let text = model();
    let end = text.find("end of trees").unwrap();
    for length in 0..end {
        assert!(Model::parse(&text.as_bytes()[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn trees_that_are_not_where_tree_sizes_says_are_refused() {
    let text = model().replace(
        "shrinkage=1\n\n\n",
        "shrinkage=1\n\n\nTree=1\nnum_leaves=1\nnum_cat=0\nleaf_value=1\n\n\n",
    );
    let error = Model::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("tree_sizes lists 1"), "{error}");
}

#[test]
fn numbers_are_correctly_rounded() {
    let text = changed("leaf_value=0.5 -1e-3 7", "leaf_value=0.1 1.0000000180025095e-35 -INF");
    let model = Model::parse(text.as_bytes()).unwrap();
    let mut score = [0.0];
    forest::oracle::score(&model, &[1.0, 0.0], forest::Output::Raw, &mut score);
    assert_eq!(score, [0.1]);
    forest::oracle::score(&model, &[0.0, 1.0], forest::Output::Raw, &mut score);
    assert_eq!(score, [f64::from(1e-35_f32)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn garbled_models_never_panic(shape in shapes(), seed: u64) {
        let mut random = Random(seed);
        let mut text = model_text(&shape).0.into_bytes();
        for _ in 0..1 + random.below(4) {
            let at = random.below(text.len());
            match random.below(4) {
                0 => text[at] = random.next() as u8,
                1 => text[at] = random.pick(b"0123456789-=. \n"),
                2 => drop(text.remove(at)),
                _ => text.insert(at, random.pick(b"0123456789-=. \n")),
            }
        }
        if let Ok(model) = Model::parse(&text) {
            pack(&model, None);
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Model::parse(&bytes).is_err());
    }
}

//! Contributions add up to the score, are Shapley's, and are refused where the model cannot have them.

use forest::{ExplainError, Forest, Model, Output, Scaler, oracle, pack};
use proptest::prelude::*;

use crate::agreement::bits;
use crate::generator::{Random, model_text, rows};
use crate::shapes::shapes;

fn explained(image: &[u8], rows: &[f64]) -> Result<Vec<f64>, ExplainError> {
    let forest = Forest::new(image).expect("pack makes valid images");
    let mut out = vec![f64::NAN; rows.len() / forest.width() * forest.outputs() * (forest.width() + 1)];
    forest.explain(rows, &mut out).map(|()| out)
}

/// Within a billionth; sums of at most 60 trees with leaves within -1 to 1.
fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 + 1e-9 * b.abs()
}

fn parse(text: &str) -> Model {
    Model::parse(text.as_bytes()).expect("valid")
}

/// A model of one feature and these trees.
fn of_trees(trees: &[&str]) -> String {
    let header = "tree\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=1\nfeature_names=x y\n\n";
    let tree = |(number, lines): (usize, &&str)| format!("Tree={number}\nnum_cat=0\n{lines}\n\n");
    let trees: String = trees.iter().enumerate().map(tree).collect();
    format!("{header}{trees}end of trees\n")
}

const STUMP: &str = "num_leaves=2\nsplit_feature=0\nthreshold=0.5\nleft_child=-1\nright_child=-2\nleaf_value=-1 3\nleaf_count=1 3\ninternal_count=4";

/// A tree that takes one split more for each leaf, all on the right.
fn chain(splits: usize) -> String {
    let list = |item: &dyn Fn(usize) -> String, count| (0..count).map(item).collect::<Vec<_>>().join(" ");
    let right = |split: usize| {
        if split + 1 < splits {
            split as i64 + 1
        } else {
            -(splits as i64) - 1
        }
    };
    [
        format!("num_leaves={}", splits + 1),
        format!("split_feature={}", list(&|split| (split % 2).to_string(), splits)),
        format!("threshold={}", list(&|split| split.to_string(), splits)),
        format!(
            "left_child={}",
            list(&|split| (-(split as i64) - 1).to_string(), splits)
        ),
        format!("right_child={}", list(&|split| right(split).to_string(), splits)),
        format!("leaf_value={}", list(&|leaf| leaf.to_string(), splits + 1)),
        format!("leaf_count={}", list(&|_| "1".into(), splits + 1)),
        format!(
            "internal_count={}",
            list(&|split| (splits + 1 - split).to_string(), splits)
        ),
    ]
    .join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn contributions_are_shapleys_and_add_up_to_the_score(mut shape in shapes(), count in 1..=12_usize) {
        shape.explained = true;
        let (text, thresholds) = model_text(&shape);
        let model = parse(&text);
        let rows = rows(count, shape.features, &thresholds, &mut Random(shape.seed ^ 3));
        let image = pack(&model, None);
        let contributions = explained(&image, &rows).expect("explained");
        let mut scores = vec![0.0; count * shape.outputs()];
        Forest::new(&image).expect("valid").score(&rows, Output::Raw, &mut scores);
        let groups = contributions.chunks(shape.features + 1);
        prop_assert_eq!(groups.len(), scores.len());
        for (group, score) in groups.zip(&scores) {
            let sum: f64 = group.iter().sum();
            prop_assert!(close(sum, *score), "{:?} sum to {}, not {}", group, sum, score);
        }
        let mut expected = vec![0.0; shape.outputs() * (shape.features + 1)];
        let of_row = contributions.chunks(expected.len());
        for (row, contributions) in rows.chunks(shape.features).zip(of_row) {
            oracle::explain(&model, row, &mut expected).expect("explained");
            for (a, b) in contributions.iter().zip(&expected) {
                prop_assert!(close(*a, *b), "{:?} instead of {:?}", contributions, expected);
            }
        }
    }

    #[test]
    fn a_row_is_explained_the_same_in_any_company(mut shape in shapes(), count in 1..=9_usize) {
        shape.explained = true;
        let (text, thresholds) = model_text(&shape);
        let image = pack(&parse(&text), None);
        let rows = rows(count, shape.features, &thresholds, &mut Random(shape.seed ^ 4));
        let together = explained(&image, &rows).expect("explained");
        let alone: Vec<f64> =
            rows.chunks(shape.features).flat_map(|row| explained(&image, row).expect("explained")).collect();
        prop_assert_eq!(bits(&together), bits(&alone));
    }

    #[test]
    fn a_scaled_forest_explains_as_scaling_first_does(mut shape in shapes(), count in 1..=5_usize) {
        shape.explained = true;
        let (text, thresholds) = model_text(&shape);
        let model = parse(&text);
        let mut random = Random(shape.seed ^ 5);
        let offset = (0..shape.features).map(|_| random.unit() - 0.5).collect();
        let scale = (0..shape.features).map(|_| random.unit() + 0.1).collect();
        let scaler = Scaler::new(offset, scale).expect("finite, above 0");
        let rows = rows(count, shape.features, &thresholds, &mut random);
        let mut scaled = rows.clone();
        scaled.chunks_mut(shape.features).for_each(|row| scaler.apply(row));
        let inside = explained(&pack(&model, Some(&scaler)), &rows).expect("explained");
        prop_assert_eq!(bits(&inside), bits(&explained(&pack(&model, None), &scaled).expect("explained")));
    }
}

#[test]
fn a_stump_by_hand() {
    let image = pack(&parse(&of_trees(&[STUMP, "num_leaves=1\nleaf_value=10"])), None);
    // The mean over training rows: (1 * -1 + 3 * 3) / 4 = 2, and 10 from the constant tree.
    let contributions = explained(&image, &[0.5, 7.0, 0.75, 7.0]).unwrap();
    assert_eq!(contributions, [-3.0, 0.0, 12.0, 1.0, 0.0, 12.0]);
    assert_eq!(explained(&image, &[]).unwrap(), []);
}

#[test]
fn a_model_without_trees_explains_nothing() {
    let image = pack(&parse(&of_trees(&[])), None);
    assert_eq!(explained(&image, &[1.0, 2.0]).unwrap(), [0.0; 3]);
}

#[test]
fn counts_that_are_missing_or_make_no_sense_cost_the_explanation_and_not_the_score() {
    let wrong = [
        ("leaf_count=1 3", "leaf_weight=1 3"),
        ("internal_count=4", "internal_weight=4"),
        ("leaf_count=1 3", "leaf_count=0 3"),
        ("leaf_count=1 3", "leaf_count=1 -3"),
        ("leaf_count=1 3", "leaf_count=1 3 4"),
        ("leaf_count=1 3", "leaf_count=1 2147483648"),
        ("internal_count=4", "internal_count=four"),
        ("internal_count=4", "internal_count=0"),
        ("internal_count=4", "internal_count"),
    ];
    for (from, to) in wrong {
        // One such tree is enough.
        let text = of_trees(&[STUMP, &STUMP.replace(from, to)]);
        let model = parse(&text);
        let image = pack(&model, None);
        let mut score = [0.0];
        Forest::new(&image)
            .unwrap()
            .score(&[0.75, 0.0], Output::Raw, &mut score);
        assert_eq!(score, [6.0], "{to}");
        let error = explained(&image, &[0.75, 0.0]).expect_err(to);
        assert_eq!(error, ExplainError::NoCounts);
        assert!(error.to_string().contains("leaf_count and internal_count"), "{error}");
        assert_eq!(
            oracle::explain(&model, &[0.75, 0.0], &mut [0.0; 3]),
            Err(ExplainError::NoCounts)
        );
    }
}

#[test]
fn linear_trees_are_refused_as_lightgbm_does() {
    let linear = format!("{STUMP}\nis_linear=1\nleaf_const=1 2");
    let model = parse(&of_trees(&[&linear]));
    let error = explained(&pack(&model, None), &[0.0, 0.0]).unwrap_err();
    assert_eq!(error, ExplainError::LinearTrees);
    assert!(error.to_string().contains("linear"), "{error}");
    assert_eq!(oracle::explain(&model, &[0.0, 0.0], &mut [0.0; 3]), Err(error));
}

#[test]
fn a_tree_too_deep_is_refused_and_named_before_any_work() {
    let deepest = pack(&parse(&of_trees(&[&chain(1_000)])), None);
    let contributions = explained(&deepest, &[2_000.0, 2_000.0]).unwrap();
    assert!(close(contributions.iter().sum(), 1_000.0), "{contributions:?}");
    let deeper = pack(&parse(&of_trees(&[STUMP, &chain(300_000)])), None);
    let error = explained(&deeper, &[0.0, 0.0]).unwrap_err();
    assert_eq!(
        error,
        ExplainError::TooDeep {
            tree: 1,
            depth: 300_000
        }
    );
    assert!(error.to_string().contains("at most 1000"), "{error}");
}

#[test]
fn an_image_whose_branches_meet_again_is_refused() {
    // Three splits and four leaves: nodes 0 to 6, the children of split n at 2n + 1.
    let tree = "num_leaves=4\nsplit_feature=0 0 1\nthreshold=1 2 3\nleft_child=1 -1 -3\nright_child=2 -2 -4\n\
                leaf_value=1 2 3 4\nleaf_count=1 1 1 1\ninternal_count=4 2 2";
    let image = pack(&parse(&of_trees(&[tree])), None);
    let nodes = 64 + 2 * 8 + 16;
    let child = |node: usize| nodes + 16 * node + 12;
    assert_eq!(image[child(1)], 3, "the layout this test damages");
    assert_eq!(image[child(2)], 5, "the layout this test damages");
    let mut shared = image.clone();
    shared[child(1)] = 5;
    let error = Forest::new(&shared).unwrap_err();
    assert!(error.to_string().contains("breadth first"), "{error}");

    let covers = nodes + 7 * 16 + 4 * 8;
    assert_eq!(
        image[covers..covers + 8],
        [4, 0, 0, 0, 2, 0, 0, 0],
        "the layout this test damages"
    );
    let mut uncovered = image;
    uncovered[covers] = 0;
    let error = Forest::new(&uncovered).unwrap_err();
    assert!(error.to_string().contains("cover"), "{error}");
}

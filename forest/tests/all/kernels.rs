//! Every kernel gives the oracle's scores to the last bit, for every number of rows.
//!
//! The model and the number of rows choose the kernel. One row is walked or, where the model is small, ruled out by
//! masks; from 128 rows on models are bit-sliced; between lies a border that depends on the model.

use forest::{Forest, Model, Output, Scaler, Scratch, oracle, pack};
use proptest::prelude::*;

use crate::agreement::bits;
use crate::generator::{CROWDS, Growth, Pool, Random, Shape, model_text, rows};

/// Numbers of rows around what any kernel takes at once.
const COUNTS: [usize; 34] = [
    1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 19, 20, 21, 23, 31, 32, 33, 48, 63, 64, 65, 100, 127, 128, 129, 130, 144, 255,
    256, 257, 263, 299, 300,
];
const MOST: usize = 300;

fn parse(text: &str) -> Model {
    Model::parse(text.as_bytes()).expect("valid")
}

/// A copy at an address that is a multiple of 8, and of no more.
fn aligned(image: &[u8], use_it: impl FnOnce(&[u8])) {
    let mut room = vec![0_u8; image.len() + 24];
    let start = room.as_ptr().align_offset(16) + 8;
    room[start..start + image.len()].copy_from_slice(image);
    use_it(&room[start..start + image.len()]);
}

/// Holds the forest to the oracle at every number of rows. Memory is kept from call to call, so that what one kernel
/// leaves behind is what the next one finds.
fn agree(model: &Model, scaler: Option<&Scaler>, rows: &[f64], what: &dyn std::fmt::Debug) {
    let (width, outputs) = (model.num_features(), model.num_outputs());
    let count = rows.len() / width;
    let mut scratch = Scratch::default();
    aligned(&pack(model, scaler), |image| {
        let forest = Forest::new(image).expect("pack makes valid images");
        for output in [Output::Raw, Output::Converted] {
            let mut expected = vec![0.0; count * outputs];
            for (row, out) in rows.chunks(width).zip(expected.chunks_mut(outputs)) {
                let mut row = row.to_vec();
                scaler.into_iter().for_each(|scaler| scaler.apply(&mut row));
                oracle::score(model, &row, output, out);
            }
            for batch in COUNTS.into_iter().filter(|&batch| batch <= count) {
                // From the end, so that another kernel meets other rows.
                let from = if batch % 2 == 0 { 0 } else { count - batch };
                let mut scores = vec![f64::NAN; batch * outputs];
                let some = &rows[from * width..][..batch * width];
                forest.score_with(&mut scratch, some, output, &mut scores);
                let expected = &expected[from * outputs..][..batch * outputs];
                let wrong = bits(&scores).iter().zip(bits(expected)).position(|(a, b)| *a != b);
                if let Some(at) = wrong {
                    let row = &some[at / outputs * width..][..width];
                    panic!(
                        "{batch} rows, {output:?}: {:e} instead of {:e} for {row:?} by {what:?}",
                        scores[at], expected[at]
                    );
                }
            }
        }
    });
}

fn check(shape: &Shape) {
    let (text, thresholds) = model_text(shape);
    let model = parse(&text);
    assert_eq!(model.num_trees(), shape.iterations * shape.outputs());
    let mut random = Random(shape.seed ^ 6);
    agree(
        &model,
        None,
        &rows(MOST, shape.features, &thresholds, &mut random),
        shape,
    );
}

/// Scales of every magnitude, and raw values that scale to about the thresholds.
fn check_scaled(shape: &Shape) {
    let (text, thresholds) = model_text(shape);
    let mut random = Random(shape.seed ^ 7);
    let mut offset = Vec::new();
    let mut scale = Vec::new();
    for _ in 0..shape.features {
        let unit = random.unit();
        offset.push(random.pick(&[0.0, unit - 0.5, 1e9, -3e-36, 1e300, -7.25, 5e-324]));
        scale.push(random.pick(&[1.0, unit + 0.1, 1e-300, 1e300, 3.0, 5e-324, f64::MAX]));
    }
    let mut rows = rows(MOST, shape.features, &thresholds, &mut random);
    for row in rows.chunks_mut(shape.features) {
        for (x, (offset, scale)) in row.iter_mut().zip(offset.iter().zip(&scale)) {
            let raw = *x * scale + offset;
            *x = random.pick(&[*x, raw, raw, raw.next_up(), raw.next_down(), *offset]);
        }
    }
    let scaler = Scaler::new(offset, scale).expect("finite, above 0");
    agree(&parse(&text), Some(&scaler), &rows, shape);
}

fn growths() -> impl Strategy<Value = Growth> {
    prop::sample::select(vec![
        Growth::Random,
        Growth::Balanced,
        Growth::Left,
        Growth::Right,
        Growth::Alternating,
        Growth::Bushy,
    ])
}

fn pools() -> impl Strategy<Value = Pool> {
    prop_oneof![
        Just(Pool::Special),
        (30..700_usize).prop_map(Pool::Wild),
        (2..600_usize, 0..CROWDS.len()).prop_map(|(count, place)| Pool::Crowded(count, place)),
        (1..700_usize).prop_map(Pool::Even),
    ]
}

fn objectives() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "",
        "binary sigmoid:1",
        "regression sqrt",
        "multiclass num_class:2",
        "multiclassova num_class:3 sigmoid:1.3",
        "multiclass num_class:4",
        "multiclass num_class:5",
    ])
}

/// Up to so many iterations of so many leaves, for rows of so many values.
fn models(sizes: impl Strategy<Value = (usize, usize, usize)>) -> impl Strategy<Value = Shape> {
    let categories = prop::sample::select(vec![(0, 1), (20, 2), (60, 40), (100, 9)]);
    let kinds = (growths(), pools(), categories, objectives());
    (any::<u64>(), sizes, kinds, any::<[bool; 3]>()).prop_map(
        |(seed, (iterations, leaves, features), (growth, pool, categories, objective), [full, one_kind, average])| {
            Shape {
                seed,
                features,
                iterations,
                leaves,
                full,
                growth,
                pool,
                one_kind,
                categories,
                objective,
                average,
                ..Shape::default()
            }
        },
    )
}

/// Few columns and leaves: masks.
fn small() -> impl Strategy<Value = Shape> {
    models((1..150_usize, 1..=64_usize, 1..=8_usize))
}

/// More columns, or more leaves, than masks are made for: walks.
fn wide() -> impl Strategy<Value = Shape> {
    models((1..70_usize, 2..40_usize, 30..60_usize))
}

/// Trees that no code tells apart, so that they are cut into parts.
fn large() -> impl Strategy<Value = Shape> {
    models((1..6_usize, 60..1100_usize, 1..4_usize))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn small_models(shape in small()) {
        check(&shape);
    }

    #[test]
    fn models_of_many_columns(shape in wide()) {
        check(&shape);
    }

    #[test]
    fn models_of_large_trees(shape in large()) {
        check(&shape);
    }

    #[test]
    fn scaled_models(shape in prop_oneof![small(), wide(), large()]) {
        check_scaled(&shape);
    }

    #[test]
    fn memory_goes_from_model_to_model(shapes in prop::collection::vec(prop_oneof![small(), wide(), large()], 3)) {
        let mut scratch = Scratch::default();
        for shape in shapes.iter().chain(&shapes) {
            let (text, thresholds) = model_text(shape);
            let model = parse(&text);
            let rows = rows(130, shape.features, &thresholds, &mut Random(shape.seed));
            aligned(&pack(&model, None), |image| {
                let forest = Forest::new(image).expect("valid");
                for count in [1, 130, 3, 40] {
                    let rows = &rows[..count * shape.features];
                    let (mut kept, mut fresh) = (vec![0.0; count * shape.outputs()], vec![1.0; count * shape.outputs()]);
                    forest.score_with(&mut scratch, rows, Output::Raw, &mut kept);
                    forest.score(rows, Output::Raw, &mut fresh);
                    assert_eq!(bits(&kept), bits(&fresh), "{shape:?}");
                }
            });
        }
    }
}

const GROWTHS: [Growth; 6] = [
    Growth::Random,
    Growth::Balanced,
    Growth::Left,
    Growth::Right,
    Growth::Alternating,
    Growth::Bushy,
];

#[test]
fn trees_of_every_size_and_form() {
    let sizes = [
        1, 2, 3, 4, 31, 32, 33, 34, 63, 64, 65, 66, 127, 128, 129, 255, 256, 257, 300, 1000, 1024,
    ];
    for (number, leaves) in sizes.into_iter().enumerate() {
        for growth in GROWTHS {
            check(&Shape {
                seed: 11 + number as u64,
                features: 2,
                iterations: 2,
                leaves,
                full: true,
                growth,
                pool: Pool::Even(2 * leaves),
                one_kind: leaves % 2 == 0,
                ..Shape::default()
            });
        }
    }
}

/// 1,023 splits are the most that there are tables for.
#[test]
fn trees_up_to_and_beyond_the_largest_that_have_tables() {
    for leaves in [1023, 1024, 1025, 2048] {
        for growth in GROWTHS {
            check(&Shape {
                features: 3,
                leaves,
                full: true,
                growth,
                pool: Pool::Even(500),
                ..Shape::default()
            });
        }
    }
}

#[test]
fn features_of_many_thresholds() {
    let pools = |count: usize| {
        [
            Pool::Even(2 * count),
            Pool::Wild(2 * count),
            Pool::Crowded(2 * count, count),
        ]
    };
    for (number, count) in [254, 255, 256, 257, 300, 512, 1100, 3000].into_iter().enumerate() {
        for pool in pools(count) {
            check(&Shape {
                seed: 8 * number as u64 + 5,
                iterations: 10,
                leaves: count / 5,
                full: true,
                pool,
                one_kind: true,
                categories: (0, 0),
                ..Shape::default()
            });
        }
    }
}

/// Ranks of 16 bits, several steps of halving, and more trees than one feature has thresholds.
#[test]
fn a_feature_of_more_thresholds_than_a_rank_can_count() {
    let shape = |count| Shape {
        iterations: 40,
        leaves: 2000,
        full: true,
        pool: Pool::Wild(count),
        one_kind: true,
        categories: (0, 0),
        ..Shape::default()
    };
    check(&shape(60_000));
    check(&Shape {
        iterations: 50,
        ..shape(300_000)
    });
}

/// Windows of the walk, groups of circuits, turns of masks; masks end at 1,024 trees.
#[test]
fn numbers_of_trees() {
    let numbers = [
        7_usize, 8, 9, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025, 1100,
    ];
    for iterations in numbers {
        for (features, leaves, objective) in [(3, 6, ""), (40, 4, ""), (2, 66, ""), (3, 6, "multiclass num_class:3")] {
            check(&Shape {
                seed: iterations as u64,
                features,
                iterations: iterations.div_ceil(if objective.is_empty() { 1 } else { 3 }),
                leaves,
                objective,
                average: iterations % 2 == 0,
                pool: Pool::Even(50),
                ..Shape::default()
            });
        }
    }
}

#[test]
fn constant_trees() {
    for (iterations, objective) in [(1, ""), (20, ""), (300, ""), (3, "multiclass num_class:5")] {
        check(&Shape {
            iterations,
            leaves: 1,
            objective,
            ..Shape::default()
        });
    }
}

/// Many sets of many words on one feature: more questions than a byte has bits, more classes than a byte has numbers.
#[test]
fn categories_of_many_sets_and_classes() {
    for (iterations, leaves, words) in [
        (1, 9, 1),
        (3, 10, 2),
        (12, 4, 9),
        (20, 12, 40),
        (60, 20, 100),
        (9, 3, 600),
    ] {
        for features in [1, 3] {
            for scaled in [false, true] {
                let shape = Shape {
                    seed: words as u64,
                    features,
                    iterations,
                    leaves,
                    categories: (100, words),
                    ..Shape::default()
                };
                (if scaled { check_scaled } else { check })(&shape);
            }
        }
    }
}

/// A stump that asks a set with the last category of so many words, beside one that asks for category 0.
fn of_a_long_set(words: usize) -> String {
    let zeros = "0 ".repeat(words - 1);
    let tree = |number: usize, boundaries: &str, set: &str| {
        format!(
            "Tree={number}\nnum_leaves=2\nnum_cat=1\nsplit_feature=0\nthreshold=0\ndecision_type=1\nleft_child=-1\n\
             right_child=-2\nleaf_value=-1.5 {number}.25\ncat_boundaries=0 {boundaries}\ncat_threshold={set}\n\n"
        )
    };
    let trees = tree(0, &words.to_string(), &format!("{zeros}2147483648")) + &tree(1, "1", "1");
    let header = "tree\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=0\nfeature_names=x\n\n";
    format!("{header}{trees}end of trees\n")
}

/// 65,536 categories are the most that tables are made for.
#[test]
fn the_last_category_and_its_neighbours() {
    for words in [1, 2, 8, 2047, 2048, 2049] {
        let last = (words * 32 - 1) as f64;
        let mut rows = vec![
            last,
            last.next_down(),
            last + 0.999,
            last + 1.0,
            last - 1.0,
            last - 0.5,
            -last,
        ];
        rows.extend([
            0.0,
            -0.0,
            0.999,
            1.0,
            -0.999,
            -1.0,
            1e-300,
            4_294_967_296.0,
            f64::NAN,
            f64::INFINITY,
        ]);
        let count = rows.len();
        let rows: Vec<f64> = (0..MOST).map(|at| rows[at % count]).collect();
        agree(&parse(&of_a_long_set(words)), None, &rows, &words);
        let scaler = Scaler::new(vec![0.5], vec![0.5]).expect("valid");
        agree(&parse(&of_a_long_set(words)), Some(&scaler), &rows, &words);
    }
}

/// A few long sets make many classes; a table of all of them for each of many short sets would outgrow the text.
#[test]
fn long_sets_beside_many_short_ones() {
    let mut random = Random(3);
    let mut trees = String::new();
    for number in 0..2017_u32 {
        let words = if number < 17 { 1024 } else { 1 };
        let set: Vec<String> = (0..words).map(|_| (random.next() as u32).to_string()).collect();
        trees += &format!(
            "Tree={number}\nnum_leaves=2\nnum_cat=1\nsplit_feature=0\nthreshold=0\ndecision_type=1\nleft_child=-1\n\
             right_child=-2\nleaf_value=-1.5 {number}.25\ncat_boundaries=0 {words}\ncat_threshold={}\n\n",
            set.join(" ")
        );
    }
    let header = "tree\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=0\nfeature_names=x\n\n";
    let text = format!("{header}{trees}end of trees\n");
    let model = parse(&text);
    let (image, length) = (pack(&model, None).len(), text.len());
    assert!(image <= 8 * length, "{image} bytes of {length}");
    let rows: Vec<f64> = (0..MOST).map(|at| (at * at % 32_800) as f64).collect();
    agree(&model, None, &rows, &"sets");
}

/// Leaves that are what no sum forgets: infinities, NaN of opposites, -0.0 alone, and what rounds differently in
/// another order.
#[test]
fn the_order_of_the_sum_shows() {
    for (seed, values) in [
        ["1e300", "-1e300"],
        ["inf", "-inf"],
        ["-0.0", "-0"],
        ["1e16", "-1"],
        ["nan", "1"],
    ]
    .into_iter()
    .enumerate()
    {
        let shape = Shape {
            seed: seed as u64,
            features: 2,
            iterations: 90,
            leaves: 12,
            ..Shape::default()
        };
        let (text, thresholds) = model_text(&shape);
        let mut random = Random(seed as u64);
        let edit = |line: &str| match line.strip_prefix("leaf_value=") {
            None => line.to_owned(),
            Some(list) => {
                let value = |own: &str| if random.chance(50) { random.pick(&values) } else { own }.to_owned();
                let list: Vec<String> = list.split(' ').map(value).collect();
                format!("leaf_value={}", list.join(" "))
            }
        };
        let lines: Vec<String> = text.lines().map(edit).collect();
        let text = lines.into_iter().filter(|line| !line.starts_with("tree_sizes"));
        let model = parse(&(text.collect::<Vec<_>>().join("\n") + "\n"));
        agree(&model, None, &rows(MOST, 2, &thresholds, &mut Random(9)), &values);
    }
}

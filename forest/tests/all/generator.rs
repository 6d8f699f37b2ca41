//! Random models, written as LightGBM writes them, and rows that sit on every edge of their rules.

use std::fmt::Write;

use proptest::prelude::*;

/// SplitMix64: small, seeded, the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Numbers at which some rule changes its mind.
pub fn edges() -> Vec<f64> {
    let zero = f64::from(1e-35_f32);
    let mut edges = vec![
        0.0,
        1e-35,
        zero,
        zero.next_up(),
        zero.next_down(),
        5e-324,
        f64::MIN_POSITIVE,
        0.5,
        1.0,
        31.0,
        32.0,
        63.5,
        64.0,
        95.0,
        1e300,
        f64::MAX,
        2_147_483_647.0,
        2_147_483_647.5,
        2_147_483_648.0,
        4_294_967_296.0,
        f64::INFINITY,
        1.0_f64.next_down(),
    ];
    edges.extend(edges.clone().iter().map(|x| -x));
    edges.push(f64::NAN);
    edges
}

#[derive(Clone, Debug)]
pub struct Shape {
    pub seed: u64,
    pub features: usize,
    pub iterations: usize,
    pub leaves: usize,
    pub objective: &'static str,
    pub average: bool,
    /// What LightGBM can explain: every tree with counts, none of them linear.
    pub explained: bool,
}

impl Shape {
    pub fn outputs(&self) -> usize {
        if self.objective.contains("num_class:3") { 3 } else { 1 }
    }
}

pub fn shapes() -> impl Strategy<Value = Shape> {
    let objectives = prop::sample::select(vec![
        "",
        "regression",
        "regression sqrt",
        "binary sigmoid:1",
        "binary sigmoid:0.7",
        "poisson",
        "tweedie tweedie_variance_power:1.5",
        "cross_entropy",
        "cross_entropy_lambda",
        "lambdarank",
        "multiclass num_class:3",
        "multiclassova num_class:3 sigmoid:1.3",
        "somebodys_own",
    ]);
    (
        any::<u64>(),
        1..6_usize,
        0..20_usize,
        1..24_usize,
        objectives,
        any::<[bool; 2]>(),
    )
        .prop_map(
            |(seed, features, iterations, leaves, objective, [average, explained])| Shape {
                seed,
                features,
                iterations,
                leaves,
                objective,
                average,
                explained,
            },
        )
}

/// A model of this shape as text, and the thresholds it asks.
pub fn model_text(shape: &Shape) -> (String, Vec<f64>) {
    let mut random = Random(shape.seed);
    // Few thresholds, so that many splits share one.
    let mut thresholds: Vec<f64> = edges().into_iter().filter(|x| x.is_finite()).collect();
    thresholds.extend((0..8).map(|_| random.unit() * 8.0 - 4.0));
    let outputs = shape.outputs();
    let trees: Vec<String> = (0..shape.iterations * outputs)
        .map(|number| tree_text(number, shape, &thresholds, &mut random))
        .collect();
    let mut text = String::from("tree\nversion=v4\n");
    writeln!(
        text,
        "num_class={outputs}\nnum_tree_per_iteration={outputs}\nlabel_index=0"
    )
    .unwrap();
    writeln!(text, "max_feature_idx={}", shape.features - 1).unwrap();
    if !shape.objective.is_empty() {
        writeln!(text, "objective={}", shape.objective).unwrap();
    }
    if shape.average {
        text.push_str("average_output\n");
    }
    let names: Vec<String> = (0..shape.features).map(|feature| format!("f{feature}")).collect();
    writeln!(text, "feature_names={}", names.join(" ")).unwrap();
    if random.chance(70) {
        let sizes: Vec<usize> = trees.iter().map(String::len).collect();
        writeln!(text, "tree_sizes={}", join(&sizes)).unwrap();
    }
    text.push('\n');
    text.push_str(&trees.concat());
    text.push_str("end of trees\n\nfeature_importances:\n\nparameters:\n[boosting: gbdt]\nend of parameters\n");
    (text, thresholds)
}

fn join<T: std::fmt::Display>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

fn tree_text(number: usize, shape: &Shape, thresholds: &[f64], random: &mut Random) -> String {
    let leaves = 1 + random.below(shape.leaves);
    let sets = if random.chance(40) { 1 + random.below(4) } else { 0 };
    let (left, right) = grow(leaves, random);
    let mut features = Vec::new();
    let mut asked = Vec::new();
    let mut decisions = Vec::new();
    for _ in 1..leaves {
        features.push(random.below(shape.features));
        let categorical = sets > 0 && random.chance(50);
        asked.push(if categorical {
            random.below(sets) as f64
        } else {
            random.pick(thresholds)
        });
        decisions.push(random.below(4) * 4 + random.below(2) * 2 + usize::from(categorical));
    }
    let values: Vec<f64> = (0..leaves).map(|_| random.unit() * 2.0 - 1.0).collect();
    let mut text = format!("Tree={number}\nnum_leaves={leaves}\nnum_cat={sets}\n");
    writeln!(text, "split_feature={}\nthreshold={}", join(&features), join(&asked)).unwrap();
    // A model without the key means 0 everywhere.
    if sets > 0 || random.chance(90) {
        writeln!(text, "decision_type={}", join(&decisions)).unwrap();
    }
    writeln!(text, "left_child={}\nright_child={}", join(&left), join(&right)).unwrap();
    writeln!(text, "leaf_value={}", join(&values)).unwrap();
    if sets > 0 {
        let mut boundaries = vec![0];
        (0..sets).for_each(|set| boundaries.push(boundaries[set] + random.below(4)));
        let words: Vec<u32> = (0..boundaries[sets]).map(|_| random.next() as u32).collect();
        writeln!(
            text,
            "cat_boundaries={}\ncat_threshold={}",
            join(&boundaries),
            join(&words)
        )
        .unwrap();
    }
    if shape.explained || random.chance(30) {
        counts_text(&mut text, &left, &right, leaves, random);
    }
    if !shape.explained && random.chance(30) {
        linear_text(&mut text, leaves, shape, random);
    }
    text.push_str("shrinkage=1\n\n\n");
    text
}

/// Counts of training rows. Those of two branches mostly add up to that of their split, as they do unless LightGBM
/// trained on several machines, which estimate.
fn counts_text(text: &mut String, left: &[i64], right: &[i64], leaves: usize, random: &mut Random) {
    let leaf_counts: Vec<u64> = (0..leaves).map(|_| 1 + random.next() % 1000).collect();
    let mut split_counts = vec![0; left.len()];
    // A split's number is below those of its children.
    for split in (0..left.len()).rev() {
        let below = [left[split], right[split]].map(|child| match usize::try_from(child) {
            Ok(split) => split_counts[split],
            Err(_) => leaf_counts[!child as usize],
        });
        split_counts[split] = below.iter().sum::<u64>() + u64::from(random.chance(5)) * (random.next() % 10);
    }
    let (internal, leaf) = (join(&split_counts), join(&leaf_counts));
    writeln!(text, "internal_count={internal}\nleaf_count={leaf}").unwrap();
}

fn linear_text(text: &mut String, leaves: usize, shape: &Shape, random: &mut Random) {
    let counts: Vec<usize> = (0..leaves).map(|_| random.below(4)).collect();
    let total = counts.iter().sum::<usize>();
    let constants: Vec<f64> = (0..leaves).map(|_| random.unit()).collect();
    let features: Vec<usize> = (0..total).map(|_| random.below(shape.features)).collect();
    let coefficients: Vec<f64> = (0..total).map(|_| random.unit() - 0.5).collect();
    writeln!(
        text,
        "is_linear=1\nleaf_const={}\nnum_features={}",
        join(&constants),
        join(&counts)
    )
    .unwrap();
    writeln!(
        text,
        "leaf_features={} \nleaf_coeff={}  ",
        join(&features),
        join(&coefficients)
    )
    .unwrap();
}

/// Child pointers of a tree grown as LightGBM grows one: a random leaf splits, keeps its number on the
/// left and gives the right the next one.
fn grow(leaves: usize, random: &mut Random) -> (Vec<i64>, Vec<i64>) {
    let (mut left, mut right): (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
    for count in 1..leaves {
        let leaf = !(random.below(count) as i64);
        let new = left.len() as i64;
        for pointer in left.iter_mut().chain(right.iter_mut()) {
            if *pointer == leaf {
                *pointer = new;
            }
        }
        left.push(leaf);
        right.push(!(count as i64));
    }
    (left, right)
}

/// Rows of values at, and one ulp beside, thresholds and edges.
pub fn rows(count: usize, width: usize, thresholds: &[f64], random: &mut Random) -> Vec<f64> {
    let mut values = edges();
    values.extend(thresholds);
    let mut value = || {
        let x = random.pick(&values);
        match random.below(5) {
            0 => x.next_up(),
            1 => x.next_down(),
            2 => random.unit() * 100.0 - 5.0,
            _ => x,
        }
    };
    (0..count * width).map(|_| value()).collect()
}

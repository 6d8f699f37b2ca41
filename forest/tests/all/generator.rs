//! Random models, written as LightGBM writes them, and rows that sit on every edge of their rules.

use std::fmt::Write;

pub(crate) use testkit::Random;

/// Numbers at which some rule changes its mind.
pub(crate) fn edges() -> Vec<f64> {
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

/// Which leaf splits next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Growth {
    /// Any.
    Random,
    /// The oldest: level after level.
    Balanced,
    /// The left, or the right, child of the last split: a chain.
    Left,
    Right,
    /// Left and right in turn.
    Alternating,
    /// Left or right by chance, and now and then any leaf: a chain with bushes.
    Bushy,
}

/// What the thresholds of a model are drawn from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pool {
    /// What is finite of [`edges`], and some ordinary numbers: many splits share one.
    Special,
    /// So many numbers of every magnitude and sign, those of [`edges`] and the infinities among them.
    Wild(usize),
    /// So many numbers within a few ulps of each other, around the number of this place in [`CROWDS`].
    Crowded(usize, usize),
    /// So many evenly spread numbers.
    Even(usize),
}

/// Where thresholds crowd.
pub(crate) const CROWDS: [f64; 9] = [
    1.0,
    -1.0,
    0.1,
    -3.7e8,
    1e-35_f32 as f64,
    -(1e-35_f32 as f64),
    1e300,
    -2.5e-310,
    4.0,
];

#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub seed: u64,
    pub features: usize,
    pub iterations: usize,
    /// Most leaves of a tree.
    pub leaves: usize,
    /// Whether every tree has that many, but for a few constant ones.
    pub full: bool,
    pub growth: Growth,
    pub pool: Pool,
    /// Whether a feature's splits treat missing values in one way.
    pub one_kind: bool,
    /// Percent of the trees with category sets, and most words of a set.
    pub categories: (u64, usize),
    pub objective: &'static str,
    pub average: bool,
    /// What LightGBM can explain: every tree with counts, none of them linear.
    pub explained: bool,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            seed: 1,
            features: 1,
            iterations: 1,
            leaves: 2,
            full: false,
            growth: Growth::Random,
            pool: Pool::Special,
            one_kind: false,
            categories: (40, 3),
            objective: "",
            average: false,
            explained: true,
        }
    }
}

impl Shape {
    pub(crate) fn outputs(&self) -> usize {
        let classes = self
            .objective
            .split_once("num_class:")
            .map_or("1", |(_, rest)| &rest[..1]);
        classes.parse().unwrap()
    }

    fn thresholds(&self, random: &mut Random) -> Vec<f64> {
        match self.pool {
            Pool::Special => {
                let mut thresholds: Vec<f64> = edges().into_iter().filter(|x| x.is_finite()).collect();
                thresholds.extend((0..8).map(|_| random.unit() * 8.0 - 4.0));
                thresholds
            }
            Pool::Wild(count) => {
                let mut thresholds: Vec<f64> = edges().into_iter().filter(|x| !x.is_nan()).collect();
                while thresholds.len() < count {
                    let x = f64::from_bits(random.next());
                    thresholds.push(if x.is_finite() { x } else { random.unit() - 0.5 });
                }
                thresholds
            }
            Pool::Crowded(count, place) => {
                let mut x = CROWDS[place % CROWDS.len()];
                let more = |_| {
                    for _ in 0..1 + random.below(3) {
                        x = x.next_up();
                    }
                    x
                };
                (0..count).map(more).collect()
            }
            Pool::Even(count) => (0..count).map(|at| at as f64 * 0.37 - count as f64 * 0.15).collect(),
        }
    }
}

/// A model of this shape as text, and the thresholds it asks.
pub(crate) fn model_text(shape: &Shape) -> (String, Vec<f64>) {
    let mut random = Random(shape.seed);
    let thresholds = shape.thresholds(&mut random);
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
    let leaves = match shape.full {
        true if random.chance(95) => shape.leaves,
        true => 1,
        false => 1 + random.below(shape.leaves),
    };
    let (share, words) = shape.categories;
    let sets = if random.chance(share) { 1 + random.below(4) } else { 0 };
    let (left, right) = grow(leaves, shape.growth, random);
    let mut features = Vec::new();
    let mut asked = Vec::new();
    let mut decisions = Vec::new();
    for _ in 1..leaves {
        let feature = random.below(shape.features);
        features.push(feature);
        let categorical = sets > 0 && random.chance(50);
        asked.push(if categorical {
            random.below(sets) as f64
        } else {
            random.pick(thresholds)
        });
        let kind = if shape.one_kind {
            shape.seed as usize / 8 + feature
        } else {
            random.next() as usize
        };
        decisions.push(kind % 8 * 2 + usize::from(categorical));
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
        (0..sets).for_each(|set| boundaries.push(boundaries[set] + random.below(words + 1)));
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

/// Child pointers of a tree grown as LightGBM grows one: a leaf splits, keeps its number on the left and
/// gives the right the next one.
fn grow(leaves: usize, growth: Growth, random: &mut Random) -> (Vec<i64>, Vec<i64>) {
    let (mut left, mut right): (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
    // Where each leaf hangs: the split, and whether on its right.
    let mut parents = vec![(0, false)];
    let mut queue = std::collections::VecDeque::from([0]);
    // The leaf that the last split kept.
    let mut kept = 0;
    for count in 1..leaves {
        let leaf = match growth {
            Growth::Random => random.below(count),
            Growth::Balanced => queue.pop_front().unwrap(),
            Growth::Left => kept,
            Growth::Right => count - 1,
            Growth::Alternating => [kept, count - 1][count % 2],
            Growth::Bushy if random.chance(30) => random.below(count),
            Growth::Bushy => random.pick(&[kept, count - 1]),
        };
        queue.extend([leaf, count]);
        let new = left.len();
        if new > 0 {
            let (parent, on_right) = parents[leaf];
            (if on_right { &mut right } else { &mut left })[parent] = new as i64;
        }
        parents[leaf] = (new, false);
        parents.push((new, true));
        left.push(!(leaf as i64));
        right.push(!(count as i64));
        kept = leaf;
    }
    (left, right)
}

/// Rows of values at, and one ulp beside, thresholds and edges, and of categories.
pub(crate) fn rows(count: usize, width: usize, thresholds: &[f64], random: &mut Random) -> Vec<f64> {
    let mut special = edges();
    special.push(-f64::NAN);
    let mut value = || {
        let x = if random.chance(40) || thresholds.is_empty() {
            random.pick(&special)
        } else {
            random.pick(thresholds)
        };
        match random.below(7) {
            0 => x.next_up(),
            1 => x.next_down(),
            2 => random.unit() * 100.0 - 5.0,
            3 => {
                let most = 1 << random.below(12);
                random.below(most) as f64 + random.pick(&[0.0, 0.5, 1.0_f64.next_down(), -0.5])
            }
            _ => x,
        }
    };
    (0..count * width).map(|_| value()).collect()
}

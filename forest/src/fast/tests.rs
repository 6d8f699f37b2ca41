//! Each kernel, by itself, gives the oracle's sums: whichever is picked for so many rows.

use alloc::vec::Vec;

use super::samples::{self, Random};
use super::*;
use crate::model::{Missing, Rule};
use crate::{Model, Output, oracle};

type Kernel = fn(&Tables, &[f64], usize, usize, &mut Scratch, &mut [f64]);

const FEATURES: usize = 7;
const COUNTS: [usize; 16] = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 100, 127, 128];

/// Trees of the given numbers of splits, which ask for a few values of each feature.
fn model(splits: &[usize], outputs: usize, random: &mut Random) -> Model {
    let mut model = samples::stumps(&[], Missing::None, false);
    model.text_bytes = 1 << 20;
    model.outputs = outputs;
    model.feature_names = (0..FEATURES).map(|at| alloc::format!("x{at}")).collect();
    for &splits in splits {
        // The leaf that splits next: the last one at every other tree, which makes long paths.
        let long = random.below(2) == 0;
        let mut tree = samples::tree(splits, |leaves| if long { leaves - 1 } else { random.below(leaves) });
        for split in &mut tree.splits {
            split.feature = random.below(FEATURES) as u32;
            split.rule = Rule::Numerical {
                threshold: random.below(200) as f64 / 200.0,
                missing: if split.feature == 0 {
                    Missing::Nan
                } else {
                    Missing::None
                },
                default_left: random.below(2) == 0,
            };
        }
        tree.leaf_values
            .iter_mut()
            .for_each(|value| *value = random.unit() - 0.5);
        model.trees.push(tree);
    }
    model
}

fn rows(count: usize, random: &mut Random) -> Vec<f64> {
    let value = |random: &mut Random| match random.below(12) {
        0 => f64::NAN,
        1 => random.wild(),
        // Thresholds themselves.
        2..6 => random.below(200) as f64 / 200.0,
        _ => random.unit(),
    };
    (0..count * FEATURES).map(|_| value(random)).collect()
}

fn agree(splits: &[usize], outputs: usize, kernels: &[(&str, Kernel)]) {
    let mut random = Random(splits.len() as u64 + splits[0] as u64);
    let model = model(splits, outputs, &mut random);
    agree_on(&model, &COUNTS, kernels, rows, &mut random);
}

fn agree_on(
    model: &Model,
    counts: &[usize],
    kernels: &[(&str, Kernel)],
    rows: fn(usize, &mut Random) -> Vec<f64>,
    random: &mut Random,
) {
    let outputs = model.outputs;
    let bytes = pack(model, None).expect("an ordinary model");
    let tables = Tables::new(&bytes, FEATURES, outputs).expect("what was packed is valid");
    let mut scratch = Scratch::default();
    for &count in counts {
        let rows = rows(count, random);
        let mut expected = alloc::vec![0.0; count * outputs];
        for (row, out) in rows.chunks(FEATURES).zip(expected.chunks_mut(outputs)) {
            oracle::score(model, row, Output::Raw, out);
        }
        for (name, kernel) in kernels {
            let mut out = alloc::vec![f64::NAN; count * outputs];
            kernel(&tables, &rows, FEATURES, outputs, &mut scratch, &mut out);
            let bits = |scores: &[f64]| scores.iter().map(|score| score.to_bits()).collect::<Vec<_>>();
            assert_eq!(
                bits(&out),
                bits(&expected),
                "{name}, {count} rows, {} trees",
                model.trees.len()
            );
        }
    }
}

const ALL: [(&str, Kernel); 4] = [
    ("walk", walk::sum),
    ("bytes", bytes::sum),
    ("bits", sliced::sum),
    ("masks", masks::sum),
];

#[test]
fn every_kernel_gives_the_oracle_s_sums() {
    for outputs in [1, 3] {
        agree(&[63; 6], outputs, &ALL);
        agree(&[1, 0, 2, 62, 7, 40, 63, 0, 15], outputs, &ALL);
        // More trees than the walk takes together, and than a group has.
        agree(&[5; 300], outputs, &ALL);
    }
}

/// The largest trees that a byte can number the leaves of, and around the sizes that tables are rounded to.
#[test]
fn trees_too_large_for_masks() {
    for splits in [64, 126, 127, 128, 254, 255] {
        agree(&[splits; 17], 1, &ALL[..3]);
    }
}

#[test]
fn trees_too_large_for_bytes() {
    for splits in [256, 700, 1023] {
        agree(&[splits; 20], 1, &[ALL[0], ALL[2]]);
    }
}

/// Stragglers of many windows, which are taken together some windows at a time.
#[test]
fn more_trees_than_are_walked_together() {
    agree(&[3; 2 * sizes::walk::TREES + 200], 1, &ALL[..3]);
    agree(&[300; 200], 1, &ALL[..1]);
}

/// So many sets of few categories have masks, and more questions than nodes of the walk can name.
#[test]
fn more_sets_than_can_be_walked_have_masks() {
    let mut random = Random(5);
    let mut model = model(&[63; 1024], 1, &mut random);
    for tree in &mut model.trees {
        for (number, split) in tree.splits.iter_mut().enumerate() {
            tree.category_words.push(random.next() as u32 | 1);
            split.rule = Rule::Categorical {
                first: number as u32,
                words: 1,
            };
        }
    }
    let bytes = pack(&model, None).expect("an ordinary model");
    let tables = Tables::new(&bytes, FEATURES, 1).expect("what was packed is valid");
    assert!(tables.windows.is_empty() && tables.mask_trees > 0);
    let categories =
        |count: usize, random: &mut Random| (0..count * FEATURES).map(|_| random.below(34) as f64).collect();
    let whole: Kernel = |tables, rows, width, outputs, scratch, out| tables.sum(rows, width, outputs, scratch, out);
    agree_on(
        &model,
        &[1, 9, 33],
        &[("the one picked", whole), ALL[3]],
        categories,
        &mut random,
    );
}

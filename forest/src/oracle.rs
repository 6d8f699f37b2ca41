//! The plain evaluator: LightGBM's rules one after the other, for one row at a time.
//!
//! It is slow on purpose and is what the packed evaluator is tested against. Rules are LightGBM's own:
//! `include/LightGBM/tree.h` and `src/boosting/gbdt_prediction.cpp`.

use alloc::vec::Vec;

use crate::model::{Child, LinearLeaf, Missing, Rule, Split, Tree};
use crate::{Model, Output, ZERO_THRESHOLD, flush_zero};

/// Scores one row.
///
/// `row` holds at least [`Model::num_features`] values (further ones are ignored), `out` exactly
/// [`Model::num_outputs`]. No scaling is applied.
///
/// # Panics
/// If `row` is shorter or `out` has another length.
pub fn score(model: &Model, row: &[f64], output: Output, out: &mut [f64]) {
    assert_eq!(out.len(), model.outputs, "one score an output");
    // 1. What counts as zero becomes +0.0 before any tree.
    let row: Vec<f64> = row[..model.num_features()].iter().map(|&x| flush_zero(x)).collect();
    // 2. The trees are summed from +0.0, iteration after iteration, class by class.
    out.fill(0.0);
    for (number, tree) in model.trees.iter().enumerate() {
        out[number % model.outputs] += tree_value(tree, &row);
    }
    if output == Output::Raw {
        return;
    }
    // 3. A random forest's sum is divided by its iterations, before the conversion.
    if model.average_output {
        let iterations = (model.trees.len() / model.outputs) as f64;
        out.iter_mut().for_each(|sum| *sum /= iterations);
    }
    // 4. The objective converts the sum.
    model.conversion.apply(out);
}

fn tree_value(tree: &Tree, row: &[f64]) -> f64 {
    let leaf = find_leaf(tree, row);
    match &tree.linear {
        Some(leaves) => linear_value(&leaves[leaf], row).unwrap_or(tree.leaf_values[leaf]),
        None => tree.leaf_values[leaf],
    }
}

fn find_leaf(tree: &Tree, row: &[f64]) -> usize {
    // 5. A constant tree has one leaf and no split.
    let mut at = if tree.splits.is_empty() {
        Child::Leaf(0)
    } else {
        Child::Split(0)
    };
    loop {
        match at {
            Child::Leaf(leaf) => return leaf as usize,
            Child::Split(number) => {
                let split = &tree.splits[number as usize];
                at = if goes_left(tree, split, row) {
                    split.left
                } else {
                    split.right
                };
            }
        }
    }
}

fn goes_left(tree: &Tree, split: &Split, row: &[f64]) -> bool {
    let x = row[split.feature as usize];
    match split.rule {
        Rule::Numerical {
            threshold,
            missing,
            default_left,
        } => {
            // 6. NaN is 0.0 unless the split knows NaN as missing.
            let x = if x.is_nan() && missing != Missing::Nan { 0.0 } else { x };
            // 7. A missing value takes the default side; anything else compares.
            let is_missing = match missing {
                Missing::None => false,
                Missing::Zero => (-ZERO_THRESHOLD..=ZERO_THRESHOLD).contains(&x),
                Missing::Nan => x.is_nan(),
            };
            if is_missing { default_left } else { x <= threshold }
        }
        Rule::Categorical { first, words } => {
            // 8. NaN, negative numbers and what is no 32-bit int go right; the rest is cut to an int.
            if !(x > -1.0 && x < 2_147_483_648.0) {
                return false;
            }
            let category = x as u32;
            // 9. Left where the category's bit is set; beyond the bitset is right.
            let set = &tree.category_words[first as usize..(first + words) as usize];
            let word = set.get((category / 32) as usize).copied().unwrap_or(0);
            word >> (category % 32) & 1 == 1
        }
    }
}

/// A linear leaf (rule 10) adds its terms in order, without fused multiply-add; a NaN among its features
/// gives the plain leaf value instead.
fn linear_value(leaf: &LinearLeaf, row: &[f64]) -> Option<f64> {
    let mut value = leaf.constant;
    for &(feature, coefficient) in &leaf.terms {
        let x = row[feature as usize];
        if x.is_nan() {
            return None;
        }
        value += coefficient * x;
    }
    Some(value)
}

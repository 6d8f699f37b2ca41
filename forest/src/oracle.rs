//! The plain evaluator: LightGBM's rules one after the other, for one row at a time.
//!
//! It is slow on purpose and is what the packed evaluator is tested against. Rules are LightGBM's own:
//! `include/LightGBM/tree.h` and `src/boosting/gbdt_prediction.cpp`.

use alloc::vec::Vec;

use crate::model::{Child, LinearLeaf, Missing, Rule, Split, Tree};
use crate::zero::{ZERO_THRESHOLD, flush_zero};
use crate::{ExplainError, Model, Output};

/// Most features [`explain`] takes: it looks at every set of them.
pub const MAX_EXPLAINED_FEATURES: usize = 16;

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

/// Contributions of the features to one row's raw scores, by their definition instead of an algorithm: Shapley values
/// of the game whose worth of a set of features is what the trees give when only those are known. Where a split asks a
/// feature that is not known, both branches count, by the share of training rows that took them.
///
/// `row` is as for [`score`]; `out` gets, output after output, a contribution a feature and then the expected value,
/// which is the worth of knowing nothing.
///
/// # Errors
/// Trees that are linear, or do not say how many training rows took which branch.
///
/// # Panics
/// If `row` is shorter or `out` has another length, or with more than [`MAX_EXPLAINED_FEATURES`] features.
pub fn explain(model: &Model, row: &[f64], out: &mut [f64]) -> Result<(), ExplainError> {
    let features = model.num_features();
    assert!(features <= MAX_EXPLAINED_FEATURES, "{features} features");
    assert_eq!(out.len(), model.outputs * (features + 1), "one group an output");
    if model.trees.iter().any(|tree| tree.linear.is_some()) {
        return Err(ExplainError::LinearTrees);
    }
    let row: Vec<f64> = row[..features].iter().map(|&x| flush_zero(x)).collect();
    out.fill(0.0);
    for (number, tree) in model.trees.iter().enumerate() {
        let group = &mut out[number % model.outputs * (features + 1)..][..=features];
        let worths = (0..1_u32 << features).map(|known| worth(tree, &row, known).ok_or(ExplainError::NoCounts));
        let worths = worths.collect::<Result<Vec<f64>, _>>()?;
        group[features] += worths[0];
        for (set, without) in worths.iter().enumerate() {
            for feature in (0..features).filter(|feature| set >> feature & 1 == 0) {
                let with = worths[set | 1 << feature];
                group[feature] += shapley_weight(features, set.count_ones() as usize) * (with - without);
            }
        }
    }
    Ok(())
}

/// `size! (n - size - 1)! / n!`: how often, among all orders of `n` features, one comes right behind a given set.
fn shapley_weight(n: usize, size: usize) -> f64 {
    let factorial = |n: usize| (1..=n).map(|k| k as f64).product::<f64>();
    factorial(size) * factorial(n - size - 1) / factorial(n)
}

/// What a tree gives when only the features whose bits are set are known; `None` without counts.
fn worth(tree: &Tree, row: &[f64], known: u32) -> Option<f64> {
    if tree.splits.is_empty() {
        return Some(tree.leaf_values[0]);
    }
    let counts = tree.counts.as_ref()?;
    let count = |child| match child {
        Child::Split(number) => f64::from(counts.splits[number as usize]),
        Child::Leaf(leaf) => f64::from(counts.leaves[leaf as usize]),
    };
    let mut sum = 0.0;
    let mut open = alloc::vec![(Child::Split(0), 1.0)];
    while let Some((at, share)) = open.pop() {
        let split = match at {
            Child::Split(number) => &tree.splits[number as usize],
            Child::Leaf(leaf) => {
                sum += share * tree.leaf_values[leaf as usize];
                continue;
            }
        };
        if known >> split.feature & 1 == 1 {
            let left = goes_left(tree, split, row);
            open.push((if left { split.left } else { split.right }, share));
        } else {
            open.extend([split.left, split.right].map(|child| (child, share * count(child) / count(at))));
        }
    }
    Some(sum)
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

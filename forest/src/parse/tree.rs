//! One tree: its arrays, checked against each other.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::error::ParseError;
use super::fields::{Field, Fields};
use crate::model::{Child, Counts, LinearLeaf, Missing, Rule, Split, Tree};

pub(super) const KEYS: &[&str] = &[
    "num_leaves",
    "num_cat",
    "split_feature",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "leaf_value",
    "leaf_count",
    "internal_count",
    "cat_boundaries",
    "cat_threshold",
    "is_linear",
    "leaf_const",
    "num_features",
    "leaf_features",
    "leaf_coeff",
];

const CATEGORICAL: i8 = 1;
const DEFAULT_LEFT: i8 = 2;
/// Categorical, default left, and two bits for what counts as missing.
const KNOWN_BITS: i8 = 0b1111;

pub(super) fn tree(fields: &Fields, features: usize) -> Result<Tree, ParseError> {
    let field = fields.require("num_leaves")?;
    let leaves: usize = field.number("a number of leaves")?;
    if leaves == 0 {
        return Err(field.error("0: expected at least 1"));
    }
    let categories: usize = fields.require("num_cat")?.number("a number of categorical splits")?;
    let leaf_values = fields.require("leaf_value")?.numbers(Some(leaves), "a number")?;
    let is_linear = match fields.get("is_linear") {
        Some(field) => field.number::<i64>("0 or 1")? != 0,
        None => false,
    };
    let linear = if is_linear {
        Some(linear_leaves(fields, leaves, features)?)
    } else {
        None
    };
    let mut tree = Tree {
        splits: Vec::new(),
        leaf_values,
        category_words: Vec::new(),
        linear,
        counts: read_counts(fields, leaves),
    };
    if leaves > 1 {
        let boundaries = read_categories(fields, categories, &mut tree)?;
        tree.splits = read_splits(fields, leaves, features, &boundaries)?;
        check_shape(fields, &tree)?;
    }
    Ok(tree)
}

/// The counts of training rows, if they are all there and positive. Scoring does without: whatever is wrong
/// with them costs a model its explanations alone.
fn read_counts(fields: &Fields, leaves: usize) -> Option<Counts> {
    // A constant tree splits no rows between branches: LightGBM writes 0, or the number of rows.
    if leaves == 1 {
        return Some(Counts {
            splits: Vec::new(),
            leaves: vec![1],
        });
    }
    let read = |key, count| {
        // LightGBM holds them as 32-bit ints.
        let counts: Vec<i32> = fields.get(key)?.numbers(Some(count), "a number of rows").ok()?;
        let positive = counts
            .into_iter()
            .map(|count| u32::try_from(count).ok().filter(|&c| c > 0));
        positive.collect::<Option<Vec<u32>>>()
    };
    Some(Counts {
        splits: read("internal_count", leaves - 1)?,
        leaves: read("leaf_count", leaves)?,
    })
}

/// The word boundaries of the tree's bitsets, one more than there are bitsets; empty without any.
fn read_categories(fields: &Fields, count: usize, tree: &mut Tree) -> Result<Vec<u32>, ParseError> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let field = fields.require("cat_boundaries")?;
    let boundaries: Vec<u32> = field.numbers(Some(count.saturating_add(1)), "a word offset")?;
    if boundaries[0] != 0 || !boundaries.is_sorted() {
        return Err(field.error("expected offsets that begin at 0 and never fall"));
    }
    let words = boundaries[count] as usize;
    tree.category_words = fields
        .require("cat_threshold")?
        .numbers(Some(words), "32 bits of a set")?;
    Ok(boundaries)
}

fn read_splits(fields: &Fields, leaves: usize, features: usize, boundaries: &[u32]) -> Result<Vec<Split>, ParseError> {
    let count = leaves - 1;
    let feature_field = fields.require("split_feature")?;
    let split_features: Vec<u32> = feature_field.numbers(Some(count), "a feature number")?;
    let threshold_field = fields.require("threshold")?;
    let thresholds: Vec<f64> = threshold_field.numbers(Some(count), "a number")?;
    let decisions: Vec<i8> = match fields.get("decision_type") {
        Some(field) => field.numbers(Some(count), "a decision type")?,
        None => vec![0; count],
    };
    if let Some(unknown) = decisions.iter().find(|decision| **decision & !KNOWN_BITS != 0)
        && let Some(field) = fields.get("decision_type")
    {
        return Err(field.error(format!(
            "{unknown}: expected 0 to {KNOWN_BITS}; LightGBM gives other bits no meaning"
        )));
    }
    let left = children(fields.require("left_child")?, leaves)?;
    let right = children(fields.require("right_child")?, leaves)?;
    let mut splits = Vec::with_capacity(count);
    for number in 0..count {
        let feature = split_features[number];
        if feature as usize >= features {
            let problem = format!("feature {feature}: expected a number below {features}");
            return Err(feature_field.error(problem));
        }
        let (threshold, decision) = (thresholds[number], decisions[number]);
        let rule = if decision & CATEGORICAL != 0 && !boundaries.is_empty() {
            categorical(&threshold_field, threshold, boundaries)?
        } else {
            numerical(&threshold_field, threshold, decision)?
        };
        splits.push(Split {
            feature,
            rule,
            left: left[number],
            right: right[number],
        });
    }
    Ok(splits)
}

fn numerical(field: &Field, threshold: f64, decision: i8) -> Result<Rule, ParseError> {
    if threshold.is_nan() {
        // LightGBM never writes one (`Common::AvoidInf`), and it would send every value right.
        return Err(field.error("nan: expected a threshold to compare with"));
    }
    let missing = match (decision >> 2) & 3 {
        1 => Missing::Zero,
        2 => Missing::Nan,
        // LightGBM treats the unused value 3 as it treats None.
        _ => Missing::None,
    };
    Ok(Rule::Numerical {
        threshold,
        missing,
        default_left: decision & DEFAULT_LEFT != 0,
    })
}

/// The threshold of a categorical split is the number of its bitset.
fn categorical(field: &Field, threshold: f64, boundaries: &[u32]) -> Result<Rule, ParseError> {
    let sets = boundaries.len() - 1;
    if !(threshold > -1.0 && threshold < sets as f64) {
        return Err(field.error(format!("{threshold}: expected a bitset number below {sets}")));
    }
    let set = threshold as usize;
    let first = boundaries[set];
    Ok(Rule::Categorical {
        first,
        words: boundaries[set + 1] - first,
    })
}

/// Child pointers: a split's number, or the complement of a leaf's.
fn children(field: Field, leaves: usize) -> Result<Vec<Child>, ParseError> {
    let pointers: Vec<i32> = field.numbers(Some(leaves - 1), "a child")?;
    let child = |pointer: i32| {
        let (number, bound) = if pointer < 0 {
            (!pointer, leaves)
        } else {
            (pointer, leaves - 1)
        };
        let number = u32::try_from(number).expect("the complement of a negative number is not negative");
        if number as usize >= bound {
            let problem = format!("{pointer}: expected -{leaves} to {}", leaves - 2);
            return Err(field.error(problem));
        }
        Ok(if pointer < 0 {
            Child::Leaf(number)
        } else {
            Child::Split(number)
        })
    };
    pointers.into_iter().map(child).collect()
}

/// Every split but the root, and every leaf, is the child of exactly one reachable split. LightGBM
/// grows trees by splitting leaves, so its files always hold this; it also rules out cycles.
fn check_shape(fields: &Fields, tree: &Tree) -> Result<(), ParseError> {
    let mut split_seen = vec![false; tree.splits.len()];
    let mut leaf_seen = vec![false; tree.leaf_values.len()];
    let mut open = vec![0_usize];
    split_seen[0] = true;
    let mut reached = 1;
    while let Some(number) = open.pop() {
        let split = &tree.splits[number];
        for (key, child) in [("left_child", split.left), ("right_child", split.right)] {
            let seen = match child {
                Child::Split(child) => {
                    open.push(child as usize);
                    &mut split_seen[child as usize]
                }
                Child::Leaf(leaf) => &mut leaf_seen[leaf as usize],
            };
            if core::mem::replace(seen, true) {
                let problem = format!("{child:?} of split {number} is reached twice: not a tree");
                return Err(fields.require(key)?.error(problem));
            }
            reached += 1;
        }
    }
    let nodes = tree.splits.len() + tree.leaf_values.len();
    if reached != nodes {
        let problem = format!("{reached} of {nodes} splits and leaves can be reached: not a tree");
        return Err(fields.require("left_child")?.error(problem));
    }
    Ok(())
}

fn linear_leaves(fields: &Fields, leaves: usize, features: usize) -> Result<Vec<LinearLeaf>, ParseError> {
    let constants: Vec<f64> = match fields.get("leaf_const") {
        Some(field) => field.numbers(Some(leaves), "a number")?,
        None => vec![0.0; leaves],
    };
    let plain = |constant| LinearLeaf {
        constant,
        terms: Vec::new(),
    };
    let Some(field) = fields.get("num_features") else {
        return Ok(constants.into_iter().map(plain).collect());
    };
    let counts: Vec<u32> = field.numbers(Some(leaves), "a number of features")?;
    let total = usize::try_from(counts.iter().map(|&count| u64::from(count)).sum::<u64>())
        .map_err(|_| field.error("expected fewer features in all"))?;
    if total == 0 {
        return Ok(constants.into_iter().map(plain).collect());
    }
    let field = fields.require("leaf_features")?;
    let numbers: Vec<u32> = field.numbers(Some(total), "a feature number")?;
    let coefficients: Vec<f64> = fields.require("leaf_coeff")?.numbers(Some(total), "a number")?;
    if let Some(feature) = numbers.iter().find(|feature| **feature as usize >= features) {
        let problem = format!("feature {feature}: expected a number below {features}");
        return Err(field.error(problem));
    }
    let mut terms = numbers.into_iter().zip(coefficients);
    let leaf = |(constant, count): (f64, u32)| LinearLeaf {
        constant,
        terms: terms.by_ref().take(count as usize).collect(),
    };
    Ok(constants.into_iter().zip(counts).map(leaf).collect())
}

//! The parsed model: validated once, read-only afterwards.

use alloc::string::String;
use alloc::vec::Vec;

use crate::objective::Conversion;

/// A LightGBM model, parsed and checked.
///
/// Guaranteed after [`Model::parse`]: every tree is a tree (each node and leaf is reached exactly
/// once), every feature number is below [`num_features`](Model::num_features), every bitset lies
/// inside the tree's words, and the number of trees is a multiple of
/// [`num_outputs`](Model::num_outputs).
#[derive(Clone, Debug)]
pub struct Model {
    /// Length of the text: what tables are made is measured by it.
    pub(crate) text_bytes: usize,
    pub(crate) outputs: usize,
    pub(crate) feature_names: Vec<String>,
    pub(crate) objective: String,
    pub(crate) conversion: Conversion,
    pub(crate) average_output: bool,
    pub(crate) trees: Vec<Tree>,
}

/// One tree. `splits` is empty for a constant tree, whose only leaf is number 0.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub splits: Vec<Split>,
    pub leaf_values: Vec<f64>,
    /// All bitsets of the tree, one after the other, 32 categories a word.
    pub category_words: Vec<u32>,
    /// One entry a leaf in a linear tree; `None` in an ordinary one.
    pub linear: Option<Vec<LinearLeaf>>,
    /// `None` where the text does not have them all, or one is not positive.
    pub counts: Option<Counts>,
}

/// Training rows that reached the tree's parts, all positive. Only explanations need them.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    /// `internal_count`: one a split.
    pub splits: Vec<u32>,
    /// `leaf_count`: one a leaf.
    pub leaves: Vec<u32>,
}

#[derive(Clone, Debug)]
pub(crate) struct Split {
    pub feature: u32,
    pub rule: Rule,
    pub left: Child,
    pub right: Child,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Child {
    Split(u32),
    Leaf(u32),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    Numerical {
        threshold: f64,
        missing: Missing,
        default_left: bool,
    },
    /// Left where the category is in the set: words `first..first + words` of the tree.
    Categorical { first: u32, words: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Missing {
    None,
    Zero,
    Nan,
}

/// The linear model of a leaf: `constant + sum(coefficient * feature)` in order.
#[derive(Clone, Debug)]
pub(crate) struct LinearLeaf {
    pub constant: f64,
    /// `(feature, coefficient)`.
    pub terms: Vec<(u32, f64)>,
}

impl Model {
    /// Values a row must have: `max_feature_idx + 1`.
    pub fn num_features(&self) -> usize {
        self.feature_names.len()
    }

    /// Scores a row gets: `num_tree_per_iteration`, the number of classes.
    pub fn num_outputs(&self) -> usize {
        self.outputs
    }

    /// Trees over all iterations and classes.
    pub fn num_trees(&self) -> usize {
        self.trees.len()
    }

    /// Names in column order; as many as [`num_features`](Model::num_features).
    pub fn feature_names(&self) -> &[String] {
        &self.feature_names
    }

    /// The objective as written in the file, e.g. `binary sigmoid:1`; empty if there is none.
    pub fn objective(&self) -> &str {
        &self.objective
    }
}

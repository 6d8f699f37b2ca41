//! Contributions of features to scores: path-dependent TreeSHAP, as LightGBM's `predict(pred_contrib=True)`.
//!
//! The algorithm is that of Lundberg, Erion and Lee, "Consistent Individualized Feature Attribution for Tree
//! Ensembles" (arXiv:1802.03888, algorithm 2), in the words of LightGBM's `src/io/tree.cpp`: `TreeSHAP`,
//! `ExtendPath`, `UnwindPath`, `UnwoundPathSum` and `ExpectedValue`. Unwinding a path is numerically delicate, so
//! each sum and product is taken in LightGBM's order; what differs is that the recursion is a stack of branches
//! yet to be taken, because a model's depth is not this program's to choose.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::image::{self, ImageError};
use crate::packed::{Forest, float, halves, record, tree_record};

/// Deepest tree explained. Paths take up to (depth + 1)(depth + 2)/2 elements of 32 bytes, 16 MB at this depth, and
/// a row takes nodes times depth squared.
const MAX_DEPTH: usize = 1_000;
/// The feature of a path's first element, which stands for the root: no column has it.
const NO_FEATURE: u32 = u32::MAX;

/// Why a model's scores are not explained. It holds for the model: no row changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplainError {
    /// The model's text does not say how many training rows reached each split and leaf.
    NoCounts,
    /// The model has linear trees; LightGBM does not explain those either.
    LinearTrees,
    /// A tree is deeper than what is explained.
    TooDeep {
        /// Number of the tree, from 0.
        tree: usize,
        /// Splits from its root to its deepest leaf.
        depth: usize,
    },
}

impl fmt::Display for ExplainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExplainError::NoCounts => f.write_str(
                "the model does not say how many training rows reached each branch: explaining needs leaf_count \
                 and internal_count in every tree of the model's text, each number at least 1",
            ),
            ExplainError::LinearTrees => {
                f.write_str("the model has linear trees, whose scores are not explained (LightGBM does not either)")
            }
            ExplainError::TooDeep { tree, depth } => {
                write!(
                    f,
                    "tree {tree} is {depth} splits deep; allowed: at most {MAX_DEPTH} to be explained"
                )
            }
        }
    }
}

impl core::error::Error for ExplainError {}

/// One feature on the way from the root: the share of training rows that come this way when the feature is not
/// known, and whether (1 or 0) the row at hand does. `weight` is that of the subsets of the path as many features
/// as this element's place are in.
#[derive(Clone, Copy)]
struct Element {
    feature: u32,
    zero: f64,
    one: f64,
    weight: f64,
}

/// A branch yet to be taken: to `node`, behind the path of its parent, with a last element to put to it.
struct Branch {
    node: u32,
    /// Where the parent's path lies.
    path: usize,
    length: usize,
    feature: u32,
    zero: f64,
    one: f64,
}

/// Room that rows and trees share.
#[derive(Default)]
struct Room {
    branches: Vec<Branch>,
    /// The paths of the branch at hand and of all above it, each behind its parent's.
    paths: Vec<Element>,
}

impl Forest<'_> {
    /// Contributions of each feature of each row to its raw scores.
    ///
    /// `rows` holds n times [`width`](Forest::width) values as for [`score`](Forest::score). `out` gets, row after row
    /// and output after output, `width` contributions in the order of the features and then the expected value: the
    /// mean of the trees over the training rows. That is n times [`outputs`](Forest::outputs) times `width + 1` numbers,
    /// laid out as LightGBM's `pred_contrib`, and as LightGBM's not divided by the iterations of a random forest.
    /// A group's sum is that output's [`Raw`](crate::Output::Raw) score but for rounding.
    ///
    /// # Errors
    /// What the model lacks, or has too much of; `out` is then as it was.
    ///
    /// # Panics
    /// If the lengths do not fit that shape.
    pub fn explain(&self, rows: &[f64], out: &mut [f64]) -> Result<(), ExplainError> {
        let count = rows.len() / self.width;
        assert_eq!(rows.len(), count * self.width, "rows of {} values", self.width);
        let group = self.width + 1;
        assert_eq!(
            Some(out.len()),
            group
                .checked_mul(self.outputs)
                .and_then(|values| values.checked_mul(count)),
            "a contribution a feature and the expected value, an output and row"
        );
        self.explainable()?;
        let expected = self.expected_values();
        let mut features = vec![0.0; self.width];
        let mut values = vec![f64::NEG_INFINITY; self.columns.len() + 1];
        let mut room = Room::default();
        let answers = out.chunks_exact_mut(group * self.outputs);
        for (row, out) in rows.chunks_exact(self.width).zip(answers) {
            features.copy_from_slice(row);
            self.prepare(&mut features, &mut values);
            out.fill(0.0);
            for (number, tree) in self.trees.iter().enumerate() {
                let contributions = &mut out[number % self.outputs * group..][..self.width];
                self.explain_tree(tree_record(tree).0, &values, &mut room, contributions);
            }
            for (group, expected) in out.chunks_exact_mut(group).zip(&expected) {
                group[self.width] = *expected;
            }
        }
        Ok(())
    }

    /// Covers are positive, and with them no two parents share a child, so that explaining a tree visits a node
    /// once; for [`Forest::new`], after it has checked each node by itself.
    pub(crate) fn check_covers(&self) -> Result<(), ImageError> {
        if self.covers.is_empty() {
            return Ok(());
        }
        if self.covers.contains(&[0; 4]) {
            return Err(ImageError("cover of a node is zero"));
        }
        for tree in self.trees {
            let (first, end, _) = tree_record(tree);
            let mut next = first + 1;
            for at in first..end {
                let (_, _, child) = record(&self.nodes[at as usize]);
                if child != at {
                    if child != next {
                        return Err(ImageError("nodes with covers are not breadth first"));
                    }
                    next += 2;
                }
            }
            if next != end {
                return Err(ImageError("nodes with covers are not breadth first"));
            }
        }
        Ok(())
    }

    fn explainable(&self) -> Result<(), ExplainError> {
        if self
            .trees
            .iter()
            .any(|tree| tree_record(tree).2 & image::TREE_LINEAR != 0)
        {
            return Err(ExplainError::LinearTrees);
        }
        if self.covers.len() != self.nodes.len() {
            return Err(ExplainError::NoCounts);
        }
        for (tree, record) in self.trees.iter().enumerate() {
            let depth = self.depth(tree_record(record).0);
            if depth > MAX_DEPTH {
                return Err(ExplainError::TooDeep { tree, depth });
            }
        }
        Ok(())
    }

    /// Splits from a root to its deepest leaf. Breadth first, the children of a level are the next level.
    fn depth(&self, root: u32) -> usize {
        let (mut level, mut depth) = (root..root + 1, 0);
        loop {
            let splits = level
                .clone()
                .filter(|&at| record(&self.nodes[at as usize]).2 != at)
                .count();
            if splits == 0 {
                return depth;
            }
            level = level.end..level.end + 2 * splits as u32;
            depth += 1;
        }
    }

    fn cover(&self, node: u32) -> f64 {
        f64::from(u32::from_le_bytes(self.covers[node as usize]))
    }

    /// The trees' means over their training rows, summed for each output (`ExpectedValue`).
    fn expected_values(&self) -> Vec<f64> {
        let mut expected = vec![0.0; self.outputs];
        let mut leaves = Vec::new();
        for (number, tree) in self.trees.iter().enumerate() {
            let (first, end, _) = tree_record(tree);
            leaves.clear();
            for at in first..end {
                let (threshold, _, child) = record(&self.nodes[at as usize]);
                if child == at {
                    leaves.push((threshold as usize, at));
                }
            }
            // LightGBM adds the leaves by their numbers.
            leaves.sort_unstable();
            let total = self.cover(first);
            let weighted = leaves
                .iter()
                .map(|&(leaf, at)| self.cover(at) / total * float(&self.leaves[leaf]));
            // From +0.0: `sum` would start at -0.0.
            expected[number % self.outputs] += match leaves.as_slice() {
                [(leaf, _)] => float(&self.leaves[*leaf]),
                _ => weighted.fold(0.0, |sum, value| sum + value),
            };
        }
        expected
    }

    /// Adds a tree's contributions (`TreeSHAP`); `values` are the row's columns.
    fn explain_tree(&self, root: u32, values: &[f64], room: &mut Room, contributions: &mut [f64]) {
        let Room { branches, paths } = room;
        branches.push(Branch {
            node: root,
            path: 0,
            length: 0,
            feature: NO_FEATURE,
            zero: 1.0,
            one: 1.0,
        });
        while let Some(branch) = branches.pop() {
            let start = branch.path + branch.length;
            // Drops what an earlier branch left behind the parent's path.
            paths.truncate(start);
            paths.extend_from_within(branch.path..);
            extend(paths, start, &branch);
            let path = &mut paths[start..];
            let (threshold, column, child) = record(&self.nodes[branch.node as usize]);
            if child == branch.node {
                let value = float(&self.leaves[threshold as usize]);
                for (index, element) in path.iter().enumerate().skip(1) {
                    contributions[element.feature as usize] +=
                        unwound_sum(path, index) * (element.one - element.zero) * value;
                }
                continue;
            }
            let (feature, _) = halves(self.columns[(column & !image::CATEGORY_NODE) as usize]);
            let left = self.goes_left(threshold, column, values);
            let (hot, cold) = if left { (child, child + 1) } else { (child + 1, child) };
            // A feature that was split on above is taken out of the path, to be put in again with both splits.
            let (mut zero, mut one, mut length) = (1.0, 1.0, path.len());
            if let Some(index) = path.iter().position(|element| element.feature == feature) {
                (zero, one) = (path[index].zero, path[index].one);
                unwind(path, index);
                length -= 1;
            }
            let cover = self.cover(branch.node);
            // The hot branch is taken first: it is put on last.
            for (node, one) in [(cold, 0.0), (hot, one)] {
                branches.push(Branch {
                    node,
                    path: start,
                    length,
                    feature,
                    zero: self.cover(node) / cover * zero,
                    one,
                });
            }
        }
    }
}

/// Puts a branch's element to the path that begins at `start` and ends `paths` (`ExtendPath`).
fn extend(paths: &mut Vec<Element>, start: usize, branch: &Branch) {
    let depth = paths.len() - start;
    let (zero, one) = (branch.zero, branch.one);
    paths.push(Element {
        feature: branch.feature,
        zero,
        one,
        weight: if depth == 0 { 1.0 } else { 0.0 },
    });
    let path = &mut paths[start..];
    let length = (depth + 1) as f64;
    for i in (0..depth).rev() {
        path[i + 1].weight += one * path[i].weight * (i + 1) as f64 / length;
        path[i].weight = zero * path[i].weight * (depth - i) as f64 / length;
    }
}

/// Takes an element out of a path, the last place of which then holds nothing of use (`UnwindPath`).
fn unwind(path: &mut [Element], index: usize) {
    let depth = path.len() - 1;
    let length = (depth + 1) as f64;
    let Element { zero, one, .. } = path[index];
    let mut next = path[depth].weight;
    for i in (0..depth).rev() {
        let weight = path[i].weight;
        if one != 0.0 {
            path[i].weight = next * length / ((i + 1) as f64 * one);
            next = weight - path[i].weight * zero * (depth - i) as f64 / length;
        } else {
            path[i].weight = weight * length / (zero * (depth - i) as f64);
        }
    }
    // Weights belong to places, the rest to features.
    for i in index..depth {
        let Element { feature, zero, one, .. } = path[i + 1];
        path[i] = Element {
            feature,
            zero,
            one,
            weight: path[i].weight,
        };
    }
}

/// The weights' sum had the element been taken out (`UnwoundPathSum`).
fn unwound_sum(path: &[Element], index: usize) -> f64 {
    let depth = path.len() - 1;
    let length = (depth + 1) as f64;
    let Element { zero, one, .. } = path[index];
    let mut next = path[depth].weight;
    let mut total = 0.0;
    for i in (0..depth).rev() {
        if one != 0.0 {
            let weight = next * length / ((i + 1) as f64 * one);
            total += weight;
            next = path[i].weight - weight * zero * ((depth - i) as f64 / length);
        } else {
            total += path[i].weight / zero / ((depth - i) as f64 / length);
        }
    }
    total
}

//! The image: a model laid out for scoring, as position-independent little-endian bytes.
//!
//! A header of 64 bytes, then these sections, each but the last beginning at a multiple of 8:
//!
//! | section | record | bytes |
//! |---|---|---|
//! | scaling | offset f64, scale f64; one a feature, or none at all | 16 |
//! | columns | feature u32, kind u32 | 8 |
//! | trees | first node u32, end of nodes u32, flags u32, 0 | 16 |
//! | nodes | threshold f64, column u32, child u32 | 16 |
//! | leaves | value f64 | 8 |
//! | linear leaves | constant f64, first term u32, terms u32; one a leaf, or none at all | 16 |
//! | terms | coefficient f64, feature u32, 0 | 16 |
//! | words | 32 bits of a category set | 4 |
//! | covers | training rows u32, positive; one a node, or none at all | 4 |
//!
//! and, at the next multiple of 64, the tables of the kernels (`fast/pack.rs`), or nothing where there are none.
//!
//! A **column** is a feature with its missing values already sent to their side: where they go left it
//! holds -inf, where they go right NaN, so that a node needs nothing but `x <= threshold`. The children
//! of a node are neighbours: left is `child`, right `child + 1`. A leaf is its own child; its column,
//! one past the last, always holds -inf, and the bits of its threshold are the leaf's number (a positive
//! denormal). So a walk needs no test for leaves but "did not move".
//!
//! Where there are covers, the nodes of each tree lie breadth first: explaining goes down every branch, and
//! nodes that two parents share would make that exponential.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use crate::model::{Child, LinearLeaf, Missing, Rule, Split, Tree};
use crate::objective::Conversion;
use crate::{Model, Scaler, fast};

pub(crate) const MAGIC: [u8; 8] = *b"forest\0\x02";
pub(crate) const HEADER_BYTES: usize = 64;
/// A line of the cache. Sections that are read at random are aligned to one: for speed, nothing rests on it.
pub(crate) const LINE: usize = 64;

pub(crate) const AVERAGE_OUTPUT: u32 = 1;
pub(crate) const SCALED: u32 = 2;
pub(crate) const COVERED: u32 = 4;

pub(crate) const TREE_CATEGORICAL: u32 = 1;
pub(crate) const TREE_LINEAR: u32 = 2;

/// Set in a node's column where the node asks a category set: the threshold's bits are then the first
/// word (low half) and the number of words (high half).
pub(crate) const CATEGORY_NODE: u32 = 1 << 31;

/// What a column holds of its feature.
pub(crate) mod kind {
    pub const PLAIN: u32 = 0;
    pub const ZERO_LEFT: u32 = 1;
    pub const ZERO_RIGHT: u32 = 2;
    pub const NAN_LEFT: u32 = 3;
    pub const NAN_RIGHT: u32 = 4;
    pub const CATEGORY: u32 = 5;
}

/// Why bytes are not an image (or a bundle).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageError(pub(crate) &'static str);

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for ImageError {}

/// Lays a model out for [`Forest`](crate::Forest), with the scaling of its feature map if given.
///
/// The same model and scaler give the same bytes.
///
/// # Panics
/// If the scaler does not have [`Model::num_features`] features: its caller pairs the two.
pub fn pack(model: &Model, scaler: Option<&Scaler>) -> Vec<u8> {
    if let Some(scaler) = scaler {
        assert_eq!(scaler.len(), model.num_features(), "one scale a feature");
    }
    let mut packer = Packer::new(model);
    for tree in &model.trees {
        packer.tree(tree);
    }
    packer.finish(model, scaler)
}

/// The code and parameter of a conversion in the header.
fn conversion_code(conversion: Conversion) -> (u32, f64) {
    match conversion {
        Conversion::Identity => (0, 0.0),
        Conversion::Sigmoid(sigma) => (1, sigma),
        Conversion::SigmoidEach(sigma) => (2, sigma),
        Conversion::Exp => (3, 0.0),
        Conversion::Log1pExp => (4, 0.0),
        Conversion::Softmax => (5, 0.0),
        Conversion::SignedSquare => (6, 0.0),
    }
}

pub(crate) fn conversion(code: u32, sigma: f64) -> Result<Conversion, ImageError> {
    Ok(match code {
        0 => Conversion::Identity,
        1 => Conversion::Sigmoid(sigma),
        2 => Conversion::SigmoidEach(sigma),
        3 => Conversion::Exp,
        4 => Conversion::Log1pExp,
        5 => Conversion::Softmax,
        6 => Conversion::SignedSquare,
        _ => return Err(ImageError("unknown conversion of the output")),
    })
}

struct Node {
    threshold: u64,
    column: u32,
    child: u32,
}

struct Packer {
    columns: BTreeMap<(u32, u32), u32>,
    has_linear: bool,
    trees: Vec<[u32; 4]>,
    nodes: Vec<Node>,
    leaves: Vec<f64>,
    linear: Vec<(f64, u32, u32)>,
    terms: Vec<(f64, u32)>,
    words: Vec<u32>,
    /// `None` if a tree lacks its counts, or is linear: LightGBM does not explain those.
    covers: Option<Vec<u32>>,
}

/// Counts fit: the text a model comes from is shorter than 2^30 bytes.
fn count(n: usize) -> u32 {
    u32::try_from(n).expect("a model's text, and so its every count, is below 2^30")
}

impl Packer {
    fn new(model: &Model) -> Packer {
        let splits = model.trees.iter().flat_map(|tree| &tree.splits);
        let mut columns: BTreeMap<(u32, u32), u32> =
            splits.map(|split| ((split.feature, column_kind(split)), 0)).collect();
        for (number, column) in columns.values_mut().enumerate() {
            *column = count(number);
        }
        let has_linear = model.trees.iter().any(|tree| tree.linear.is_some());
        let covered = !has_linear && model.trees.iter().all(|tree| tree.counts.is_some());
        Packer {
            columns,
            has_linear,
            trees: Vec::new(),
            nodes: Vec::new(),
            leaves: Vec::new(),
            linear: Vec::new(),
            terms: Vec::new(),
            words: Vec::new(),
            covers: covered.then(Vec::new),
        }
    }

    fn tree(&mut self, tree: &Tree) {
        let (first_node, first_word) = (count(self.nodes.len()), count(self.words.len()));
        let first_leaf = count(self.leaves.len());
        let root = if tree.splits.is_empty() {
            Child::Leaf(0)
        } else {
            Child::Split(0)
        };
        // Breadth first: the node at `first_node + i` stands for `order[i]`, children side by side.
        let mut order = alloc::vec![root];
        let mut flags = 0;
        let mut at = 0;
        while at < order.len() {
            let here = first_node + count(at);
            let node = match order[at] {
                Child::Leaf(leaf) => Node {
                    threshold: u64::from(first_leaf + leaf),
                    column: count(self.columns.len()),
                    child: here,
                },
                Child::Split(number) => {
                    let split = &tree.splits[number as usize];
                    let child = first_node + count(order.len());
                    order.extend([split.left, split.right]);
                    if matches!(split.rule, Rule::Categorical { .. }) {
                        flags |= TREE_CATEGORICAL;
                    }
                    self.split_node(split, child, first_word)
                }
            };
            self.nodes.push(node);
            at += 1;
        }
        if let (Some(covers), Some(counts)) = (&mut self.covers, &tree.counts) {
            covers.extend(order.iter().map(|node| match *node {
                Child::Split(number) => counts.splits[number as usize],
                Child::Leaf(leaf) => counts.leaves[leaf as usize],
            }));
        }
        self.words.extend(&tree.category_words);
        self.leaves.extend(&tree.leaf_values);
        if let Some(leaves) = &tree.linear {
            flags |= TREE_LINEAR;
            leaves.iter().for_each(|leaf| self.linear_leaf(leaf));
        } else if self.has_linear {
            self.linear.resize(self.leaves.len(), (0.0, 0, 0));
        }
        self.trees.push([first_node, count(self.nodes.len()), flags, 0]);
    }

    fn split_node(&self, split: &Split, child: u32, first_word: u32) -> Node {
        let column = self.columns[&(split.feature, column_kind(split))];
        match split.rule {
            Rule::Numerical { threshold, .. } => Node {
                threshold: threshold.to_bits(),
                column,
                child,
            },
            Rule::Categorical { first, words } => Node {
                threshold: u64::from(first_word + first) | u64::from(words) << 32,
                column: column | CATEGORY_NODE,
                child,
            },
        }
    }

    fn linear_leaf(&mut self, leaf: &LinearLeaf) {
        self.linear
            .push((leaf.constant, count(self.terms.len()), count(leaf.terms.len())));
        self.terms
            .extend(leaf.terms.iter().map(|&(feature, coefficient)| (coefficient, feature)));
    }

    fn finish(self, model: &Model, scaler: Option<&Scaler>) -> Vec<u8> {
        let tables = fast::pack(model, scaler).unwrap_or_default();
        let mut image = self.header(model, scaler.is_some(), tables.len());
        for (offset, scale) in scaler.into_iter().flat_map(Scaler::pairs) {
            image.extend(offset.to_le_bytes());
            image.extend(scale.to_le_bytes());
        }
        for &(feature, kind) in self.columns.keys() {
            put(&mut image, &[feature, kind]);
        }
        for tree in &self.trees {
            put(&mut image, tree);
        }
        for node in &self.nodes {
            image.extend(node.threshold.to_le_bytes());
            put(&mut image, &[node.column, node.child]);
        }
        for value in &self.leaves {
            image.extend(value.to_le_bytes());
        }
        for &(constant, first, terms) in &self.linear {
            image.extend(constant.to_le_bytes());
            put(&mut image, &[first, terms]);
        }
        for &(coefficient, feature) in &self.terms {
            image.extend(coefficient.to_le_bytes());
            put(&mut image, &[feature, 0]);
        }
        put(&mut image, &self.words);
        put(&mut image, self.covers.as_deref().unwrap_or_default());
        image.resize(image.len().next_multiple_of(LINE), 0);
        image.extend(tables);
        image
    }

    fn header(&self, model: &Model, scaled: bool, tables: usize) -> Vec<u8> {
        let (code, sigma) = conversion_code(model.conversion);
        let average = if model.average_output { AVERAGE_OUTPUT } else { 0 };
        let covered = if self.covers.is_some() { COVERED } else { 0 };
        let flags = average | covered | if scaled { SCALED } else { 0 };
        let mut header = Vec::from(MAGIC);
        put(
            &mut header,
            &[
                count(model.num_features()),
                count(model.outputs),
                count(self.trees.len()),
            ],
        );
        put(&mut header, &[count(self.columns.len()), count(self.nodes.len())]);
        put(&mut header, &[count(self.leaves.len()), count(self.linear.len())]);
        put(
            &mut header,
            &[
                count(self.terms.len()),
                count(self.words.len()),
                flags,
                code,
                count(tables),
            ],
        );
        header.extend(sigma.to_le_bytes());
        debug_assert_eq!(header.len(), HEADER_BYTES);
        header
    }
}

fn put(image: &mut Vec<u8>, numbers: &[u32]) {
    for number in numbers {
        image.extend(number.to_le_bytes());
    }
}

pub(crate) fn column_kind(split: &Split) -> u32 {
    match split.rule {
        Rule::Categorical { .. } => kind::CATEGORY,
        Rule::Numerical {
            missing, default_left, ..
        } => match (missing, default_left) {
            (Missing::None, _) => kind::PLAIN,
            (Missing::Zero, true) => kind::ZERO_LEFT,
            (Missing::Zero, false) => kind::ZERO_RIGHT,
            (Missing::Nan, true) => kind::NAN_LEFT,
            (Missing::Nan, false) => kind::NAN_RIGHT,
        },
    }
}

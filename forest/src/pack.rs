//! Lays a model out as an image.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::image::{
    AVERAGE_OUTPUT, CATEGORY_NODE, COVERED, HEADER_BYTES, LINE, MAGIC, SCALED, TREE_CATEGORICAL, TREE_LINEAR,
    column_kind, conversion_code,
};
use crate::model::{Child, LinearLeaf, Rule, Split, Tree};
use crate::{Model, Scaler, fast};

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

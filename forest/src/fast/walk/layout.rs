//! Where the nodes of the walk lie: together what a row comes to one after the other.

use alloc::vec::Vec;

use crate::fast::conditions::Conditions;
use crate::fast::sizes::walk::{MAX_NODES, MAX_QUESTIONS, TURN, WINDOW};
use crate::fast::sizes::{put, put_floats};
use crate::model::{Child, Tree};
use crate::{Model, image};

/// Nodes of a line of the cache: three levels of a tree.
const LINE: usize = image::LINE / 4;

/// The tables of this kernel, as bytes.
#[derive(Default)]
pub(crate) struct Walks {
    /// First node, nodes, first value, values, first root, trees, passes over all of them, most passes: u32 each.
    pub windows: Vec<u8>,
    /// The root of each tree, as a node; a window has whole [`TURN`]s of them.
    pub roots: Vec<u8>,
    /// For each root, where the nodes of its window begin, in bytes: u32.
    pub bases: Vec<u8>,
    /// Question, or number of a leaf and of all questions (u16), and place of the left child in bytes (u16).
    pub nodes: Vec<u8>,
    /// f64: the values of each window's leaves.
    pub values: Vec<u8>,
    /// Steps that a row takes on average, over all trees.
    pub steps: usize,
}

/// The tables, unless there are more questions than a node can name.
pub(crate) fn pack(model: &Model, conditions: &Conditions) -> Option<Walks> {
    let mut walks = Walks::default();
    let mut rest = model.trees.as_slice();
    while !rest.is_empty() {
        let mut window = Laid::new(conditions);
        let taken = rest.iter().take(WINDOW).take_while(|tree| window.add(tree)).count();
        if conditions.count as usize + window.values.len() > MAX_QUESTIONS {
            return None;
        }
        window.finish(&mut walks);
        rest = &rest[taken..];
    }
    Some(walks)
}

/// Some trees, while they are laid out.
struct Laid<'a> {
    conditions: &'a Conditions,
    lines: Lines,
    nodes: Vec<u32>,
    values: Vec<f64>,
    roots: Vec<u32>,
    /// Of the deepest tree.
    depth: u32,
    /// Steps of a row to which all answers are equally likely, over all trees.
    steps: f64,
}

impl Laid<'_> {
    fn new(conditions: &Conditions) -> Laid<'_> {
        Laid {
            conditions,
            lines: Lines::default(),
            nodes: Vec::new(),
            values: Vec::new(),
            roots: Vec::new(),
            depth: 0,
            steps: 0.0,
        }
    }

    /// Adds a tree; false if there is no room for it. There is for the first one, of up to [`MAX_NODES`] / 16 splits.
    fn add(&mut self, tree: &Tree) -> bool {
        let clusters = clusters(tree);
        let mut lines = self.lines.clone();
        let places: Vec<u32> = clusters.iter().map(|cluster| lines.place(cluster.len())).collect();
        if lines.count as usize * LINE > MAX_NODES {
            return false;
        }
        self.nodes
            .resize(lines.count as usize * LINE, node(self.conditions.count, 0));
        self.lines = lines;
        let mut children = alloc::vec![0; tree.splits.len()];
        for (cluster, place) in clusters.iter().zip(&places) {
            for (at, &(split, depth)) in cluster.iter().enumerate() {
                children[split as usize] = place + 2 * at as u32;
                self.depth = self.depth.max(depth + 1);
                self.steps += libm::ldexp(1.0, -(depth as i32));
            }
        }
        let question = |split: u32| self.conditions.number(tree, &tree.splits[split as usize]);
        let mut put = |child: Child, at: u32| {
            let node = match child {
                Child::Leaf(leaf) => {
                    self.values.push(tree.leaf_values[leaf as usize]);
                    node(self.conditions.count + self.values.len() as u32 - 1, at)
                }
                Child::Split(split) => node(question(split), children[split as usize]),
            };
            self.nodes[at as usize] = node;
            node
        };
        for (split, &at) in tree.splits.iter().zip(&children) {
            put(split.left, at);
            put(split.right, at + 1);
        }
        let root = if tree.splits.is_empty() {
            put(Child::Leaf(0), places[0])
        } else {
            node(question(0), children[0])
        };
        self.roots.push(root);
        true
    }

    fn finish(self, walks: &mut Walks) {
        let average = libm::ceil(self.steps / self.roots.len() as f64) as u32;
        let numbers = [
            walks.nodes.len() / 4,
            self.nodes.len(),
            walks.values.len() / 8,
            self.values.len(),
            walks.roots.len() / 4,
            self.roots.len(),
        ];
        put(&mut walks.windows, &numbers.map(|number| number as u32));
        put(&mut walks.windows, &[average.min(self.depth), self.depth]);
        // Turns are full; what walks there once more is not looked at.
        let whole = self.roots.len().next_multiple_of(TURN);
        for &root in self.roots.iter().cycle().take(whole) {
            put(&mut walks.roots, &[root]);
            put(&mut walks.bases, &[walks.nodes.len() as u32]);
        }
        put(&mut walks.nodes, &self.nodes);
        put_floats(&mut walks.values, &self.values);
        // A tree without splits takes none, and is walked all the same.
        walks.steps += (self.steps as usize).max(1);
    }
}

/// Cuts a tree into subtrees whose splits' children fill a line of the cache each, or less where a subtree ends: splits
/// with their depths, parents first. A tree without splits has its leaf to lay out.
fn clusters(tree: &Tree) -> Vec<Vec<(u32, u32)>> {
    if tree.splits.is_empty() {
        return alloc::vec![alloc::vec![]];
    }
    let mut clusters = Vec::new();
    let mut roots = alloc::vec![(0, 0)];
    while let Some(root) = roots.pop() {
        let mut cluster = alloc::vec![root];
        let mut at = 0;
        while at < cluster.len().min(LINE / 2) {
            let (split, depth) = cluster[at];
            let split = &tree.splits[split as usize];
            for child in [split.left, split.right] {
                if let Child::Split(child) = child {
                    cluster.push((child, depth + 1));
                }
            }
            at += 1;
        }
        roots.extend(cluster.drain(at..));
        clusters.push(cluster);
    }
    clusters
}

/// Lines of the cache, while they are filled.
#[derive(Clone, Default)]
struct Lines {
    count: u32,
    /// The lines that have room for so many pairs of nodes.
    open: [Vec<u32>; LINE / 2],
}

impl Lines {
    /// Takes room for so many pairs, at least one, in a line: where it is tightest, or in a new one. Gives the first node.
    fn place(&mut self, pairs: usize) -> u32 {
        let pairs = pairs.max(1);
        let tightest = (pairs..LINE / 2).find_map(|room| Some((self.open[room].pop()?, room)));
        let (line, room) = tightest.unwrap_or_else(|| {
            self.count += 1;
            (self.count - 1, LINE / 2)
        });
        if room > pairs {
            self.open[room - pairs].push(line);
        }
        line * LINE as u32 + (LINE - 2 * room) as u32
    }
}

/// Half a word for the question, half a word for where the left child is, in bytes.
fn node(question: u32, place: u32) -> u32 {
    question | (place * 4) << 16
}

//! From decision trees to multiplexers.
//!
//! Bit-sliced, a tree is a circuit: one bit a row and question goes in, the number of the row's leaf
//! comes out as a few bits, its **code**. A node is a multiplexer: where its question says left, the
//! code is the left child's, else the right child's, with the answer itself as one bit more. So
//!
//! ```text
//! code(node)   = [answer, mux(answer, left[0], right[0]), mux(answer, left[1], right[1]), ...]
//! code(leaf)   = []
//! ```
//!
//! and a bit that only one child has passes through: the table that the code is looked up in does not
//! care about it on the other side. A node with a leaf for a child costs nothing.
//!
//! A code has at most [`MAX_BITS`] bits, but LightGBM's trees are deeper. They are rebuilt: along a *heavy
//! path*, which always goes on into the child with more leaves, subtrees hang off in a row, and "the row
//! leaves the path at or after node m" is the conjunction of the answers before m, whose running product
//! costs one multiplexer each. With these conjunctions as questions any search tree over the subtrees
//! gives the same leaf, so the cheapest one within the bits is chosen (dynamic programming over the
//! intervals of the path). Should even that not fit, a subtree is **cut** off into a part of its own, which
//! adds 0.0 for the rows that do not reach it, as the rest of the tree does for those that do: adding
//! +0.0 changes no sum that began with +0.0.

use alloc::vec::Vec;

use crate::model::{Child, Tree};

/// Bits of a code: it is one byte.
pub(crate) const MAX_BITS: usize = 8;
/// Nodes of a path that are rearranged together; the work grows with the third power.
const MAX_PATH: usize = 32;

/// A plane: one bit for each row. Two constant ones, then the answers, then what multiplexers make.
pub(crate) type Slot = u32;
pub(crate) const ZEROS: Slot = 0;
pub(crate) const ONES: Slot = 1;
pub(crate) const FIRST_ANSWER: Slot = 2;

/// Where `select` has a one, the bit of `on`, elsewhere that of `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mux {
    pub select: Slot,
    pub on: Slot,
    pub off: Slot,
}

/// A tree, or a part of one, as a circuit: the planes of its code and what each code adds to the score.
#[derive(Debug)]
pub(crate) struct Part {
    pub planes: Vec<Slot>,
    /// The leaf of each code, 2 to the power of the planes' number.
    pub leaves: Vec<u8>,
    /// What each leaf adds.
    pub values: Vec<f64>,
}

/// Collects the multiplexers of some trees; the n-th makes slot `first + n`.
pub(crate) struct Circuit {
    first: Slot,
    muxes: Vec<Mux>,
}

/// A plane or its complement.
#[derive(Clone, Copy)]
struct Literal {
    slot: Slot,
    inverted: bool,
}

const ALWAYS: Literal = Literal {
    slot: ONES,
    inverted: false,
};

impl Circuit {
    /// `first` is the slot after the last answer.
    pub(super) fn new(first: Slot) -> Circuit {
        Circuit {
            first,
            muxes: Vec::new(),
        }
    }

    fn mux(&mut self, select: Slot, on: Slot, off: Slot) -> Slot {
        match (select, on, off) {
            (ONES, only, _) | (ZEROS, _, only) => only,
            (_, on, off) if on == off => on,
            (select, ONES, ZEROS) => select,
            (select, on, off) => {
                self.muxes.push(Mux { select, on, off });
                self.first + self.muxes.len() as u32 - 1
            }
        }
    }

    fn and(&mut self, a: Literal, b: Literal) -> Literal {
        let slot = match (a.inverted, b.inverted) {
            (false, false) => self.mux(a.slot, b.slot, ZEROS),
            (false, true) => self.mux(b.slot, ZEROS, a.slot),
            (true, false) => self.mux(a.slot, ZEROS, b.slot),
            (true, true) => self.mux(a.slot, ONES, b.slot),
        };
        Literal {
            slot,
            inverted: a.inverted && b.inverted,
        }
    }

    /// Adds a tree whose split `n` asks question `questions[n]`; gives its parts, one for most trees.
    pub(super) fn tree(&mut self, tree: &Tree, questions: &[u32]) -> Vec<Part> {
        if tree.splits.is_empty() {
            return alloc::vec![Part {
                planes: Vec::new(),
                leaves: alloc::vec![0],
                values: tree.leaf_values[..1].to_vec(),
            }];
        }
        let mut plan = Plan::new(tree);
        let root = plan.path(0, MAX_BITS);
        Emitter {
            circuit: self,
            plan: &plan,
            tree,
            questions,
            parts: Vec::new(),
        }
        .run(root)
    }

    /// Orders the multiplexers by their depth, so that neighbours do not wait for each other, and renames
    /// the planes of the parts to match.
    pub(super) fn finish<'a>(self, parts: impl Iterator<Item = &'a mut Part>) -> Vec<Mux> {
        let first = self.first;
        let mut depths: Vec<u32> = Vec::with_capacity(self.muxes.len());
        for mux in &self.muxes {
            let inputs = [mux.select, mux.on, mux.off];
            let depth = |slot: Slot| slot.checked_sub(first).map_or(0, |made| depths[made as usize]);
            depths.push(1 + inputs.map(depth).into_iter().max().unwrap_or(0));
        }
        let mut order: Vec<usize> = (0..self.muxes.len()).collect();
        order.sort_by_key(|&at| depths[at]);
        let mut names = alloc::vec![0; order.len()];
        for (new, &old) in order.iter().enumerate() {
            names[old] = first + new as u32;
        }
        let rename = |slot: &mut Slot| {
            if let Some(made) = slot.checked_sub(first) {
                *slot = names[made as usize];
            }
        };
        for part in parts {
            part.planes.iter_mut().for_each(rename);
        }
        let mut muxes: Vec<Mux> = order.iter().map(|&at| self.muxes[at]).collect();
        for mux in &mut muxes {
            [&mut mux.select, &mut mux.on, &mut mux.off]
                .into_iter()
                .for_each(rename);
        }
        muxes
    }
}

/// What hangs off a path at one node, or ends it.
#[derive(Clone, Copy, Debug)]
enum Item {
    Leaf(u32),
    /// Another path, by its number in the plan.
    Path(usize),
    /// The same, moved into a part of its own.
    Cut(usize),
}

/// The cheapest way to tell the items of an interval apart with a given number of bits.
#[derive(Clone, Copy)]
struct Choice {
    /// Multiplexers, those of the items included.
    cost: u32,
    /// The first item of the right half; bits of the halves.
    split: u8,
    left: u8,
    right: u8,
}

type Choices = [Option<Choice>; MAX_BITS + 1];

struct Path {
    /// The splits along the path.
    nodes: Vec<u32>,
    /// One item a node, where the path does not go on, and one at its end.
    items: Vec<Item>,
    /// Choices for the interval from `low` to `high`, at `low * items + high`.
    choices: Vec<Choices>,
    /// Whether it or a path that hangs off it has a cut.
    cut: bool,
}

impl Path {
    fn whole(&self) -> &Choices {
        &self.choices[self.items.len() - 1]
    }
}

/// How a tree is rebuilt.
struct Plan<'a> {
    tree: &'a Tree,
    /// Leaves below each split.
    leaves: Vec<u32>,
    paths: Vec<Path>,
}

impl<'a> Plan<'a> {
    fn new(tree: &'a Tree) -> Plan<'a> {
        // Parents before children, so that backwards is bottom up; no recursion, trees may be chains.
        let mut order = alloc::vec![0];
        let mut at = 0;
        while let Some(&node) = order.get(at) {
            let split = &tree.splits[node as usize];
            order.extend([split.left, split.right].iter().filter_map(|child| match child {
                Child::Split(number) => Some(*number),
                Child::Leaf(_) => None,
            }));
            at += 1;
        }
        let mut leaves = alloc::vec![0; tree.splits.len()];
        for &node in order.iter().rev() {
            let split = &tree.splits[node as usize];
            leaves[node as usize] = [split.left, split.right]
                .iter()
                .map(|&child| weight(&leaves, child))
                .sum();
        }
        Plan {
            tree,
            leaves,
            paths: Vec::new(),
        }
    }

    /// Plans the subtree at a split within so many bits, cutting what does not fit. Recursion goes into light
    /// subtrees alone, which have at most half of the leaves.
    fn path(&mut self, start: u32, bits: usize) -> usize {
        let (nodes, ends) = self.heavy_path(start);
        // Chunks from the far end: a chunk's last item is the chunk behind it.
        let mut tail = None;
        let chunks = nodes.len().div_ceil(MAX_PATH);
        for chunk in (0..chunks).rev() {
            let range = chunk * MAX_PATH..nodes.len().min((chunk + 1) * MAX_PATH);
            let mut items: Vec<Item> = Vec::with_capacity(range.len() + 1);
            for &child in &ends[range.clone()] {
                items.push(self.item(child));
            }
            items.push(match tail {
                Some(path) => Item::Path(path),
                None => self.item(ends[nodes.len()]),
            });
            let bits = if chunk == 0 { bits } else { MAX_BITS - 1 };
            tail = Some(self.solve(nodes[range].to_vec(), items, bits));
        }
        tail.expect("a split makes a path of at least one node")
    }

    fn item(&mut self, child: Child) -> Item {
        match child {
            Child::Leaf(leaf) => Item::Leaf(leaf),
            // A cut spends one bit on whether it is reached.
            Child::Split(split) => Item::Path(self.path(split, MAX_BITS - 1)),
        }
    }

    /// The splits of the path and, beside each, the child it does not take; last, the leaf it ends in.
    fn heavy_path(&self, start: u32) -> (Vec<u32>, Vec<Child>) {
        let (mut nodes, mut ends) = (Vec::new(), Vec::new());
        let mut at = Child::Split(start);
        while let Child::Split(node) = at {
            let split = &self.tree.splits[node as usize];
            nodes.push(node);
            let (light, heavy) = if self.goes_left(node) {
                (split.right, split.left)
            } else {
                (split.left, split.right)
            };
            ends.push(light);
            at = heavy;
        }
        ends.push(at);
        (nodes, ends)
    }

    /// Whether the heavy path through a split goes on to its left.
    fn goes_left(&self, node: u32) -> bool {
        let split = &self.tree.splits[node as usize];
        weight(&self.leaves, split.left) >= weight(&self.leaves, split.right)
    }

    /// Rearranges a path; cuts its widest item off until it fits.
    fn solve(&mut self, nodes: Vec<u32>, mut items: Vec<Item>, bits: usize) -> usize {
        loop {
            let choices = self.choices(&items);
            if choices[items.len() - 1][..=bits].iter().any(Option::is_some) {
                let cut = items.iter().any(|item| match item {
                    Item::Leaf(_) => false,
                    Item::Path(path) => self.paths[*path].cut,
                    Item::Cut(_) => true,
                });
                self.paths.push(Path {
                    nodes,
                    items,
                    choices,
                    cut,
                });
                return self.paths.len() - 1;
            }
            let paths = items.iter().enumerate().filter_map(|(at, item)| match *item {
                Item::Path(path) => Some((self.paths[path].whole().iter().position(Option::is_some), at, path)),
                Item::Leaf(_) | Item::Cut(_) => None,
            });
            let (_, at, path) = paths.max().expect("as many leaves as a path may have need 6 bits");
            items[at] = Item::Cut(path);
        }
    }

    fn choices(&self, items: &[Item]) -> Vec<Choices> {
        let count = items.len();
        let mut all: Vec<Choices> = alloc::vec![[None; MAX_BITS + 1]; count * count];
        for (at, item) in items.iter().enumerate() {
            all[at * count + at] = self.item_choices(*item);
        }
        for length in 2..=count {
            for low in 0..=count - length {
                let high = low + length - 1;
                let mut best = [None; MAX_BITS + 1];
                for split in low + 1..=high {
                    let (left, right) = (&all[low * count + split - 1], &all[split * count + high]);
                    // A conjunction takes a multiplexer less than it has answers.
                    improve(&mut best, left, right, split as u8, (split - low - 1) as u32);
                }
                all[low * count + high] = best;
            }
        }
        all
    }

    fn item_choices(&self, item: Item) -> Choices {
        let mut choices = [None; MAX_BITS + 1];
        match item {
            Item::Path(path) => {
                for (choice, inner) in choices.iter_mut().zip(self.paths[path].whole()) {
                    *choice = *inner;
                }
            }
            Item::Leaf(_) | Item::Cut(_) => {
                choices[0] = Some(Choice {
                    cost: 0,
                    split: 0,
                    left: 0,
                    right: 0,
                });
            }
        }
        choices
    }
}

/// Leaves at or below a child.
fn weight(leaves: &[u32], child: Child) -> u32 {
    match child {
        Child::Leaf(_) => 1,
        Child::Split(split) => leaves[split as usize],
    }
}

/// Tries every pair of halves; keeps, for each number of bits, the cheapest, and nothing that costs as
/// much as one with fewer bits.
fn improve(best: &mut Choices, left: &Choices, right: &Choices, split: u8, question: u32) {
    for (left_bits, left) in left.iter().enumerate() {
        let Some(left) = left else { continue };
        for (right_bits, right) in right.iter().enumerate() {
            let Some(right) = right else { continue };
            let bits = left_bits.max(right_bits) + 1;
            let cost = left.cost + right.cost + question + left_bits.min(right_bits) as u32;
            let cheaper = |other: &Option<Choice>| other.is_some_and(|other| other.cost <= cost);
            if bits > MAX_BITS || best[..=bits].iter().any(cheaper) {
                continue;
            }
            best[bits] = Some(Choice {
                cost,
                split,
                left: left_bits as u8,
                right: right_bits as u8,
            });
            for wider in &mut best[bits + 1..] {
                if wider.is_some_and(|wider| wider.cost >= cost) {
                    *wider = None;
                }
            }
        }
    }
}

/// The code of a subtree while it is being put together: its planes, and the leaf of each code.
struct Code {
    planes: Vec<Slot>,
    leaves: Vec<u32>,
}

/// In place of a leaf that another part holds.
const ELSEWHERE: u32 = u32::MAX;

/// Whether a row stays on a path from one node to another.
#[derive(Clone, Copy)]
struct Conjunction {
    from: usize,
    to: usize,
    holds: Literal,
}

struct Emitter<'a> {
    circuit: &'a mut Circuit,
    plan: &'a Plan<'a>,
    tree: &'a Tree,
    questions: &'a [u32],
    parts: Vec<Part>,
}

impl Emitter<'_> {
    fn run(mut self, root: usize) -> Vec<Part> {
        let code = self.path(root, cheapest(self.plan.paths[root].whole(), MAX_BITS), ALWAYS);
        // The tree's own part comes first by custom; a row meets all but one as +0.0.
        let part = self.part(code);
        self.parts.insert(0, part);
        self.parts
    }

    fn part(&self, code: Code) -> Part {
        let mut own = code.leaves.clone();
        own.sort_unstable();
        own.dedup();
        let number = |leaf| own.binary_search(leaf).expect("it is one of them") as u8;
        let value = |&leaf: &u32| match leaf {
            ELSEWHERE => 0.0,
            leaf => self.tree.leaf_values[leaf as usize],
        };
        Part {
            planes: code.planes,
            leaves: code.leaves.iter().map(number).collect(),
            values: own.iter().map(value).collect(),
        }
    }

    fn path(&mut self, path: usize, bits: usize, reached: Literal) -> Code {
        let mut conjunctions = Vec::new();
        let last = self.plan.paths[path].items.len() - 1;
        self.interval(path, (0, last), bits, &mut conjunctions, reached)
    }

    fn interval(
        &mut self,
        path: usize,
        (low, high): (usize, usize),
        bits: usize,
        conjunctions: &mut Vec<Conjunction>,
        reached: Literal,
    ) -> Code {
        let plan = &self.plan.paths[path];
        if low == high {
            return self.item(path, low, bits, conjunctions, reached);
        }
        let choice = plan.choices[low * plan.items.len() + high][bits].expect("chosen because it exists");
        let split = usize::from(choice.split);
        let beyond = self.conjunction(path, (low, split), conjunctions);
        let near = self.interval(path, (low, split - 1), choice.left.into(), conjunctions, reached);
        let far = self.interval(path, (split, high), choice.right.into(), conjunctions, reached);
        if !beyond.inverted {
            self.choose(beyond.slot, far, near)
        } else {
            self.choose(beyond.slot, near, far)
        }
    }

    fn item(
        &mut self,
        path: usize,
        at: usize,
        bits: usize,
        conjunctions: &mut Vec<Conjunction>,
        reached: Literal,
    ) -> Code {
        let plan = self.plan;
        let leaf = |leaf: u32| Code {
            planes: Vec::new(),
            leaves: alloc::vec![leaf],
        };
        match plan.paths[path].items[at] {
            Item::Leaf(number) => leaf(number),
            Item::Path(inner) => {
                let reached = if plan.paths[inner].cut {
                    self.arrives(path, at, conjunctions, reached)
                } else {
                    ALWAYS
                };
                self.path(inner, bits, reached)
            }
            Item::Cut(inner) => {
                let reached = self.arrives(path, at, conjunctions, reached);
                let bits = cheapest(plan.paths[inner].whole(), MAX_BITS - 1);
                let code = self.path(inner, bits, reached);
                let code = if !reached.inverted {
                    self.choose(reached.slot, code, leaf(ELSEWHERE))
                } else {
                    self.choose(reached.slot, leaf(ELSEWHERE), code)
                };
                let part = self.part(code);
                self.parts.push(part);
                leaf(ELSEWHERE)
            }
        }
    }

    /// Joins two codes by a question.
    fn choose(&mut self, select: Slot, on: Code, off: Code) -> Code {
        let bits = on.planes.len().max(off.planes.len());
        let mut planes = alloc::vec![select];
        for bit in 0..bits {
            planes.push(match (on.planes.get(bit), off.planes.get(bit)) {
                (Some(&on), Some(&off)) => self.circuit.mux(select, on, off),
                (Some(&only), None) | (None, Some(&only)) => only,
                (None, None) => unreachable!("one of them has as many bits"),
            });
        }
        let leaves = (0..2 << bits).map(|code: usize| {
            let side = if code & 1 == 1 { &on.leaves } else { &off.leaves };
            side[(code >> 1) % side.len()]
        });
        Code {
            leaves: leaves.collect(),
            planes,
        }
    }

    /// Whether a row at a path's node stays on the path.
    fn stays(&self, path: usize, at: usize) -> Literal {
        let node = self.plan.paths[path].nodes[at];
        Literal {
            slot: FIRST_ANSWER + self.questions[node as usize],
            inverted: !self.plan.goes_left(node),
        }
    }

    /// Whether a row at a path's node `low` stays on the path up to node `high`: the conjunction of the answers
    /// between. Answers before `low` may come in too, as the row has come that far; so what is known is extended.
    fn conjunction(&mut self, path: usize, (low, high): (usize, usize), known: &mut Vec<Conjunction>) -> Literal {
        let usable = known
            .iter()
            .filter(|known| known.from <= low && (low + 1..=high).contains(&known.to));
        let mut longest = usable.max_by_key(|known| known.to).copied().unwrap_or(Conjunction {
            from: low,
            to: low + 1,
            holds: self.stays(path, low),
        });
        while longest.to < high {
            let next = self.stays(path, longest.to);
            longest.holds = self.circuit.and(longest.holds, next);
            longest.to += 1;
            known.push(longest);
        }
        longest.holds
    }

    /// Whether a row of the tree comes to an item of a path.
    fn arrives(&mut self, path: usize, at: usize, conjunctions: &mut Vec<Conjunction>, reached: Literal) -> Literal {
        let mut arrives = reached;
        if at > 0 {
            let along = self.conjunction(path, (0, at), conjunctions);
            arrives = self.circuit.and(arrives, along);
        }
        if at < self.plan.paths[path].nodes.len() {
            let stays = self.stays(path, at);
            let leaves = Literal {
                inverted: !stays.inverted,
                ..stays
            };
            arrives = self.circuit.and(arrives, leaves);
        }
        arrives
    }
}

/// The number of bits to take: another bit doubles the table, whose lines have to be fetched.
fn cheapest(choices: &Choices, most: usize) -> usize {
    let cost = |bits: usize| choices[bits].map(|choice| 3 * choice.cost + (1 << bits) * 2);
    let possible = (0..=most).filter(|&bits| choices[bits].is_some());
    possible.min_by_key(|&bits| cost(bits)).expect("planned to fit")
}

#[cfg(test)]
mod tests;

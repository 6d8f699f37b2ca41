//! A dozen rows: 16 of them in a vector, one byte each, and every split a choice between two numbers of leaves.
//!
//! From the bottom up, a split's leaf is its left child's or its right child's, as the row goes. Along a *heavy path*,
//! which always goes on into the child with more leaves, this is one running vector: where the row leaves the path, it
//! becomes what hangs off there, which is a leaf mostly.
//!
//! ```text
//! leaf = end of the path; for each split, from the last to the first: leaf = where it turns off ? what hangs off : leaf
//! ```
//!
//! All these **turns** of eight trees are one list without branches. What a turn results in is written down, so that a path
//! that hangs off another one is a vector in memory by then, as the numbers of leaves are.
//!
//! A turn is one comparison, of ranks or, where the path is on the right, of their complements.

use alloc::vec::Vec;

use super::conditions::Conditions;
use super::lanes::Bytes;
use super::pack::{GROUP, put, put_floats, table_size};
use super::quantise;
use super::scratch::{Codes, Parts, Scratch};
use super::sliced::{add, by_size};
use super::view::{self, Tables, category_column};
use crate::Model;
use crate::model::{Child, Tree};

/// Rows a pass takes.
pub(crate) const ROWS: usize = 16;
/// Turns that are made in a turn of the loop.
pub(crate) const AT_ONCE: usize = 8;
/// Trees whose turns alternate, because each turn of a tree waits for the one before.
const STRANDS: usize = 2;
/// Leaves of a tree: numbered by a byte.
const MAX_LEAVES: usize = 256;
/// Edges of a column: ranks and what they are compared with fit a byte, and one number is above all of them.
const MAX_EDGES: usize = 254;
/// Vectors of ranks and of their complements.
pub(crate) const MAX_RANKS: usize = 4096;
/// The turns of a group: a tree has a turn a split, and one for each path, of which there is one for two leaves at most;
/// and what makes strands as long as each other.
pub(crate) const MAX_TURNS: usize = GROUP * MAX_LEAVES * 2;
/// Items that are a byte each, sixteen times.
pub(crate) const BYTES: usize = 256;
/// All bytes, and then what the turns of a group result in.
pub(crate) type Items = [Bytes; BYTES + MAX_TURNS];

/// The tables of this kernel, as bytes; all are empty where it does not fit the model.
#[derive(Default)]
pub(crate) struct Turns {
    /// Of eight trees: turns, logarithm of the number of values of each tree, 0, 0, and the turns that they end with, as
    /// places among the items: u32 each.
    pub groups: Vec<u8>,
    /// Ranks (u16), number that is above the ranks of a row that turns off (u16), and what hangs off there (u32): places
    /// among ranks and items in bytes. A group has whole [`AT_ONCE`]s.
    pub turns: Vec<u8>,
    /// f64, by the number of the leaf.
    pub values: Vec<u8>,
}

/// The tables, if ranks and leaves fit bytes.
pub(crate) fn pack(model: &Model, conditions: &Conditions) -> Option<Turns> {
    let columns = &conditions.columns;
    let sets: usize = conditions.categories.iter().map(|column| column.members.len()).sum();
    let fits = 2 * (columns.len() + sets) <= MAX_RANKS
        && columns.iter().all(|column| column.edges.len() <= MAX_EDGES)
        && model.trees.iter().all(|tree| tree.leaf_values.len() <= MAX_LEAVES);
    if !fits {
        return None;
    }
    // Where the ranks of each question are, and the last rank that goes left.
    let edges = columns.iter().map(|column| column.edges.len());
    let mut questions = Vec::new();
    for (at, edges) in edges.chain((0..sets).map(|_| 1)).enumerate() {
        questions.extend((0..edges).map(|rank| (at as u32, rank as u32)));
    }
    let mut tables = Turns::default();
    for trees in model.trees.chunks(GROUP) {
        let most = trees.iter().map(|tree| tree.leaf_values.len()).max().unwrap_or(1);
        let size = table_size(most);
        let mut strands: [Strand; STRANDS] = core::array::from_fn(Strand::new);
        let mut ends = [0; GROUP];
        for (at, tree) in trees.iter().enumerate() {
            let question = |split: u32| questions[conditions.number(tree, &tree.splits[split as usize]) as usize];
            ends[at] = strands[at % STRANDS].tree(tree, question);
        }
        let longest = strands.iter().map(|strand| strand.turns.len()).max().unwrap_or(0);
        let longest = longest.next_multiple_of(AT_ONCE / STRANDS);
        put(&mut tables.groups, &[(longest * STRANDS) as u32, size.ilog2(), 0, 0]);
        put(&mut tables.groups, &ends);
        for at in 0..longest {
            for strand in &strands {
                let [ranks, above, item] = strand.turns.get(at).unwrap_or(&NOTHING);
                put(&mut tables.turns, &[ranks | above << 16, *item]);
            }
        }
        // Groups are full: what stands in adds +0.0, which changes nothing.
        for at in 0..GROUP {
            let mut values = trees.get(at).map_or(Vec::new(), |tree| tree.leaf_values.clone());
            values.resize(size, 0.0);
            put_floats(&mut tables.values, &values);
        }
    }
    Some(tables)
}

/// Turns that follow each other, while they are listed.
struct Strand {
    number: usize,
    turns: Vec<[u32; 3]>,
}

/// Ranks are 128 less than they are, so that they are compared as signed numbers, and none is 127.
const ALWAYS: (u32, i8) = (0, 127);
/// Never turns.
const NOTHING: [u32; 3] = [0, 128 * ROWS as u32, 0];

impl Strand {
    fn new(number: usize) -> Strand {
        Strand {
            number,
            turns: Vec::new(),
        }
    }

    /// Lists a turn: to an item, where `above` is above the ranks. Gives its place among the items.
    fn put(&mut self, (ranks, above): (u32, i8), item: u32) -> u32 {
        let places = [ranks, (above as u8).into(), item];
        let place = BYTES + self.turns.len() * STRANDS + self.number;
        self.turns.push(places.map(|place| place * ROWS as u32));
        place as u32
    }

    /// Lists a tree, whose splits ask what `question` says: which ranks, and the last that goes left.
    fn tree(&mut self, tree: &Tree, question: impl Fn(u32) -> (u32, u32)) -> u32 {
        let last = match tree.splits.is_empty() {
            true => self.put(ALWAYS, 0),
            false => self.path(tree, &leaves_below(tree), &question, 0),
        };
        last * ROWS as u32
    }

    /// Lists the path from a split on, after what hangs off it, which has half of the leaves at most.
    fn path(&mut self, tree: &Tree, leaves: &[u32], question: &impl Fn(u32) -> (u32, u32), first: u32) -> u32 {
        let below = |child: Child| match child {
            Child::Leaf(_) => 1,
            Child::Split(number) => leaves[number as usize],
        };
        let mut turns = Vec::new();
        let mut on = Child::Split(first);
        while let Child::Split(number) = on {
            let split = &tree.splits[number as usize];
            let left = below(split.left) < below(split.right);
            let off;
            (on, off) = if left {
                (split.right, split.left)
            } else {
                (split.left, split.right)
            };
            let item = match off {
                Child::Leaf(leaf) => leaf,
                Child::Split(number) => self.path(tree, leaves, question, number),
            };
            turns.push((turn(question(number), left), item));
        }
        let end = match on {
            Child::Leaf(leaf) => leaf,
            Child::Split(_) => unreachable!("the path went on there"),
        };
        let mut place = self.put(ALWAYS, end);
        for (turn, item) in turns.into_iter().rev() {
            place = self.put(turn, item);
        }
        place
    }
}

/// Which vector, and what is above its numbers where a row goes left, or right: left where the rank is at most `last`.
/// Complements lie behind the ranks.
fn turn((ranks, last): (u32, u32), left: bool) -> (u32, i8) {
    match left {
        true => (2 * ranks, (last as i32 - 127) as i8),
        false => (2 * ranks + 1, (127 - last as i32) as i8),
    }
}

/// The leaves below each split.
fn leaves_below(tree: &Tree) -> Vec<u32> {
    let mut order = alloc::vec![0];
    let mut at = 0;
    while at < order.len() {
        let split = &tree.splits[order[at]];
        for child in [split.left, split.right] {
            if let Child::Split(number) = child {
                order.push(number as usize);
            }
        }
        at += 1;
    }
    let mut leaves = alloc::vec![0; tree.splits.len()];
    for &number in order.iter().rev() {
        let split = &tree.splits[number];
        let below = [split.left, split.right].map(|child| match child {
            Child::Leaf(_) => 1,
            Child::Split(number) => leaves[number as usize],
        });
        leaves[number] = below[0] + below[1];
    }
    leaves
}

/// Adds up the trees for any number of rows, [`ROWS`] at a time.
pub(crate) fn sum(tables: &Tables, rows: &[f64], width: usize, outputs: usize, scratch: &mut Scratch, out: &mut [f64]) {
    // Written at each call, because a constant of this size would be part of every component.
    let bytes = scratch.parts(0, 0).items.iter_mut().zip(0..=u8::MAX);
    bytes.for_each(|(item, byte)| *item = Bytes::splat(byte));
    for (rows, out) in rows.chunks(ROWS * width).zip(out.chunks_mut(ROWS * outputs)) {
        rank(tables, rows, width, scratch);
        out.fill(0.0);
        let (mut turns, mut values) = (tables.turns, tables.turn_values);
        for (number, record) in tables.turn_groups.iter().enumerate() {
            let group = view::turn_group(record);
            let (own_turns, own_values);
            (own_turns, turns) = turns.split_at(group.turns);
            (own_values, values) = values.split_at(GROUP << group.size);
            choose(own_turns, scratch);
            let Parts { codes, items, .. } = scratch.parts(0, 0);
            for (codes, end) in codes.as_chunks_mut::<ROWS>().0.iter_mut().zip(group.ends) {
                *codes = items[end as usize / ROWS].bytes();
            }
            match outputs {
                1 => by_size!(group.size, ROWS, add(own_values, codes, out)),
                _ => add_outputs(number * GROUP, own_values, codes, outputs, out),
            }
        }
    }
}

/// Ranks all columns, and asks all category sets, which have a rank each: 0 or 1.
#[inline(never)]
fn rank(tables: &Tables, rows: &[f64], width: usize, scratch: &mut Scratch) {
    let Parts { desk, ranks, .. } = scratch.parts(0, 0);
    let mut pairs = ranks.as_chunks_mut::<2>().0.iter_mut();
    let put = |pair: &mut [Bytes; 2], ranks: &[u8; ROWS]| {
        let ranks = Bytes::load(ranks).xor(Bytes::splat(0x80));
        *pair = [ranks, ranks.xor(Bytes::splat(0xff))];
    };
    for (record, pair) in tables.columns.iter().zip(&mut pairs) {
        let ranks = &mut desk.low.0.as_chunks_mut().0[0];
        quantise::few_ranks(tables, record, rows, width, ranks);
        put(pair, ranks);
    }
    let count = rows.len() / width;
    for record in tables.category_columns {
        let column = category_column(record);
        quantise::classes(tables, &column, rows, width, desk);
        let members = &tables.members[column.first_member..];
        for (set, pair) in (0..column.sets).zip(&mut pairs) {
            let members = &members[set / 8 * column.classes..][..column.classes];
            let mut ranks = [0; ROWS];
            for ((rank, low), high) in ranks.iter_mut().zip(desk.low.0).zip(desk.high.0).take(count) {
                let class = usize::from(u16::from_le_bytes([low, high]));
                *rank = !members[class] >> (set % 8) & 1;
            }
            put(pair, &ranks);
        }
    }
}

/// Makes the turns of a group.
///
/// The compiler of the sandbox does what has no effect as late as it can. What a turn results in is written whether or not
/// it is read again, or all reads of a loop's turn would come first, and spill.
#[inline(never)]
fn choose(turns: &[[u8; 8]], scratch: &mut Scratch) {
    let Parts { ranks, items, .. } = scratch.parts(0, 0);
    let (ranks, items) = (ranks.as_ptr(), items.as_mut_ptr());
    let mut to = items.wrapping_add(BYTES);
    let mut leaves = [Bytes::splat(0); STRANDS];
    for turns in turns.as_chunks::<AT_ONCE>().0 {
        for (at, turn) in turns.iter().enumerate() {
            let [place, above, item] = view::turn(turn);
            let leaf = &mut leaves[at % STRANDS];
            // SAFETY: `Tables::new` checked these places: vectors of ranks, bytes, and bytes or what earlier turns
            // resulted in; and that there is room for what a group's turns result in.
            unsafe {
                let off = items
                    .byte_add(above as usize)
                    .read()
                    .above(ranks.byte_add(place as usize).read());
                *leaf = off.select(items.byte_add(item as usize).read(), *leaf);
                to.add(at).write(*leaf);
            }
        }
        to = to.wrapping_add(AT_ONCE);
    }
}

/// Adds the values of a group's trees to the scores of models of several outputs, from the tree `first` on.
fn add_outputs(first: usize, values: &[[u8; 8]], codes: &Codes, outputs: usize, out: &mut [f64]) {
    let values = values.chunks_exact(values.len() / GROUP);
    for (at, (values, codes)) in values.zip(codes.as_chunks::<ROWS>().0).enumerate() {
        let output = (first + at) % outputs;
        for (scores, &code) in out.chunks_exact_mut(outputs).zip(codes) {
            scores[output] += f64::from_le_bytes(values[usize::from(code)]);
        }
    }
}

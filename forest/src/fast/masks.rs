//! One row, for models of few columns: which leaves of each tree are left over.
//!
//! Leaves are numbered from left to right. A split that sends a row right rules out the leaves on its left; the
//! leftmost leaf that no split rules out is where the row ends. (A split off the row's path does no harm: what it rules
//! out lies right of that leaf, or left of it where the path has ruled it out already.) What the splits of one column
//! rule out depends on the rank alone, so that a table has it, for all trees side by side: scoring ands one line of
//! it a column. So that the table fits a cache it has a line for every [`STEP`]th rank; the few splits between such a
//! rank and the row's are applied one by one.

use alloc::vec::Vec;

use super::conditions::Conditions;
use super::quantise;
use super::scratch::Scratch;
use super::sizes::masks::{COLUMNS, LEAVES, MAX_TREES, STEP, TREES, lines};
use super::sizes::{put, put_floats};
use super::view::{Tables, category_column, column};
use crate::Model;
use crate::model::{Child, Tree};

/// Columns whose lines are read together; the first line of all leaves every leaf over and makes them up.
const TOGETHER: usize = 6;
/// The tables of this kernel, as bytes.
#[derive(Default)]
pub(crate) struct Masks {
    /// u64: what is left over, line by line.
    pub lines: Vec<u8>,
    /// f64: the values of each tree's leaves from left to right, [`LEAVES`] a tree.
    pub leaf_values: Vec<u8>,
    /// u32: the first split of each question, and the end of the last one's.
    pub first_splits: Vec<u8>,
    /// Of each split, question by question: the tree (u32), 0, and what it leaves over (u64).
    pub splits: Vec<u8>,
}

/// The tables, if the model is small enough for at most `room` bytes of lines.
pub(crate) fn pack(model: &Model, conditions: &Conditions, room: usize) -> Option<Masks> {
    let columns = conditions.columns.len() + conditions.categories.len();
    let trees = model.trees.len().next_multiple_of(TREES);
    let ranks = conditions.columns.iter().map(|column| lines(column.edges.len()));
    let classes = conditions.categories.iter().map(|column| column.members[0].len());
    let count = 1 + ranks.chain(classes).sum::<usize>();
    let fits = columns <= COLUMNS && trees <= MAX_TREES && count * trees * 8 <= room;
    if !fits || model.trees.iter().any(|tree| tree.leaf_values.len() > LEAVES) {
        return None;
    }
    let mut masks = Masks::default();
    let mut splits = alloc::vec![Vec::new(); conditions.count as usize];
    for (number, tree) in model.trees.iter().enumerate() {
        let leaves = Leaves::new(tree);
        for (split, left) in tree.splits.iter().zip(&leaves.left) {
            splits[conditions.number(tree, split) as usize].push((number, !left));
        }
        let ordered = leaves.order.iter().map(|&leaf| &tree.leaf_values[leaf as usize]);
        let padded = ordered.chain(core::iter::repeat(&0.0)).take(LEAVES);
        padded.for_each(|&value| put_floats(&mut masks.leaf_values, &[value]));
    }
    // What fills the last turn up adds +0.0, which changes nothing.
    masks.leaf_values.resize(trees * LEAVES * 8, 0);
    masks.line(&alloc::vec![u64::MAX; trees]);
    for column in &conditions.columns {
        // One after the other: what a rank rules out, the next one does too.
        let mut left = alloc::vec![u64::MAX; trees];
        for rank in 0..=column.edges.len() {
            if rank % STEP == 0 {
                masks.line(&left);
            }
            if let Some(splits) = splits[column.first as usize..][..column.edges.len()].get(rank) {
                splits.iter().for_each(|&(tree, mask)| left[tree] &= mask);
            }
        }
    }
    for column in &conditions.categories {
        for class in 0..column.members[0].len() {
            let mut left = alloc::vec![u64::MAX; trees];
            let asked = splits[column.first as usize..].iter().zip(&column.members);
            for (splits, _) in asked.filter(|(_, members)| !members[class]) {
                splits.iter().for_each(|&(tree, mask)| left[tree] &= mask);
            }
            masks.line(&left);
        }
    }
    put(&mut masks.first_splits, &[0]);
    for splits in &splits {
        for &(tree, mask) in splits {
            put(&mut masks.splits, &[tree as u32, 0, mask as u32, (mask >> 32) as u32]);
        }
        put(&mut masks.first_splits, &[(masks.splits.len() / 16) as u32]);
    }
    Some(masks)
}

impl Masks {
    fn line(&mut self, left: &[u64]) {
        left.iter().for_each(|mask| self.lines.extend(mask.to_le_bytes()));
    }
}

/// A tree's leaves from left to right.
struct Leaves {
    order: Vec<u32>,
    /// The leaves on each split's left.
    left: Vec<u64>,
}

impl Leaves {
    fn new(tree: &Tree) -> Leaves {
        let mut leaves = Leaves {
            order: Vec::new(),
            left: alloc::vec![0; tree.splits.len()],
        };
        if tree.splits.is_empty() {
            leaves.order.push(0)
        } else {
            leaves.visit(tree, Child::Split(0))
        }
        leaves
    }

    /// Not deeper than the at most 63 splits.
    fn visit(&mut self, tree: &Tree, child: Child) {
        match child {
            Child::Leaf(leaf) => self.order.push(leaf),
            Child::Split(number) => {
                let split = &tree.splits[number as usize];
                let first = self.order.len();
                self.visit(tree, split.left);
                let bits = |count: usize| (1_u64 << count) - 1;
                self.left[number as usize] = bits(self.order.len()) & !bits(first);
                self.visit(tree, split.right);
            }
        }
    }
}

/// Adds up the trees, row by row.
#[inline(never)]
pub(crate) fn sum(tables: &Tables, rows: &[f64], width: usize, outputs: usize, scratch: &mut Scratch, out: &mut [f64]) {
    let left = &mut scratch.parts(0, 0).left[..tables.mask_trees];
    for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(outputs)) {
        let found = Found::new(tables, row);
        found.rule_out(tables, left);
        out.fill(0.0);
        match out {
            [score] => *score = add(tables, left),
            scores => add_outputs(tables, left, scores),
        }
    }
}

/// Where a row's values are found in the tables: a line a column, and the splits that are not in it.
struct Found {
    lines: [usize; COLUMNS.next_multiple_of(TOGETHER)],
    splits: [(u32, u32); COLUMNS],
    columns: usize,
}

impl Found {
    #[inline(always)]
    fn new(tables: &Tables, row: &[f64]) -> Found {
        let mut found = Found {
            lines: [0; COLUMNS.next_multiple_of(TOGETHER)],
            splits: [(0, 0); COLUMNS],
            columns: 0,
        };
        let mut line = 1;
        for record in tables.columns {
            let column = column(record);
            let rank = usize::from(quantise::rank_in_line(tables, record, row));
            let split = |rank: usize| u32::from_le_bytes(tables.first_splits[column.first + rank]);
            found.splits[found.columns] = (split(rank / STEP * STEP), split(rank));
            found.lines[found.columns] = (line + rank / STEP) * tables.mask_trees;
            found.columns += 1;
            line += lines(column.edges);
        }
        for record in tables.category_columns {
            let column = category_column(record);
            let class = quantise::class_of(tables, &column, row[column.feature]);
            found.lines[found.columns] = (line + usize::from(class)) * tables.mask_trees;
            found.columns += 1;
            line += column.classes;
        }
        found
    }

    /// What is left over of each tree.
    #[inline(always)]
    fn rule_out(&self, tables: &Tables, left: &mut [u64]) {
        let mut lines = self.lines.as_chunks::<TOGETHER>().0.iter();
        and_lines(tables, lines.next().unwrap_or(&[0; TOGETHER]), left, |_, mask| mask);
        for lines in lines.take(self.columns.div_ceil(TOGETHER).saturating_sub(1)) {
            and_lines(tables, lines, left, |left, mask| left & mask);
        }
        for &(first, end) in &self.splits[..self.columns] {
            for at in first..end {
                // SAFETY: `Tables::new` checked that splits are numbered in ascending order, and their trees.
                unsafe {
                    let split = u128::from_le_bytes(*tables.mask_splits.get_unchecked(at as usize));
                    *left.get_unchecked_mut(split as u32 as usize) &= (split >> 64) as u64;
                }
            }
        }
    }
}

/// Ands some lines. No vector is alive from one turn to the next: where the sandbox asks for the time, it would have to
/// go to memory and back.
#[inline(always)]
fn and_lines(tables: &Tables, lines: &[usize; TOGETHER], left: &mut [u64], join: impl Fn(u64, u64) -> u64) {
    // SAFETY: `Tables::new` checked that there are as many lines as the columns' ranks and classes need, of
    // `mask_trees` masks each, which `left` has too.
    let mut masks = lines.map(|line| unsafe { tables.masks.as_ptr().add(line) });
    for left in left.as_chunks_mut::<TREES>().0 {
        for (at, left) in left.iter_mut().enumerate() {
            // SAFETY: as above; `at` stays below the masks of this turn.
            let [a, b, c, d, e, f] = masks.map(|masks| u64::from_le_bytes(unsafe { masks.add(at).read() }));
            *left = join(*left, (a & b & c) & (d & e & f));
        }
        masks = masks.map(|masks| masks.wrapping_add(TREES));
    }
}

/// The value of a tree's leftmost leaf of those left over.
#[inline(always)]
fn value(tables: &Tables, tree: usize, left: u64) -> f64 {
    let leaf = left.trailing_zeros() as usize % LEAVES;
    // SAFETY: there are `LEAVES` values for each of `mask_trees` trees.
    f64::from_le_bytes(unsafe { *tables.leaf_values.get_unchecked(tree * LEAVES + leaf) })
}

#[inline(always)]
fn add(tables: &Tables, left: &[u64]) -> f64 {
    let mut sum = 0.0;
    for (turn, left) in left.as_chunks::<TREES>().0.iter().enumerate() {
        for (at, &left) in left.iter().enumerate() {
            sum += value(tables, turn * TREES + at, left);
        }
    }
    sum
}

fn add_outputs(tables: &Tables, left: &[u64], out: &mut [f64]) {
    let mut output = 0;
    for (tree, &left) in left.iter().enumerate() {
        out[output] += value(tables, tree, left);
        output = if output + 1 == out.len() { 0 } else { output + 1 };
    }
}

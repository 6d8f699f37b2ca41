//! One row: eight trees side by side, from the answers to all questions.
//!
//! First every question is answered, one byte each, 0 for left and 8 for right: the answers of a column are a
//! run of eights and then zeros, which is a slice of one constant. Then a step from node to node is two
//! loads and an addition: `node = left child of node + answers[question of node]`, right children lying 8
//! bytes behind left ones. Leaves ask a question that is always answered 0 and are their own left child,
//! so that all walks of a group take as many steps as its deepest tree.

use alloc::vec::Vec;

use super::conditions::Conditions;
use super::pack::{put, put_floats};
use super::view::{Tables, category_column, column, words};
use super::{Scratch, quantise};
use crate::Model;
use crate::model::Child;

/// Trees that are walked together.
pub(crate) const TREES: usize = 8;
/// Trees whose values are gathered before they are added up in order: within these, trees of like depth go together.
pub(crate) const WINDOW: usize = 64;

/// Lays the nodes of all trees out, breadth first, and the roots with the steps of their group.
pub(crate) fn pack(
    model: &Model,
    conditions: &Conditions,
    trees: &mut Vec<u8>,
    nodes: &mut Vec<u8>,
    values: &mut Vec<u8>,
) {
    let mut roots = Vec::new();
    for tree in &model.trees {
        let root = if tree.splits.is_empty() {
            Child::Leaf(0)
        } else {
            Child::Split(0)
        };
        let first = nodes.len() as u32;
        let mut order = alloc::vec![(root, 0_u32)];
        let mut at = 0;
        while let Some(&(child, depth)) = order.get(at) {
            match child {
                Child::Leaf(leaf) => {
                    put(nodes, &[conditions.count, first + at as u32 * 8]);
                    put_floats(values, &[tree.leaf_values[leaf as usize]]);
                }
                Child::Split(number) => {
                    let split = &tree.splits[number as usize];
                    put(nodes, &[conditions.number(tree, split), first + order.len() as u32 * 8]);
                    put_floats(values, &[0.0]);
                    order.extend([split.left, split.right].map(|child| (child, depth + 1)));
                }
            }
            at += 1;
        }
        roots.push((first, order[order.len() - 1].1));
    }
    // Windows are full: what stands in adds +0.0, which changes nothing.
    let nothing = nodes.len() as u32;
    put(nodes, &[conditions.count, nothing]);
    put_floats(values, &[0.0]);
    roots.resize(roots.len().next_multiple_of(WINDOW), (nothing, 0));
    for window in roots.chunks(WINDOW) {
        let mut order: Vec<usize> = (0..WINDOW).collect();
        order.sort_by_key(|&at| window[at].1);
        for group in order.chunks(TREES) {
            group.iter().for_each(|&at| put(trees, &[window[at].0]));
            group.iter().for_each(|&at| put(trees, &[at as u32]));
            let steps = group.iter().map(|&at| window[at].1).max().unwrap_or(0);
            put(trees, &[steps]);
        }
    }
}

/// Adds up the trees, row by row.
pub(crate) fn sum(tables: &Tables, rows: &[f64], width: usize, outputs: usize, scratch: &mut Scratch, out: &mut [f64]) {
    for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(outputs)) {
        answer(tables, row, scratch);
        walk(tables, scratch, outputs, out);
    }
}

/// Eights and then zeros: a slice of it is the answers of a column.
static RUN: [u8; 2 * LONGEST] = {
    let mut run = [0; 2 * LONGEST];
    let mut at = 0;
    while at < LONGEST {
        run[at] = 8;
        at += 1;
    }
    run
};
/// The longest run; columns with more edges are filled.
const LONGEST: usize = 320;
/// Answers that are copied at a time. What is too much is overwritten by the next column, or lies in the margin.
const COPIED: usize = 64;

/// Answers all questions for a row.
#[inline(never)]
fn answer(tables: &Tables, row: &[f64], scratch: &mut Scratch) {
    // One more, to the question that leaves ask.
    let answers = scratch.parts(0, tables.questions + 1).answers;
    for record in tables.columns {
        let column = column(record);
        let rank = usize::from(quantise::rank_of(tables, &column, row[column.feature]));
        let answers = &mut answers[column.first..];
        if column.edges <= LONGEST - COPIED {
            let run = RUN[LONGEST - rank..].as_chunks::<COPIED>().0;
            let answers = answers.as_chunks_mut::<COPIED>().0;
            for (to, from) in answers.iter_mut().zip(run).take(column.edges.div_ceil(COPIED)) {
                *to = *from;
            }
        } else {
            answers[..rank].fill(8);
            answers[rank..column.edges].fill(0);
        }
    }
    for record in tables.category_columns {
        let column = category_column(record);
        let class = usize::from(quantise::class_of(tables, &column, row[column.feature]));
        let members = &tables.members[column.first_member..];
        let bytes = members.chunks_exact(column.classes).map(|members| members[class]);
        let answers = &mut answers[column.first..][..column.sets];
        for (answers, byte) in answers.chunks_mut(8).zip(bytes) {
            for (bit, answer) in answers.iter_mut().enumerate() {
                *answer = (!byte >> bit & 1) << 3;
            }
        }
    }
    answers[tables.questions] = 0;
}

#[inline(never)]
fn walk(tables: &Tables, scratch: &mut Scratch, outputs: usize, out: &mut [f64]) {
    let answers = scratch.parts(0, tables.questions + 1).answers;
    let values = tables.node_values.as_ptr();
    out.fill(0.0);
    let mut output = 0;
    let mut window = [0.0; WINDOW];
    for groups in tables.trees.as_chunks::<{ WINDOW / TREES }>().0 {
        for group in groups {
            let group = words::<17>(group);
            let places = group[TREES..].iter();
            for (leaf, place) in leaves(tables.nodes, answers, &group).into_iter().zip(places) {
                // SAFETY: a node has a value; `Tables::new` checked the places.
                unsafe {
                    let value = values.byte_add(leaf).read();
                    *window.get_unchecked_mut(*place as usize) = f64::from_le_bytes(value);
                }
            }
        }
        for value in window {
            out[output] += value;
            output = if output + 1 == outputs { 0 } else { output + 1 };
        }
    }
}

/// The nodes that a group's trees end at.
///
/// What a walk carries from step to step is the node it has read, question and child in one word: with the
/// place instead, the compiler of the sandbox holds all the sums of a step back to its end, and spills.
#[inline(always)]
fn leaves(nodes: &[[u8; 8]], answers: &[u8], group: &[u32; 17]) -> [usize; TREES] {
    let (nodes, answers) = (nodes.as_ptr(), answers.as_ptr());
    let (roots, steps) = (group.first_chunk::<TREES>().expect("it is longer"), group[2 * TREES]);
    // SAFETY: `Tables::new` checked that roots are nodes, that a node's question has an answer and that the node 0 or
    // 8 bytes behind its left child, which are all the answers there are, exists.
    let read = |at: usize| unsafe { u64::from_le_bytes(nodes.byte_add(at).read()) };
    let step =
        |node: u64| unsafe { read((node >> 32) as usize + usize::from(answers.add(node as u32 as usize).read())) };
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = roots.map(|root| read(root as usize));
    for _ in 0..steps {
        (a, b, c, d) = (step(a), step(b), step(c), step(d));
        (e, f, g, h) = (step(e), step(f), step(g), step(h));
    }
    // A leaf is its own child.
    [a, b, c, d, e, f, g, h].map(|node| (node >> 32) as usize)
}

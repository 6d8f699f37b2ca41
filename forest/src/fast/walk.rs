//! Few rows: the trees of a window side by side, from the answers to all questions.
//!
//! First every question is answered, one byte each, 0 for left and 4 for right: the answers of a column are a
//! run of fours and then zeros, which is a slice of one constant. A node is one word, its question and the place of its
//! left child, which the right one lies 4 bytes behind; a step is `node = nodes[left child + answers[question]]`.
//! Leaves ask questions beyond the last, which are always answered 0, and are their own left child, so that
//! a walk that has arrived stays where it is.
//!
//! A walk is a chain of loads that wait for each other, and what hides the wait are other walks. So a window of trees
//! goes on by one step in a **pass** over the nodes that they have come to, which lie in memory: nothing in a pass waits
//! for anything else in it. LightGBM's trees have leaves much deeper than most rows go. So the first passes are over all
//! trees, as many as a row takes on average; what is still on its way then is listed, and listed again every few passes,
//! until nothing is left.

mod layout;

pub(crate) use layout::{Walks, pack};

use super::quantise;
use super::scratch::{Order, Parts, Scratch};
use super::sizes::walk::{LONGEST, TURN, WINDOWS};
use super::view::{self, Tables, Window, category_column, column};

/// Passes from one listing of the trees that are on their way to the next.
const STRIDE: u32 = 3;

/// Adds up the trees, row by row.
pub(crate) fn sum(tables: &Tables, rows: &[f64], width: usize, outputs: usize, scratch: &mut Scratch, out: &mut [f64]) {
    for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(outputs)) {
        rank(tables, row, scratch);
        answer(tables, scratch);
        walk(tables, scratch, outputs, out);
    }
}

/// The row's ranks, and classes, in all columns.
#[inline(never)]
fn rank(tables: &Tables, row: &[f64], scratch: &mut Scratch) {
    let (ranks, classes) = scratch.parts(0, 0).row_ranks.split_at_mut(tables.columns.len());
    for (record, rank) in tables.columns.iter().zip(ranks) {
        *rank = quantise::rank_in_line(tables, record, row);
    }
    for (record, class) in tables.category_columns.iter().zip(classes) {
        let column = category_column(record);
        *class = quantise::class_of(tables, &column, row[column.feature]);
    }
}

/// Fours and then zeros: a slice of it is the answers of a column.
static RUN: [u8; 2 * LONGEST] = {
    let mut run = [0; 2 * LONGEST];
    let mut at = 0;
    while at < LONGEST {
        run[at] = 4;
        at += 1;
    }
    run
};
/// Answers that are copied at a time.
const COPIED: usize = 64;

/// The answers that eight sets give to a class which is in some of them, one bit each.
static SPREAD: [[u8; 8]; 256] = {
    let mut spread = [[4; 8]; 256];
    let mut at = 0;
    while at < 256 * 8 {
        if ((at / 8) >> (at % 8)) & 1 == 1 {
            spread[at / 8][at % 8] = 0;
        }
        at += 1;
    }
    spread
};

/// Answers all questions, from the ranks.
#[inline(never)]
fn answer(tables: &Tables, scratch: &mut Scratch) {
    let Parts { answers, row_ranks, .. } = scratch.parts(0, tables.questions + tables.idle);
    let (ranks, classes) = row_ranks.split_at(tables.columns.len());
    let to = answers.as_mut_ptr();
    for (record, rank) in tables.columns.iter().zip(ranks) {
        let column = column(record);
        // SAFETY: `Tables::new` checked that there are as many answers as edges from the column's first on, and behind
        // them is a margin of `LONGEST`; what is copied too much is overwritten by the next column, or lies in the
        // margin. A rank is at most the number of edges.
        unsafe {
            let to = to.add(column.first);
            let rank = usize::from(*rank);
            let run = RUN.as_ptr().wrapping_add(LONGEST.wrapping_sub(rank));
            if column.edges <= COPIED {
                copy_run::<1>(run, to);
            } else if column.edges <= LONGEST {
                copy_run::<{ LONGEST / COPIED }>(run, to);
            } else {
                fill_run(rank, core::slice::from_raw_parts_mut(to, column.edges));
            }
        }
    }
    for (record, class) in tables.category_columns.iter().zip(classes) {
        let column = category_column(record);
        let members = &tables.members[column.first_member..];
        let mut bytes = members
            .chunks_exact(column.classes)
            .map(|members| members[usize::from(*class)]);
        let answers = &mut answers[column.first..][..column.sets];
        let (eights, rest) = answers.as_chunks_mut::<8>();
        for (answers, byte) in eights.iter_mut().zip(&mut bytes) {
            *answers = SPREAD[usize::from(byte)];
        }
        if let Some(byte) = bytes.next() {
            rest.copy_from_slice(&SPREAD[usize::from(byte)][..rest.len()]);
        }
    }
    // What the last column's copy left there, and what leaves ask.
    answers[tables.questions..][..tables.idle].fill(0);
}

/// # Safety
/// So many times [`COPIED`] bytes can be read, and written.
#[inline(always)]
unsafe fn copy_run<const TIMES: usize>(from: *const u8, to: *mut u8) {
    let (from, to) = (from.cast::<[u8; COPIED]>(), to.cast::<[u8; COPIED]>());
    for at in 0..TIMES {
        // SAFETY: as above.
        unsafe { to.add(at).write(from.add(at).read()) };
    }
}

#[cold]
#[inline(never)]
fn fill_run(rank: usize, answers: &mut [u8]) {
    answers[..rank].fill(4);
    answers[rank..].fill(0);
}

/// Walks all trees, from the answers to a row.
fn walk(tables: &Tables, scratch: &mut Scratch, outputs: usize, out: &mut [f64]) {
    out.fill(0.0);
    let mut output = 0;
    for windows in tables.windows.chunks(WINDOWS) {
        let first = view::window(&windows[0]).first_root;
        let (mut trees, mut passes) = (0, 0);
        for record in windows {
            let window = view::window(record);
            start(tables, &window, first, scratch);
            for _ in 0..window.first_passes {
                pass(tables, &window, first, scratch);
            }
            trees += window.turns() * TURN;
            passes = passes.max(window.passes - window.first_passes);
        }
        let mut left = list(tables, trees, scratch);
        while left > 0 && passes > 0 {
            for _ in 0..STRIDE {
                pass_listed(tables, first, left, scratch);
            }
            left = list_again(tables, left, scratch);
            passes = passes.saturating_sub(STRIDE);
        }
        for record in windows {
            output = add(tables, &view::window(record), first, output, outputs, scratch, out);
        }
    }
}

/// Puts a window's trees at their roots. States are counted from the root `first`, here and below, and hold the bytes of
/// nodes as the tables do.
fn start(tables: &Tables, window: &Window, first: usize, scratch: &mut Scratch) {
    let states = &mut scratch.parts(0, 0).states[window.first_root - first..][..window.turns() * TURN];
    for (state, root) in states.iter_mut().zip(&tables.roots[window.first_root..]) {
        *state = u32::from_ne_bytes(*root);
    }
}

/// Takes all trees of a window a step further.
#[inline(never)]
fn pass(tables: &Tables, window: &Window, first: usize, scratch: &mut Scratch) {
    let Parts { answers, states, .. } = scratch.parts(0, tables.questions + tables.idle);
    let states = &mut states[window.first_root - first..][..window.turns() * TURN];
    let nodes = tables.nodes[window.first_node..].as_ptr();
    for states in states.as_chunks_mut::<TURN>().0 {
        for state in states {
            // SAFETY: the state is the window's.
            unsafe { step(state, nodes, answers) };
        }
    }
}

/// Lists the trees that are on their way: where their states lie, in bytes. Gives their number.
#[inline(never)]
fn list(tables: &Tables, trees: usize, scratch: &mut Scratch) -> usize {
    let Parts { states, order, .. } = scratch.parts(0, 0);
    let mut left = 0;
    for (turn, states) in states[..trees].as_chunks::<TURN>().0.iter().enumerate() {
        for (at, state) in states.iter().enumerate() {
            // SAFETY: `left` is at most the number of states before this one.
            unsafe { *order.get_unchecked_mut(left) = ((turn * TURN + at) * 4) as u16 };
            left += on_its_way(tables, *state);
        }
    }
    fill_turn(order, left)
}

/// Lists those of the first `left` trees on the list that are still on their way.
#[inline(never)]
fn list_again(tables: &Tables, left: usize, scratch: &mut Scratch) -> usize {
    let Parts { states, order, .. } = scratch.parts(0, 0);
    let mut still = 0;
    for turn in 0..left / TURN {
        for at in 0..TURN {
            // SAFETY: `still` is at most the number of trees before this one, and a list is of states.
            unsafe {
                let place = *order.get_unchecked(turn * TURN + at);
                *order.get_unchecked_mut(still) = place;
                still += on_its_way(tables, *states.as_ptr().byte_add(place.into()));
            }
        }
    }
    fill_turn(order, still)
}

/// Lists the first tree once more until there are whole turns: its additional steps are steps all the same.
#[inline(always)]
fn fill_turn(order: &mut Order, left: usize) -> usize {
    let whole = left.next_multiple_of(TURN);
    for at in left..whole {
        order[at] = order[0];
    }
    whole
}

/// Takes the first `left` trees of the list a step further.
#[inline(never)]
fn pass_listed(tables: &Tables, first: usize, left: usize, scratch: &mut Scratch) {
    let Parts {
        answers, states, order, ..
    } = scratch.parts(0, tables.questions + tables.idle);
    let nodes = tables.nodes.as_ptr();
    let bases = tables.bases[first..].as_ptr();
    for turn in order[..left].as_chunks::<TURN>().0 {
        for &place in turn {
            // SAFETY: a list is of states, of which each has a base: where the nodes of its window begin.
            unsafe {
                let base = u32::from_le_bytes(bases.byte_add(place.into()).read());
                let state = &mut *states.as_mut_ptr().byte_add(place.into());
                step(state, nodes.byte_add(base as usize), answers);
            }
        }
    }
}

#[inline(always)]
fn on_its_way(tables: &Tables, state: u32) -> usize {
    usize::from((u32::from_le(state) as u16 as usize) < tables.questions)
}

/// Goes to the node that the answer leads to.
///
/// # Safety
/// `nodes` are those of the window that `state` is of. `Tables::new` checked that roots and nodes name a question, or
/// what leaves ask, which have an answer, and that the node 0 or 4 bytes behind the left child, which are all the answers
/// there are, is one of the window's.
#[inline(always)]
unsafe fn step(state: &mut u32, nodes: *const [u8; 4], answers: &[u8]) {
    // Two loads of a half each are less work than a load and taking it apart.
    let halves: *const u16 = (&raw const *state).cast();
    // SAFETY: as above; a word has two halves.
    unsafe {
        let (question, child) = (u16::from_le(halves.read()), u16::from_le(halves.add(1).read()));
        let answer = *answers.get_unchecked(usize::from(question));
        let node = nodes.byte_add(usize::from(child) + usize::from(answer));
        *state = u32::from_ne_bytes(node.read());
    }
}

/// Adds up a window's trees; gives the output of the tree after its last.
#[inline(never)]
fn add(
    tables: &Tables,
    window: &Window,
    first: usize,
    mut output: usize,
    outputs: usize,
    scratch: &mut Scratch,
    out: &mut [f64],
) -> usize {
    let states = &scratch.parts(0, 0).states[window.first_root - first..][..window.trees];
    let values = &tables.tree_values[window.first_value..][..window.values];
    let value = |state: &u32| {
        let leaf = (u32::from_le(*state) as u16 as usize).wrapping_sub(tables.questions);
        values.get(leaf).map_or(0.0, |value| f64::from_le_bytes(*value))
    };
    if let [sum] = out {
        let (turns, rest) = states.as_chunks::<TURN>();
        let mut score = *sum;
        for states in turns {
            states.iter().for_each(|state| score += value(state));
        }
        rest.iter().for_each(|state| score += value(state));
        *sum = score;
        return 0;
    }
    for state in states {
        out[output] += value(state);
        output = if output + 1 == outputs { 0 } else { output + 1 };
    }
    output
}

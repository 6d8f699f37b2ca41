//! A dozen rows: 16 of them in a vector, one byte each, and every split a choice between two numbers of leaves.
//!
//! From the bottom up, a split's leaf is its left child's or its right child's, as the row goes. Along a *heavy path*,
//! which always goes on into the child with more leaves, this is one running vector: where the row leaves the path, it
//! becomes what hangs off there, which is a leaf mostly.
//!
//! ```text
//! leaf = the fork at the end; for each split before, from the last to the first: leaf = turns off ? what hangs off : leaf
//! ```
//!
//! A path ends in a **fork**, a split of two leaves. Their numbers follow each other: the right one's is the left one's
//! minus the answer, which is minus one. Of eight trees, all forks are one list and all these **turns** another, without
//! branches. What they result in is written down, so that what hangs off a path is a vector in memory, as numbers are.
//!
//! An answer is one comparison, of ranks or, where the path is on the right, of their complements.

mod layout;

pub(crate) use layout::{Turns, pack};

use super::lanes::Bytes;
use super::quantise;
use super::scratch::{Codes, Parts, Scratch};
use super::sizes::GROUP;
use super::sizes::bytes::{AT_ONCE, BYTES, ROWS, STRANDS};
use super::sliced::{add, by_size};
use super::view::{self, Tables, category_column};

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
            let (own_forks, own_turns, own_values);
            (own_forks, turns) = turns.split_at(group.forks);
            (own_turns, turns) = turns.split_at(group.turns);
            (own_values, values) = values.split_at(GROUP << group.size);
            fork(own_forks, scratch);
            choose(own_turns, group.forks, scratch);
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

/// Makes the forks of a group.
///
/// The compiler of the sandbox does what has no effect as late as it can. What a fork, or a turn, results in is written
/// whether or not it is read again, or all reads of a loop's turn would come first, and spill.
#[inline(never)]
fn fork(forks: &[[u8; 8]], scratch: &mut Scratch) {
    let Parts { ranks, items, .. } = scratch.parts(0, 0);
    let (ranks, items) = (ranks.as_ptr(), items.as_mut_ptr());
    let mut to = items.wrapping_add(BYTES);
    for forks in forks.as_chunks::<{ AT_ONCE / 2 }>().0 {
        for (at, fork) in forks.iter().enumerate() {
            // SAFETY: as in `make`.
            unsafe { make(fork, ranks, items, to.add(at), |right, left| left.minus(right)) };
        }
        to = to.wrapping_add(AT_ONCE / 2);
    }
}

/// Makes the turns of a group, which has so many forks.
#[inline(never)]
fn choose(turns: &[[u8; 8]], forks: usize, scratch: &mut Scratch) {
    let Parts { ranks, items, .. } = scratch.parts(0, 0);
    let (ranks, items) = (ranks.as_ptr(), items.as_mut_ptr());
    let mut to = items.wrapping_add(BYTES + forks);
    let mut leaves = [Bytes::splat(0); STRANDS];
    for turns in turns.as_chunks::<AT_ONCE>().0 {
        // Two loops of half as many turns are unrolled; one is not.
        for turns in turns.as_chunks::<{ AT_ONCE / 2 }>().0 {
            for (at, turn) in turns.iter().enumerate() {
                let leaf = leaves[at % STRANDS];
                // SAFETY: as in `make`.
                leaves[at % STRANDS] =
                    unsafe { make(turn, ranks, items, to.add(at), |off, item| off.select(item, leaf)) };
            }
            to = to.wrapping_add(AT_ONCE / 2);
        }
    }
}

/// Answers, and writes what follows from the answer and the item; gives it, too.
///
/// # Safety
/// `Tables::new` checked the places: vectors of ranks, bytes, and bytes or what was made before; and that there is room
/// for what a group's forks and turns result in.
#[inline(always)]
unsafe fn make(
    turn: &[u8; 8],
    ranks: *const Bytes,
    items: *const Bytes,
    to: *mut Bytes,
    result: impl Fn(Bytes, Bytes) -> Bytes,
) -> Bytes {
    let [place, above, item] = view::turn(turn);
    // SAFETY: as above.
    unsafe {
        let answer = items
            .byte_add(above as usize)
            .read()
            .above(ranks.byte_add(place as usize).read());
        let result = result(answer, items.byte_add(item as usize).read());
        to.write(result);
        result
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

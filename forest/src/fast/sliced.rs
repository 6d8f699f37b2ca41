//! Many rows: 128 of them in a vector, one bit each, and every tree a circuit.
//!
//! ```text
//! values --quantise--> ranks --transpose--> planes --compare--> answers --multiplex--> codes --look up, add--> scores
//! ```

use super::lanes::{Lanes, transpose};
use super::quantise;
use super::scratch::{Codes, Parts, Scratch};
use super::sizes::sliced::ROWS;
use super::sizes::{CODES, GROUP};
use super::view::{self, Tables, category_column, column};

/// Multiplexers a turn of the loop: the sandbox asks for the time at each turn, long ones make that cheap.
const TURN: usize = 8;

/// Calls a function made for the size of the tables, so that this is part of its instructions. Sizes are those that
/// [`table_size`](super::sizes::table_size) rounds to.
macro_rules! by_size {
    ($size:expr, $rows:expr, $function:ident($($argument:expr),*)) => {
        match $size {
            4 => $function::<16, { $rows }>($($argument),*),
            6 => $function::<64, { $rows }>($($argument),*),
            7 => $function::<128, { $rows }>($($argument),*),
            _ => $function::<256, { $rows }>($($argument),*),
        }
    };
}
pub(crate) use by_size;

/// Adds up the trees for at most [`ROWS`] rows.
pub(crate) fn sum(tables: &Tables, rows: &[f64], width: usize, outputs: usize, scratch: &mut Scratch, out: &mut [f64]) {
    answer(tables, rows, width, scratch);
    out.fill(0.0);
    let mut muxes = tables.muxes;
    let parts = tables.parts.as_chunks::<GROUP>().0.iter();
    let mut leaves = tables.leaves.as_chunks::<GROUP>().0.iter();
    for (record, parts) in tables.groups.iter().zip(parts) {
        let leaves = leaves.next();
        let group = view::group(record);
        let (own, rest) = muxes.split_at(group.muxes);
        muxes = rest;
        multiplex(tables, own, scratch);
        encode(tables, parts, scratch);
        let codes = scratch.parts(tables.slots, 0).codes;
        let size = 1 << group.size;
        let values = &tables.values[group.first_value..][..GROUP * size];
        match (outputs, leaves) {
            (1, Some(leaves)) => by_size!(group.size, ROWS, add_leaves(leaves, values, codes, out)),
            (1, None) => by_size!(group.size, ROWS, add(values, codes, out)),
            _ => add_outputs(parts, leaves, values, codes, outputs, out),
        }
    }
}

/// Answers every question, for every row.
fn answer(tables: &Tables, rows: &[f64], width: usize, scratch: &mut Scratch) {
    let Parts { planes, desk, .. } = scratch.parts(tables.slots, 0);
    (planes[0], planes[1]) = (Lanes::ZEROS, Lanes::ONES);
    for record in tables.columns {
        let column = column(record);
        quantise::ranks(tables, &column, rows, width, desk);
        let answers = &mut planes[2 + column.first..][..column.edges];
        let low = transposed(&desk.low.0);
        if column.narrow() {
            compare_byte(&low, answers)
        } else {
            compare_word(&low, &transposed(&desk.high.0), answers)
        }
    }
    let count = rows.len() / width;
    for record in tables.category_columns {
        let column = category_column(record);
        quantise::classes(tables, &column, rows, width, desk);
        let mut answers = &mut planes[2 + column.first..][..column.sets];
        let members = &tables.members[column.first_member..];
        for members in members.chunks_exact(column.classes).take(column.sets.div_ceil(8)) {
            let mut bytes = [0; ROWS];
            for ((byte, low), high) in bytes.iter_mut().zip(desk.low.0).zip(desk.high.0).take(count) {
                *byte = members[usize::from(u16::from_le_bytes([low, high]))];
            }
            let (these, rest) = answers.split_at_mut(answers.len().min(8));
            these.copy_from_slice(&transposed(&bytes)[..these.len()]);
            answers = rest;
        }
    }
}

/// The planes of one byte a row.
#[inline(always)]
fn transposed(bytes: &[u8; ROWS]) -> [Lanes; 8] {
    let vectors = bytes.as_chunks::<16>().0;
    transpose(core::array::from_fn(|at| Lanes::load(&vectors[at])))
}

/// `slots[k]` becomes "rank <= k", for ranks of up to 8 bits.
///
/// With a rank's high half h and low half l, and k = 16 i + j: rank <= k is h < i, or h <= i and l <= j.
#[inline(never)]
fn compare_byte(planes: &[Lanes; 8], slots: &mut [Lanes]) {
    let mut low = [Lanes::ONES; 16];
    let mut high = [Lanes::ONES; 16];
    thermometer(&planes[..4], &mut low);
    thermometer(&planes[4..], &mut high);
    let mut below = Lanes::ZEROS;
    let mut high = high.into_iter();
    let (full, rest) = slots.as_chunks_mut::<16>();
    for (slots, at_most) in full.iter_mut().zip(&mut high) {
        // The length is known here, so that this is straight-line code.
        *slots = low.map(|low| below.or(at_most.and(low)));
        below = at_most;
    }
    for (slot, low) in rest.iter_mut().zip(low) {
        *slot = below.or(high.as_slice()[0].and(low));
    }
}

/// The same for ranks of up to 16 bits, byte by byte.
#[inline(never)]
fn compare_word(low_planes: &[Lanes; 8], high_planes: &[Lanes; 8], slots: &mut [Lanes]) {
    let mut low = [Lanes::ONES; 256];
    let mut high = [Lanes::ONES; 256];
    thermometer(low_planes, &mut low);
    thermometer(high_planes, &mut high);
    let mut below = Lanes::ZEROS;
    for (slots, at_most) in slots.chunks_mut(256).zip(high) {
        for (slot, low) in slots.iter_mut().zip(&low) {
            *slot = below.or(at_most.and(*low));
        }
        below = at_most;
    }
}

/// `out[k]` becomes "number <= k" for a number of as many bits as planes; `out` is all ones and as long.
/// A bit more doubles what is known: with it unset a number is at most k as before, with it set, at most k + 2^bit.
#[inline(always)]
fn thermometer(planes: &[Lanes], out: &mut [Lanes]) {
    for (bit, plane) in planes.iter().enumerate() {
        let clear = Lanes::ONES.and_not(*plane);
        let (lower, upper) = out.split_at_mut(1 << bit);
        for (lower, upper) in lower.iter_mut().zip(upper) {
            *upper = clear.or(*lower);
            *lower = clear.and(*lower);
        }
    }
}

#[inline(never)]
fn multiplex(tables: &Tables, muxes: &[[u8; 12]], scratch: &mut Scratch) {
    let base = scratch.parts(tables.slots, 0).planes.as_mut_ptr();
    let mut to = base.wrapping_add(2 + tables.questions);
    let mut record = muxes.as_ptr().cast::<u32>();
    // SAFETY: `Tables::new` checked that every offset is that of one of the `slots` planes, that a group has at
    // most `slots - made` multiplexers, and `sum` made `slots` that long. Tables are little-endian bytes.
    unsafe {
        let one = |record: *const u32, to: *mut Lanes| {
            let field = |at: usize| u32::from_le(record.add(at).read_unaligned());
            let at = |offset: u32| base.byte_add(offset as usize).read();
            to.write(at(field(0)).select(at(field(1)), at(field(2))));
        };
        for _ in 0..muxes.len() / TURN {
            for at in 0..TURN {
                one(record.add(3 * at), to.add(at));
            }
            record = record.add(3 * TURN);
            to = to.add(TURN);
        }
        for _ in 0..muxes.len() % TURN {
            one(record, to);
            record = record.add(3);
            to = to.add(1);
        }
    }
}

/// The codes of a group's parts: part after part, one byte a row.
#[inline(never)]
fn encode(tables: &Tables, parts: &[[u8; 48]; GROUP], scratch: &mut Scratch) {
    let Parts { planes, codes, .. } = scratch.parts(tables.slots, 0);
    let base = planes.as_ptr();
    for (record, codes) in parts.iter().zip(codes.as_chunks_mut::<ROWS>().0) {
        let part = view::part(record);
        // SAFETY: as in `multiplex`.
        let planes = part
            .planes
            .map(|offset| unsafe { base.byte_add(offset as usize).read() });
        for (codes, vector) in codes.as_chunks_mut::<16>().0.iter_mut().zip(transpose(planes)) {
            *codes = vector.bytes();
        }
    }
}

/// Adds the values of a group's parts, `SIZE` each, to each row's score, in the order of the parts. There are codes for
/// `COUNT` rows.
#[inline(never)]
pub(crate) fn add<const SIZE: usize, const COUNT: usize>(values: &[[u8; 8]], codes: &Codes, out: &mut [f64]) {
    let values = values[..GROUP * SIZE].as_ptr();
    each_row::<COUNT>(codes, out, |part, code| {
        // SAFETY: codes are below `SIZE`, planes beyond its bits being zero.
        unsafe { values.add(code).add(part * SIZE).read() }
    });
}

/// The same where a part has a value for each leaf and says which leaf a code is.
#[inline(never)]
fn add_leaves<const SIZE: usize, const COUNT: usize>(
    leaves: &[[u8; CODES]; GROUP],
    values: &[[u8; 8]],
    codes: &Codes,
    out: &mut [f64],
) {
    let values = values[..GROUP * SIZE].as_ptr();
    let leaves = leaves.as_flattened().as_ptr();
    each_row::<COUNT>(codes, out, |part, code| {
        // SAFETY: a code is a byte, and `Tables::new` checked that leaves are below `SIZE`.
        unsafe {
            let leaf = leaves.add(code).add(part * CODES).read();
            values.add(usize::from(leaf)).add(part * SIZE).read()
        }
    });
}

/// Adds to each row's score a number for each part and the row's code in it.
#[inline(always)]
fn each_row<const COUNT: usize>(codes: &Codes, out: &mut [f64], value: impl Fn(usize, usize) -> [u8; 8]) {
    let one = |score: &mut f64, codes: *const u8| {
        let mut sum = *score;
        for part in 0..GROUP {
            // SAFETY: there are at most `COUNT` rows.
            let code = unsafe { *codes.add(part * COUNT) };
            sum += f64::from_le_bytes(value(part, code.into()));
        }
        *score = sum;
    };
    const { assert!(COUNT * GROUP <= size_of::<Codes>()) };
    let count = out.len().min(COUNT);
    let mut codes = codes.as_ptr();
    let (fours, rest) = out[..count].as_chunks_mut::<4>();
    for [a, b, c, d] in fours {
        one(a, codes);
        one(b, codes.wrapping_add(1));
        one(c, codes.wrapping_add(2));
        one(d, codes.wrapping_add(3));
        codes = codes.wrapping_add(4);
    }
    for score in rest {
        one(score, codes);
        codes = codes.wrapping_add(1);
    }
}

/// The same for models of several outputs, part by part.
#[inline(never)]
fn add_outputs(
    parts: &[[u8; 48]; GROUP],
    leaves: Option<&[[u8; CODES]; GROUP]>,
    values: &[[u8; 8]],
    codes: &Codes,
    outputs: usize,
    out: &mut [f64],
) {
    let values = values.chunks_exact(values.len() / GROUP);
    for (part, (values, codes)) in values.zip(codes.as_chunks::<ROWS>().0).enumerate() {
        let output = view::part(&parts[part]).output as usize;
        for (scores, &code) in out.chunks_exact_mut(outputs).zip(codes) {
            let at = leaves.map_or(code, |leaves| leaves[part][usize::from(code)]);
            scores[output] += f64::from_le_bytes(values[usize::from(at)]);
        }
    }
}

#[cfg(test)]
mod tests;

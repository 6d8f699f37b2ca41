//! From values to ranks: how many edges of a column lie strictly below a value.
//!
//! A value is first sent to a **bucket** by a function that never decreases and that all edges went
//! through when the model was packed: the leading bits of the value, which are ordered like the numbers. The bucket's table entry is the number of edges in earlier buckets, which are certainly
//! below; those in later buckets are certainly not. What is left are the few edges of the same bucket, and
//! comparing with them decides, exactly, in f64. So the work depends on where the *edges* lie, known when
//! the model is packed, and never on the data. Where edges crowd beyond what 32 bits can tell apart, a bucket
//! has many edges and halving them takes some steps more; in the worst case it is a plain binary search.

use alloc::vec::Vec;

use super::sizes::sliced::ROWS;
use super::sizes::{MAX_BUCKETS, steps};
use super::view::{CategoryColumn, Column, Tables, column};
use crate::zero::flush_zero;

/// The buckets of a column.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    /// Added to a value before its key is taken.
    pub addend: f64,
    /// How many trailing bits of the key are dropped.
    pub shift: u32,
    /// Number of the first bucket.
    pub base: i32,
    /// Edges in earlier buckets, for each bucket.
    pub starts: Vec<u16>,
    /// Most edges in a bucket.
    pub most: u16,
}

/// A number ordered like the values, only coarser: the upper half of the bits, turned around below zero.
/// (-0.0 comes before 0.0, which edges never are.)
#[inline(always)]
pub(crate) fn key(x: f64) -> i32 {
    let bits = (x.to_bits() >> 32) as i32;
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// Chooses buckets for edges in ascending order, at least one, at most 65,534, none -0.0.
pub(crate) fn choose(edges: &[f64]) -> Buckets {
    let candidates = [0.0, even_addend(edges)].into_iter().flat_map(|addend| {
        let keys: Vec<i32> = edges.iter().map(|&edge| key(edge + addend)).collect();
        (0..32).map(move |shift| {
            let (buckets, most) = shape(&keys, shift);
            (cost(buckets, most), shift, addend)
        })
    });
    let best = candidates.min_by_key(|(cost, ..)| *cost);
    let (_, shift, addend) = best.expect("there are candidates");
    let keys: Vec<i32> = edges.iter().map(|&edge| key(edge + addend)).collect();
    let (count, most) = shape(&keys, shift);
    let base = keys[0] >> shift;
    let mut starts = alloc::vec![0_u16; count as usize];
    for key in &keys {
        // Counted one bucket on: a start is what came before.
        starts[((key >> shift) - base) as usize + 1] += 1;
    }
    let mut below = 0;
    for start in &mut starts {
        below += *start;
        *start = below;
    }
    Buckets {
        addend,
        shift,
        base,
        starts,
        most,
    }
}

/// Comparing with one edge more costs about what a table does that is 512 entries larger; beyond two edges
/// vectors do not pay.
fn cost(buckets: i64, most: u16) -> i64 {
    match (buckets, most) {
        (..=MAX_BUCKETS, ..=2) => i64::from(most) * 512 + buckets,
        (..=MAX_BUCKETS, _) => 4096 + i64::from(steps(most.into())) * 512 + buckets,
        _ => i64::MAX,
    }
}

/// What moves the edges between two powers of two, where the leading bits are evenly spaced; 0 if nothing does.
fn even_addend(edges: &[f64]) -> f64 {
    let (least, most) = (edges[0], edges[edges.len() - 1]);
    let span = most - least;
    // The power of two at or above the span: one more in the exponent, unless there is no mantissa.
    let power = f64::from_bits(span.to_bits().wrapping_add((1 << 52) - 1) & !((1 << 52) - 1));
    let addend = power - least;
    if span > 0.0 && addend.is_finite() { addend } else { 0.0 }
}

/// How many buckets there would be, one beyond the last edge's included, and the most edges in one.
fn shape(keys: &[i32], shift: u32) -> (i64, u16) {
    let count = i64::from(keys[keys.len() - 1] >> shift) - i64::from(keys[0] >> shift) + 2;
    let most = keys.chunk_by(|a, b| a >> shift == b >> shift).map(<[i32]>::len).max();
    (count, most.unwrap_or(0) as u16)
}

/// The ranks of at most 128 rows in a column, on the desk.
#[inline(never)]
pub(crate) fn ranks(tables: &Tables, column: &Column, rows: &[f64], width: usize, desk: &mut Desk) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    if !column.asks_for_zero() {
        match column.most {
            0..=1 => return simd::ranks::<1>(tables, column, rows, width, desk),
            2 => return simd::ranks::<2>(tables, column, rows, width, desk),
            _ => {}
        }
    }
    for (at, row) in rows.chunks_exact(width).enumerate().take(ROWS) {
        desk.put(at, rank_of(tables, column, row[column.feature]));
    }
}

/// What ranking a column results in, a place a row.
pub(crate) struct Desk {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    passes: simd::Passes,
    /// Ranks, or classes, byte by byte. Places without a row may hold anything.
    pub low: Aligned<[u8; ROWS]>,
    pub high: Aligned<[u8; ROWS]>,
}

#[repr(align(16))]
pub(crate) struct Aligned<T>(pub T);

impl Desk {
    pub(crate) const EMPTY: Desk = Desk {
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        passes: simd::Passes::EMPTY,
        low: Aligned([0; ROWS]),
        high: Aligned([0; ROWS]),
    };

    fn put(&mut self, at: usize, rank: u16) {
        [self.low.0[at], self.high.0[at]] = rank.to_le_bytes();
    }
}

/// The ranks of a few rows in a column of at most 255 edges. For so few, going through memory in passes does not pay.
#[inline(never)]
pub(crate) fn few_ranks(tables: &Tables, record: &[u8; 72], rows: &[f64], width: usize, ranks: &mut [u8]) {
    let column = column(record);
    if column.most != 1 || column.asks_for_zero() {
        let values = rows[column.feature..].iter().step_by(width);
        for (rank, &x) in ranks.iter_mut().zip(values) {
            *rank = rank_of(tables, &column, x) as u8;
        }
        return;
    }
    let mut x = rows[column.feature..].as_ptr();
    for rank in ranks.iter_mut().take(rows.len() / width) {
        // SAFETY: a row has a value at the column's feature.
        *rank = rank_of_one(tables, &column, unsafe { x.read() }) as u8;
        x = x.wrapping_add(width);
    }
}

/// [`rank_of`] by the column's record, in line where there is no halving: most columns.
#[inline(always)]
pub(crate) fn rank_in_line(tables: &Tables, record: &[u8; 72], row: &[f64]) -> u16 {
    let column = column(record);
    // SAFETY: `Tables::new` checked that a row has a value at the column's feature.
    let x = unsafe { *row.get_unchecked(column.feature) };
    if column.most != 1 || column.asks_for_zero() {
        return rank_by_halving(tables, record, x);
    }
    rank_of_one(tables, &column, x)
}

/// The rank of a value in a column of at most one edge a bucket, to which zero is nothing special.
#[inline(always)]
fn rank_of_one(tables: &Tables, column: &Column, x: f64) -> u16 {
    let start = start(tables, column, x);
    // SAFETY: a start is not beyond the column's edges, behind which there is one more.
    let edge = unsafe { tables.edges.get_unchecked(column.first_edge + usize::from(start)) };
    if x.is_nan() {
        column.nan_rank as u16
    } else {
        start + u16::from(f64::from_le_bytes(*edge) < x)
    }
}

/// Takes the record, not the column, whose fields would have to be in memory for that.
#[inline(never)]
fn rank_by_halving(tables: &Tables, record: &[u8; 72], x: f64) -> u16 {
    rank_of(tables, &column(record), x)
}

/// The edges in buckets before that of a value.
#[inline(always)]
fn start(tables: &Tables, column: &Column, x: f64) -> u16 {
    let key = key(x + column.addend) >> column.shift;
    let bucket = key.max(column.base).min(column.last_bucket()) - column.base;
    // SAFETY: `Tables::new` checked that a column has `buckets` starts.
    u16::from_le_bytes(unsafe { *tables.starts.get_unchecked(column.first_start + bucket as usize) })
}

/// The rank of one value in a column, missing values as its splits take them.
#[inline(always)]
pub(crate) fn rank_of(tables: &Tables, column: &Column, x: f64) -> u16 {
    let mut rank = usize::from(start(tables, column, x));
    for step in (0..steps(column.most)).rev() {
        // SAFETY: `Tables::new` checked that no start is beyond the column's edges, and that behind these there are as
        // many further entries as the steps can look at.
        let edge = unsafe { tables.edges.get_unchecked(column.first_edge + rank + (1 << step) - 1) };
        rank += usize::from(f64::from_le_bytes(*edge) < x) << step;
    }
    special_rank(column, x).unwrap_or(rank as u16)
}

/// The rank of a value that is missing, or counts as zero where that is special.
#[inline(always)]
fn special_rank(column: &Column, x: f64) -> Option<u16> {
    if x.is_nan() {
        return Some(column.nan_rank as u16);
    }
    let zero = column.asks_for_zero() && column.zero.0 <= x && x <= column.zero.1;
    zero.then_some(column.zero_rank as u16)
}

/// The classes of at most 128 rows in a category column, on the desk.
pub(crate) fn classes(tables: &Tables, column: &CategoryColumn, rows: &[f64], width: usize, desk: &mut Desk) {
    for (at, row) in rows.chunks_exact(width).enumerate().take(ROWS) {
        desk.put(at, class_of(tables, column, row[column.feature]));
    }
}

/// The class of one value: 0 for NaN, for what is negative once cut to an integer, and for what no set has.
pub(crate) fn class_of(tables: &Tables, column: &CategoryColumn, x: f64) -> u16 {
    let x = flush_zero((x - column.offset) / column.scale);
    // Beyond the table, and so without NaN and what is no 32-bit integer, nothing is in a set.
    if !(x > -1.0 && x < column.entries.max(1) as f64) {
        return 0;
    }
    let classes = &tables.classes[column.first_entry..][..column.entries];
    classes.get(x as usize).map_or(0, |class| u16::from_le_bytes(*class))
}

/// Vectors, in passes: whatever goes between vectors and single numbers goes through memory, because moving
/// it lane by lane would keep one port of the processor busy for longer than all the rest takes.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd {
    use core::arch::wasm32::*;

    use super::{Aligned, Column, Desk, ROWS, Tables};

    /// What one pass leaves for the next, a place a row.
    pub(super) struct Passes {
        values: Aligned<[f64; ROWS]>,
        buckets: Aligned<[u32; ROWS]>,
        starts: Aligned<[u32; ROWS]>,
        /// The edges that values are compared with, for each that a bucket may have.
        edges: Aligned<[[f64; ROWS]; 2]>,
    }

    impl Passes {
        pub(super) const EMPTY: Passes = Passes {
            values: Aligned([0.0; ROWS]),
            buckets: Aligned([0; ROWS]),
            starts: Aligned([0; ROWS]),
            edges: Aligned([[0.0; ROWS]; 2]),
        };
    }

    /// Ranks, for buckets of at most `MOST` edges.
    pub(super) fn ranks<const MOST: usize>(
        tables: &Tables,
        column: &Column,
        rows: &[f64],
        width: usize,
        desk: &mut Desk,
    ) {
        let count = (rows.len() / width).min(ROWS);
        let mut value = rows[column.feature..].as_ptr();
        for place in &mut desk.passes.values.0[..count] {
            // SAFETY: a row has a value at the column's feature.
            *place = unsafe { value.read() };
            value = value.wrapping_add(width);
        }
        // Below a base that is not negative everything is in the first bucket, in whatever order.
        if column.base >= 0 {
            buckets::<false>(column, desk, count);
        } else {
            buckets::<true>(column, desk, count);
        }
        look_up::<MOST>(tables, column, desk, count);
        compare::<MOST>(column, desk, count);
    }

    fn buckets<const SIGNED: bool>(column: &Column, desk: &mut Desk, count: usize) {
        let addend = f64x2_splat(column.addend);
        let (base, last) = (i32x4_splat(column.base), i32x4_splat(column.last_bucket()));
        let mut from: *const v128 = desk.passes.values.0.as_ptr().cast();
        let mut to: *mut v128 = desk.passes.buckets.0.as_mut_ptr().cast();
        let bucket = |a: v128, b: v128| {
            let mut key = i32x4_shuffle::<1, 3, 5, 7>(f64x2_add(a, addend), f64x2_add(b, addend));
            if SIGNED {
                key = v128_xor(key, u32x4_shr(i32x4_shr(key, 31), 1));
            }
            i32x4_sub(i32x4_min(i32x4_max(i32x4_shr(key, column.shift), base), last), base)
        };
        for _ in 0..count.div_ceil(8) {
            // SAFETY: eights of places up to the one that `count` ends in.
            unsafe {
                v128_store(to, bucket(v128_load(from), v128_load(from.add(1))));
                v128_store(to.add(1), bucket(v128_load(from.add(2)), v128_load(from.add(3))));
                (from, to) = (from.add(4), to.add(2));
            }
        }
    }

    fn look_up<const MOST: usize>(tables: &Tables, column: &Column, desk: &mut Desk, count: usize) {
        let mut bucket = desk.passes.buckets.0.as_ptr();
        let mut to = desk.passes.starts.0.as_mut_ptr();
        let mut edge = desk.passes.edges.0.as_flattened_mut().as_mut_ptr();
        // SAFETY: eights of places up to the one that `count` ends in; a bucket has a start, and a start `MOST` edges behind it, as `rank_of` says.
        unsafe {
            let starts = tables.starts.as_ptr().add(column.first_start);
            let edges = tables.edges.as_ptr().add(column.first_edge);
            let one = |bucket: *const u32, to: *mut u32, edge: *mut f64| {
                let start = u16::from_le_bytes(starts.add(bucket.read() as usize).read());
                to.write(start.into());
                for next in 0..MOST {
                    let value = edges.add(usize::from(start)).add(next).read();
                    edge.add(next * ROWS).write(f64::from_le_bytes(value));
                }
            };
            for _ in 0..count.div_ceil(8) {
                for at in 0..8 {
                    one(bucket.add(at), to.add(at), edge.add(at));
                }
                (bucket, to, edge) = (bucket.add(8), to.add(8), edge.add(8));
            }
        }
    }

    fn compare<const MOST: usize>(column: &Column, desk: &mut Desk, count: usize) {
        let nan_rank = i32x4_splat(column.nan_rank as i32);
        let mut values: *const v128 = desk.passes.values.0.as_ptr().cast();
        let mut edges: *const v128 = desk.passes.edges.0.as_ptr().cast();
        let mut starts: *const v128 = desk.passes.starts.0.as_ptr().cast();
        let mut low: *mut v128 = desk.low.0.as_mut_ptr().cast();
        let mut high: *mut v128 = desk.high.0.as_mut_ptr().cast();
        // SAFETY: sixteens of places up to the one that `count` ends in.
        unsafe {
            let four = |values: *const v128, edges: *const v128, starts: *const v128| {
                let (a, b) = (v128_load(values), v128_load(values.add(1)));
                let mut rank = v128_load(starts);
                for next in 0..MOST {
                    let edges = edges.add(next * ROWS / 2);
                    let (c, d) = (v128_load(edges), v128_load(edges.add(1)));
                    // A mask is minus one.
                    rank = i32x4_sub(rank, join(f64x2_lt(c, a), f64x2_lt(d, b)));
                }
                let missing = join(f64x2_ne(a, a), f64x2_ne(b, b));
                v128_bitselect(nan_rank, rank, missing)
            };
            for _ in 0..count.div_ceil(16) {
                let a = four(values, edges, starts);
                let b = four(values.add(2), edges.add(2), starts.add(1));
                let c = four(values.add(4), edges.add(4), starts.add(2));
                let d = four(values.add(6), edges.add(6), starts.add(3));
                let byte = i32x4_splat(255);
                let bytes = |a, b, c, d| u8x16_narrow_i16x8(i16x8_narrow_i32x4(a, b), i16x8_narrow_i32x4(c, d));
                if column.narrow() {
                    v128_store(low, bytes(a, b, c, d));
                } else {
                    let cut = |rank| v128_and(rank, byte);
                    v128_store(low, bytes(cut(a), cut(b), cut(c), cut(d)));
                    let cut = |rank| u32x4_shr(rank, 8);
                    v128_store(high, bytes(cut(a), cut(b), cut(c), cut(d)));
                }
                (values, edges, starts) = (values.add(8), edges.add(8), starts.add(4));
                (low, high) = (low.add(1), high.add(1));
            }
        }
    }

    /// Masks of 64 bits as masks of 32.
    #[inline(always)]
    fn join(a: v128, b: v128) -> v128 {
        i32x4_shuffle::<0, 2, 4, 6>(a, b)
    }
}

#[cfg(test)]
mod tests;

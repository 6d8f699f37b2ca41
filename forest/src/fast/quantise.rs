//! From values to ranks: how many edges of a column lie strictly below a value.
//!
//! A value is first sent to a **bucket** by a function that never decreases and that all edges went
//! through when the model was packed: the leading bits of the value, which are ordered like the numbers. The bucket's table entry is the number of edges in earlier buckets, which are certainly
//! below; those in later buckets are certainly not. What is left are the few edges of the same bucket, and
//! comparing with them decides, exactly, in f64. So the work depends on where the *edges* lie, known when
//! the model is packed, and never on the data. Where edges crowd beyond what 32 bits can tell apart, a bucket
//! has many edges and halving them takes some steps more; in the worst case it is a plain binary search.

use alloc::vec::Vec;

use super::sliced::ROWS;
use super::view::{CategoryColumn, Column, Tables};
use crate::flush_zero;

/// Most buckets a column has.
pub(crate) const MAX_BUCKETS: i64 = 2048;

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

/// How often a bucket's edges are halved to find the rank.
pub(crate) fn steps(most: u32) -> u32 {
    32 - most.leading_zeros()
}

/// Entries behind a column's edges that may be looked at.
pub(crate) fn padding(most: u32) -> usize {
    (1 << steps(most)) - 1
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
    let power = f64::from_bits((span.to_bits() + ((1 << 52) - 1)) & !((1 << 52) - 1));
    let addend = power - least;
    match span > 0.0 && addend.is_finite() {
        true => addend,
        false => 0.0,
    }
}

/// How many buckets there would be, one beyond the last edge's included, and the most edges in one.
fn shape(keys: &[i32], shift: u32) -> (i64, u16) {
    let count = i64::from(keys[keys.len() - 1] >> shift) - i64::from(keys[0] >> shift) + 2;
    let most = keys.chunk_by(|a, b| a >> shift == b >> shift).map(<[i32]>::len).max();
    (count, most.unwrap_or(0) as u16)
}

/// The ranks of at most 128 rows in a column.
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
    for (row, rank) in rows.chunks_exact(width).zip(&mut desk.ranks) {
        *rank = rank_of(tables, column, row[column.feature]).into();
    }
}

/// What ranking a column works on, a place a row.
pub(crate) struct Desk {
    values: [f64; ROWS],
    buckets: [u32; ROWS],
    /// The edges that values are compared with, for each that a bucket may have.
    edges: [[f64; ROWS]; 2],
    pub ranks: [u32; ROWS],
}

impl Desk {
    pub const EMPTY: Desk = Desk {
        values: [0.0; ROWS],
        buckets: [0; ROWS],
        edges: [[0.0; ROWS]; 2],
        ranks: [0; ROWS],
    };
}

/// The rank of one value in a column, missing values as its splits take them.
#[inline(always)]
pub(crate) fn rank_of(tables: &Tables, column: &Column, x: f64) -> u16 {
    let bucket = (key(x + column.addend) >> column.shift).clamp(column.base, column.last_bucket()) - column.base;
    // SAFETY: `Tables::new` checked that a column has `buckets` starts, that none is beyond its edges, and that
    // behind these there are as many further entries as the steps can look at.
    let rank = unsafe {
        let start = tables.starts.get_unchecked(column.first_start + bucket as usize);
        let mut rank = usize::from(u16::from_le_bytes(*start));
        for step in (0..steps(column.most)).rev() {
            let edge = tables.edges.get_unchecked(column.first_edge + rank + (1 << step) - 1);
            rank += usize::from(f64::from_le_bytes(*edge) < x) << step;
        }
        rank as u16
    };
    if x.is_nan() {
        return column.nan_rank as u16;
    }
    if column.asks_for_zero() && column.zero.0 <= x && x <= column.zero.1 {
        return column.zero_rank as u16;
    }
    rank
}

/// The classes of at most 128 rows in a category column; 0 for the rows there are not.
pub(crate) fn classes(tables: &Tables, column: &CategoryColumn, rows: &[f64], width: usize, desk: &mut Desk) {
    desk.ranks.fill(0);
    for (row, class) in rows.chunks_exact(width).zip(&mut desk.ranks) {
        *class = class_of(tables, column, row[column.feature]).into();
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

    use super::{Column, Desk, ROWS, Tables};

    /// Ranks, for buckets of at most `MOST` edges. Places without a row get some rank.
    pub(super) fn ranks<const MOST: usize>(
        tables: &Tables,
        column: &Column,
        rows: &[f64],
        width: usize,
        desk: &mut Desk,
    ) {
        let count = (rows.len() / width).min(ROWS);
        let mut value = rows[column.feature..].as_ptr();
        for place in &mut desk.values[..count] {
            // SAFETY: a row has a value at the column's feature.
            *place = unsafe { value.read() };
            value = value.wrapping_add(width);
        }
        let vectors = count.div_ceil(4);
        buckets(column, desk, vectors);
        // SAFETY: a bucket has a start, and a start `MOST` edges behind it, as `rank_of` says.
        unsafe {
            let starts = tables.starts.as_ptr().add(column.first_start);
            let edges = tables.edges.as_ptr().add(column.first_edge);
            for at in 0..vectors * 4 {
                let bucket = *desk.buckets.get_unchecked(at) as usize;
                let start = u16::from_le_bytes(starts.add(bucket).read());
                *desk.ranks.get_unchecked_mut(at) = start.into();
                for next in 0..MOST {
                    let edge = edges.add(usize::from(start) + next).read();
                    *desk.edges[next].get_unchecked_mut(at) = f64::from_le_bytes(edge);
                }
            }
        }
        finish::<MOST>(column, desk, vectors);
    }

    fn buckets(column: &Column, desk: &mut Desk, vectors: usize) {
        let addend = f64x2_splat(column.addend);
        let (base, last) = (i32x4_splat(column.base), i32x4_splat(column.last_bucket()));
        let values = desk.values.as_chunks::<4>().0;
        for (buckets, values) in desk.buckets.as_chunks_mut::<4>().0.iter_mut().zip(values).take(vectors) {
            // SAFETY: four numbers of each kind.
            unsafe {
                let values: *const v128 = values.as_ptr().cast();
                let (a, b) = (v128_load(values), v128_load(values.add(1)));
                let bits = i32x4_shuffle::<1, 3, 5, 7>(f64x2_add(a, addend), f64x2_add(b, addend));
                let key = v128_xor(bits, u32x4_shr(i32x4_shr(bits, 31), 1));
                let bucket = i32x4_min(i32x4_max(i32x4_shr(key, column.shift), base), last);
                v128_store(buckets.as_mut_ptr().cast(), i32x4_sub(bucket, base));
            }
        }
    }

    fn finish<const MOST: usize>(column: &Column, desk: &mut Desk, vectors: usize) {
        let nan_rank = i32x4_splat(column.nan_rank as i32);
        let values: *const v128 = desk.values.as_ptr().cast();
        for (at, ranks) in desk.ranks.as_chunks_mut::<4>().0.iter_mut().enumerate().take(vectors) {
            // SAFETY: four numbers of each kind.
            unsafe {
                let (a, b) = (v128_load(values.add(2 * at)), v128_load(values.add(2 * at + 1)));
                let ranks: *mut v128 = ranks.as_mut_ptr().cast();
                let mut rank = v128_load(ranks);
                for edges in &desk.edges[..MOST] {
                    let edges: *const v128 = edges.as_ptr().cast();
                    let (c, d) = (v128_load(edges.add(2 * at)), v128_load(edges.add(2 * at + 1)));
                    // A mask is minus one.
                    rank = i32x4_sub(rank, join(f64x2_lt(c, a), f64x2_lt(d, b)));
                }
                let missing = join(f64x2_ne(a, a), f64x2_ne(b, b));
                v128_store(ranks, v128_bitselect(nan_rank, rank, missing));
            }
        }
    }

    /// Masks of 64 bits as masks of 32.
    #[inline(always)]
    fn join(a: v128, b: v128) -> v128 {
        i32x4_shuffle::<0, 2, 4, 6>(a, b)
    }
}

//! Kernels for ordinary models: everything but linear trees, giant trees and giant category numbers.
//!
//! [`pack`](pack::pack) turns a model into tables, once; [`Tables`] is the checked view over them; a kernel
//! is picked by the number of rows in a call.

// Reads without bounds checks rest on what `Tables::new` has checked.
#![allow(unsafe_code)]

mod circuit;
mod conditions;
mod lanes;
mod pack;
mod quantise;
mod scratch;
mod sliced;
mod view;
mod walk;

pub(crate) use pack::pack;
pub use scratch::Scratch;
pub(crate) use view::Tables;

/// Rows from which on the bit-sliced kernel is faster than row by row.
const SLICED: usize = 20;

impl Tables<'_> {
    /// Adds up the trees for each row, raw.
    pub fn sum(&self, rows: &[f64], width: usize, outputs: usize, scratch: &mut Scratch, out: &mut [f64]) {
        let blocks = rows
            .chunks(sliced::ROWS * width)
            .zip(out.chunks_mut(sliced::ROWS * outputs));
        for (rows, out) in blocks {
            match rows.len() / width >= SLICED {
                true => sliced::sum(self, rows, width, outputs, scratch, out),
                false => walk::sum(self, rows, width, outputs, scratch, out),
            }
        }
    }
}

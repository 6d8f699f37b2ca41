//! Kernels for ordinary models: everything but linear trees, giant trees and giant category numbers.
//!
//! [`pack`](pack::pack) turns a model into tables, once; [`Tables`] is the checked view over them; a kernel
//! is picked by the number of rows in a call.

// Reads without bounds checks rest on what `Tables::new` has checked.
#![allow(unsafe_code)]

mod bytes;
mod circuit;
mod conditions;
mod costs;
mod lanes;
mod masks;
mod pack;
mod quantise;
#[cfg(test)]
mod samples;
mod scratch;
mod sizes;
mod sliced;
mod view;
mod walk;

pub(crate) use pack::pack;
pub use scratch::Scratch;
pub(crate) use view::Tables;

impl Tables<'_> {
    /// Adds up the trees for each row, raw.
    pub(crate) fn sum(&self, rows: &[f64], width: usize, outputs: usize, scratch: &mut Scratch, out: &mut [f64]) {
        let blocks = rows
            .chunks(sizes::sliced::ROWS.saturating_mul(width))
            .zip(out.chunks_mut(sizes::sliced::ROWS * outputs));
        for (rows, out) in blocks {
            match rows.len() / width {
                count if count >= self.many => sliced::sum(self, rows, width, outputs, scratch, out),
                count if count >= self.dozen => bytes::sum(self, rows, width, outputs, scratch, out),
                _ if self.mask_trees > 0 => masks::sum(self, rows, width, outputs, scratch, out),
                _ => walk::sum(self, rows, width, outputs, scratch, out),
            }
        }
    }
}

#[cfg(test)]
mod tests;

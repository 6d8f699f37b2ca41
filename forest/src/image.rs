//! The image: a model laid out for scoring, as position-independent little-endian bytes.
//!
//! A header of 64 bytes, then these sections, each but the last beginning at a multiple of 8:
//!
//! | section | record | bytes |
//! |---|---|---|
//! | scaling | offset f64, scale f64; one a feature, or none at all | 16 |
//! | columns | feature u32, kind u32 | 8 |
//! | trees | first node u32, end of nodes u32, flags u32, 0 | 16 |
//! | nodes | threshold f64, column u32, child u32 | 16 |
//! | leaves | value f64 | 8 |
//! | linear leaves | constant f64, first term u32, terms u32; one a leaf, or none at all | 16 |
//! | terms | coefficient f64, feature u32, 0 | 16 |
//! | words | 32 bits of a category set | 4 |
//! | covers | training rows u32, positive; one a node, or none at all | 4 |
//!
//! and, at the next multiple of 64, the tables of the kernels (`fast/pack.rs`), or nothing where there are none.
//!
//! A **column** is a feature with its missing values already sent to their side: where they go left it
//! holds -inf, where they go right NaN, so that a node needs nothing but `x <= threshold`. The children
//! of a node are neighbours: left is `child`, right `child + 1`. A leaf is its own child; its column,
//! one past the last, always holds -inf, and the bits of its threshold are the leaf's number (a positive
//! denormal). So a walk needs no test for leaves but "did not move".
//!
//! Where there are covers, the nodes of each tree lie breadth first: explaining goes down every branch, and
//! nodes that two parents share would make that exponential.

use core::fmt;

use crate::model::{Missing, Rule, Split};
use crate::objective::Conversion;

pub(crate) const MAGIC: [u8; 8] = *b"forest\0\x02";
pub(crate) const HEADER_BYTES: usize = 64;
/// A line of the cache. Sections that are read at random are aligned to one: for speed, nothing rests on it.
pub(crate) const LINE: usize = 64;

pub(crate) const AVERAGE_OUTPUT: u32 = 1;
pub(crate) const SCALED: u32 = 2;
pub(crate) const COVERED: u32 = 4;

pub(crate) const TREE_CATEGORICAL: u32 = 1;
pub(crate) const TREE_LINEAR: u32 = 2;

/// Set in a node's column where the node asks a category set: the threshold's bits are then the first
/// word (low half) and the number of words (high half).
pub(crate) const CATEGORY_NODE: u32 = 1 << 31;

/// What a column holds of its feature.
pub(crate) mod kind {
    pub(crate) const PLAIN: u32 = 0;
    pub(crate) const ZERO_LEFT: u32 = 1;
    pub(crate) const ZERO_RIGHT: u32 = 2;
    pub(crate) const NAN_LEFT: u32 = 3;
    pub(crate) const NAN_RIGHT: u32 = 4;
    pub(crate) const CATEGORY: u32 = 5;
}

/// Why bytes are not an image (or a bundle).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageError(pub(crate) &'static str);

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for ImageError {}

/// The code and parameter of a conversion in the header.
pub(crate) fn conversion_code(conversion: Conversion) -> (u32, f64) {
    match conversion {
        Conversion::Identity => (0, 0.0),
        Conversion::Sigmoid(sigma) => (1, sigma),
        Conversion::SigmoidEach(sigma) => (2, sigma),
        Conversion::Exp => (3, 0.0),
        Conversion::Log1pExp => (4, 0.0),
        Conversion::Softmax => (5, 0.0),
        Conversion::SignedSquare => (6, 0.0),
    }
}

pub(crate) fn conversion(code: u32, sigma: f64) -> Result<Conversion, ImageError> {
    Ok(match code {
        0 => Conversion::Identity,
        1 => Conversion::Sigmoid(sigma),
        2 => Conversion::SigmoidEach(sigma),
        3 => Conversion::Exp,
        4 => Conversion::Log1pExp,
        5 => Conversion::Softmax,
        6 => Conversion::SignedSquare,
        _ => return Err(ImageError("unknown conversion of the output")),
    })
}

pub(crate) fn column_kind(split: &Split) -> u32 {
    match split.rule {
        Rule::Categorical { .. } => kind::CATEGORY,
        Rule::Numerical {
            missing, default_left, ..
        } => match (missing, default_left) {
            (Missing::None, _) => kind::PLAIN,
            (Missing::Zero, true) => kind::ZERO_LEFT,
            (Missing::Zero, false) => kind::ZERO_RIGHT,
            (Missing::Nan, true) => kind::NAN_LEFT,
            (Missing::Nan, false) => kind::NAN_RIGHT,
        },
    }
}

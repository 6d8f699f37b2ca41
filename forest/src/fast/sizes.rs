//! Sizes that the packers, the kernels and the checked view agree on, and how tables are written.

use alloc::vec::Vec;

use super::circuit::MAX_BITS;

/// Codes there are.
pub(super) const CODES: usize = 1 << MAX_BITS;
/// Parts that are evaluated together.
pub(super) const GROUP: usize = 8;
/// Bytes of the tables' header.
pub(super) const HEADER_BYTES: usize = 128;
/// Most planes of a model that kernels are made for: 4 MiB of them.
pub(super) const MAX_PLANES: usize = 1 << 18;
/// Most buckets a column has.
pub(super) const MAX_BUCKETS: i64 = 2048;

/// What the header counts, in its order; the rest of it is 0.
#[derive(Clone, Copy)]
pub(super) enum Count {
    Columns,
    Edges,
    Starts,
    CategoryColumns,
    Classes,
    Members,
    Groups,
    Muxes,
    /// Parts that number their leaves: all or none.
    Leaves,
    Values,
    Windows,
    Roots,
    Nodes,
    TreeValues,
    TurnGroups,
    Turns,
    TurnValues,
    /// Questions over all columns.
    Questions,
    /// Most multiplexers of a group.
    Made,
    /// Lines of masks, masks of a line, and splits; all 0 where the model has none.
    MaskLines,
    MaskTrees,
    MaskSplits,
    /// Rows from which on the kernel with a byte a row is the fastest.
    Dozen,
    /// Rows from which on the bit-sliced kernel is the fastest.
    Many,
}

/// The least of the sizes that there are functions for.
pub(super) fn table_size(needed: usize) -> usize {
    match needed {
        0..=16 => 16,
        17..=64 => 64,
        65..=128 => 128,
        _ => CODES,
    }
}

pub(super) fn put(bytes: &mut Vec<u8>, numbers: &[u32]) {
    numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
}

pub(super) fn put_floats(bytes: &mut Vec<u8>, numbers: &[f64]) {
    numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
}

/// How often a bucket's edges are halved to find the rank.
pub(super) fn steps(most: u32) -> u32 {
    32 - most.leading_zeros()
}

/// Entries behind a column's edges that may be looked at.
pub(super) fn padding(most: u32) -> usize {
    (1 << steps(most)) - 1
}

/// Of the kernel for a dozen rows.
pub(super) mod bytes {
    use super::GROUP;
    use crate::fast::lanes::Bytes;

    /// Rows a pass takes.
    pub(crate) const ROWS: usize = 16;
    /// Forks, or turns, that are made in a turn of the loop.
    pub(crate) const AT_ONCE: usize = 16;
    /// Trees whose turns alternate, because each turn of a tree waits for the one before.
    pub(crate) const STRANDS: usize = 2;
    /// Leaves of a tree: numbered by a byte.
    pub(crate) const MAX_LEAVES: usize = 256;
    /// Edges of a column: ranks and what they are compared with fit a byte, and one number is above all of them.
    pub(crate) const MAX_EDGES: usize = 254;
    /// Vectors of ranks and of their complements.
    pub(crate) const MAX_RANKS: usize = 4096;
    /// Forks and turns of a group: each split is one of them, a path of several splits has one more, and strands are made as
    /// long as each other.
    pub(crate) const MAX_RESULTS: usize = GROUP * MAX_LEAVES * 2;
    /// Items that are a byte each, sixteen times.
    pub(crate) const BYTES: usize = 256;
    /// All bytes, and then what the forks and the turns of a group result in.
    pub(crate) type Items = [Bytes; BYTES + MAX_RESULTS];
}

/// Of the kernel for models of few columns.
pub(super) mod masks {
    /// Leaves of a tree: one bit each.
    pub(crate) const LEAVES: usize = 64;
    /// Trees a turn.
    pub(crate) const TREES: usize = 16;
    /// Most trees.
    pub(crate) const MAX_TREES: usize = 1024;
    /// Columns beyond which walking is as fast.
    pub(crate) const COLUMNS: usize = 32;
    /// Ranks a line stands for.
    pub(crate) const STEP: usize = 8;

    /// Lines of a column with so many edges.
    pub(crate) fn lines(edges: usize) -> usize {
        edges / STEP + 1
    }
}

/// Of the walk.
pub(super) mod walk {
    /// Trees that a turn takes a step further.
    pub(crate) const TURN: usize = 8;
    /// Most trees of a window.
    pub(crate) const WINDOW: usize = 128;
    /// Most nodes of a window: a place in it, in bytes, is the half of a word.
    pub(crate) const MAX_NODES: usize = 1 << 14;
    /// Questions and what leaves ask: the other half.
    pub(crate) const MAX_QUESTIONS: usize = 1 << 16;
    /// Windows whose stragglers are taken together.
    pub(crate) const WINDOWS: usize = 16;
    /// Trees of so many windows.
    pub(crate) const TREES: usize = WINDOWS * WINDOW;
    /// The longest run; columns with more edges are filled.
    pub(crate) const LONGEST: usize = 256;
}

/// Of the kernel for many rows.
pub(super) mod sliced {
    /// Rows a pass takes.
    pub(crate) const ROWS: usize = 128;
}

//! The evaluator that production uses: a checked view over an image, and the walk through it.

use alloc::vec;

use crate::Output;
use crate::fast::{Scratch, Tables};
use crate::image::{self, ImageError, kind};
use crate::objective::Conversion;
use crate::parse::MAX_OUTPUTS;
use crate::zero::flush_zero;

/// Walks that advance together: enough to hide the latency of one step's loads.
const LANES: usize = 8;
/// Rows prepared together, so that a tree stays in cache while they pass through it.
const BLOCK: usize = 32;

/// A model ready to score: a view over an image, nothing copied.
#[derive(Clone, Copy, Debug)]
pub struct Forest<'a> {
    pub(crate) width: usize,
    pub(crate) outputs: usize,
    pub(crate) average_output: bool,
    pub(crate) conversion: Conversion,
    pub(crate) scaling: &'a [[u8; 16]],
    pub(crate) columns: &'a [[u8; 8]],
    pub(crate) trees: &'a [[u8; 16]],
    pub(crate) nodes: &'a [[u8; 16]],
    pub(crate) leaves: &'a [[u8; 8]],
    pub(crate) linear: &'a [[u8; 16]],
    pub(crate) terms: &'a [[u8; 16]],
    pub(crate) words: &'a [[u8; 4]],
    pub(crate) covers: &'a [[u8; 4]],
    tables: Option<Tables<'a>>,
}

/// A record of 16 bytes read as a number and two 32-bit fields.
#[inline(always)]
pub(crate) fn record(bytes: &[u8; 16]) -> (u64, u32, u32) {
    let whole = u128::from_le_bytes(*bytes);
    (whole as u64, (whole >> 64) as u32, (whole >> 96) as u32)
}

#[inline(always)]
pub(crate) fn float(bytes: &[u8; 8]) -> f64 {
    f64::from_le_bytes(*bytes)
}

/// The first node, the end of the nodes and the flags of a tree.
#[inline(always)]
pub(crate) fn tree_record(bytes: &[u8; 16]) -> (u32, u32, u32) {
    let (nodes, flags, _) = record(bytes);
    (nodes as u32, (nodes >> 32) as u32, flags)
}

/// Cuts sections off the front of an image.
struct Sections<'a>(&'a [u8]);

impl<'a> Sections<'a> {
    fn take<const N: usize>(&mut self, count: u32) -> Result<&'a [[u8; N]], ImageError> {
        let bytes = (count as usize)
            .checked_mul(N)
            .and_then(|bytes| self.0.split_at_checked(bytes));
        let (section, rest) = bytes.ok_or(ImageError("image ends inside a section"))?;
        self.0 = rest;
        Ok(section.as_chunks().0)
    }
}

impl<'a> Forest<'a> {
    /// Checks an image and borrows it. After this no row can make scoring panic, read out of range or
    /// run for ever.
    ///
    /// # Errors
    /// The image is not 8-aligned in memory, not one of [`pack`](crate::pack)'s, or inconsistent.
    pub fn new(image: &'a [u8]) -> Result<Forest<'a>, ImageError> {
        if !image.as_ptr().addr().is_multiple_of(8) {
            return Err(ImageError("image is not aligned to 8 bytes"));
        }
        let (header, body) = image
            .split_first_chunk::<{ image::HEADER_BYTES }>()
            .ok_or(ImageError("image is shorter than its header"))?;
        if header[..8] != image::MAGIC {
            return Err(ImageError("not a forest image of this version"));
        }
        let (words, _) = header[8..56].as_chunks::<4>();
        let field = |number: usize| u32::from_le_bytes(words[number]);
        let (width, outputs, flags) = (field(0), field(1), field(9));
        if flags & !(image::AVERAGE_OUTPUT | image::SCALED | image::COVERED) != 0 {
            return Err(ImageError("unknown flag in the image's header"));
        }
        let mut sections = Sections(body);
        let mut forest = Forest {
            width: width as usize,
            outputs: outputs as usize,
            average_output: flags & image::AVERAGE_OUTPUT != 0,
            conversion: image::conversion(field(10), f64::from_bits(record(&last16(header)).0))?,
            scaling: sections.take(if flags & image::SCALED != 0 { width } else { 0 })?,
            columns: sections.take(field(3))?,
            trees: sections.take(field(2))?,
            nodes: sections.take(field(4))?,
            leaves: sections.take(field(5))?,
            linear: sections.take(field(6))?,
            terms: sections.take(field(7))?,
            words: sections.take(field(8))?,
            covers: sections.take(if flags & image::COVERED != 0 { field(4) } else { 0 })?,
            tables: None,
        };
        forest.check()?;
        let read = image.len() - sections.0.len();
        let padding = read.next_multiple_of(image::LINE) - read;
        let tables = sections.0.get(padding..).unwrap_or_default();
        if tables.len() != field(11) as usize || padding > sections.0.len() {
            return Err(ImageError(
                "bytes after the image's last section do not match its tables",
            ));
        }
        if !tables.is_empty() {
            forest.tables = Some(Tables::new(tables, forest.width, forest.outputs)?);
        }
        Ok(forest)
    }

    /// Values a row has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Scores a row gets.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Trees over all iterations and outputs.
    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    fn check(&self) -> Result<(), ImageError> {
        if self.width == 0 || self.outputs == 0 || self.outputs > MAX_OUTPUTS {
            return Err(ImageError("width or number of outputs out of range"));
        }
        if !self.trees.len().is_multiple_of(self.outputs) {
            return Err(ImageError("trees are no multiple of the outputs"));
        }
        for column in self.columns {
            let (feature, kind) = halves(*column);
            if feature as usize >= self.width || kind > kind::CATEGORY {
                return Err(ImageError("column out of range"));
            }
        }
        if !self.linear.is_empty() && self.linear.len() != self.leaves.len() {
            return Err(ImageError("linear leaves do not match the leaves"));
        }
        for leaf in self.linear {
            let (_, first, count) = record(leaf);
            if u64::from(first) + u64::from(count) > self.terms.len() as u64 {
                return Err(ImageError("terms of a linear leaf out of range"));
            }
        }
        if self.terms.iter().any(|term| record(term).1 as usize >= self.width) {
            return Err(ImageError("feature of a linear leaf out of range"));
        }
        self.trees.iter().try_for_each(|tree| self.check_tree(tree))?;
        self.check_covers()
    }

    fn check_tree(&self, tree: &[u8; 16]) -> Result<(), ImageError> {
        let (first, end, flags) = tree_record(tree);
        if first >= end || end as usize > self.nodes.len() {
            return Err(ImageError("nodes of a tree out of range"));
        }
        if flags & image::TREE_LINEAR != 0 && self.linear.is_empty() {
            return Err(ImageError("linear tree without linear leaves"));
        }
        let categorical = flags & image::TREE_CATEGORICAL != 0;
        for at in first..end {
            self.check_node(at, end, categorical)?;
        }
        Ok(())
    }

    /// A split's children lie behind it and inside its tree, so that a walk ends; a leaf stays where
    /// it is for every row.
    fn check_node(&self, at: u32, end: u32, categorical: bool) -> Result<(), ImageError> {
        let (threshold, column, child) = record(&self.nodes[at as usize]);
        if child == at {
            if column as usize != self.columns.len() || threshold >= self.leaves.len() as u64 {
                return Err(ImageError("leaf out of range"));
            }
            return Ok(());
        }
        if child < at || child >= end - 1 {
            return Err(ImageError("child of a node out of range"));
        }
        if (column & !image::CATEGORY_NODE) as usize >= self.columns.len() {
            return Err(ImageError("column of a node out of range"));
        }
        if column & image::CATEGORY_NODE != 0 {
            let last = (threshold & 0xffff_ffff) + (threshold >> 32);
            if !categorical || last > self.words.len() as u64 {
                return Err(ImageError("category set of a node out of range"));
            }
        }
        Ok(())
    }

    /// Scores rows: scales, flushes zeros, walks, sums in tree order, converts.
    ///
    /// `rows` holds n times [`width`](Forest::width) values, row after row; `out` gets n times
    /// [`outputs`](Forest::outputs) scores, row after row.
    ///
    /// # Panics
    /// If the lengths do not fit that shape.
    pub fn score(&self, rows: &[f64], output: Output, out: &mut [f64]) {
        self.score_with(&mut Scratch::default(), rows, output, out);
    }

    /// [`score`](Forest::score) with memory to work in that is kept from call to call.
    ///
    /// # Panics
    /// If the lengths do not fit the shape that [`score`](Forest::score) names.
    pub fn score_with(&self, scratch: &mut Scratch, rows: &[f64], output: Output, out: &mut [f64]) {
        let count = rows.len() / self.width;
        assert_eq!(rows.len(), count * self.width, "rows of {} values", self.width);
        assert_eq!(
            Some(out.len()),
            count.checked_mul(self.outputs),
            "one score an output and row"
        );
        if count == 0 {
            return;
        }
        match &self.tables {
            Some(tables) => tables.sum(rows, self.width, self.outputs, scratch, out),
            None => self.sum_plainly(rows, out),
        }
        if output == Output::Converted {
            self.convert(out);
        }
    }

    /// Adds up the trees by the image's own nodes.
    fn sum_plainly(&self, rows: &[f64], out: &mut [f64]) {
        let block = (rows.len() / self.width).min(BLOCK);
        let stride = self.columns.len() + 1;
        let mut features = vec![0.0; block * self.width];
        // The column past the last, which leaves compare, keeps -inf.
        let mut values = vec![f64::NEG_INFINITY; block * stride];
        let chunks = rows
            .chunks(block * self.width)
            .zip(out.chunks_mut(block * self.outputs));
        for (rows, out) in chunks {
            let features = &mut features[..rows.len()];
            features.copy_from_slice(rows);
            self.prepare(features, &mut values);
            self.sum(features, &values, out);
        }
    }

    /// Scales and flushes a block's features in place and fills its columns.
    pub(crate) fn prepare(&self, features: &mut [f64], values: &mut [f64]) {
        let stride = self.columns.len() + 1;
        for (row, values) in features
            .chunks_exact_mut(self.width)
            .zip(values.chunks_exact_mut(stride))
        {
            for (x, scaling) in row.iter_mut().zip(self.scaling) {
                let (offset, _, _) = record(scaling);
                let scale = (u128::from_le_bytes(*scaling) >> 64) as u64;
                *x = (*x - f64::from_bits(offset)) / f64::from_bits(scale);
            }
            row.iter_mut().for_each(|x| *x = flush_zero(*x));
            for (value, column) in values.iter_mut().zip(self.columns) {
                let (feature, kind) = halves(*column);
                *value = column_value(row[feature as usize], kind);
            }
        }
    }

    /// Sums the trees of a block: eight rows through a tree at once, and for the rows left over eight
    /// trees at once. Either way a row's trees are added in their order.
    fn sum(&self, features: &[f64], values: &[f64], out: &mut [f64]) {
        out.fill(0.0);
        let stride = self.columns.len() + 1;
        let rows = out.len() / self.outputs;
        let whole = rows - rows % LANES;
        for (number, tree) in self.trees.iter().enumerate() {
            let (root, _, flags) = tree_record(tree);
            let class = number % self.outputs;
            for first in (0..whole).step_by(LANES) {
                let bases = core::array::from_fn(|lane| (first + lane) * stride);
                let nodes = self.walk([root; LANES], bases, flags, values);
                for (lane, node) in nodes.into_iter().enumerate() {
                    let row = first + lane;
                    let features = &features[row * self.width..][..self.width];
                    out[row * self.outputs + class] += self.value(node, flags, features);
                }
            }
        }
        for row in whole..rows {
            let features = &features[row * self.width..][..self.width];
            let sums = &mut out[row * self.outputs..][..self.outputs];
            self.sum_row(features, row * stride, values, sums);
        }
    }

    fn sum_row(&self, features: &[f64], base: usize, values: &[f64], sums: &mut [f64]) {
        let (groups, rest) = self.trees.as_chunks::<LANES>();
        let mut class = 0;
        let mut add = |node: u32, flags: u32| {
            sums[class] += self.value(node, flags, features);
            class = if class + 1 == self.outputs { 0 } else { class + 1 };
        };
        for group in groups {
            let trees = group.map(|tree| tree_record(&tree));
            let flags = trees.iter().fold(0, |all, tree| all | tree.2);
            let nodes = self.walk(trees.map(|tree| tree.0), [base; LANES], flags, values);
            for (node, tree) in nodes.into_iter().zip(trees) {
                add(node, tree.2);
            }
        }
        for tree in rest {
            let (root, _, flags) = tree_record(tree);
            add(self.walk([root], [base], flags, values)[0], flags);
        }
    }

    /// The leaf nodes that `N` walks end at; each walk has its root and the offset of its row's columns.
    #[inline(always)]
    fn walk<const N: usize>(&self, mut at: [u32; N], bases: [usize; N], flags: u32, values: &[f64]) -> [u32; N] {
        if flags & image::TREE_CATEGORICAL != 0 {
            for (at, base) in at.iter_mut().zip(bases) {
                *at = self.walk_categories(*at, base, values);
            }
            return at;
        }
        loop {
            let mut moved = 0;
            for (at, base) in at.iter_mut().zip(bases) {
                let (threshold, column, child) = record(&self.nodes[*at as usize]);
                let left = values[base + column as usize] <= f64::from_bits(threshold);
                let next = child + u32::from(!left);
                moved |= next ^ *at;
                *at = next;
            }
            if moved == 0 {
                return at;
            }
        }
    }

    /// One walk through a tree that may ask category sets.
    fn walk_categories(&self, mut at: u32, base: usize, values: &[f64]) -> u32 {
        loop {
            let (threshold, column, child) = record(&self.nodes[at as usize]);
            if child == at {
                return at;
            }
            let left = self.goes_left(threshold, column, &values[base..]);
            at = child + u32::from(!left);
        }
    }

    /// Whether a row with these columns goes left at a split that may ask a category set.
    #[inline(always)]
    pub(crate) fn goes_left(&self, threshold: u64, column: u32, values: &[f64]) -> bool {
        let x = values[(column & !image::CATEGORY_NODE) as usize];
        if column & image::CATEGORY_NODE == 0 {
            return x <= f64::from_bits(threshold);
        }
        let first = threshold as u32 as usize;
        in_set(&self.words[first..first + (threshold >> 32) as usize], x)
    }

    /// What a tree adds for a row that ended at this leaf node.
    #[inline(always)]
    fn value(&self, node: u32, flags: u32, features: &[f64]) -> f64 {
        let leaf = record(&self.nodes[node as usize]).0 as usize;
        if flags & image::TREE_LINEAR != 0 {
            return self.linear_value(leaf, features);
        }
        float(&self.leaves[leaf])
    }

    fn linear_value(&self, leaf: usize, features: &[f64]) -> f64 {
        let (constant, first, count) = record(&self.linear[leaf]);
        let mut value = f64::from_bits(constant);
        for term in &self.terms[first as usize..][..count as usize] {
            let (coefficient, feature, _) = record(term);
            let x = features[feature as usize];
            if x.is_nan() {
                return float(&self.leaves[leaf]);
            }
            value += f64::from_bits(coefficient) * x;
        }
        value
    }

    fn convert(&self, out: &mut [f64]) {
        let iterations = (self.trees.len() / self.outputs) as f64;
        for scores in out.chunks_exact_mut(self.outputs) {
            if self.average_output {
                scores.iter_mut().for_each(|sum| *sum /= iterations);
            }
            self.conversion.apply(scores);
        }
    }
}

/// The header's last 16 bytes, whose second half is sigma, turned so that sigma comes first.
fn last16(header: &[u8; image::HEADER_BYTES]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&header[56..]);
    bytes
}

#[inline(always)]
pub(crate) fn halves(bytes: [u8; 8]) -> (u32, u32) {
    let whole = u64::from_le_bytes(bytes);
    (whole as u32, (whole >> 32) as u32)
}

/// What a column holds for a feature's flushed value.
#[inline(always)]
fn column_value(x: f64, kind: u32) -> f64 {
    match kind {
        kind::PLAIN if x.is_nan() => 0.0,
        kind::ZERO_LEFT if x.is_nan() || x == 0.0 => f64::NEG_INFINITY,
        kind::ZERO_RIGHT if x == 0.0 => f64::NAN,
        kind::NAN_LEFT if x.is_nan() => f64::NEG_INFINITY,
        _ => x,
    }
}

/// Whether a value's category is in a set. NaN, what is negative once cut to an integer, and what is no
/// 32-bit int is in none.
fn in_set(set: &[[u8; 4]], x: f64) -> bool {
    if !(x > -1.0 && x < 2_147_483_648.0) {
        return false;
    }
    let category = x as u32;
    let word = set
        .get((category / 32) as usize)
        .map_or(0, |word| u32::from_le_bytes(*word));
    word >> (category % 32) & 1 == 1
}

//! The checked view over the tables.

use super::masks;
use super::pack::{CODES, Count, GROUP, HEADER_BYTES};
use super::quantise::{self, MAX_BUCKETS};
use super::scratch::MAX_PLANES;
use super::walk;
use crate::ImageError;
use crate::image::kind;

/// The kernels' tables, borrowed. What [`Tables::new`] promises is what the kernels' unchecked reads rest on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tables<'a> {
    pub columns: &'a [[u8; 72]],
    pub edges: &'a [[u8; 8]],
    pub starts: &'a [[u8; 2]],
    pub category_columns: &'a [[u8; 48]],
    pub classes: &'a [[u8; 2]],
    pub members: &'a [u8],
    pub groups: &'a [[u8; 16]],
    pub parts: &'a [[u8; 48]],
    pub muxes: &'a [[u8; 12]],
    /// For each part the leaf of each code; none where there is a value for each code.
    pub leaves: &'a [[u8; CODES]],
    pub values: &'a [[u8; 8]],
    pub trees: &'a [[u8; 68]],
    pub nodes: &'a [[u8; 8]],
    pub node_values: &'a [[u8; 8]],
    pub masks: &'a [[u8; 8]],
    pub leaf_values: &'a [[u8; 8]],
    pub first_splits: &'a [[u8; 4]],
    pub mask_splits: &'a [[u8; 16]],
    /// Masks of a line; 0 where there are none.
    pub mask_trees: usize,
    pub questions: usize,
    /// Rows from which on the bit-sliced kernel is the fastest.
    pub many: usize,
    /// Planes of scratch memory: two constants, the answers, what a group makes.
    pub slots: usize,
}

/// The fields of a column.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    pub feature: usize,
    pub kind: u32,
    pub first: usize,
    pub first_edge: usize,
    pub edges: usize,
    pub first_start: usize,
    pub buckets: usize,
    pub shift: u32,
    pub base: i32,
    pub most: u32,
    pub nan_rank: u32,
    pub zero_rank: u32,
    pub zero: (f64, f64),
    pub addend: f64,
}

#[inline(always)]
pub(crate) fn words<const N: usize>(record: &[u8]) -> [u32; N] {
    let (words, _) = record.as_chunks::<4>();
    core::array::from_fn(|at| u32::from_le_bytes(words[at]))
}

#[inline(always)]
fn float(record: &[u8], at: usize) -> f64 {
    let (floats, _) = record.as_chunks::<8>();
    f64::from_le_bytes(floats[at])
}

pub(crate) fn column(record: &[u8; 72]) -> Column {
    let [
        feature,
        kind,
        first,
        first_edge,
        edges,
        first_start,
        buckets,
        shift,
        base,
        most,
        nan_rank,
        zero_rank,
    ] = words(record);
    Column {
        feature: feature as usize,
        kind,
        first: first as usize,
        first_edge: first_edge as usize,
        edges: edges as usize,
        first_start: first_start as usize,
        buckets: buckets as usize,
        shift,
        base: base as i32,
        most,
        nan_rank,
        zero_rank,
        zero: (float(record, 6), float(record, 7)),
        addend: float(record, 8),
    }
}

impl Column {
    /// Whether ranks fit a byte.
    pub fn narrow(&self) -> bool {
        self.edges <= 255
    }

    /// The number of the last bucket, when the first one's is `base`.
    #[inline(always)]
    pub fn last_bucket(&self) -> i32 {
        self.base + (self.buckets as i32 - 1)
    }

    pub fn asks_for_zero(&self) -> bool {
        matches!(self.kind, kind::ZERO_LEFT | kind::ZERO_RIGHT)
    }
}

/// The fields of a category column.
#[derive(Clone, Copy)]
pub(crate) struct CategoryColumn {
    pub feature: usize,
    pub first: usize,
    pub sets: usize,
    pub classes: usize,
    pub offset: f64,
    pub scale: f64,
    pub first_entry: usize,
    pub entries: usize,
    pub first_member: usize,
}

pub(crate) fn category_column(record: &[u8; 48]) -> CategoryColumn {
    let [feature, first, sets, classes] = words(record);
    let [first_entry, entries, first_member] = words(&record[32..]);
    CategoryColumn {
        feature: feature as usize,
        first: first as usize,
        sets: sets as usize,
        classes: classes as usize,
        offset: float(record, 2),
        scale: float(record, 3),
        first_entry: first_entry as usize,
        entries: entries as usize,
        first_member: first_member as usize,
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Group {
    pub muxes: usize,
    pub first_value: usize,
    /// Logarithm of the number of values of a part.
    pub size: u32,
}

#[inline(always)]
pub(crate) fn group(record: &[u8; 16]) -> Group {
    let [muxes, first_value, size] = words(record);
    Group {
        muxes: muxes as usize,
        first_value: first_value as usize,
        size,
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Part {
    /// Byte offsets.
    pub planes: [u32; 8],
    pub output: u32,
}

#[inline(always)]
pub(crate) fn part(record: &[u8; 48]) -> Part {
    Part {
        planes: words(record),
        output: words::<1>(&record[32..])[0],
    }
}

#[inline(always)]
pub(crate) fn triple(record: &[u8; 12]) -> [u32; 3] {
    words(record)
}

#[inline(always)]
pub(crate) fn pair(record: &[u8; 8]) -> [u32; 2] {
    words(record)
}

/// Cuts sections off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self, count: u32) -> Result<&'a [[u8; N]], ImageError> {
        let bytes = (count as usize).checked_mul(N);
        let split = bytes.and_then(|bytes| {
            let padded = bytes.checked_next_multiple_of(16)?;
            let (section, rest) = self.0.split_at_checked(padded)?;
            Some((&section[..bytes], rest))
        });
        let (section, rest) = split.ok_or(ImageError("tables end inside a section"))?;
        self.0 = rest;
        Ok(section.as_chunks().0)
    }
}

impl<'a> Tables<'a> {
    /// Checks tables for rows of `width` values and `outputs` scores a row.
    ///
    /// # Errors
    /// Anything in them lies out of range.
    pub fn new(bytes: &'a [u8], width: usize, outputs: usize) -> Result<Tables<'a>, ImageError> {
        let (header, rest) = bytes
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(ImageError("tables are shorter than their header"))?;
        let header: [u32; HEADER_BYTES / 4] = words(header);
        let count = |of: Count| header[of as usize];
        let (questions, made) = (count(Count::Questions) as usize, count(Count::Made) as usize);
        let slots = questions.saturating_add(made).saturating_add(2);
        if slots > MAX_PLANES {
            return Err(ImageError("too many questions"));
        }
        let (mask_lines, mask_trees) = (count(Count::MaskLines), count(Count::MaskTrees));
        let mut reader = Reader(rest);
        let tables = Tables {
            columns: reader.take(count(Count::Columns))?,
            edges: reader.take(count(Count::Edges))?,
            starts: reader.take(count(Count::Starts))?,
            category_columns: reader.take(count(Count::CategoryColumns))?,
            classes: reader.take(count(Count::Classes))?,
            members: reader.take::<1>(count(Count::Members))?.as_flattened(),
            groups: reader.take(count(Count::Groups))?,
            parts: reader.take(count(Count::Groups).saturating_mul(GROUP as u32))?,
            muxes: reader.take(count(Count::Muxes))?,
            leaves: reader.take(count(Count::Leaves))?,
            values: reader.take(count(Count::Values))?,
            trees: reader.take(count(Count::Trees))?,
            nodes: reader.take(count(Count::Nodes))?,
            node_values: reader.take(count(Count::Nodes))?,
            masks: reader.take(mask_lines.saturating_mul(mask_trees))?,
            leaf_values: reader.take(mask_trees.saturating_mul(masks::LEAVES as u32))?,
            first_splits: reader.take(if mask_trees > 0 { count(Count::Questions) + 1 } else { 0 })?,
            mask_splits: reader.take(count(Count::MaskSplits))?,
            mask_trees: mask_trees as usize,
            questions,
            many: count(Count::Many) as usize,
            slots,
        };
        if !reader.0.is_empty() {
            return Err(ImageError("bytes after the tables' last section"));
        }
        tables.check_questions(width)?;
        tables.check_groups(made, outputs)?;
        tables.check_trees()?;
        tables.check_masks(mask_lines as usize)?;
        Ok(tables)
    }

    /// The columns' questions follow each other, and all their tables lie inside the sections.
    fn check_questions(&self, width: usize) -> Result<(), ImageError> {
        let mut next = 0;
        for record in self.columns {
            let column = column(record);
            let padding = quantise::padding(column.most.min(65_534));
            // Sums saturate: on 32-bit targets they could come out small again.
            let fine = column.feature < width
                && column.first == next
                && (1..=65_534).contains(&column.edges)
                && column.edges <= self.questions - next
                && column.first_edge.saturating_add(column.edges + padding) <= self.edges.len()
                && column.buckets >= 1
                && column.buckets <= MAX_BUCKETS as usize
                && column.base.checked_add(MAX_BUCKETS as i32).is_some()
                && column.first_start.saturating_add(column.buckets) <= self.starts.len()
                && column.shift < 32
                && (1..=65_534).contains(&column.most)
                && column.nan_rank as usize <= column.edges
                && column.zero_rank as usize <= column.edges;
            if !fine {
                return Err(ImageError("column of the tables out of range"));
            }
            let starts = &self.starts[column.first_start..][..column.buckets];
            let past = |start: &[u8; 2]| usize::from(u16::from_le_bytes(*start)) > column.edges;
            if starts.iter().any(past) {
                return Err(ImageError("bucket of the tables out of range"));
            }
            // No value is above these, so that no rank goes past the last edge.
            let behind = &self.edges[column.first_edge + column.edges..][..padding];
            if behind.iter().any(|edge| f64::from_le_bytes(*edge) != f64::INFINITY) {
                return Err(ImageError("edge of the tables out of range"));
            }
            next += column.edges;
        }
        for record in self.category_columns {
            let column = category_column(record);
            let fine = column.feature < width
                && column.first == next
                && column.sets >= 1
                && column.sets <= self.questions - next
                && (1..=65_536).contains(&column.classes)
                && column.first_entry.saturating_add(column.entries) <= self.classes.len()
                && (column.sets.div_ceil(8) * column.classes).saturating_add(column.first_member) <= self.members.len();
            if !fine {
                return Err(ImageError("category column of the tables out of range"));
            }
            let classes = &self.classes[column.first_entry..][..column.entries];
            let beyond = |class: &[u8; 2]| usize::from(u16::from_le_bytes(*class)) >= column.classes;
            if classes.iter().any(beyond) {
                return Err(ImageError("class of the tables out of range"));
            }
            next += column.sets;
        }
        match next == self.questions {
            true => Ok(()),
            false => Err(ImageError("questions of the tables do not add up")),
        }
    }

    /// Whatever a group reads is a plane, if perhaps one of an earlier group or pass.
    fn check_groups(&self, made: usize, outputs: usize) -> Result<(), ImageError> {
        let plane = |offset: u32| offset.is_multiple_of(16) && ((offset / 16) as usize) < self.slots;
        let mut muxes = 0_usize;
        for record in self.groups {
            let group = group(record);
            let values = GROUP << group.size.min(8);
            if ![4, 6, 7, 8].contains(&group.size)
                || group.muxes > made
                || group.first_value.saturating_add(values) > self.values.len()
            {
                return Err(ImageError("group of the tables out of range"));
            }
            muxes = muxes.saturating_add(group.muxes);
        }
        if muxes != self.muxes.len() || !self.muxes.iter().all(|mux| triple(mux).into_iter().all(plane)) {
            return Err(ImageError("multiplexer of the tables out of range"));
        }
        if !self.leaves.is_empty() && self.leaves.len() != self.parts.len() {
            return Err(ImageError("leaves of the tables do not match the parts"));
        }
        for (at, record) in self.parts.iter().enumerate() {
            let part = part(record);
            let size = group(&self.groups[at / GROUP]).size as usize;
            // A code, or its leaf, has a value.
            let inside = match self.leaves.get(at) {
                Some(leaves) => leaves.iter().all(|&leaf| usize::from(leaf) < 1 << size),
                None => part.planes[size..].iter().all(|&offset| offset == 0),
            };
            if !inside || !part.planes.into_iter().all(plane) || part.output as usize >= outputs {
                return Err(ImageError("part of the tables out of range"));
            }
        }
        Ok(())
    }

    /// A step from any node leads to a node.
    fn check_trees(&self) -> Result<(), ImageError> {
        let end = self.nodes.len() * 8;
        let node = |offset: u32| offset.is_multiple_of(8) && (offset as usize) < end;
        for record in self.nodes {
            let [question, child] = pair(record);
            // Only a question can be answered 8.
            let last = (child as usize).saturating_add(if question as usize == self.questions { 0 } else { 8 });
            if question as usize > self.questions || !node(child) || last >= end {
                return Err(ImageError("node of the tables out of range"));
            }
        }
        for record in self.trees {
            let [a, b, c, d, e, f, g, h, places @ .., steps] = words::<17>(record);
            let roots = [a, b, c, d, e, f, g, h].into_iter().all(node);
            let places = places.into_iter().all(|place| (place as usize) < walk::WINDOW);
            // More steps than nodes are no tree's.
            if !roots || !places || steps as usize > self.nodes.len() {
                return Err(ImageError("tree of the tables out of range"));
            }
        }
        match self.trees.len().is_multiple_of(walk::WINDOW / walk::TREES) {
            true => Ok(()),
            false => Err(ImageError("trees of the tables are not whole windows")),
        }
    }

    /// Every rank and class has its line; the splits of the questions follow each other, and are of trees.
    fn check_masks(&self, lines: usize) -> Result<(), ImageError> {
        if self.mask_trees == 0 {
            return Ok(());
        }
        let ranks = self.columns.iter().map(|record| masks::lines(column(record).edges));
        let classes = self
            .category_columns
            .iter()
            .map(|record| category_column(record).classes);
        let columns = self.columns.len() + self.category_columns.len();
        let first = |at: usize| u32::from_le_bytes(self.first_splits[at]) as usize;
        let fine = columns <= masks::COLUMNS
            && lines == 1 + ranks.chain(classes).sum::<usize>()
            && self.mask_trees.is_multiple_of(masks::TREES)
            && self.mask_trees <= masks::MAX_TREES
            && (0..self.questions).all(|question| first(question) <= first(question + 1))
            && first(self.questions) <= self.mask_splits.len()
            && self
                .mask_splits
                .iter()
                .all(|split| (words::<1>(split)[0] as usize) < self.mask_trees);
        match fine {
            true => Ok(()),
            false => Err(ImageError("masks of the tables out of range")),
        }
    }
}

#[cfg(test)]
mod tests;

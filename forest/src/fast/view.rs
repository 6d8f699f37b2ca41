//! The checked view over the tables.

use super::sizes::{
    CODES, Count, GROUP, HEADER_BYTES, MAX_BUCKETS, MAX_PLANES, bytes, masks, padding as padding_behind, walk,
};
use crate::ImageError;
use crate::image::{LINE, kind};

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
    pub windows: &'a [[u8; 32]],
    pub roots: &'a [[u8; 4]],
    pub bases: &'a [[u8; 4]],
    pub nodes: &'a [[u8; 4]],
    pub tree_values: &'a [[u8; 8]],
    pub turn_groups: &'a [[u8; 48]],
    pub turns: &'a [[u8; 8]],
    pub turn_values: &'a [[u8; 8]],
    pub masks: &'a [[u8; 8]],
    pub leaf_values: &'a [[u8; 8]],
    pub first_splits: &'a [[u8; 4]],
    pub mask_splits: &'a [[u8; 16]],
    /// Masks of a line; 0 where there are none.
    pub mask_trees: usize,
    pub questions: usize,
    /// Most leaves of a window: what they ask comes after the questions.
    pub idle: usize,
    /// Rows from which on the kernel with a byte a row is the fastest.
    pub dozen: usize,
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
    pub(super) fn narrow(&self) -> bool {
        self.edges <= 255
    }

    /// The number of the last bucket, when the first one's is `base`.
    #[inline(always)]
    pub(super) fn last_bucket(&self) -> i32 {
        self.base + (self.buckets as i32 - 1)
    }

    pub(super) fn asks_for_zero(&self) -> bool {
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

/// Trees that are walked together; places in the sections of nodes and of their values.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub first_node: usize,
    pub nodes: usize,
    pub first_value: usize,
    pub values: usize,
    pub first_root: usize,
    pub trees: usize,
    /// Passes over all trees.
    pub first_passes: u32,
    /// Passes until every tree has arrived.
    pub passes: u32,
}

impl Window {
    pub(super) fn turns(&self) -> usize {
        self.trees.div_ceil(walk::TURN)
    }
}

#[inline(always)]
pub(crate) fn window(record: &[u8; 32]) -> Window {
    let [
        first_node,
        nodes,
        first_value,
        values,
        first_root,
        trees,
        first_passes,
        passes,
    ] = words(record);
    Window {
        first_node: first_node as usize,
        nodes: nodes as usize,
        first_value: first_value as usize,
        values: values as usize,
        first_root: first_root as usize,
        trees: trees as usize,
        first_passes,
        passes,
    }
}

#[derive(Clone, Copy)]
pub(crate) struct TurnGroup {
    pub forks: usize,
    pub turns: usize,
    /// Logarithm of the number of values of a tree.
    pub size: u32,
    /// Byte offsets.
    pub ends: [u32; GROUP],
}

#[inline(always)]
pub(crate) fn turn_group(record: &[u8; 48]) -> TurnGroup {
    let [forks, turns, size] = words(record);
    TurnGroup {
        forks: forks as usize,
        turns: turns as usize,
        size,
        ends: words(&record[16..]),
    }
}

/// Places of ranks, of what they are compared with, and of an item, in bytes. One load: there are many others.
#[inline(always)]
pub(crate) fn turn(record: &[u8; 8]) -> [u32; 3] {
    let whole = u64::from_le_bytes(*record);
    [whole as u32 & 0xffff, whole as u32 >> 16, (whole >> 32) as u32]
}

#[inline(always)]
pub(crate) fn triple(record: &[u8; 12]) -> [u32; 3] {
    words(record)
}

/// Cuts sections off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self, count: u32) -> Result<&'a [[u8; N]], ImageError> {
        let bytes = (count as usize).checked_mul(N);
        let split = bytes.and_then(|bytes| {
            let padded = bytes.checked_next_multiple_of(LINE)?;
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
    pub(crate) fn new(bytes: &'a [u8], width: usize, outputs: usize) -> Result<Tables<'a>, ImageError> {
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
        let mut tables = Tables {
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
            windows: reader.take(count(Count::Windows))?,
            roots: reader.take(count(Count::Roots))?,
            bases: reader.take(count(Count::Roots))?,
            nodes: reader.take(count(Count::Nodes))?,
            tree_values: reader.take(count(Count::TreeValues))?,
            turn_groups: reader.take(count(Count::TurnGroups))?,
            turns: reader.take(count(Count::Turns))?,
            turn_values: reader.take(count(Count::TurnValues))?,
            masks: reader.take(mask_lines.saturating_mul(mask_trees))?,
            leaf_values: reader.take(mask_trees.saturating_mul(masks::LEAVES as u32))?,
            first_splits: reader.take(if mask_trees > 0 { count(Count::Questions) + 1 } else { 0 })?,
            mask_splits: reader.take(count(Count::MaskSplits))?,
            mask_trees: mask_trees as usize,
            questions,
            idle: 0,
            dozen: count(Count::Dozen) as usize,
            many: count(Count::Many) as usize,
            slots,
        };
        if !reader.0.is_empty() {
            return Err(ImageError("bytes after the tables' last section"));
        }
        tables.check_questions(width)?;
        tables.check_groups(made, outputs)?;
        tables.idle = tables.check_trees()?;
        tables.check_turns()?;
        tables.check_masks(mask_lines as usize)?;
        Ok(tables)
    }

    /// The columns' questions follow each other, and all their tables lie inside the sections.
    fn check_questions(&self, width: usize) -> Result<(), ImageError> {
        let mut next = 0;
        for record in self.columns {
            let column = column(record);
            let padding = padding_behind(column.most.min(65_534));
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
        if next == self.questions {
            Ok(())
        } else {
            Err(ImageError("questions of the tables do not add up"))
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

    /// Windows follow each other, and a step from any node leads to a node of the same window. Gives the most leaves of
    /// a window.
    fn check_trees(&self) -> Result<usize, ImageError> {
        if self.windows.is_empty() && self.mask_trees == 0 && self.many > 1 {
            return Err(ImageError("tables without a way to score few rows"));
        }
        let (mut nodes, mut roots, mut values) = (self.nodes, self.roots, self.tree_values);
        let mut idle = 0;
        for record in self.windows {
            let window = window(record);
            let places = window.turns() * walk::TURN;
            let follows = window.first_node == self.nodes.len() - nodes.len()
                && window.first_value == self.tree_values.len() - values.len()
                && window.first_root == self.roots.len() - roots.len()
                && (1..=walk::WINDOW).contains(&window.trees)
                && self.questions.saturating_add(window.values) <= walk::MAX_QUESTIONS
                // More passes than nodes are no tree's.
                && window.first_passes <= window.passes
                && window.passes as usize <= window.nodes
                && window.nodes <= nodes.len()
                && places <= roots.len()
                && window.values <= values.len();
            if !follows {
                return Err(ImageError("window of the tables out of range"));
            }
            // Only a question can be answered 4.
            let fine = |node: &[u8; 4]| {
                let node = u32::from_le_bytes(*node);
                let (question, child) = ((node & 0xffff) as usize, (node >> 16) as usize);
                let last = child + if question < self.questions { 4 } else { 0 };
                question < self.questions + window.values && child.is_multiple_of(4) && last / 4 < window.nodes
            };
            let bases = &self.bases[window.first_root..][..places];
            let base = |base: &[u8; 4]| u32::from_le_bytes(*base) as usize == window.first_node * 4;
            if !nodes[..window.nodes].iter().chain(&roots[..places]).all(fine) || !bases.iter().all(base) {
                return Err(ImageError("node of the tables out of range"));
            }
            (nodes, roots) = (&nodes[window.nodes..], &roots[places..]);
            values = &values[window.values..];
            idle = idle.max(window.values);
        }
        if nodes.is_empty() && roots.is_empty() && values.is_empty() {
            Ok(idle)
        } else {
            Err(ImageError("windows of the tables do not add up"))
        }
    }

    /// Turns name ranks that there are, and joins that come before; numbers of leaves have values.
    fn check_turns(&self) -> Result<(), ImageError> {
        if self.turn_groups.is_empty() && self.dozen < self.many {
            return Err(ImageError("tables without turns for a dozen rows"));
        }
        let sets: usize = self
            .category_columns
            .iter()
            .map(|record| category_column(record).sets)
            .sum();
        // A tree without splits always turns, whatever the ranks.
        let ranks = (2 * (self.columns.len() + sets)).max(1);
        if !self.turn_groups.is_empty() && ranks > bytes::MAX_RANKS {
            return Err(ImageError("ranks of the tables out of range"));
        }
        let (mut turns, mut values) = (self.turns, self.turn_values);
        let place = |offset: u32, places: usize| offset.is_multiple_of(16) && ((offset / 16) as usize) < places;
        for record in self.turn_groups {
            let group = turn_group(record);
            let results = group.forks.saturating_add(group.turns);
            let fine = results <= bytes::MAX_RESULTS
                && results <= turns.len()
                && group.forks.is_multiple_of(bytes::AT_ONCE)
                && group.turns.is_multiple_of(bytes::AT_ONCE)
                && [4, 6, 7, 8].contains(&group.size)
                && GROUP << group.size <= values.len();
            if !fine {
                return Err(ImageError("group of turns of the tables out of range"));
            }
            let own;
            (own, turns) = turns.split_at(results);
            values = &values[GROUP << group.size..];
            // A number has a value, and a fork's right leaf too; what was made before is a number.
            let is_number = |item: u32, more: u32| {
                let place = (item / 16) as usize;
                ((item / 16 + more) as usize) < 1 << group.size || place >= bytes::BYTES && more == 0
            };
            let inside = own.iter().enumerate().all(|(at, turn)| {
                let [ranks_at, above, item] = self::turn(turn);
                let fork = u32::from(at < group.forks);
                place(ranks_at, ranks)
                    && place(above, bytes::BYTES)
                    && place(item, bytes::BYTES + at)
                    && is_number(item, fork)
            });
            let ends = |end| place(end, bytes::BYTES + results) && is_number(end, 0);
            if !inside || !group.ends.into_iter().all(ends) {
                return Err(ImageError("turn of the tables out of range"));
            }
        }
        if turns.is_empty() && values.is_empty() {
            Ok(())
        } else {
            Err(ImageError("turns of the tables do not add up"))
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
        if fine {
            Ok(())
        } else {
            Err(ImageError("masks of the tables out of range"))
        }
    }
}

#[cfg(test)]
mod tests;

//! The distinct questions a model asks, numbered, with everything that comes before them folded in.
//!
//! A numerical **column** is a feature as one kind of split sees it (see [`crate::image`]). Its thresholds,
//! ascending, are its *edges*; a value's **rank** is the number of edges strictly below it, so that
//! `value <= edge k` exactly when `rank <= k`. Scaling and the flush of zeros never decrease, so the
//! values at or below a threshold are the raw values at or below some raw edge: edges are moved to raw
//! values once, and scoring neither scales nor flushes. What missing values do is a rank of their own
//! choice: 0 is left of every edge, one past the last edge right of all.
//!
//! A **category column** is a feature asked for category sets. Categories that all sets treat alike are
//! one *class*; the questions are which sets a class is in.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::image::{column_kind, kind};
use crate::model::{Rule, Split, Tree};
use crate::zero::flush_zero;
use crate::{Model, Scaler};

/// Most entries of a category table: 32 categories a word of the longest set.
const MAX_CATEGORIES: usize = 1 << 16;

pub(crate) struct Conditions {
    pub columns: Vec<Column>,
    pub categories: Vec<CategoryColumn>,
    /// Questions over all columns.
    pub count: u32,
}

pub(crate) struct Column {
    pub feature: u32,
    pub kind: u32,
    /// The number of the question `rank <= 0`; the others follow.
    pub first: u32,
    /// Thresholds as the trees have them (scaled and flushed), ascending, each once.
    thresholds: Vec<f64>,
    /// The greatest raw value at or below each threshold.
    pub edges: Vec<f64>,
    pub nan_rank: u32,
    /// Least and greatest raw value that counts as zero, and the rank of such a value.
    pub zero: Option<(f64, f64, u32)>,
}

pub(crate) struct CategoryColumn {
    pub feature: u32,
    /// Offset and scale of the feature.
    pub scaling: (f64, f64),
    pub first: u32,
    sets: BTreeMap<Vec<u32>, u32>,
    /// The class of each category; what is beyond the table is of class 0, as is what is no category.
    pub classes: Vec<u16>,
    /// Whether each class (inner) is in each set (outer).
    pub members: Vec<Vec<bool>>,
}

impl Conditions {
    /// `None` if a category set reaches beyond what tables are made for, or its table would be much larger than the text.
    pub(super) fn new(model: &Model, scaler: Option<&Scaler>) -> Option<Conditions> {
        let mut thresholds: BTreeMap<(u32, u32), Vec<f64>> = BTreeMap::new();
        let mut sets: BTreeMap<u32, BTreeMap<Vec<u32>, u32>> = BTreeMap::new();
        for tree in &model.trees {
            for split in &tree.splits {
                match split.rule {
                    Rule::Numerical { threshold, .. } => {
                        let column = (split.feature, column_kind(split));
                        thresholds.entry(column).or_default().push(threshold);
                    }
                    Rule::Categorical { .. } => {
                        let sets = sets.entry(split.feature).or_default();
                        sets.insert(category_set(tree, split), 0);
                    }
                }
            }
        }
        let scaling = |feature: u32| scaler.map_or((0.0, 1.0), |scaler| scaler.pair(feature as usize));
        let mut first = 0;
        let mut columns = Vec::new();
        for ((feature, kind), thresholds) in thresholds {
            let column = Column::new(feature, kind, first, thresholds, scaling(feature));
            first += column.edges.len() as u32;
            columns.push(column);
        }
        let mut categories = Vec::new();
        let mut room = 2 * model.text_bytes;
        for (feature, sets) in sets {
            let column = CategoryColumn::new(feature, scaling(feature), first, sets, &mut room)?;
            first += column.members.len() as u32;
            categories.push(column);
        }
        Some(Conditions {
            columns,
            categories,
            count: first,
        })
    }

    /// The number of the question that a split of the model asks.
    pub(super) fn number(&self, tree: &Tree, split: &Split) -> u32 {
        match split.rule {
            Rule::Numerical { threshold, .. } => {
                let key = (split.feature, column_kind(split));
                let at = self
                    .columns
                    .binary_search_by_key(&key, |column| (column.feature, column.kind));
                let column = &self.columns[at.expect("every split's column was collected")];
                let below = column.thresholds.partition_point(|&other| other < threshold);
                column.first + below as u32
            }
            Rule::Categorical { .. } => {
                let at = self
                    .categories
                    .binary_search_by_key(&split.feature, |column| column.feature);
                let column = &self.categories[at.expect("every split's feature was collected")];
                column.first + column.sets[&category_set(tree, split)]
            }
        }
    }
}

/// The words of a split's set, without trailing zeros: the same set is the same words.
fn category_set(tree: &Tree, split: &Split) -> Vec<u32> {
    let Rule::Categorical { first, words } = split.rule else {
        return Vec::new();
    };
    let words = &tree.category_words[first as usize..][..words as usize];
    let length = words.iter().rposition(|&word| word != 0).map_or(0, |last| last + 1);
    words[..length].to_vec()
}

impl Column {
    fn new(feature: u32, kind: u32, first: u32, mut thresholds: Vec<f64>, scaling: (f64, f64)) -> Column {
        thresholds.sort_by(f64::total_cmp);
        // Partial equality: -0.0 and 0.0 split alike.
        thresholds.dedup_by(|a, b| a == b);
        let edges: Vec<f64> = thresholds.iter().map(|&t| raw_edge(t, scaling)).collect();
        let past = edges.len() as u32;
        let (nan_rank, zero_rank) = match kind {
            kind::PLAIN => (thresholds.partition_point(|&t| t < 0.0) as u32, None),
            kind::ZERO_LEFT => (0, Some(0)),
            kind::ZERO_RIGHT => (past, Some(past)),
            kind::NAN_LEFT => (0, None),
            _ => (past, None),
        };
        // The values that count as zero lie between the edges of the last flushed value below zero and of zero.
        let zero = zero_rank.map(|rank| {
            let least = raw_edge(-f64::from_bits(1), scaling).next_up();
            (least, raw_edge(0.0, scaling), rank)
        });
        Column {
            feature,
            kind,
            first,
            thresholds,
            edges,
            nan_rank,
            zero,
        }
    }
}

/// The greatest value that is at most `threshold` once scaled and flushed, found by halving the ordered
/// bit patterns between the infinities.
fn raw_edge(threshold: f64, (offset, scale): (f64, f64)) -> f64 {
    let at_most = |x: f64| flush_zero((x - offset) / scale) <= threshold;
    let (mut left, mut right) = (ordered(f64::NEG_INFINITY), ordered(f64::INFINITY));
    if at_most(f64::INFINITY) {
        return f64::INFINITY;
    }
    // -inf is at most every threshold.
    while right - left > 1 {
        let middle = left + (right - left) / 2;
        if at_most(from_ordered(middle)) {
            left = middle
        } else {
            right = middle
        }
    }
    from_ordered(left)
}

/// A number whose order is that of the floats.
fn ordered(x: f64) -> u64 {
    let bits = x.to_bits();
    bits ^ if bits >> 63 == 1 { u64::MAX } else { 1 << 63 }
}

fn from_ordered(number: u64) -> f64 {
    f64::from_bits(number ^ if number >> 63 == 1 { 1 << 63 } else { u64::MAX })
}

impl CategoryColumn {
    /// `room`: bytes that are left for tables of classes and sets.
    fn new(
        feature: u32,
        scaling: (f64, f64),
        first: u32,
        mut sets: BTreeMap<Vec<u32>, u32>,
        room: &mut usize,
    ) -> Option<CategoryColumn> {
        let words = sets.keys().map(Vec::len).max().unwrap_or(0);
        if words * 32 > MAX_CATEGORIES {
            return None;
        }
        let mut sets_of = alloc::vec![Vec::new(); words * 32];
        for (number, (words, entry)) in sets.iter_mut().enumerate() {
            *entry = number as u32;
            let bits = words.iter().enumerate().flat_map(|(at, word)| {
                let categories = (0..32).filter(move |bit| word >> bit & 1 == 1);
                categories.map(move |bit| at * 32 + bit)
            });
            bits.for_each(|category| sets_of[category].push(number));
        }
        let mut numbers = BTreeMap::from([(Vec::new(), 0_u16)]);
        let mut classes = Vec::with_capacity(sets_of.len());
        for sets in sets_of {
            let next = u16::try_from(numbers.len()).ok()?;
            classes.push(*numbers.entry(sets).or_insert(next));
        }
        // A few long sets make many classes, and then every short one would cost a line of them all.
        *room = room.checked_sub(sets.len().div_ceil(8) * numbers.len())?;
        let mut members = alloc::vec![alloc::vec![false; numbers.len()]; sets.len()];
        for (sets, &class) in &numbers {
            sets.iter().for_each(|&set| members[set][usize::from(class)] = true);
        }
        Some(CategoryColumn {
            feature,
            scaling,
            first,
            sets,
            classes,
            members,
        })
    }
}

#[cfg(test)]
mod tests;

//! Lays the tables of the kernels out as bytes.
//!
//! A header of 128 bytes of u32 (see [`Count`]), then these sections, each padded to a line of the cache:
//!
//! | section | record | bytes |
//! |---|---|---|
//! | columns | see [`Column`](super::view::Column) | 72 |
//! | edges | f64, those of each column and then the infinities that halving may look at | 8 |
//! | starts | u16, those of each column | 2 |
//! | category columns | feature, first question, sets, classes (all u32), offset f64, scale f64, first class table entry, entries, first member byte, 0 (all u32) | 48 |
//! | class tables | u16 | 2 |
//! | members | u8: for eight sets and a class, one bit a set | 1 |
//! | groups | multiplexers u32, first value u32, logarithm of a part's values u32, 0 | 16 |
//! | parts | eight planes and the output, u32 each, 0 0 0 | 48 |
//! | multiplexers | select, on, off: u32 each | 12 |
//! | leaves | u8: the leaf of each code, 256 a part; or none, where there is a value for each code | 1 |
//! | values | f64, of the parts' leaves or codes | 8 |
//! | windows, roots, bases, nodes, values of the leaves | see [`Walks`] | 32, 4, 4, 4, 8 |
//! | groups of trees, turns, values of the leaves | see [`Turns`] | 48, 8, 8 |
//! | mask lines, leaf values, first splits, splits | see [`Masks`] | 8, 8, 4, 16 |
//!
//! Planes are given as byte offsets into the scratch memory, nodes as byte offsets into their window.

use alloc::vec::Vec;

use super::bytes::{self, Turns};
use super::circuit::{Circuit, FIRST_ANSWER, MAX_BITS, Part, ZEROS};
use super::conditions::Conditions;
use super::costs::Costs;
use super::masks::{self, Masks};
use super::quantise;
use super::sizes::masks::LEAVES;
use super::sizes::{CODES, Count, GROUP, HEADER_BYTES, MAX_PLANES, padding, put, put_floats, table_size};
use super::walk::{self, Walks};
use crate::image::LINE;
use crate::{Model, Scaler};

/// Trees up to which a part has a value for each code: one step less, while the first cache but one has room.
/// Larger models have one for each leaf, and number the leaves of the codes.
const DIRECT_TREES: usize = 256;
/// Parts beyond which a run of trees ends even though its last group is not full.
const MANY_PARTS: usize = 4 * GROUP;
/// Splits of a tree beyond which no circuit is made.
const MAX_SPLITS: usize = 1023;

#[derive(Default)]
pub(crate) struct Sections {
    columns: Vec<u8>,
    edges: Vec<u8>,
    starts: Vec<u8>,
    category_columns: Vec<u8>,
    classes: Vec<u8>,
    members: Vec<u8>,
    groups: Vec<u8>,
    parts: Vec<u8>,
    muxes: Vec<u8>,
    leaves: Vec<u8>,
    values: Vec<u8>,
    walks: Walks,
    turns: Turns,
    masks: Masks,
    made: u32,
    trees: usize,
}

/// The tables for a model, or `None` where only the plain walk will do: linear trees, trees of more than 1,024
/// leaves, and categories beyond 65,535.
pub(crate) fn pack(model: &Model, scaler: Option<&Scaler>) -> Option<Vec<u8>> {
    let fits = |tree: &crate::model::Tree| tree.linear.is_none() && tree.splits.len() <= MAX_SPLITS;
    if model.trees.is_empty() || !model.trees.iter().all(fits) {
        return None;
    }
    let conditions = Conditions::new(model, scaler)?;
    let mut sections = Sections {
        trees: model.trees.len(),
        ..Sections::default()
    };
    sections.columns(&conditions)?;
    sections.categories(&conditions);
    sections.circuits(model, &conditions);
    sections.walks = walk::pack(model, &conditions).unwrap_or_default();
    sections.turns = bytes::pack(model, &conditions).unwrap_or_default();
    // With all the rest no more than eight times the text, and no more than caches are good for.
    let room = (5 * model.text_bytes).min(8 << 20);
    sections.masks = masks::pack(model, &conditions, room).unwrap_or_default();
    let planes = 2 + conditions.count as usize + sections.made as usize;
    (planes <= MAX_PLANES).then(|| sections.finish(&conditions))
}

impl Sections {
    fn columns(&mut self, conditions: &Conditions) -> Option<()> {
        for column in &conditions.columns {
            u16::try_from(column.edges.len() + 1).ok()?;
            // -0.0 is below 0.0 in the order of keys.
            let edges: Vec<f64> = column.edges.iter().map(|edge| edge + 0.0).collect();
            let buckets = quantise::choose(&edges);
            let (low, high, zero_rank) = column.zero.unwrap_or((1.0, 0.0, 0));
            put(&mut self.columns, &[column.feature, column.kind, column.first]);
            put(
                &mut self.columns,
                &[(self.edges.len() / 8) as u32, column.edges.len() as u32],
            );
            put(
                &mut self.columns,
                &[(self.starts.len() / 2) as u32, buckets.starts.len() as u32],
            );
            put(
                &mut self.columns,
                &[buckets.shift, buckets.base as u32, buckets.most.into()],
            );
            put(&mut self.columns, &[column.nan_rank, zero_rank]);
            put_floats(&mut self.columns, &[low, high, buckets.addend]);
            put_floats(&mut self.edges, &edges);
            for _ in 0..padding(buckets.most.into()) {
                put_floats(&mut self.edges, &[f64::INFINITY]);
            }
            buckets
                .starts
                .iter()
                .for_each(|start| self.starts.extend(start.to_le_bytes()));
        }
        Some(())
    }

    fn categories(&mut self, conditions: &Conditions) {
        for column in &conditions.categories {
            let classes = column.members.first().map_or(0, Vec::len);
            let head = [
                column.feature,
                column.first,
                column.members.len() as u32,
                classes as u32,
            ];
            put(&mut self.category_columns, &head);
            put_floats(&mut self.category_columns, &[column.scaling.0, column.scaling.1]);
            let table = [(self.classes.len() / 2) as u32, column.classes.len() as u32];
            put(&mut self.category_columns, &table);
            put(&mut self.category_columns, &[self.members.len() as u32, 0]);
            column
                .classes
                .iter()
                .for_each(|class| self.classes.extend(class.to_le_bytes()));
            for sets in column.members.chunks(8) {
                for class in 0..classes {
                    let bits = sets.iter().enumerate();
                    self.members
                        .push(bits.fold(0, |byte, (bit, set)| byte | u8::from(set[class]) << bit));
                }
            }
        }
    }

    fn circuits(&mut self, model: &Model, conditions: &Conditions) {
        let first = FIRST_ANSWER + conditions.count;
        let direct = model.trees.len() <= DIRECT_TREES;
        let mut circuit = Circuit::new(first);
        let mut parts = Vec::new();
        for (number, tree) in model.trees.iter().enumerate() {
            let questions: Vec<u32> = tree.splits.iter().map(|split| conditions.number(tree, split)).collect();
            let output = (number % model.outputs) as u32;
            parts.extend(circuit.tree(tree, &questions).into_iter().map(|part| (part, output)));
            if parts.len().is_multiple_of(GROUP) || parts.len() > MANY_PARTS {
                let full = core::mem::replace(&mut circuit, Circuit::new(first));
                self.groups(full, core::mem::take(&mut parts), direct);
            }
        }
        if !parts.is_empty() {
            self.groups(circuit, parts, direct);
        }
    }

    /// The first group has all multiplexers; the others find the planes where it left them.
    fn groups(&mut self, circuit: Circuit, mut parts: Vec<(Part, u32)>, direct: bool) {
        let mut muxes = circuit.finish(parts.iter_mut().map(|(part, _)| part));
        self.made = self.made.max(muxes.len() as u32);
        for group in parts.chunks(GROUP) {
            let needed = |(part, _): &(Part, u32)| if direct { part.leaves.len() } else { part.values.len() };
            let size = table_size(group.iter().map(needed).max().unwrap_or(1));
            let first_value = (self.values.len() / 8) as u32;
            put(&mut self.groups, &[muxes.len() as u32, first_value, size.ilog2(), 0]);
            for mux in muxes.drain(..) {
                put(&mut self.muxes, &[mux.select * 16, mux.on * 16, mux.off * 16]);
            }
            for (part, output) in group {
                self.part(part, *output, size, direct);
            }
            for _ in group.len()..GROUP {
                // Adds +0.0, which changes nothing.
                let nothing = Part {
                    planes: Vec::new(),
                    leaves: alloc::vec![0],
                    values: alloc::vec![0.0],
                };
                self.part(&nothing, 0, size, direct);
            }
        }
    }

    fn part(&mut self, part: &Part, output: u32, size: usize, direct: bool) {
        let mut planes = [ZEROS; MAX_BITS];
        planes[..part.planes.len()].copy_from_slice(&part.planes);
        put(&mut self.parts, &planes.map(|slot| slot * 16));
        put(&mut self.parts, &[output, 0, 0, 0]);
        let mut values: Vec<f64> = if direct {
            part.leaves.iter().map(|&leaf| part.values[usize::from(leaf)]).collect()
        } else {
            part.values.clone()
        };
        values.resize(size, 0.0);
        put_floats(&mut self.values, &values);
        if !direct {
            let leaves = part.leaves.iter().chain(core::iter::repeat(&0));
            self.leaves.extend(leaves.take(CODES));
        }
    }

    fn all(&self) -> [&Vec<u8>; 23] {
        [
            &self.columns,
            &self.edges,
            &self.starts,
            &self.category_columns,
            &self.classes,
            &self.members,
            &self.groups,
            &self.parts,
            &self.muxes,
            &self.leaves,
            &self.values,
            &self.walks.windows,
            &self.walks.roots,
            &self.walks.bases,
            &self.walks.nodes,
            &self.walks.values,
            &self.turns.groups,
            &self.turns.turns,
            &self.turns.values,
            &self.masks.lines,
            &self.masks.leaf_values,
            &self.masks.first_splits,
            &self.masks.splits,
        ]
    }

    fn bytes(&self) -> usize {
        self.all().into_iter().map(Vec::len).sum()
    }

    fn costs(&self, conditions: &Conditions) -> Costs {
        Costs {
            trees: self.trees,
            columns: conditions.columns.len() + conditions.categories.len(),
            questions: conditions.count as usize,
            sets: conditions.categories.iter().map(|column| column.members.len()).sum(),
            steps: self.walks.steps,
            masks: !self.masks.lines.is_empty(),
            turns: self.turns.turns.len() / 8,
            muxes: self.muxes.len() / 12,
            groups: self.groups.len() / 16,
        }
    }

    fn finish(self, conditions: &Conditions) -> Vec<u8> {
        let mut counts = [0; HEADER_BYTES / 4];
        let mut count = |of: Count, number: usize| counts[of as usize] = number as u32;
        count(Count::Columns, self.columns.len() / 72);
        count(Count::Edges, self.edges.len() / 8);
        count(Count::Starts, self.starts.len() / 2);
        count(Count::CategoryColumns, self.category_columns.len() / 48);
        count(Count::Classes, self.classes.len() / 2);
        count(Count::Members, self.members.len());
        count(Count::Groups, self.groups.len() / 16);
        count(Count::Muxes, self.muxes.len() / 12);
        count(Count::Values, self.values.len() / 8);
        count(Count::Windows, self.walks.windows.len() / 32);
        count(Count::Roots, self.walks.roots.len() / 4);
        count(Count::Nodes, self.walks.nodes.len() / 4);
        count(Count::TreeValues, self.walks.values.len() / 8);
        count(Count::Questions, conditions.count as usize);
        count(Count::Made, self.made as usize);
        count(Count::TurnGroups, self.turns.groups.len() / 48);
        count(Count::Turns, self.turns.turns.len() / 8);
        count(Count::TurnValues, self.turns.values.len() / 8);
        let trees = self.masks.leaf_values.len() / (8 * LEAVES);
        count(
            Count::MaskLines,
            (self.masks.lines.len() / 8).checked_div(trees).unwrap_or(0),
        );
        count(Count::MaskTrees, trees);
        let (dozen, many) = self.costs(conditions).borders();
        count(Count::Dozen, dozen);
        count(Count::Many, many);
        count(Count::Leaves, self.leaves.len() / CODES);
        count(Count::MaskSplits, self.masks.splits.len() / 16);
        let mut image = Vec::with_capacity(self.bytes() + HEADER_BYTES + LINE * 23);
        put(&mut image, &counts);
        for section in self.all() {
            image.extend(section);
            image.resize(image.len().next_multiple_of(LINE), 0);
        }
        image
    }
}

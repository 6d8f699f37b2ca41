//! Trees and models for the tests of the kernels' pieces.

use alloc::string::String;
use alloc::vec::Vec;

pub(crate) use testkit::Random;

use crate::Model;
use crate::model::{Child, Missing, Rule, Split, Tree};
use crate::objective::Conversion;

/// A tree of so many splits on feature 0: `grow` picks the leaf that splits next of so many. Leaf `n` is worth `n + 1`.
pub(crate) fn tree(splits: usize, mut grow: impl FnMut(usize) -> usize) -> Tree {
    let mut tree = Tree {
        splits: Vec::new(),
        leaf_values: (0..=splits).map(|leaf| leaf as f64 + 1.0).collect(),
        category_words: Vec::new(),
        linear: None,
        counts: None,
    };
    let mut parents: Vec<(usize, bool)> = alloc::vec![(0, false)];
    for new in 0..splits {
        let leaf = grow(new + 1);
        if new > 0 {
            let (parent, on_right) = parents[leaf];
            let split: &mut Split = &mut tree.splits[parent];
            *(if on_right { &mut split.right } else { &mut split.left }) = Child::Split(new as u32);
        }
        parents[leaf] = (new, false);
        parents.push((new, true));
        tree.splits.push(Split {
            feature: 0,
            rule: Rule::Numerical {
                threshold: 0.0,
                missing: Missing::None,
                default_left: false,
            },
            left: Child::Leaf(leaf as u32),
            right: Child::Leaf(new as u32 + 1),
        });
    }
    tree
}

/// A model of one feature with a stump for each threshold.
pub(crate) fn stumps(thresholds: &[f64], missing: Missing, default_left: bool) -> Model {
    let stump = |&threshold: &f64| {
        let mut stump = tree(1, |_| 0);
        stump.splits[0].rule = Rule::Numerical {
            threshold,
            missing,
            default_left,
        };
        stump
    };
    Model {
        text_bytes: 100 * thresholds.len(),
        outputs: 1,
        feature_names: alloc::vec![String::from("x")],
        objective: String::new(),
        conversion: Conversion::Identity,
        average_output: false,
        trees: thresholds.iter().map(stump).collect(),
    }
}

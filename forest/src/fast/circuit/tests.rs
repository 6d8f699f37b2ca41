//! A tree's circuit leads to the leaf that walking the tree leads to.

use alloc::collections::VecDeque;

use super::*;
use crate::fast::samples::{self, Random};

/// The leaf a row with these answers ends at.
fn walk(tree: &Tree, left: impl Fn(usize) -> bool) -> u32 {
    let mut at = Child::Split(0);
    loop {
        match at {
            Child::Leaf(leaf) => return leaf,
            Child::Split(split) => {
                let children = &tree.splits[split as usize];
                at = if left(split as usize) {
                    children.left
                } else {
                    children.right
                };
            }
        }
    }
}

/// Runs 128 rows through a tree's circuit, one bit each, and holds what its parts add up to against walking.
fn check(tree: &Tree, questions: &[u32], rows: impl Iterator<Item = Vec<u128>>) -> usize {
    let count = questions.iter().max().map_or(0, |most| most + 1);
    let mut circuit = Circuit::new(FIRST_ANSWER + count);
    let mut parts = circuit.tree(tree, questions);
    let muxes = circuit.finish(parts.iter_mut());
    let slots = (FIRST_ANSWER + count) as usize + muxes.len();
    for part in &parts {
        assert!(part.planes.len() <= MAX_BITS);
        assert_eq!(part.leaves.len(), 1 << part.planes.len());
        assert!(part.planes.iter().all(|&plane| (plane as usize) < slots));
    }
    for answers in rows {
        let mut planes = alloc::vec![0, u128::MAX];
        planes.extend(&answers);
        for mux in &muxes {
            let plane = |slot: Slot| planes[slot as usize];
            planes.push(plane(mux.select) & plane(mux.on) | !plane(mux.select) & plane(mux.off));
        }
        for row in 0..128 {
            let bit = |slot: Slot| (planes[slot as usize] >> row & 1) as usize;
            let value = |part: &Part| {
                let bits = part.planes.iter().enumerate();
                let code: usize = bits.map(|(at, &plane)| bit(plane) << at).sum();
                part.values[usize::from(part.leaves[code])]
            };
            let sum: f64 = parts.iter().map(value).sum();
            let leaf = walk(tree, |split| bit(FIRST_ANSWER + questions[split]) == 1);
            assert_eq!(sum, tree.leaf_values[leaf as usize]);
        }
    }
    parts.len()
}

/// Every way to answer so many questions.
fn all_answers(questions: usize) -> impl Iterator<Item = Vec<u128>> {
    (0..1_usize << questions.saturating_sub(7)).map(move |block| {
        let bit = |row: usize, question: usize| (block << 7 | row) >> question & 1;
        let plane = |question| (0..128).map(|row| (bit(row, question) as u128) << row).sum();
        (0..questions).map(plane).collect()
    })
}

/// Random answers, and those that lead to each leaf, where every split has a question of its own.
fn some_answers(tree: &Tree, random: &mut Random) -> Vec<Vec<u128>> {
    let splits = tree.splits.len();
    let mut parents = alloc::vec![(0, true); splits];
    let mut ends = Vec::new();
    for (number, split) in tree.splits.iter().enumerate() {
        for (child, left) in [(split.left, true), (split.right, false)] {
            match child {
                Child::Split(below) => parents[below as usize] = (number, left),
                Child::Leaf(_) => ends.push((number, left)),
            }
        }
    }
    let mut all = Vec::new();
    for ends in ends.chunks(128) {
        let mut planes: Vec<u128> = (0..splits)
            .map(|_| u128::from(random.next()) << 64 | u128::from(random.next()))
            .collect();
        for (row, &end) in ends.iter().enumerate() {
            let (mut split, mut left) = end;
            loop {
                planes[split] = planes[split] & !(1 << row) | u128::from(left) << row;
                if split == 0 {
                    break;
                }
                (split, left) = parents[split];
            }
        }
        all.push(planes);
    }
    all
}

fn own_questions(tree: &Tree) -> Vec<u32> {
    (0..tree.splits.len() as u32).collect()
}

#[test]
fn small_trees_for_all_answers() {
    let mut random = Random(5);
    for splits in 1..=11 {
        for _ in 0..20 {
            let tree = samples::tree(splits, |leaves| random.below(leaves));
            check(&tree, &own_questions(&tree), all_answers(splits));
            // Questions that several splits of the tree ask.
            let count = 1 + random.below(splits);
            let mut shared: Vec<u32> = (0..splits).map(|_| random.below(count) as u32).collect();
            shared[0] = count as u32 - 1;
            check(&tree, &shared, all_answers(count));
        }
    }
}

#[test]
fn chains() {
    let mut random = Random(6);
    for splits in [12, 31, 32, 33, 63, 64, 65, 127, 128, 129, 254, 255, 256, 300, 700, 2047] {
        let left = samples::tree(splits, |_| 0);
        let right = samples::tree(splits, |leaves| leaves - 1);
        let mut kept = 0;
        let alternating = samples::tree(splits, |leaves| {
            kept = if leaves % 2 == 0 { leaves - 1 } else { kept };
            kept
        });
        for tree in [left, right, alternating] {
            let rows = some_answers(&tree, &mut random);
            check(&tree, &own_questions(&tree), rows.into_iter());
        }
    }
}

#[test]
fn large_trees_are_cut() {
    let mut random = Random(7);
    let mut most = 0;
    for splits in [60, 200, 255, 256, 500, 999, 1000, 2047] {
        let mut next = 0;
        let balanced = samples::tree(splits, |leaves| {
            next = if next + 1 >= leaves.next_power_of_two() / 2 {
                0
            } else {
                next + 1
            };
            next
        });
        let bushy = samples::tree(splits, |leaves| match random.below(3) {
            0 => random.below(leaves),
            _ => leaves - 1,
        });
        let any = samples::tree(splits, |leaves| random.below(leaves));
        for tree in [balanced, bushy, any] {
            let rows = some_answers(&tree, &mut random);
            most = most.max(check(&tree, &own_questions(&tree), rows.into_iter()));
        }
    }
    assert!(most > 8, "only {most} parts");
}

/// A long path with bushes on some of its nodes, as wide as fit a code: all but one are cut off, and are reached along
/// prefixes of the path.
#[test]
fn bushes_on_a_path() {
    let mut random = Random(8);
    let mut most = 0;
    for round in 0..60 {
        let spine = 40 + random.below(400);
        let right = round % 2 == 0;
        // The leaves that split, in order: first those along the path.
        let mut order: Vec<usize> = (0..spine).map(|leaf| if right { leaf } else { 0 }).collect();
        for bush in 0..2 + random.below(7) {
            // The path's n-th node has leaf n on its left, or n + 1 on its right.
            let node = if bush == 0 { 0 } else { 1 + random.below(30) };
            let mut queue = VecDeque::from([node + usize::from(!right)]);
            for _ in 0..(1 << (5 + random.below(3))) - 1 {
                let leaf = queue.pop_front().expect("two for each taken");
                order.push(leaf);
                queue.extend([leaf, order.len()]);
            }
        }
        let tree = samples::tree(order.len(), |leaves| order[leaves - 1]);
        let rows = some_answers(&tree, &mut random);
        most = most.max(check(&tree, &own_questions(&tree), rows.into_iter()));
    }
    assert!(most > 2, "only {most} parts");
}

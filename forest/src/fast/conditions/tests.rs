//! Edges are where scaled and flushed values cross their thresholds.

use super::*;
use crate::fast::samples::{Random, stumps};
use crate::model::Missing;
use crate::zero::ZERO_THRESHOLD;

const NUMBERS: [f64; 14] = [
    0.0,
    -0.0,
    5e-324,
    -5e-324,
    1e-35,
    -1e-35,
    ZERO_THRESHOLD,
    -ZERO_THRESHOLD,
    1.0,
    -1.0,
    f64::MAX,
    f64::MIN,
    f64::INFINITY,
    f64::NEG_INFINITY,
];
const OFFSETS: [f64; 7] = [0.0, 0.3, -1e9, 1e300, f64::MIN, 5e-324, -1e-36];
const SCALES: [f64; 7] = [1.0, 3.0, 0.1, 1e300, 1e-300, f64::MAX, 5e-324];

fn scaled(x: f64, (offset, scale): (f64, f64)) -> f64 {
    flush_zero((x - offset) / scale)
}

fn scalings(random: &mut Random) -> Vec<(f64, f64)> {
    let pairs = OFFSETS.iter().flat_map(|&offset| SCALES.map(|scale| (offset, scale)));
    let mut scalings: Vec<(f64, f64)> = pairs.collect();
    scalings.extend((0..40).map(|_| (random.unit() - 0.5, random.unit() + 0.01)));
    scalings
}

#[test]
fn an_edge_is_the_last_value_at_or_below_its_threshold() {
    let mut random = Random(1);
    for scaling in scalings(&mut random) {
        let mut thresholds = NUMBERS.to_vec();
        thresholds.extend(NUMBERS.iter().flat_map(|x| [x.next_up(), x.next_down()]));
        thresholds.extend((0..40).map(|_| random.unit() * 8.0 - 4.0));
        thresholds.extend((0..40).map(|_| random.wild()));
        for threshold in thresholds {
            let edge = raw_edge(threshold, scaling);
            let next = edge.next_up();
            assert!(scaled(edge, scaling) <= threshold, "{edge:e} {threshold:e} {scaling:?}");
            let last = edge == f64::INFINITY || scaled(next, scaling) > threshold;
            assert!(last, "{edge:e} {threshold:e} {scaling:?}");
        }
    }
}

#[test]
fn what_counts_as_zero_lies_between_its_bounds() {
    let mut random = Random(2);
    for scaling in scalings(&mut random) {
        let column = Column::new(0, kind::ZERO_LEFT, 0, alloc::vec![1.0], scaling);
        let (least, most, rank) = column.zero.expect("asked for");
        assert_eq!(rank, 0);
        for inside in [least, most, scaling.0] {
            assert!(least <= inside && inside <= most);
            assert!(scaled(inside, scaling) == 0.0, "{inside:e} {scaling:?}");
        }
        for outside in [least.next_down(), most.next_up()] {
            assert!(scaled(outside, scaling) != 0.0, "{outside:e} {scaling:?}");
        }
    }
}

#[test]
fn equal_thresholds_are_one_question() {
    let model = stumps(&[0.5, -0.0, 0.5, 0.0, -1.0], Missing::None, false);
    let conditions = Conditions::new(&model, None).expect("small");
    assert_eq!(conditions.count, 3);
    let number = |tree: &Tree| conditions.number(tree, &tree.splits[0]);
    let numbers: Vec<u32> = model.trees.iter().map(number).collect();
    assert_eq!(numbers, [2, 1, 2, 1, 0]);
}

//! Ranks count edges, wherever these lie.

use super::*;
use crate::fast::samples::{Random, stumps};
use crate::fast::{pack, view};
use crate::model::Missing;
use crate::zero::ZERO_THRESHOLD;

/// Distinct, ascending, none -0.0.
fn ascending(mut edges: Vec<f64>) -> Vec<f64> {
    edges.iter_mut().for_each(|edge| *edge += 0.0);
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    edges
}

/// Edges of every kind: spread out, of every magnitude, ulps apart, in clusters, and what is special.
fn columns() -> Vec<Vec<f64>> {
    let mut random = Random(3);
    let special = [
        0.0,
        5e-324,
        -5e-324,
        ZERO_THRESHOLD,
        -ZERO_THRESHOLD,
        f64::MAX,
        f64::MIN,
        f64::INFINITY,
        1.0,
        -1.0,
    ];
    let mut columns: Vec<Vec<f64>> = special.iter().map(|&x| alloc::vec![x]).collect();
    columns.push(alloc::vec![f64::NEG_INFINITY]);
    columns.push(alloc::vec![f64::NEG_INFINITY, f64::INFINITY]);
    columns.push(special.to_vec());
    for count in [2, 3, 5, 17, 255, 256, 257, 1500] {
        columns.push((0..count).map(|_| random.unit() * 20.0 - 10.0).collect());
        columns.push((0..count).map(|_| random.wild()).collect());
        columns.push((0..count).map(|at| at as f64).collect());
        columns.push((0..count).map(|at| 1e6 + at as f64 * 0.01).collect());
        for start in [1.0, -1.0, 1e300, -1e-310, 4.0_f64.next_down(), -ZERO_THRESHOLD, 0.0] {
            let mut x: f64 = start;
            let ulps = (0..count).map(|_| {
                x = (0..=random.below(3)).fold(x, |x, _| x.next_up());
                x
            });
            columns.push(ulps.collect());
        }
        let mut clusters: Vec<f64> = columns[columns.len() - 3].clone();
        clusters.extend((0..count).map(|at| 7.0 + at as f64 * f64::EPSILON));
        clusters.extend([f64::MIN, f64::MAX]);
        columns.push(clusters);
    }
    columns.into_iter().map(ascending).collect()
}

#[test]
fn an_edge_is_among_those_its_bucket_is_searched_for() {
    for edges in columns() {
        let buckets = choose(&edges);
        assert!(buckets.starts.len() <= MAX_BUCKETS as usize && buckets.starts.is_sorted());
        assert!(buckets.most >= 1);
        for (at, &edge) in edges.iter().enumerate() {
            let bucket = (key(edge + buckets.addend) >> buckets.shift) - buckets.base;
            let start = usize::from(buckets.starts[bucket as usize]);
            assert!(
                (start..start + usize::from(buckets.most)).contains(&at),
                "{edge:e} in {buckets:?}"
            );
        }
    }
}

#[test]
fn a_rank_is_the_number_of_edges_below() {
    let mut random = Random(4);
    for edges in columns() {
        let kinds = [
            (Missing::Nan, false),
            (Missing::Nan, true),
            (Missing::Zero, true),
            (Missing::Zero, false),
        ];
        for (missing, default_left) in kinds {
            let bytes = pack(&stumps(&edges, missing, default_left), None).expect("small");
            let tables = Tables::new(&bytes, 1, 1).expect("valid");
            let column = view::column(&tables.columns[0]);
            assert_eq!(column.edges, edges.len());
            let mut values: Vec<f64> = edges.iter().flat_map(|x| [*x, x.next_up(), x.next_down()]).collect();
            values.extend([
                0.0,
                -0.0,
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::NAN,
                -f64::NAN,
                f64::MAX,
                f64::MIN,
            ]);
            values.extend((0..50).map(|_| random.wild()));
            values.extend((0..50).map(|_| random.unit() * 20.0 - 10.0));
            for value in values {
                let x = flush_zero(value);
                // NaN is zero where zero is missing.
                let is_missing = x.is_nan() || missing == Missing::Zero && x == 0.0;
                let rank = match (is_missing, default_left) {
                    (true, true) => 0,
                    (true, false) => edges.len(),
                    (false, _) => edges.iter().filter(|&&edge| edge < x).count(),
                };
                let found = rank_of(&tables, &column, value);
                assert_eq!(usize::from(found), rank, "{value:e} among {edges:?}");
            }
        }
    }
}

#[test]
fn the_most_edges_that_ranks_count() {
    let edges: Vec<f64> = (0..65_534).map(|at| 1.0 + f64::from(at) * f64::EPSILON).collect();
    let bytes = pack(&stumps(&edges, Missing::None, false), None).expect("they fit");
    let tables = Tables::new(&bytes, 1, 1).expect("valid");
    let column = view::column(&tables.columns[0]);
    for at in [0, 1, 255, 256, 32_767, 32_768, 65_532, 65_533] {
        assert_eq!(usize::from(rank_of(&tables, &column, edges[at])), at);
        assert_eq!(usize::from(rank_of(&tables, &column, edges[at].next_up())), at + 1);
    }
    let more: Vec<f64> = edges.iter().copied().chain([7.0]).collect();
    assert!(pack(&stumps(&more, Missing::None, false), None).is_none());
}

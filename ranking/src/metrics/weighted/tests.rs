use proptest::prelude::*;

use super::*;
use crate::bootstrap::mean_interval;
use crate::labels::Grade;
use crate::metrics::ndcg_at;
use crate::statistics::simulated::Market;

const EXAMINED_BY_RANK: Weighting = Weighting { eta: 1.0 };

fn order(of: &[(u8, u32)]) -> Vec<Displayed> {
    of.iter().map(|&(grade, rank)| Displayed { grade, rank }).collect()
}

#[test]
fn an_action_counts_by_the_inverse_of_how_often_its_rank_is_looked_at() {
    for (rank, weight) in [(1, 1.0), (4, 4.0), (10, 10.0), (40, 10.0)] {
        assert!((EXAMINED_BY_RANK.weight(rank) - weight).abs() < 1e-12, "rank {rank}");
    }
    assert!((Weighting { eta: 0.5 }.weight(4) - 2.0).abs() < 1e-12);
}

#[test]
fn ndcg_is_the_formula() {
    // A click (gain 3) that was displayed fourth, and a contact (gain 6) that was displayed first, ranked in this
    // order.
    let case = order(&[(1, 4), (2, 1), (0, 2)]);
    let part = EXAMINED_BY_RANK.ndcg_at(5, &case, &Grade::GAINS).unwrap();
    let (second, best) = (3f64.log2(), 6.0 + 3.0 / 3f64.log2());
    assert!((part.value - (12.0 + 6.0 / second) / best).abs() < 1e-12);
    // The ranking has the larger weighted gain first.
    assert!((part.weight - part.value).abs() < 1e-12);
    let turned = EXAMINED_BY_RANK.ndcg_at(5, &order(&[(2, 1), (1, 4), (0, 2)]), &Grade::GAINS);
    let turned = turned.unwrap();
    assert!((turned.value - (6.0 + 12.0 / second) / best).abs() < 1e-12);
    assert_eq!(turned.weight, part.weight);
    assert_eq!(
        EXAMINED_BY_RANK.ndcg_at(5, &order(&[(0, 1), (0, 2)]), &Grade::GAINS),
        None
    );
}

#[test]
fn mrr_is_the_formula() {
    // A contact displayed second and a contract displayed third: one of them is seen with 1 - 1/2 * 2/3 = 2/3.
    let case = order(&[(0, 1), (2, 3), (3, 2)]);
    let part = EXAMINED_BY_RANK.reciprocal_rank_at(5, &case, 2).unwrap();
    assert!(
        (part.weight - 1.5).abs() < 1e-12 && (part.value - 0.75).abs() < 1e-12,
        "{part:?}"
    );
    // Below rank k it counts, and gains nothing.
    let below = EXAMINED_BY_RANK.reciprocal_rank_at(1, &case, 2).unwrap();
    assert_eq!((below.value, below.weight), (0.0, part.weight));
    let far = EXAMINED_BY_RANK.reciprocal_rank_at(5, &order(&[(3, 500)]), 2).unwrap();
    assert_eq!((far.value, far.weight), (Weighting::CLIP, Weighting::CLIP));
    assert_eq!(EXAMINED_BY_RANK.reciprocal_rank_at(5, &order(&[(1, 1)]), 2), None);
}

#[test]
fn a_mean_is_divided_by_its_weights() {
    let part = |value, weight| Part { value, weight };
    let parts = [part(1.0, 1.0), part(0.0, 3.0)];
    assert_eq!(weighted_mean(&parts, 0, 0.95, 1), Interval::point(0.25));
    assert_eq!(effective_cases(&parts), 1.6);
    assert_eq!(
        (weighted_mean(&[], 100, 0.95, 1), effective_cases(&[])),
        (Interval::default(), 0.0)
    );
}

/// Cases of clients who examine by 1/rank, seen by two rankers of the same quality; the differences of nDCG@5 and
/// MRR@5, the second ranker's minus the first's, plain and weighted.
fn differences(seed: u64, is_second_displayed: bool, weighting: Weighting) -> [f64; 2] {
    let mut market = Market::new(seed);
    let mut parts: [[Vec<Part>; 2]; 2] = Default::default();
    for _ in 0..20_000 {
        let relevance = market.case();
        let rankings = [market.ranked(&relevance, 0.3), market.ranked(&relevance, 0.3)];
        let displayed = &rankings[usize::from(is_second_displayed)];
        let clicked = market.clicks(&relevance, displayed);
        for (ranking, parts) in rankings.iter().zip(&mut parts) {
            let of = |lawyer: &usize| {
                let at = displayed.iter().position(|other| other == lawyer).unwrap();
                let grade = u8::from(clicked[at]);
                Displayed {
                    grade,
                    rank: at as u32 + 1,
                }
            };
            let order: Vec<Displayed> = ranking.iter().map(of).collect();
            parts[0].extend(weighting.ndcg_at(5, &order, &Grade::GAINS));
            parts[1].extend(weighting.reciprocal_rank_at(5, &order, 1));
        }
    }
    let mean = |parts: &[Part]| weighted_mean(parts, 0, 0.95, 1).estimate;
    [0, 1].map(|metric| mean(&parts[1][metric]) - mean(&parts[0][metric]))
}

#[test]
fn equal_rankers_are_nearly_equal_whichever_was_displayed() {
    for is_second_displayed in [false, true] {
        let plain = differences(1, is_second_displayed, Weighting { eta: 0.0 });
        let weighted = differences(1, is_second_displayed, EXAMINED_BY_RANK);
        println!("second displayed: {is_second_displayed}; plain {plain:+.3?}, weighted {weighted:+.3?}");
        // The plain figures favour the displayed ranker by twenty points.
        for difference in plain {
            assert!(difference.abs() > 0.15);
            assert_eq!(difference > 0.0, is_second_displayed);
        }
        assert!(weighted[0].abs() < plain[0].abs() / 10.0, "{weighted:?}");
        assert!(weighted[1].abs() < plain[1].abs() / 3.0, "{weighted:?}");
    }
}

proptest! {
    #[test]
    fn where_every_rank_is_looked_at_alike_the_metrics_are_the_plain_ones_bit_for_bit(
        cases in proptest::collection::vec(proptest::collection::vec((0u8..4, 1u32..60), 1..12), 1..30),
        k in 1usize..8,
    ) {
        let alike = Weighting { eta: 0.0 };
        let cases: Vec<Vec<Displayed>> = cases.iter().map(|case| order(case)).collect();
        let grades = |case: &[Displayed]| case.iter().map(|of| of.grade).collect::<Vec<_>>();
        let plain: Vec<f64> = cases.iter().filter_map(|case| ndcg_at(k, &grades(case), &Grade::GAINS)).collect();
        let parts: Vec<Part> = cases.iter().filter_map(|case| alike.ndcg_at(k, case, &Grade::GAINS)).collect();
        prop_assert_eq!(weighted_mean(&parts, 50, 0.9, 7), mean_interval(&plain, 50, 0.9, 7));
        prop_assert_eq!(effective_cases(&parts), plain.len() as f64);
        let plain: Vec<f64> = cases.iter().filter_map(|case| reciprocal_rank_at(k, &grades(case), 2)).collect();
        let parts: Vec<Part> = cases.iter().filter_map(|case| alike.reciprocal_rank_at(k, case, 2)).collect();
        prop_assert_eq!(weighted_mean(&parts, 50, 0.9, 7), mean_interval(&plain, 50, 0.9, 7));
    }

    #[test]
    fn every_order_has_a_share_of_what_the_best_has(
        case in proptest::collection::vec((0u8..4, 1u32..60), 1..12), k in 1usize..8, eta in 0.0..3.0f64,
    ) {
        let weighting = Weighting { eta };
        let case = order(&case);
        let parts = [weighting.ndcg_at(k, &case, &Grade::GAINS), weighting.reciprocal_rank_at(k, &case, 1)];
        for part in parts.into_iter().flatten() {
            prop_assert!(part.weight > 0.0 && part.weight <= Weighting::CLIP + 1e-9, "{:?}", part);
            prop_assert!((0.0..=part.weight + 1e-9).contains(&part.value), "{:?}", part);
        }
        let mut best = case.clone();
        let gain = |of: &Displayed| Grade::GAINS[usize::from(of.grade)] * weighting.weight(of.rank);
        best.sort_by(|a, b| gain(b).total_cmp(&gain(a)));
        if let Some(part) = weighting.ndcg_at(k, &best, &Grade::GAINS) {
            prop_assert!((part.value - part.weight).abs() < 1e-12 * part.weight);
        }
    }
}

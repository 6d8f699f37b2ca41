use chrono::DateTime;
use proptest::prelude::*;

use super::*;

fn lawyer(id: &str, cases_30d: u32, monthly_capacity: u32) -> Candidate {
    Candidate {
        lawyer_id: id.into(),
        features: vec![],
        cases_30d,
        monthly_capacity,
        groups: BTreeMap::new(),
        last_offered_at: None,
    }
}

fn in_group(mut lawyer: Candidate, attribute: &str, group: &str) -> Candidate {
    lawyer.groups.insert(attribute.into(), group.into());
    lawyer
}

fn order(candidates: &[Candidate], scores: &[f64]) -> Vec<usize> {
    let ranked = rerank(candidates, scores, &Fairness::default());
    ranked.into_iter().map(|r| r.index).collect()
}

#[test]
fn inside_the_elite_free_capacity_weighs_in() {
    let lawyers = [lawyer("full", 30, 30), lawyer("free", 0, 30), lawyer("far", 0, 30)];
    let scores = [0.80, 0.75, 0.60];
    // The elite reaches 0.08 below 0.80; `far` stays outside although it is free.
    let ranked = rerank(&lawyers, &scores, &Fairness::default());
    assert_eq!(order(&lawyers, &scores), [1, 0, 2]);
    assert!((ranked[0].fair - (0.7 * 0.75 + 0.3)).abs() < 1e-12);
    assert!((ranked[1].fair - (0.7 * 0.80 + 0.3 * 0.05)).abs() < 1e-12);
    assert_eq!((ranked[2].score, ranked[2].fair), (0.60, 0.60));
}

#[test]
fn equity_never_falls_below_its_floor() {
    for (cases, capacity, expected) in [
        (0, 30, 1.0),
        (15, 30, 0.5),
        (29, 30, 0.05),
        (30, 30, 0.05),
        (99, 30, 0.05),
        (0, 0, 0.05),
    ] {
        let found = equity(&lawyer("a", cases, capacity), 0.05);
        assert!((found - expected).abs() < 1e-12, "{cases}/{capacity}: {found}");
    }
}

#[test]
fn a_group_that_holds_little_of_the_elite_is_boosted() {
    // One F among four of the elite: 25 % < 30 %.
    let mut lawyers: Vec<Candidate> = ["a", "b", "c"]
        .map(|id| in_group(lawyer(id, 0, 10), "gender", "M"))
        .to_vec();
    lawyers.push(in_group(lawyer("d", 0, 10), "gender", "F"));
    assert_eq!(order(&lawyers, &[0.5; 4]), [3, 0, 1, 2]);
    // Two of four are half: no boost, and the tie goes by id.
    lawyers[2] = in_group(lawyer("c", 0, 10), "gender", "F");
    assert_eq!(order(&lawyers, &[0.5; 4]), [0, 1, 2, 3]);
    // An unknown group earns nothing, and neither does a lawyer twice for two attributes.
    lawyers[2] = lawyer("c", 0, 10);
    lawyers[3] = in_group(in_group(lawyer("d", 0, 10), "gender", "F"), "ethnicity", "x");
    let ranked = rerank(&lawyers, &[0.5; 4], &Fairness::default());
    assert_eq!(ranked[0].index, 3);
    assert!((ranked[0].fair - (0.35 + 0.3 + 0.05)).abs() < 1e-12);
    assert!((ranked[3].fair - 0.65).abs() < 1e-12);
}

#[test]
fn ties_go_to_whoever_waited_longest_then_by_id() {
    let at = |seconds| DateTime::from_timestamp(seconds, 0);
    let mut lawyers = ["d", "c", "b", "a"].map(|id| lawyer(id, 0, 10));
    lawyers[0].last_offered_at = None;
    lawyers[1].last_offered_at = at(100);
    lawyers[2].last_offered_at = at(200);
    lawyers[3].last_offered_at = at(100);
    assert_eq!(order(&lawyers, &[0.4; 4]), [0, 3, 1, 2]);
    // Outside the elite too.
    let best = lawyer("z", 10, 10);
    let mut with_best = lawyers.to_vec();
    with_best.push(best);
    assert_eq!(order(&with_best, &[0.1, 0.1, 0.1, 0.1, 0.9]), [4, 0, 3, 1, 2]);
    // The two zeros are one score.
    assert_eq!(order(&[lawyer("b", 10, 10), lawyer("a", 10, 10)], &[0.0, -0.0]), [1, 0]);
}

#[test]
fn min_max_spreads_a_case_over_0_to_1() {
    assert_eq!(min_max(&[3.0, 1.0, 2.0]), [1.0, 0.0, 0.5]);
    assert_eq!(min_max(&[7.0]), [1.0]);
    assert_eq!(min_max(&[-2.0, -2.0]), [1.0, 1.0]);
    assert_eq!(min_max(&[]), [] as [f64; 0]);
    assert_eq!(min_max(&[f64::MAX, f64::MIN, 0.0]), [1.0, 0.0, 0.5]);
}

#[test]
fn legacy_ranks_by_weights_and_ltr_by_the_model_both_through_the_same_rule() {
    let mut lawyers = [lawyer("a", 5, 10), lawyer("b", 5, 10)];
    lawyers[0].features = vec![1.0, 0.0];
    lawyers[1].features = vec![0.0, 1.0];
    let weights = Weights::new(&[3.0, 1.0]).unwrap();
    let legacy = rank_legacy(&lawyers, &weights, &Fairness::default());
    assert_eq!((legacy[0].index, legacy[0].score), (0, 0.75));
    let ltr = rank_ltr(&lawyers, &[-4.0, 9.0], &Fairness::default());
    assert_eq!((ltr[0].index, ltr[0].score, ltr[1].score), (1, 1.0, 0.0));
    assert!(rank_ltr(&[], &[], &Fairness::default()).is_empty());
}

prop_compose! {
    fn a_lawyer()(cases in 0u32..40, capacity in 0u32..40, gender in proptest::option::of(0u8..3), offered in proptest::option::of(0i64..5)) -> Candidate {
        let mut lawyer = lawyer("", cases, capacity);
        if let Some(gender) = gender {
            lawyer.groups.insert("gender".into(), gender.to_string());
        }
        lawyer.last_offered_at = offered.and_then(|s| DateTime::from_timestamp(s, 0));
        lawyer
    }
}

fn a_case() -> impl Strategy<Value = (Vec<Candidate>, Vec<f64>)> {
    // Scores from a coarse grid too, so that ties happen.
    let score = prop_oneof![-1.0f64..2.0, (0u8..5).prop_map(|s| f64::from(s) / 4.0)];
    proptest::collection::vec((a_lawyer(), score), 1..40).prop_map(|pairs| {
        let (mut lawyers, scores): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        for (i, lawyer) in lawyers.iter_mut().enumerate() {
            lawyer.lawyer_id = format!("adv_{i:02}");
        }
        (lawyers, scores)
    })
}

proptest! {
    #[test]
    fn every_lawyer_is_ranked_once((lawyers, scores) in a_case()) {
        let mut order = order(&lawyers, &scores);
        order.sort_unstable();
        prop_assert_eq!(order, (0..lawyers.len()).collect::<Vec<_>>());
    }

    #[test]
    fn the_elite_comes_first_by_fair_and_the_rest_by_score((lawyers, scores) in a_case()) {
        let ranked = rerank(&lawyers, &scores, &Fairness::default());
        let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let bar = best - f64::max(0.05, 0.10 * best.abs());
        let elite = ranked.iter().take_while(|r| r.score >= bar).count();
        prop_assert!(ranked[elite..].iter().all(|r| r.score < bar && r.fair == r.score));
        prop_assert!(ranked[..elite].windows(2).all(|w| w[0].fair >= w[1].fair));
        prop_assert!(ranked[elite..].windows(2).all(|w| w[0].score >= w[1].score));
    }

    #[test]
    fn the_order_candidates_come_in_does_not_matter((lawyers, scores) in a_case(), turn in 0usize..40) {
        let turn = turn % lawyers.len();
        let (mut turned, mut turned_scores) = (lawyers.clone(), scores.clone());
        turned.rotate_left(turn);
        turned_scores.rotate_left(turn);
        let ids = |c: &[Candidate], s: &[f64]| -> Vec<String> {
            order(c, s).into_iter().map(|i| c[i].lawyer_id.clone()).collect()
        };
        prop_assert_eq!(ids(&lawyers, &scores), ids(&turned, &turned_scores));
    }

    #[test]
    fn scaled_scores_keep_their_order(scores in proptest::collection::vec(proptest::num::f64::NORMAL, 1..30)) {
        let scaled = min_max(&scores);
        prop_assert!(scaled.iter().all(|s| (0.0..=1.0).contains(s)));
        for (i, a) in scores.iter().enumerate() {
            for (j, b) in scores.iter().enumerate() {
                prop_assert!(a >= b || scaled[i] <= scaled[j]);
            }
        }
    }
}

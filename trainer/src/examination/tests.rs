use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::matrix::tests::{biased, stored, synthetic, uniform};
use crate::matrix::{Case, Matrix, Shown};

fn estimate(matrix: &Matrix) -> Examination {
    let dir = tempfile::tempdir().unwrap();
    let stored = stored(dir.path(), matrix);
    Examination::estimate(&stored, 0..matrix.cases.len(), None).unwrap()
}

#[test]
fn propensities_are_estimated_although_better_lawyers_are_shown_higher() {
    let matrix = biased(3_000, 1, 0.5);
    let examination = estimate(&matrix);
    for position in 1..=8 {
        let (found, truth) = (examination.share(position), 1.0 / (1.0 + 0.5 * f64::from(position - 1)));
        assert!(
            (found - truth).abs() < 0.12,
            "position {position}: {found}, truly {truth}"
        );
    }
    assert_eq!(
        examination.share(9),
        examination.share(8),
        "a position without data is treated as the last one with data"
    );
}

#[test]
fn positions_that_do_not_matter_have_one_share() {
    let examination = estimate(&synthetic(2_000, 2));
    for position in 1..=8 {
        assert!(examination.share(position) > 0.9, "{examination:?}");
    }
    assert_eq!(Examination::default().share(3), 1.0);
}

#[test]
fn few_cases_without_clicks_give_equal_propensities() {
    // The click of the last case, which is not part of the estimate, makes it a matrix.
    let mut matrix = synthetic(4, 3);
    for row in matrix.cases.iter_mut().flat_map(|case| &mut case.rows) {
        row.grade = Grade::Shown;
    }
    matrix.cases[3].rows[0].grade = Grade::Clicked;
    let dir = tempfile::tempdir().unwrap();
    let stored = stored(dir.path(), &matrix);
    let examination = Examination::estimate(&stored, 0..3, None).unwrap();
    assert!(
        (1..=8).all(|position| examination.share(position) == 1.0),
        "{examination:?}"
    );
}

#[test]
fn the_best_order_is_worth_1_and_clicks_far_down_count_for_more() {
    let mut case = synthetic(1, 4).cases.remove(0);
    for (at, row) in case.rows.iter_mut().enumerate() {
        row.grade = if at == 0 || at == 7 {
            Grade::Clicked
        } else {
            Grade::Shown
        };
    }
    let shares = Examination(vec![1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.25]);
    let judge = DebiasedNdcg::new([case.shown()].into_iter(), &shares);
    assert_eq!(judge.of_case(0, &[7, 0, 1, 2, 3, 4, 5, 6]), 1.0);
    let first_on_top = judge.of_case(0, &[0, 7, 1, 2, 3, 4, 5, 6]);
    assert!(first_on_top < 1.0 && first_on_top > judge.of_case(0, &[0, 1, 2, 3, 4, 5, 6, 7]));
    assert_eq!(judge.of_scores(&[7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 8.0]), 1.0);
    let unclicked = DebiasedNdcg::new(std::iter::empty(), &shares);
    assert_eq!(unclicked.of_scores(&[]), 0.0);
}

/// On clicks as shown, a ranking by position wins; on debiased clicks, one by what clients want.
#[test]
fn a_ranking_by_what_clients_want_beats_the_order_shown_once_debiased() {
    let matrix = biased(3_000, 5, 0.5);
    let rng = &mut ChaCha8Rng::seed_from_u64(6);
    let wanted: Vec<f64> = rows(&matrix).map(|row| row.features[0]).collect();
    // Like a model that learns the position effect along with what clients want.
    let shown: Vec<f64> = rows(&matrix)
        .map(|row| row.features[0] + 0.001 * uniform(rng) - 0.08 * f64::from(row.position))
        .collect();
    let examination = estimate(&matrix);
    let score = |shares: &Examination, scores: &[f64]| {
        DebiasedNdcg::new(matrix.cases.iter().map(Case::shown), shares).of_scores(scores)
    };
    let blind = Examination::default();
    assert!(score(&blind, &shown) > score(&blind, &wanted));
    assert!(score(&examination, &wanted) > score(&examination, &shown));
}

fn rows(matrix: &Matrix) -> impl Iterator<Item = &Shown> {
    matrix.cases.iter().flat_map(|case| &case.rows)
}

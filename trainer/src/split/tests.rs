use std::collections::HashSet;

use proptest::prelude::*;
use ranking::Grade;

use super::*;
use crate::matrix::tests::{index_of, synthetic};

#[test]
fn a_matrix_without_positives_in_a_part_is_refused_by_part() {
    let mut cases = synthetic(20, 1).cases;
    for row in cases[16..].iter_mut().flat_map(|case| &mut case.rows) {
        row.grade = Grade::Shown;
    }
    let cases = index_of(&cases).cases;
    let refusal = split(&cases, 0.15, 0.2).unwrap_err().to_string();
    assert!(
        refusal.starts_with("the test part of the matrix has 4 cases up to"),
        "{refusal}"
    );
    let refusal = split(&cases[..2], 0.15, 0.2).unwrap_err().to_string();
    assert!(refusal.contains("no case"), "{refusal}");
}

proptest! {
    #[test]
    fn no_case_and_no_instant_is_in_two_parts(
        seed in 0_u64..50,
        count in 20_usize..120,
        valid in 0.1_f64..0.3,
        test in 0.1_f64..0.3,
        every in 1_usize..5,
    ) {
        let mut cases = synthetic(count, seed).cases;
        // Several cases share each timestamp.
        for at in 0..count {
            cases[at].ts = cases[at / every * every].ts;
        }
        let cases = index_of(&cases).cases;
        if let Ok(parts) = split(&cases, valid, test) {
            prop_assert_eq!(parts.train.start, 0);
            prop_assert_eq!(parts.train.end, parts.valid.start);
            prop_assert_eq!(parts.valid.end, parts.test.start);
            prop_assert_eq!(parts.test.end, count);
            let ids = |part: &Range<usize>| -> HashSet<_> {
                cases[part.clone()].iter().map(|case| case.qid).collect()
            };
            prop_assert!(ids(&parts.train).is_disjoint(&ids(&parts.test)));
            prop_assert!(ids(&parts.train).is_disjoint(&ids(&parts.valid)));
            prop_assert!(cases[parts.train.end - 1].ts < cases[parts.valid.start].ts);
            prop_assert!(cases[parts.valid.end - 1].ts < cases[parts.test.start].ts);
        }
    }
}

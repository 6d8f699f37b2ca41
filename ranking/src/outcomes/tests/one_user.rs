//! What one user can do: count as one.

use super::*;

/// Cases by day, counted as the nightly run does: it finds out who came before.
fn counted(mut cases: Vec<(u64, Displayed)>) -> Vec<OutcomeDay> {
    let shown: Vec<(u64, Uuid, Option<Arm>)> = cases.iter().map(|(day, case)| (*day, case.user, case.arm())).collect();
    for (day, case) in &mut cases {
        let before = day.saturating_sub(REST_DAYS)..*day;
        let arm = case.arm();
        case.came_before = shown
            .iter()
            .any(|shown| before.contains(&shown.0) && (shown.1, shown.2) == (case.user, arm));
    }
    let mut days: BTreeMap<u64, Vec<Displayed>> = BTreeMap::new();
    for (day, case) in cases {
        days.entry(day).or_default().push(case);
    }
    days.into_iter()
        .map(|(day, cases)| count_day(date(day), &cases))
        .collect()
}

#[test]
fn one_user_decides_nothing_however_many_cases_on_however_many_days() {
    for place in [2, 3] {
        let mut cases = Vec::new();
        for day in 0..365 {
            let insistent = (0..50).map(|id| Displayed {
                user: Uuid::nil(),
                ..interleaved(id, Some(place))
            });
            cases.extend(insistent.map(|case| (day, case)));
            let others = (0..50).map(|id| displayed(u128::from(day) * 100 + id, Policy::Rung, Source::Legacy));
            cases.extend(others.map(|case| (day, case)));
        }
        let trial = trial(&counted(cases), |_| true, &RULES);
        assert_eq!(
            (trial.decided, trial.decided_by_others),
            (1, 0),
            "who never rests counts once"
        );
        assert_eq!(trial.verdict, Verdict::Undecided);
    }
}

#[test]
fn whoever_rests_between_two_cases_counts_again_and_is_still_one_user() {
    let case = |at: u64| {
        let user = Uuid::nil();
        (
            at * (REST_DAYS + 1),
            Displayed {
                user,
                ..interleaved(at.into(), Some(2))
            },
        )
    };
    let trial = trial(&counted((0..100).map(case).collect()), |_| true, &RULES);
    assert_eq!((trial.decided, trial.decided_by_others), (100, 0));
    assert_eq!(trial.verdict, Verdict::Undecided);
}

#[test]
fn thirty_users_and_one_more_decide_at_the_lowest_traffic() {
    // One case a day, each of another user, all for LTR; the legacy arm beside it.
    let day = |at: u64| {
        let legacy = displayed(1_000 + u128::from(at), Policy::Rung, Source::Legacy);
        [(at, interleaved(at.into(), Some(2))), (at, legacy)]
    };
    let cases = |days: u64| -> Vec<(u64, Displayed)> { (0..days).flat_map(day).collect() };
    let of = |days| trial(&counted(cases(days)), |_| true, &RULES);
    assert_eq!((of(30).decided_by_others, of(30).verdict), (29, Verdict::Undecided));
    assert_eq!((of(31).decided_by_others, of(31).verdict), (30, Verdict::Better));
}

/// Days on which the cases of a few users fall, within a trial.
fn days_of_cases() -> impl Strategy<Value = Vec<(u64, Displayed)>> {
    (cases(), prop::collection::vec(0..=REST_DAYS, 30)).prop_map(|(cases, days)| days.into_iter().zip(cases).collect())
}

proptest! {
    #[test]
    fn one_users_cases_move_a_trial_by_one_vote_at_most(
        others in days_of_cases(),
        own in prop::collection::vec((0..=REST_DAYS, 0..4_u32), 0..60),
    ) {
        let of = |cases: Vec<(u64, Displayed)>| trial(&counted(cases), |_| true, &RULES);
        let mut all = others.clone();
        all.extend((1_000..).zip(own).map(|(id, (day, place))| {
            let case = interleaved(id, (place > 0).then_some(place));
            (day, Displayed { user: Uuid::from_u128(99), ts_utc: DateTime::UNIX_EPOCH, ..case })
        }));
        let (without, with) = (of(others), of(all));
        prop_assert!(with.users - without.users <= 1, "{:?} {:?}", without, with);
        prop_assert!(with.decided - without.decided <= 1, "{:?} {:?}", without, with);
    }

    #[test]
    fn one_users_cases_move_each_arm_by_one_user_at_most(
        others in days_of_cases(),
        own in days_of_cases(),
    ) {
        let own = own.into_iter().map(|(day, case)| (day, Displayed { user: Uuid::from_u128(99), ..case }));
        let all: Vec<_> = others.iter().cloned().chain(own).collect();
        let users = |cases: Vec<(u64, Displayed)>| {
            let mut users: BTreeMap<Arm, u64> = BTreeMap::new();
            for (arm, counts) in counted(cases).iter().flat_map(|day| &day.arms) {
                *users.entry(*arm).or_default() += counts.users;
            }
            users
        };
        let (without, with) = (users(others), users(all));
        for (arm, users) in with {
            prop_assert!(users - without.get(&arm).copied().unwrap_or(0) <= 1, "{:?}", arm);
        }
    }
}

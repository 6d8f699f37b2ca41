use chrono::{DateTime, Utc};
use proptest::prelude::*;

use super::super::Sequential;
use super::*;
use crate::bootstrap::Interval;

const LEVEL: f64 = 0.05;

fn until() -> DateTime<Utc> {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn day(text: &str) -> Option<NaiveDate> {
    Some(text.parse().unwrap())
}

/// Ten days at 10 %: 40 cases and half a user with a contract a day, and an MRR gap that is far from decided.
fn early() -> Evidence {
    Evidence {
        cases: 400,
        days: 10.0,
        until: Some(until()),
        contracts: 5,
        users: 5,
        hit3_gain: Interval {
            estimate: 0.06,
            low: -0.3,
            high: 0.4,
        },
        hit3_gain_of_users: 0.06,
        mrr_sequence: Sequential {
            days: 5,
            users: 5,
            gap: Interval {
                estimate: 0.1,
                low: -0.5,
                high: 0.7,
            },
            square: 0.25,
            log_e: 0.0,
            highest_log_e: 0.0,
        },
        ..Evidence::default()
    }
}

fn of(plan: &Plan, share: f64) -> &Planned {
    plan.shares.iter().find(|planned| planned.share == share).unwrap()
}

#[test]
fn more_comparisons_bring_what_is_counted_sooner_and_days_pass_as_they_do() {
    let plan = plan(&early(), &Criteria::default(), LEVEL, 0.1).unwrap();
    assert_eq!(
        plan.shares.iter().map(|planned| planned.share).collect::<Vec<_>>(),
        SHARES
    );
    let now = &of(&plan, 0.1).criteria;
    // 4 of 14 days are missing, and 25 of 30 users at one in two days.
    assert_eq!(now["duration"], day("2026-11-24"));
    assert_eq!(now["users"], day("2027-01-09"));
    // Hit@3 is met, so that only the others are open. A bettor gains 0.1^2 / (2 * 0.25) = 0.02 a user of ln 20: 150
    // users.
    assert_eq!(
        now.keys().copied().collect::<Vec<_>>(),
        ["duration", "mrr_gap", "users"]
    );
    assert_eq!(now["mrr_gap"], day("2027-09-16"));
    let all = &of(&plan, 1.0).criteria;
    // 400 cases a day are 2,600 in 7 days, so that 14 days come first.
    assert_eq!(all["duration"], now["duration"]);
    assert_eq!(all["users"], day("2026-11-25"));
    assert_eq!(all["mrr_gap"], day("2026-12-20"));
    assert_eq!(of(&plan, 1.0).decidable_on, all["mrr_gap"]);
    assert_eq!(
        plan.sentence,
        "with 100 % compared instead of 10 %: about 2026-12-20 instead of about 2027-09-16"
    );
}

#[test]
fn enough_cases_stand_in_for_the_days_that_are_missing() {
    let mut evidence = early();
    evidence.cases = 1_000;
    // 1,000 cases a day instead of 100: the 2,000 that are missing come in 2 days.
    let plan = plan(&evidence, &Criteria::default(), LEVEL, 0.1).unwrap();
    assert_eq!(of(&plan, 0.1).criteria["duration"], day("2026-11-24"));
    assert_eq!(of(&plan, 1.0).criteria["duration"], day("2026-11-22"));
}

#[test]
fn where_days_decide_a_larger_share_promises_nothing() {
    let mut evidence = early();
    (evidence.users, evidence.mrr_sequence.highest_log_e) = (30, 9.0);
    let plan = plan(&evidence, &Criteria::default(), LEVEL, 0.2).unwrap();
    assert_eq!(
        plan.shares.iter().map(|p| p.share).collect::<Vec<_>>(),
        [0.1, 0.2, 0.25, 0.5, 1.0]
    );
    assert_eq!(
        plan.sentence,
        "with 20 % compared: about 2026-11-24; a larger share would not be sooner"
    );
}

#[test]
fn a_gain_below_what_is_asked_is_decided_once_its_interval_is_below_too() {
    let mut evidence = early();
    evidence.hit3_gain.estimate = 0.01;
    // The interval reaches 0.39 above 0.01, and must reach 0.04: 95 times as many contracts as 5.
    evidence.hit3_gain.high = 0.4;
    let plan = plan(&evidence, &Criteria::default(), LEVEL, 1.0).unwrap();
    let missing: f64 = 5.0 * ((0.39_f64 / 0.04).powi(2) - 1.0);
    let days = chrono::Days::new((missing / 0.5).ceil() as u64);
    assert_eq!(
        of(&plan, 1.0).criteria["hit3"],
        until().date_naive().checked_add_days(days)
    );
    // Nobody can say when a gain of nothing is decided, and then not when all is.
    evidence.mrr_sequence.gap.estimate = -0.01;
    let plan = super::plan(&evidence, &Criteria::default(), LEVEL, 1.0).unwrap();
    assert_eq!(of(&plan, 1.0).criteria["mrr_gap"], None);
    assert_eq!(of(&plan, 1.0).decidable_on, None);
    assert!(
        plan.sentence.contains("no day that can be foreseen"),
        "{}",
        plan.sentence
    );
}

#[test]
fn without_a_rate_or_without_an_open_criterion_there_is_no_plan() {
    let criteria = Criteria::default();
    assert_eq!(plan(&Evidence::default(), &criteria, LEVEL, 0.1), None);
    assert_eq!(plan(&early(), &criteria, LEVEL, 0.0), None);
    assert_eq!(plan(&early(), &criteria, LEVEL, f64::NAN), None);
    let mut decided = early();
    (decided.days, decided.users, decided.mrr_sequence.highest_log_e) = (14.0, 30, 9.0);
    assert_eq!(plan(&decided, &criteria, LEVEL, 0.1), None);
}

prop_compose! {
    fn any_evidence()(
        cases in 1u64..5_000, days in 0.0..30.0f64, counts in (0u64..60, 0u64..60, 0u64..60),
        hit3 in (-0.5..0.5f64, 0.0..0.5f64), mrr in (-0.3..0.3f64, 0.001..0.5f64, -2.0..3.0f64),
    ) -> Evidence {
        let (contracts, users, sequence) = counts;
        let mut evidence = early();
        (evidence.cases, evidence.days, evidence.contracts, evidence.users) = (cases, days, contracts, users);
        evidence.hit3_gain = Interval { estimate: hit3.0, low: hit3.0 - hit3.1, high: hit3.0 + hit3.1 };
        evidence.mrr_sequence.users = sequence;
        (evidence.mrr_sequence.gap.estimate, evidence.mrr_sequence.square, evidence.mrr_sequence.log_e) = mrr;
        evidence
    }
}

proptest! {
    #[test]
    fn todays_share_has_the_days_of_the_verdict_and_a_larger_one_is_never_later(
        evidence in any_evidence(), share in 0.01..=1.0f64
    ) {
        let criteria = Criteria::default();
        let Some(plan) = plan(&evidence, &criteria, LEVEL, share) else {
            return Ok(());
        };
        let now = of(&plan, share);
        for criterion in decide(&evidence, &criteria, LEVEL).criteria {
            let planned = now.criteria.get(criterion.name.as_ref());
            prop_assert_eq!(planned.is_some(), criterion.undecided && days_of(&criterion.name).is_some());
            if criterion.name != "hit3" {
                prop_assert_eq!(planned.copied().flatten(), criterion.decidable_on.filter(|_| planned.is_some()));
            }
        }
        for pair in plan.shares.windows(2) {
            prop_assert!(pair[0].share < pair[1].share);
            for (name, day) in &pair[0].criteria {
                let later = pair[1].criteria[name];
                prop_assert!(day.is_none_or(|day| later.is_some_and(|later| later <= day)), "{} {:?}", name, pair);
            }
        }
        for planned in &plan.shares {
            let last = planned.criteria.values().map(|day| day.unwrap_or(NaiveDate::MAX)).max();
            prop_assert_eq!(planned.decidable_on.unwrap_or(NaiveDate::MAX), last.unwrap());
        }
    }
}

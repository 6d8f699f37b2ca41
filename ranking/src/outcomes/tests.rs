use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::propensities::TossedPair;
use crate::statistics::simulated::{Binomial, Draws};

mod one_user;

const MODEL: &str = "20261001T021500Z";
const RULES: TrialRules = TrialRules {
    level: 0.05,
    confidence: 0.95,
    margin: 0.1,
};
const WATCH: WatchRules = WatchRules {
    baseline_users: 700,
    margin: 0.02,
    false_alarms: 0.05,
    confirm_days: 10,
};

fn date(day: u64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 10, 1).unwrap() + chrono::Days::new(day)
}

fn displayed(id: u128, policy: Policy, source: Source) -> Displayed {
    Displayed {
        case_id: Uuid::from_u128(id),
        user: Uuid::from_u128(1_000 + id),
        ts_utc: DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(id as i64),
        policy,
        source,
        model_version: (source != Source::Legacy).then(|| MODEL.to_owned()),
        drafted_by: Vec::new(),
        coin: None,
        acted: Vec::new(),
        came_before: false,
    }
}

/// An interleaved case whose client signed with the lawyer at this place.
fn interleaved(id: u128, signed: Option<u32>) -> Displayed {
    Displayed {
        drafted_by: vec![Source::Interleaved, Source::Ltr, Source::Legacy],
        acted: signed.map(|place| (place, Grade::Contracted)).into_iter().collect(),
        ..displayed(id, Policy::Interleaved, Source::Interleaved)
    }
}

fn signed(case: Displayed) -> Displayed {
    Displayed {
        acted: vec![(1, Grade::Clicked), (1, Grade::Contracted)],
        ..case
    }
}

#[test]
fn a_day_is_counted_by_arm_with_credit_to_the_ranking_that_brought_the_signed_lawyer_in() {
    let cases = [
        signed(displayed(1, Policy::Rung, Source::Ltr)),
        displayed(2, Policy::None, Source::Ltr),
        signed(displayed(3, Policy::Rung, Source::Legacy)),
        displayed(4, Policy::HoldOut, Source::Legacy),
        interleaved(5, Some(1)),
        interleaved(6, Some(2)),
        interleaved(7, Some(3)),
        interleaved(8, None),
        // A click is no preference, and a place that was not shown nobody's.
        Displayed {
            acted: vec![(2, Grade::Clicked), (9, Grade::Contracted)],
            ..interleaved(9, None)
        },
    ];
    let day = count_day(date(0), &cases);
    let counts = |users, contracts, tenths| ArmCounts {
        users,
        contracts,
        tenths,
    };
    let arms = [
        (Arm::Ltr, counts(2, 1, 10)),
        (Arm::Legacy, counts(1, 1, 10)),
        (Arm::HoldOut, counts(1, 0, 0)),
        (Arm::Interleaved, counts(5, 4, 40)),
    ];
    assert_eq!(day.arms, BTreeMap::from(arms));
    let credit = Credit {
        ltr: 1,
        neither: 3,
        legacy: 1,
    };
    assert_eq!(day.credit, BTreeMap::from([(MODEL.to_owned(), credit)]));
    assert_eq!(day.blocks, [(true, true, 1)]);
}

#[test]
fn nobody_is_compared_with_himself() {
    let cases = [
        // All got legacy; somebody asked; both rankings could not be shown fairly.
        displayed(1, Policy::None, Source::Legacy),
        displayed(2, Policy::Forced, Source::Ltr),
    ];
    let day = count_day(date(0), &cases);
    let one = ArmCounts {
        users: 1,
        ..ArmCounts::default()
    };
    assert_eq!(day.arms, BTreeMap::from([(Arm::Everybody, one)]));
    assert_eq!((day.credit.len(), day.blocks.len()), (0, 0));
    // LTR failed in an interleaved share: the arm is the one that was intended, and nobody's preference.
    let failed = signed(displayed(3, Policy::Interleaved, Source::Legacy));
    let day = count_day(date(0), &[failed]);
    assert_eq!(day.arms.keys().collect::<Vec<_>>(), [&Arm::Interleaved]);
    assert_eq!(day.credit, BTreeMap::new());
}

/// A case in whose share neighbours are swapped, clicked at these places.
fn swapped(id: u128, coin: Option<Coin>, clicked: &[u32]) -> Displayed {
    Displayed {
        coin,
        acted: clicked.iter().map(|place| (*place, Grade::Clicked)).collect(),
        ..displayed(id, Policy::Swap, Source::Legacy)
    }
}

const COIN: Coin = Coin {
    pair: [1, 2],
    swapped: true,
    probability: 0.5,
};

fn pair(pair: [u32; 2], tosses: u64, clicks: [u64; 2]) -> TossedPair {
    TossedPair { pair, tosses, clicks }
}

#[test]
fn tossed_coins_are_counted_with_the_clicks_at_their_places_and_outside_the_arms() {
    let of = |case: Displayed, user: u128| Displayed {
        user: Uuid::from_u128(user),
        ..case
    };
    let cases = [
        swapped(1, Some(COIN), &[2, 2, 5]),
        swapped(2, Some(Coin { swapped: false, ..COIN }), &[1, 2]),
        signed(swapped(3, Some(Coin { pair: [3, 2], ..COIN }), &[])),
        // The re-rank's promises allowed no toss; the next case of this user does.
        of(swapped(4, None, &[1]), 7),
        of(swapped(5, Some(COIN), &[]), 7),
        // A user counts once a day, and a coin that was not fair never.
        of(swapped(6, Some(COIN), &[1, 2]), 7),
        swapped(
            8,
            Some(Coin {
                probability: 0.3,
                ..COIN
            }),
            &[1],
        ),
    ];
    let day = count_day(date(0), &cases);
    assert_eq!(day.swaps.pairs(), [pair([1, 2], 3, [1, 2]), pair([2, 3], 1, [0, 0])]);
    assert_eq!(
        day.arms,
        BTreeMap::new(),
        "whole rankings are compared with whole rankings"
    );
    assert_eq!((day.places, day.drafts), (PlaceClicks::default(), Swaps::default()));
}

#[test]
fn the_coins_of_drafts_are_counted_beside_and_clicks_by_place_where_nothing_was_left_to_chance() {
    let cases = [
        // Legacy and LTR stand at 2 and 3 by a coin.
        interleaved(1, Some(2)),
        interleaved(2, None),
        displayed(3, Policy::Interleaved, Source::Legacy),
        signed(displayed(4, Policy::Rung, Source::Ltr)),
        signed(displayed(5, Policy::HoldOut, Source::Legacy)),
        displayed(6, Policy::None, Source::Legacy),
    ];
    let day = count_day(date(0), &cases);
    assert_eq!(day.drafts.pairs(), [pair([2, 3], 2, [1, 0])]);
    assert_eq!(day.swaps, Swaps::default());
    assert_eq!((day.places.users, &day.places.clicks), (3, &vec![2]));
    // Who came before counts for no arm, and looks at the places all the same.
    let again = cases.clone().map(|case| Displayed {
        came_before: true,
        ..case
    });
    let again = count_day(date(0), &again);
    assert_eq!(
        (again.arms.len(), again.drafts, again.places),
        (0, Swaps::default(), day.places.clone())
    );
    assert_eq!((day.places.rate(1), day.places.rate(2)), (2.0 / 3.0, 0.0));
}

#[test]
fn a_day_that_was_stored_before_coins_were_counted_is_read() {
    let stored = r#"{"date":"2026-10-01","arms":{},"credit":{},"blocks":[]}"#;
    assert_eq!(
        serde_json::from_str::<OutcomeDay>(stored).unwrap(),
        OutcomeDay::new(date(0))
    );
}

/// Cases of a few users, in every arm.
fn cases() -> impl Strategy<Value = Vec<Displayed>> {
    let arm = prop::sample::select(vec![
        (Policy::Rung, Source::Ltr),
        (Policy::Rung, Source::Legacy),
        (Policy::HoldOut, Source::Legacy),
        (Policy::None, Source::Legacy),
        (Policy::Interleaved, Source::Interleaved),
        (Policy::Swap, Source::Ltr),
    ]);
    let case = (arm, 0..6_u128, 0..4_u32, any::<bool>());
    let case = case.prop_map(|((policy, source), user, place, is_tossed)| Displayed {
        coin: (policy == Policy::Swap && is_tossed).then_some(COIN),
        user: Uuid::from_u128(user),
        acted: (place > 0).then_some((place, Grade::Contracted)).into_iter().collect(),
        drafted_by: vec![Source::Legacy, Source::Ltr, Source::Interleaved],
        ..displayed(0, policy, source)
    });
    prop::collection::vec(case, 0..30).prop_map(|mut cases| {
        for (id, case) in (0..).zip(&mut cases) {
            // Some at the same time.
            case.case_id = Uuid::from_u128(id);
            case.ts_utc = DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(id as i64 / 3);
        }
        cases
    })
}

proptest! {
    #[test]
    fn the_order_of_the_cases_changes_nothing(cases in cases(), by in any::<u64>()) {
        let mut shuffled = cases.clone();
        let mut draws = Draws::new(by);
        for last in (1..shuffled.len()).rev() {
            shuffled.swap(last, draws.below(last + 1));
        }
        let day = count_day(date(0), &cases);
        prop_assert_eq!(&count_day(date(0), &shuffled), &day);
        let stored: OutcomeDay = serde_json::from_str(&serde_json::to_string(&day).unwrap()).unwrap();
        prop_assert_eq!(stored, day);
    }

    #[test]
    fn a_user_counts_once_a_day_in_an_arm(cases in cases()) {
        let day = count_day(date(0), &cases);
        for (arm, counts) in &day.arms {
            let of_arm = cases.iter().filter(|case| case.arm() == Some(*arm));
            let users: BTreeSet<Uuid> = of_arm.map(|case| case.user).collect();
            prop_assert_eq!(counts.users, users.len() as u64);
            prop_assert!(counts.contracts <= counts.users);
        }
        let tossed = cases.iter().filter(|case| case.coin.is_some());
        let users: BTreeSet<Uuid> = tossed.map(|case| case.user).collect();
        prop_assert_eq!(day.swaps.tosses(), users.len() as u64);
        // Later cases of the same users change nothing.
        let mut more = cases.clone();
        for case in &cases {
            let mut again = signed(case.clone());
            again.case_id = Uuid::from_u128(u128::MAX - case.case_id.as_u128());
            again.ts_utc += chrono::TimeDelta::hours(1);
            more.push(again);
        }
        prop_assert_eq!(count_day(date(0), &more), day);
    }
}

/// A market of days: 100 users interleaved and 100 legacy. `prefer`: of those who sign with somebody whom one of the two
/// brought in (20 of 100, on average), the share who sign with LTR's. `contracts`: by arm, legacy's and the interleaved one's.
struct Clients {
    draws: Draws,
    decided: Binomial,
    contracts: [Binomial; 2],
    prefer: f64,
}

impl Clients {
    fn new(seed: u64, prefer: f64, contracts: [f64; 2]) -> Clients {
        Clients {
            draws: Draws::new(seed),
            decided: Binomial::new(100, 0.2),
            contracts: contracts.map(|share| Binomial::new(100, share)),
            prefer,
        }
    }

    fn day(&mut self, at: u64) -> OutcomeDay {
        let decided = self.decided.draw(&mut self.draws);
        let ltr = (0..decided).filter(|_| self.draws.uniform() < self.prefer).count() as u64;
        let [legacy, interleaved] = [0, 1].map(|arm| self.contracts[arm].draw(&mut self.draws));
        // Which user of a block signed is independent of the other's.
        let both = (legacy * interleaved + 50) / 100;
        let credit = Credit {
            ltr,
            neither: 100 - decided,
            legacy: decided - ltr,
        };
        let arms = [(Arm::Legacy, legacy), (Arm::Interleaved, interleaved)].map(|(arm, contracts)| {
            let counts = ArmCounts {
                users: 100,
                contracts,
                tenths: contracts * 10,
            };
            (arm, counts)
        });
        OutcomeDay {
            arms: arms.into(),
            credit: BTreeMap::from([(MODEL.to_owned(), credit)]),
            blocks: vec![
                (true, true, both),
                (true, false, legacy - both),
                (false, true, interleaved - both),
                (false, false, 100 + both - legacy - interleaved),
            ],
            ..OutcomeDay::new(date(at))
        }
    }

    fn days(&mut self, days: u64) -> Vec<OutcomeDay> {
        (0..days).map(|at| self.day(at)).collect()
    }
}

fn verdict(days: &[OutcomeDay]) -> Verdict {
    trial(days, |version| version == MODEL, &RULES).verdict
}

#[test]
fn a_better_ranking_is_promoted_within_weeks_and_a_worse_one_rejected() {
    for seed in 0..50 {
        let better = verdict(&Clients::new(seed, 0.65, [0.50, 0.52]).days(40));
        assert_eq!(better, Verdict::Better, "seed {seed}");
        let worse = verdict(&Clients::new(seed, 0.35, [0.50, 0.48]).days(40));
        assert_eq!(worse, Verdict::Worse, "seed {seed}");
    }
}

#[test]
fn of_equal_rankings_at_most_one_in_twenty_is_promoted_and_one_in_twenty_rejected() {
    let mut counts = [0, 0];
    for seed in 0..400 {
        // The verdict of all days so far, as it is looked at each day.
        match verdict(&Clients::new(seed, 0.5, [0.5, 0.5]).days(60)) {
            Verdict::Better => counts[0] += 1,
            Verdict::Worse => counts[1] += 1,
            Verdict::Undecided => {}
        }
    }
    // 20 expected at most; three standard deviations above it.
    assert!(counts.iter().all(|count| *count <= 33), "{counts:?}");
}

#[test]
fn a_ranking_that_clients_prefer_and_that_costs_contracts_is_not_promoted() {
    let days = Clients::new(1, 0.7, [0.60, 0.40]).days(60);
    let trial = trial(&days, |_| true, &RULES);
    assert!(trial.log_e[0] > 10.0, "{trial:?}");
    assert_eq!(trial.verdict, Verdict::Undecided);
    assert!(trial.contracts.high < -0.1, "{trial:?}");
}

#[test]
fn the_credit_of_other_versions_does_not_count() {
    let mut days = Clients::new(1, 0.7, [0.5, 0.5]).days(40);
    for day in &mut days {
        let others = day.credit.remove(MODEL).unwrap();
        day.credit.insert("another".to_owned(), others);
    }
    let trial = trial(&days, |version| version == MODEL, &RULES);
    assert_eq!((trial.users, trial.decided, trial.verdict), (0, 0, Verdict::Undecided));
}

/// Days of 285 users whom LTR answers, with this share of contracts.
fn live(draws: &mut Draws, share: f64, days: u64) -> Vec<OutcomeDay> {
    let contracts = Binomial::new(285, share);
    let day = |at| {
        let contracts = contracts.draw(draws);
        let counts = ArmCounts {
            users: 285,
            contracts,
            tenths: 10 * contracts,
        };
        OutcomeDay {
            arms: BTreeMap::from([(Arm::Ltr, counts)]),
            ..OutcomeDay::new(date(at))
        }
    };
    (0..days).map(day).collect()
}

#[test]
fn a_fall_of_ten_points_is_suspected_within_days_and_a_steady_rate_is_not() {
    let mut took: Vec<u64> = Vec::new();
    for seed in 0..200 {
        let mut draws = Draws::new(seed);
        let mut days = live(&mut draws, 0.7, 60);
        let before = suspect(&[], &days, &WATCH);
        assert!(!before.is_raised, "seed {seed}: {before:?}");
        days.extend(live(&mut draws, 0.6, 30));
        let raised = (1..=30).find(|fell| suspect(&[], &days[..60 + fell], &WATCH).is_raised);
        took.push(raised.expect("it is found") as u64);
    }
    took.sort_unstable();
    println!("days: median {}, p90 {}, p95 {}", took[99], took[179], took[189]);
    // In nine of ten within 1,425 users.
    assert!(took[179] <= 5, "{took:?}");
}

#[test]
fn the_usual_rate_is_known_from_whole_days_and_grows_to_an_end_but_not_by_the_last_days() {
    let mut draws = Draws::new(1);
    let days = live(&mut draws, 0.7, 100);
    let users = |known: usize| suspect(&[], &days[..known], &WATCH).baseline_users / 285;
    assert_eq!((users(3), users(17), users(18), users(30)), (3, 3, 4, 16));
    assert_eq!((users(63), users(64), users(100)), (49, 50, 50), "14,250 users");
    // A slow decline of more than ten points is found all the same.
    let mut declining: Vec<OutcomeDay> = live(&mut draws, 0.7, 60);
    for week in 0..20 {
        declining.extend(live(&mut draws, 0.7 - 0.01 * f64::from(week), 7));
    }
    assert!(suspect(&[], &declining, &WATCH).is_raised);
}

#[test]
fn a_steady_rate_is_suspected_in_one_year_of_twenty_at_most() {
    let raised = (0..200).filter(|seed| suspect(&[], &live(&mut Draws::new(*seed), 0.7, 365), &WATCH).is_raised);
    let raised = raised.count();
    // 10 expected at most; three standard deviations above it.
    assert!(raised <= 19, "{raised} of 200 years");
}

#[test]
fn a_model_that_was_never_any_good_is_found_by_what_legacy_did_before() {
    let everybody = |days: Vec<OutcomeDay>| -> Vec<OutcomeDay> {
        let as_legacy = |mut day: OutcomeDay| {
            day.arms = day.arms.into_values().map(|counts| (Arm::Everybody, counts)).collect();
            day
        };
        days.into_iter().map(as_legacy).collect()
    };
    for seed in 0..50 {
        let mut draws = Draws::new(seed);
        let before = everybody(live(&mut draws, 0.75, 14));
        let bad = live(&mut draws, 0.57, 5);
        let raised = (1..=5).find(|day| suspect(&before, &bad[..*day], &WATCH).is_raised);
        assert!(raised.is_some_and(|day| day <= 2), "seed {seed}: {raised:?}");
        assert_eq!(suspect(&before, &bad, &WATCH).reference, Reference::Legacy);
        assert!(!suspect(&[], &bad, &WATCH).is_raised, "it has no better days");
        let good = live(&mut draws, 0.76, 60);
        assert!(!suspect(&before, &good, &WATCH).is_raised, "seed {seed}");
    }
}

#[test]
fn without_a_usual_rate_nothing_is_suspected() {
    let mut draws = Draws::new(1);
    let days = live(&mut draws, 0.7, 2);
    let alarm = suspect(&[], &days, &WATCH);
    assert_eq!((alarm.baseline_users, alarm.users, alarm.is_raised), (0, 0, false));
    assert_eq!(suspect(&[], &[], &WATCH).log_evidence, 0.0);
}

#[test]
fn the_hold_out_and_the_rest_of_a_rung_are_not_ltrs_outcomes() {
    let mut draws = Draws::new(1);
    let mut days = live(&mut draws, 0.7, 10);
    let alone = suspect(&[], &days, &WATCH);
    for day in &mut days {
        let counts = day.arms[&Arm::Ltr];
        day.arms.insert(Arm::HoldOut, ArmCounts { contracts: 0, ..counts });
        day.arms.insert(Arm::Legacy, ArmCounts { contracts: 0, ..counts });
    }
    assert_eq!(suspect(&[], &days, &WATCH), alone);
}

fn confirmed(days: &[OutcomeDay]) -> Option<bool> {
    confirm(&days.iter().collect::<Vec<_>>(), &WATCH, &RULES).0
}

#[test]
fn a_ranking_that_got_worse_is_confirmed_and_a_dip_of_the_market_is_cleared() {
    for seed in 0..50 {
        assert_eq!(confirmed(&Clients::new(seed, 0.3, [0.7, 0.6]).days(10)), Some(true));
        // Everybody signs less, and LTR is still preferred.
        assert_eq!(confirmed(&Clients::new(seed, 0.65, [0.4, 0.42]).days(10)), Some(false));
    }
}

#[test]
fn a_suspicion_is_decided_at_the_end_of_its_days_and_then_for_the_safe_side() {
    assert_eq!(confirmed(&[]), None);
    let days: Vec<OutcomeDay> = (0..10).map(|at| OutcomeDay::new(date(at))).collect();
    assert_eq!(confirmed(&days[..9]), None);
    assert_eq!(confirmed(&days), Some(true), "legacy is the safe side");
}

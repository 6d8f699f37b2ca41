use proptest::prelude::*;

use chrono::NaiveDate;

use super::*;

/// Of the test of the MRR gap.
const LEVEL: f64 = 0.05;

/// A shadow request in which `hired` of five lawyers signed; LTR has them at `ltr`, legacy at `legacy`.
fn case(number: u128, legacy: u16, ltr: u16) -> ShadowCase {
    let place = |lawyer: u16, hired_at: u16| match lawyer {
        0 => hired_at,
        other if other < hired_at => other,
        other => other + 1,
    };
    ShadowCase {
        request_id: Uuid::from_u128(1_000_000 + number),
        case_id: Uuid::from_u128(number),
        user: Some(Uuid::from_u128(number)),
        ts_utc: DateTime::from_timestamp(1_767_225_600 + 3600 * number as i64, 0).unwrap(),
        score_us: Some(800),
        outcome: ShadowOutcome::Scored,
        rows: (0..6)
            .map(|lawyer| ShadowRow {
                lawyer_id: format!("adv_{lawyer}"),
                rank_legacy: place(lawyer, legacy),
                rank_ltr: Some(place(lawyer, ltr)),
                label: Some(if lawyer == 0 { 1.0 } else { 0.0 }),
                fair_legacy: 0.5,
                fair_ltr: Some(0.5),
                groups: BTreeMap::from([("gender".into(), if lawyer % 2 == 0 { "F" } else { "M" }.into())]),
            })
            .collect(),
    }
}

fn criteria() -> Criteria {
    Criteria {
        resamples: 200,
        ..Criteria::default()
    }
}

/// Three weeks, in which LTR finds the hired lawyer first and legacy fourth, but for every tenth case.
fn good() -> Vec<ShadowCase> {
    (0..504)
        .map(|i| if i % 10 == 0 { case(i, 1, 2) } else { case(i, 4, 1) })
        .collect()
}

fn failed(evidence: &Evidence) -> Vec<String> {
    let verdict = decide(evidence, &criteria(), LEVEL);
    assert_eq!(verdict.criteria.len(), 6);
    assert_eq!(verdict.promote, verdict.criteria.iter().all(|c| c.passed));
    let failed = crate::criterion::failed(&verdict.criteria);
    failed.into_iter().map(str::to_owned).collect()
}

#[test]
fn a_challenger_that_is_better_in_every_respect_is_promoted() {
    let evidence = gather(&good(), &criteria());
    assert_eq!((evidence.cases, evidence.contracts, evidence.fallbacks), (504, 504, 0));
    assert!((evidence.days - 503.0 / 24.0).abs() < 1e-9);
    assert!((evidence.hit3_legacy - 51.0 / 504.0).abs() < 1e-12);
    assert_eq!(evidence.hit3_ltr, 1.0);
    assert!((evidence.mrr_gap.estimate - (evidence.mrr_ltr - evidence.mrr_legacy)).abs() < 1e-12);
    assert_eq!(evidence.latency_p95_ms, Some(0.8));
    assert!(failed(&evidence).is_empty());
}

#[test]
fn each_criterion_alone_stops_the_promotion() {
    let evidence = gather(&good(), &criteria());
    let spoil = |how: fn(&mut Evidence)| {
        let mut evidence = evidence.clone();
        how(&mut evidence);
        failed(&evidence)
    };
    assert_eq!(spoil(|e| e.days = 13.9), ["duration"]);
    assert_eq!(spoil(|e| e.hit3_gain.estimate = 0.049), ["hit3"]);
    assert_eq!(spoil(|e| e.users = 29), ["users"]);
    assert_eq!(spoil(|e| e.mrr_sequence.highest_log_e = 2.9), ["mrr_gap"]);
    assert_eq!(spoil(|e| e.fair_gap_ltr = e.fair_gap_legacy + 0.021), ["fair_gap"]);
    assert_eq!(spoil(|e| e.latency_p95_ms = Some(15.0)), ["latency"]);
    assert_eq!(spoil(|e| e.latency_p95_ms = None), ["latency"]);
}

#[test]
fn thresholds_met_exactly_are_met() {
    let mut evidence = gather(&good(), &criteria());
    evidence.days = 14.0;
    evidence.hit3_gain.estimate = 0.35 - 0.30;
    (evidence.fair_gap_legacy, evidence.fair_gap_ltr) = (0.03, 0.05);
    evidence.latency_p95_ms = Some(14.999);
    assert!(failed(&evidence).is_empty());
}

#[test]
fn many_cases_stand_in_for_many_days() {
    let mut evidence = gather(&good(), &criteria());
    (evidence.days, evidence.cases) = (2.0, 3000);
    assert!(failed(&evidence).is_empty());
    evidence.cases = 2999;
    assert_eq!(failed(&evidence), ["duration"]);
}

#[test]
fn without_evidence_nothing_is_promoted_and_nothing_is_nan() {
    let nothing = gather(&[], &criteria());
    assert_eq!(
        failed(&nothing),
        ["duration", "users", "hit3", "mrr_gap", "fair_gap", "latency"]
    );
    let mut unlabelled = good();
    for row in unlabelled.iter_mut().flat_map(|c| &mut c.rows) {
        row.label = Some(0.6);
    }
    let no_contract = gather(&unlabelled, &criteria());
    assert_eq!(failed(&no_contract), ["users", "hit3", "mrr_gap"]);
    // Not even where the thresholds ask for nothing.
    let lax = Criteria {
        hit3_gain: -1.0,
        min_days: 0.0,
        ..criteria()
    };
    assert!(!decide(&no_contract, &lax, LEVEL).promote && !decide(&nothing, &lax, LEVEL).promote);
    for evidence in [nothing, no_contract] {
        let json = serde_json::to_string(&(&evidence, decide(&evidence, &criteria(), LEVEL))).unwrap();
        assert!(!json.to_lowercase().contains("nan") && !json.contains("inf"), "{json}");
        let json = serde_json::to_value(&evidence).unwrap();
        let numbers = json
            .as_object()
            .unwrap()
            .iter()
            .filter(|(key, _)| !["latency_p95_ms", "until"].contains(&key.as_str()));
        assert!(numbers.into_iter().all(|(_, value)| !value.is_null()), "{json}");
    }
}

#[test]
fn where_the_challenger_failed_legacy_counts_as_its_answer() {
    let mut cases = good();
    for case in &mut cases {
        case.outcome = ShadowOutcome::Unscored(crate::Unscored::Timeout);
        // Whatever is left of an answer does not count.
        case.score_us = Some(1);
    }
    let evidence = gather(&cases, &criteria());
    assert_eq!(evidence.fallbacks, 504);
    assert_eq!(evidence.hit3_ltr, evidence.hit3_legacy);
    assert_eq!(evidence.mrr_gap, Interval::point(0.0));
    assert_eq!(evidence.latency_p95_ms, None);
    for row in cases.iter_mut().flat_map(|c| &mut c.rows) {
        (row.rank_ltr, row.fair_ltr) = (None, None);
    }
    assert_eq!(gather(&cases, &criteria()).hit3_ltr, evidence.hit3_legacy);
}

#[test]
fn a_case_asked_for_twice_counts_once_with_its_best_ranks() {
    let mut again = case(1, 2, 5);
    again.request_id = Uuid::from_u128(77);
    let evidence = gather(&[case(1, 4, 1), again], &criteria());
    assert_eq!((evidence.cases, evidence.contracts), (1, 1));
    assert_eq!((evidence.hit3_legacy, evidence.hit3_ltr), (1.0, 1.0));
    assert_eq!((evidence.mrr_legacy, evidence.mrr_ltr), (0.5, 1.0));
}

#[test]
fn the_order_cases_come_in_does_not_matter() {
    let cases = good();
    let mut reversed = cases.clone();
    reversed.reverse();
    let (a, b) = (gather(&cases, &criteria()), gather(&reversed, &criteria()));
    assert_eq!((a.hit3_gain, a.mrr_gap, a.days), (b.hit3_gain, b.mrr_gap, b.days));
}

#[test]
fn latency_is_the_95th_percentile_of_what_the_challenger_scored() {
    let mut cases: Vec<ShadowCase> = (0..21).map(|i| case(i, 1, 1)).collect();
    cases[7].score_us = Some(90_000);
    assert_eq!(gather(&cases, &criteria()).latency_p95_ms, Some(0.8));
    cases[8].score_us = Some(20_000);
    assert_eq!(gather(&cases, &criteria()).latency_p95_ms, Some(20.0));
    for slow in [7, 8] {
        cases[slow].outcome = ShadowOutcome::Unscored(crate::Unscored::Timeout);
    }
    assert_eq!(gather(&cases, &criteria()).latency_p95_ms, Some(0.8));
}

#[test]
fn the_fair_gap_compares_groups_arm_by_arm() {
    let mut cases = good();
    for row in cases.iter_mut().flat_map(|c| &mut c.rows) {
        if row.groups["gender"] == "F" {
            row.fair_ltr = Some(0.58);
        }
    }
    let evidence = gather(&cases, &criteria());
    assert_eq!(evidence.fair_gap_legacy, 0.0);
    assert!((evidence.fair_gap_ltr - 0.08).abs() < 1e-9);
    assert_eq!(failed(&evidence), ["fair_gap"]);
}

/// The evidence by its definition, with everything in memory; `fair_gap_*` are sums in the order of the rows.
fn defined(cases: &[ShadowCase], criteria: &Criteria) -> Evidence {
    let served = |case: &ShadowCase| case.outcome.is_scored();
    let mut best: BTreeMap<Uuid, (u16, u16)> = BTreeMap::new();
    for case in cases {
        for row in case.rows.iter().filter(|row| row.label == Some(1.0)) {
            let ltr = row.rank_ltr.filter(|_| served(case)).unwrap_or(row.rank_legacy);
            let pair = best.entry(case.case_id).or_insert((row.rank_legacy, ltr));
            *pair = (pair.0.min(row.rank_legacy), pair.1.min(ltr));
        }
    }
    let hit = |rank: u16| if rank <= 3 { 1.0 } else { 0.0 };
    let reciprocal = |rank: u16| 1.0 / f64::from(rank);
    let firsts = first_of_users(cases);
    let pairs: Vec<(u16, u16)> = best.into_values().collect();
    let mean = |of: &dyn Fn(&(u16, u16)) -> f64| crate::statistics::mean(pairs.iter().map(of));
    let interval = |of: &dyn Fn(&(u16, u16)) -> f64| {
        let values: Vec<f64> = pairs.iter().map(of).collect();
        let of_draw = |units: &[usize]| crate::statistics::mean(units.iter().map(|&unit| values[unit]));
        crate::bootstrap(
            values.len(),
            criteria.resamples,
            criteria.confidence,
            criteria.seed,
            of_draw,
        )
    };
    let times = || cases.iter().map(|case| case.ts_utc);
    let gap = |score: &dyn Fn(&ShadowCase, &ShadowRow) -> f64| defined_gap(cases, criteria.fair_min_rows, score);
    let scored = cases.iter().filter(|case| served(case));
    let mut ms: Vec<f64> = scored
        .filter_map(|case| Some(f64::from(case.score_us?) / 1000.0))
        .collect();
    ms.sort_by(f64::total_cmp);
    Evidence {
        cases: cases
            .iter()
            .map(|case| case.case_id)
            .collect::<std::collections::BTreeSet<_>>()
            .len() as u64,
        days: times().max().map_or(0.0, |last| {
            (last - times().min().unwrap()).num_milliseconds() as f64 / 86_400_000.0
        }),
        contracts: pairs.len() as u64,
        users: firsts.len() as u64,
        until: times().max(),
        mrr_sequence: defined_sequence(&firsts, criteria),
        fallbacks: cases.iter().filter(|case| !served(case)).count() as u64,
        hit3_legacy: mean(&|p| hit(p.0)),
        hit3_ltr: mean(&|p| hit(p.1)),
        hit3_gain: interval(&|p| hit(p.1) - hit(p.0)),
        hit3_gain_of_users: crate::statistics::mean(firsts.values().map(|(_, p)| hit(p.1) - hit(p.0))),
        mrr_legacy: mean(&|p| reciprocal(p.0)),
        mrr_ltr: mean(&|p| reciprocal(p.1)),
        mrr_gap: interval(&|p| reciprocal(p.1) - reciprocal(p.0)),
        fair_gap_legacy: gap(&|_, row| row.fair_legacy),
        fair_gap_ltr: gap(&|case, row| row.fair_ltr.filter(|_| served(case)).unwrap_or(row.fair_legacy)),
        latency_p95_ms: crate::statistics::quantile(&ms, 0.95),
    }
}

/// By user's fingerprint: the day and the ranks of the contract that counts.
type Firsts = BTreeMap<[u8; 6], (NaiveDate, (u16, u16))>;

fn first_of_users(cases: &[ShadowCase]) -> Firsts {
    type First = (NaiveDate, (u16, u16));
    let mut of_users: BTreeMap<([u8; 6], Uuid), First> = BTreeMap::new();
    for case in cases {
        let user = xxhash_rust::xxh64::xxh64(case.user.unwrap_or(case.case_id).as_bytes(), 0).to_be_bytes();
        let [user @ .., _, _] = user;
        for row in case.rows.iter().filter(|row| row.label == Some(1.0)) {
            let ltr = row
                .rank_ltr
                .filter(|_| case.outcome.is_scored())
                .unwrap_or(row.rank_legacy);
            let date = case.ts_utc.date_naive();
            let kept = of_users
                .entry((user, case.case_id))
                .or_insert((date, (row.rank_legacy, ltr)));
            kept.0 = kept.0.min(date);
            kept.1 = (kept.1.0.min(row.rank_legacy), kept.1.1.min(ltr));
        }
    }
    let mut firsts = Firsts::new();
    for ((user, _), contract) in of_users {
        let first = firsts.entry(user).or_insert(contract);
        if contract.0 < first.0 {
            *first = contract;
        }
    }
    firsts
}

fn defined_sequence(firsts: &Firsts, criteria: &Criteria) -> Sequential {
    let mut days: BTreeMap<NaiveDate, BTreeMap<(u16, u16), u64>> = BTreeMap::new();
    for (date, ranks) in firsts.values() {
        *days.entry(*date).or_default().entry(*ranks).or_default() += 1;
    }
    let mut sequencing = Sequencing::new(criteria.confidence);
    for (date, counts) in days {
        let ranks = counts
            .into_iter()
            .map(|((legacy, ltr), users)| (legacy, ltr, users))
            .collect();
        sequencing.add(&ContractDay { date, ranks });
    }
    sequencing.so_far()
}

fn defined_gap(cases: &[ShadowCase], min_rows: usize, score: &dyn Fn(&ShadowCase, &ShadowRow) -> f64) -> f64 {
    let mut groups: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (case, row) in cases
        .iter()
        .flat_map(|case| case.rows.iter().map(move |row| (case, row)))
    {
        let (sum, rows) = groups.entry(&row.groups["gender"]).or_default();
        (*sum, *rows) = (*sum + score(case, row), *rows + 1.0);
    }
    groups.retain(|_, (_, rows)| *rows >= min_rows as f64);
    let means: Vec<f64> = groups.into_values().map(|(sum, rows)| sum / rows).collect();
    let high = means.iter().copied().reduce(f64::max).unwrap_or(0.0);
    high - means.iter().copied().reduce(f64::min).unwrap_or(0.0)
}

fn any_case() -> impl Strategy<Value = ShadowCase> {
    let row = (
        1u16..40,
        proptest::option::of(1u16..40),
        proptest::sample::select(vec![Some(0.0f32), Some(0.6), Some(1.0), None]),
        (-5.0f64..5.0, proptest::option::of(-5.0f64..5.0)),
        0..3,
    );
    let rows = proptest::collection::vec(row, 0..6);
    let score_us = proptest::option::of(0u32..200_000);
    let user = proptest::option::of(0u128..4);
    (
        0u128..25,
        user,
        0i64..5 * 86_400_000,
        score_us,
        proptest::bool::weighted(0.8),
        rows,
    )
        .prop_map(|(id, user, ts, score_us, is_scored, rows)| ShadowCase {
            request_id: Uuid::nil(),
            case_id: Uuid::from_u128(id),
            user: user.map(Uuid::from_u128),
            ts_utc: DateTime::from_timestamp_millis(ts).unwrap(),
            score_us,
            outcome: if is_scored {
                ShadowOutcome::Scored
            } else {
                ShadowOutcome::Unscored(crate::Unscored::Timeout)
            },
            rows: rows
                .into_iter()
                .map(
                    |(rank_legacy, rank_ltr, label, (fair_legacy, fair_ltr), group)| ShadowRow {
                        lawyer_id: String::new(),
                        rank_legacy,
                        rank_ltr,
                        label,
                        fair_legacy,
                        fair_ltr,
                        groups: BTreeMap::from([("gender".into(), format!("g{group}"))]),
                    },
                )
                .collect(),
        })
}

#[test]
fn one_user_is_no_evidence_however_many_cases_they_have() {
    let mut cases = good();
    cases.iter_mut().for_each(|case| case.user = Some(Uuid::from_u128(1)));
    let evidence = gather(&cases, &criteria());
    assert_eq!((evidence.contracts, evidence.users), (504, 1));
    assert_eq!(evidence.mrr_sequence.users, 1, "once, on the first of 21 days");
    assert_eq!(failed(&evidence), ["users", "hit3", "mrr_gap"]);
}

#[test]
fn one_user_among_others_tips_no_verdict() {
    // 40 users for whom both rankings are alike, and one with 500 cases in which LTR alone finds the lawyer.
    let mut cases: Vec<ShadowCase> = (0..40).map(|number| case(10 * number, 2, 2)).collect();
    let insistent = |number: u128| ShadowCase {
        user: Some(Uuid::from_u128(7)),
        ..case(1_000 + number, 4, 1)
    };
    cases.extend((0..500).map(insistent));
    let evidence = gather(&cases, &criteria());
    assert_eq!((evidence.users, evidence.mrr_sequence.users), (41, 41));
    assert!(evidence.hit3_gain.estimate > 0.9, "{evidence:?}");
    assert!(evidence.hit3_gain_of_users <= 1.0 / 41.0, "{evidence:?}");
    assert_eq!(failed(&evidence), ["hit3", "mrr_gap"]);
}

#[test]
fn who_has_somebody_elses_case_compared_says_nothing_in_the_others_name() {
    let own: Vec<ShadowCase> = (0..40).map(|number| case(number, 2, 4)).collect();
    let mut cases = own.clone();
    cases.extend((0..40).map(|number| ShadowCase {
        user: Some(Uuid::from_u128(7_000)),
        request_id: Uuid::from_u128(number),
        ..case(number, 5, 1)
    }));
    let (alone, with) = (gather(&own, &criteria()), gather(&cases, &criteria()));
    assert_eq!((with.cases, with.users), (alone.cases, alone.users + 1));
    assert_eq!(with.mrr_sequence.users, alone.mrr_sequence.users + 1);
    assert!((with.hit3_gain_of_users - (alone.hit3_gain_of_users * 40.0 + 1.0) / 41.0).abs() < 1e-12);
}

#[test]
fn a_day_is_counted_once_whatever_the_log_says_later() {
    let day = |number: i64| {
        DateTime::from_timestamp(1_767_225_600 + 86_400 * number, 0)
            .unwrap()
            .date_naive()
    };
    let gathered = |cases: &[ShadowCase], closed, counted: &[ContractDay]| {
        let mut gathering = Gathering::new(&criteria());
        cases.iter().for_each(|case| gathering.add(case));
        gathering.finish(closed, counted)
    };
    let (before, days) = gathered(&good(), day(10), &[]);
    assert_eq!(days.len(), 10);
    assert_eq!(before.mrr_sequence.days, 10);
    // Every later label turned against LTR: the days that were counted stay.
    let against: Vec<ShadowCase> = (0..504).map(|number| case(number, 1, 4)).collect();
    let (after, days_then) = gathered(&against, day(12), &days);
    assert_eq!(days_then[..10], days[..]);
    assert_eq!(days_then.len(), 12);
    assert!(after.mrr_sequence.log_e < before.mrr_sequence.log_e);
    // What was open then is not counted by a look at the past.
    assert_eq!(gathered(&good(), day(5), &days).1, days[..5]);
    let none: &[ContractDay] = &[];
    assert_eq!(gathered(&good(), day(0), &days).1, none);
}

#[test]
fn a_later_test_of_the_year_asks_for_more() {
    let mut evidence = gather(&good(), &criteria());
    evidence.mrr_sequence.highest_log_e = 40.0_f64.ln();
    assert!(decide(&evidence, &criteria(), 0.03).promote);
    let verdict = decide(&evidence, &criteria(), 0.02);
    let gap = verdict.criteria.iter().find(|c| c.name == "mrr_gap").unwrap();
    assert!(!gap.passed && gap.undecided);
    assert!(gap.required.ends_with("e-value >= 50"), "{}", gap.required);
}

#[test]
fn a_challenger_is_given_up_when_more_comparisons_would_not_help() {
    let patient = Futility {
        has_trials: true,
        patience_days: 90.0,
    };
    let untried = Futility {
        has_trials: false,
        ..patient
    };
    let futility =
        |evidence: &Evidence, rules: &Futility| decide(evidence, &criteria(), LEVEL).futility(evidence, rules);
    let good = gather(&good(), &criteria());
    assert_eq!(futility(&good, &untried), None, "it is promoted");
    let unfair = |days: f64| Evidence {
        fair_gap_ltr: good.fair_gap_legacy + 0.1,
        days,
        ..good.clone()
    };
    assert_eq!(
        futility(&unfair(20.0), &patient).unwrap(),
        "decided against it: fair_gap"
    );
    assert_eq!(
        futility(&unfair(2.0), &patient),
        None,
        "there is too little to judge by"
    );
    // Raw figures of relevance decide nothing where interleaving can, and all where it cannot.
    let worse: Vec<ShadowCase> = (0..504).map(|number| case(number, 1, 4)).collect();
    let worse = gather(&worse, &criteria());
    assert_eq!(futility(&worse, &patient), None);
    assert_eq!(futility(&worse, &untried).unwrap(), "decided against it: hit3, mrr_gap");
    // What stays open is not waited for for ever.
    let few = |days: f64| Evidence {
        users: 10,
        days,
        ..good.clone()
    };
    assert_eq!(futility(&few(89.0), &patient), None);
    assert_eq!(
        futility(&few(90.0), &patient).unwrap(),
        "undecided after 90 days: users"
    );
    assert_eq!(
        futility(&Evidence { days: 120.0, ..worse }, &patient),
        None,
        "it waits for its trial"
    );
}

#[test]
fn what_is_missing_is_undecided_and_has_a_day() {
    let few = gather(&good()[..60], &criteria());
    let verdict = decide(&few, &criteria(), LEVEL);
    let of = |name: &str| {
        verdict
            .criteria
            .iter()
            .find(|criterion| criterion.name == name)
            .unwrap()
            .clone()
    };
    let duration = of("duration");
    assert!(!duration.passed && duration.undecided);
    // 2.5 of 14 days are there.
    assert_eq!(
        duration.decidable_on.unwrap() - few.until.unwrap().date_naive(),
        chrono::Duration::days(12)
    );
    assert!(of("users").passed && of("users").decidable_on.is_none());
    let worse: Vec<ShadowCase> = (0..504).map(|number| case(number, 1, 4)).collect();
    let verdict = decide(&gather(&worse, &criteria()), &criteria(), LEVEL);
    for name in ["hit3", "mrr_gap"] {
        let criterion = verdict
            .criteria
            .iter()
            .find(|criterion| criterion.name == name)
            .unwrap();
        assert!(!criterion.passed && !criterion.undecided, "{criterion:?}");
    }
}

proptest! {
    #[test]
    fn evidence_is_what_its_definition_says_in_any_order(
        (cases, shuffled) in proptest::collection::vec(any_case(), 0..40)
            .prop_flat_map(|cases| (Just(cases.clone()), Just(cases).prop_shuffle())),
        fair_min_rows in 0usize..20,
    ) {
        let criteria = Criteria { resamples: 30, fair_min_rows, ..Criteria::default() };
        let evidence = gather(&cases, &criteria);
        let mut defined = defined(&cases, &criteria);
        // The definition's sums are rounded at every row.
        prop_assert!((evidence.fair_gap_legacy - defined.fair_gap_legacy).abs() < 1e-12);
        prop_assert!((evidence.fair_gap_ltr - defined.fair_gap_ltr).abs() < 1e-12);
        (defined.fair_gap_legacy, defined.fair_gap_ltr) = (evidence.fair_gap_legacy, evidence.fair_gap_ltr);
        prop_assert_eq!(&evidence, &defined);
        let bits = |evidence: &Evidence| serde_json::to_string(evidence).unwrap();
        prop_assert_eq!(bits(&gather(&shuffled, &criteria)), bits(&evidence));
    }
}

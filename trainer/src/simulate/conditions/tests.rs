use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use clap::Parser;
use ranking::ActionKind;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    conditions: Conditions,
}

fn read(line: &str) -> Result<Conditions, String> {
    let words = std::iter::once("simulate").chain(line.split_whitespace());
    let read = Line::try_parse_from(words).map_err(|error| error.to_string());
    read.map(|line| line.conditions)
}

fn conditions(line: &str) -> Conditions {
    read(line).unwrap()
}

fn day(number: u64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 10, 1).unwrap() + Days::new(number)
}

const SCALE: Scale = Scale {
    seed: 7,
    cases_per_day: 100,
};

fn acts() -> Vec<Act> {
    let ts: DateTime<Utc> = "2026-10-01T08:00:00Z".parse().unwrap();
    let act = |number: u128| Act {
        event_id: Uuid::from_u128(number),
        kind: ActionKind::ClickProfile,
        lawyer: 0,
        rank_pos: 1,
        ts,
        delivered_at: ts + TimeDelta::hours(2),
        repeated_at: number.is_multiple_of(2).then(|| ts + TimeDelta::hours(5)),
    };
    (0..4_000).map(act).collect()
}

#[test]
fn by_default_nothing_is_changed() {
    let plain = conditions("");
    assert_eq!(plain.signs(7, day(0)).to_bits(), SIGNS.to_bits());
    assert_eq!(plain.user(SCALE, day(0), 0), None);
    assert_eq!(plain.drift(7, Utc::now()), Drift::NONE);
    let mut delayed = acts();
    plain.delay(7, &mut delayed);
    let times = |acts: &[Act]| -> Vec<_> { acts.iter().map(|act| (act.delivered_at, act.repeated_at)).collect() };
    assert_eq!(times(&delayed), times(&acts()));
}

#[test]
fn a_value_that_is_not_allowed_is_refused_with_its_key_and_what_is() {
    for (line, key, value, allowed) in [
        ("--day-shocks 6", "--day-shocks", "'6'", "allowed: 0 to 5"),
        ("--day-shocks NaN", "--day-shocks", "'NaN'", "allowed: 0 to 5"),
        ("--repeat-users 1", "--repeat-users", "'1'", "allowed: 0 to below 1"),
        ("--repeat-days 0.5", "--repeat-days", "'0.5'", "allowed: 1 to 365"),
        ("--late-labels -1", "--late-labels", "'-1'", "allowed: 0 to below 1"),
        ("--late-hours many", "--late-hours", "'many'", "allowed: 1 to 240"),
        ("--drift 1.1", "--drift", "'1.1'", "allowed: 0 to 1"),
    ] {
        // As a shell gives it, a negative number is a value.
        let said = read(&line.replace(' ', "=")).unwrap_err();
        assert!(
            [key, value, allowed].iter().all(|part| said.contains(part)),
            "{line}: {said}"
        );
    }
}

#[test]
fn days_differ_by_as_much_as_was_asked_for() {
    let shocks = conditions("--day-shocks 0.5");
    let logits: Vec<f64> = (0..4_000)
        .map(|number| {
            let signs = shocks.signs(7, day(number));
            assert_eq!(signs, shocks.signs(7, day(number)));
            (signs / (1.0 - signs)).ln()
        })
        .collect();
    let mean = logits.iter().sum::<f64>() / 4_000.0;
    let deviation = (logits.iter().map(|logit| (logit - mean).powi(2)).sum::<f64>() / 4_000.0).sqrt();
    // Within four standard errors.
    assert!((mean - 4.0_f64.ln()).abs() < 4.0 * 0.5 / 4_000.0_f64.sqrt(), "{mean}");
    assert!((deviation - 0.5).abs() < 4.0 * 0.5 / 8_000.0_f64.sqrt(), "{deviation}");
}

#[test]
fn a_share_of_the_cases_is_of_clients_who_come_again_after_as_many_days_as_asked_for() {
    let again = conditions("--repeat-users 0.3 --repeat-days 5");
    let (mut gaps, mut known, mut returned, mut late_cases) = (Vec::new(), BTreeSet::new(), 0, 0);
    for number in 0..120 {
        let mut today = Vec::new();
        for index in 0..u64::from(SCALE.cases_per_day) {
            let user = again.user(SCALE, day(number), index).unwrap();
            assert_eq!(Some(user), again.user(SCALE, day(number), index));
            if let Some((earlier, _)) = again.earlier(0.3, SCALE, day(number), index) {
                gaps.push((day(number) - earlier).num_days());
            }
            // Early cases may be of clients of the time before.
            if number >= 60 {
                late_cases += 1;
                returned += u32::from(known.contains(&user));
            }
            today.push(user);
        }
        known.extend(today);
    }
    let share = f64::from(returned) / f64::from(late_cases);
    assert!((share - 0.3).abs() < 0.03, "{share}");
    let mean = gaps.iter().sum::<i64>() as f64 / gaps.len() as f64;
    assert!((mean - 5.0).abs() < 0.4, "{mean}");
    assert!(gaps.iter().all(|gap| *gap >= 1));
}

#[test]
fn whose_case_it_is_does_not_depend_on_when_the_run_began() {
    let again = conditions("--repeat-users 0.5");
    let users = |from: u64| -> BTreeMap<(u64, u64), Uuid> {
        let cases = (from..20).flat_map(|number| (0..100).map(move |index| (number, index)));
        let user = |(number, index)| ((number, index), again.user(SCALE, day(number), index).unwrap());
        cases.map(user).collect()
    };
    let (all, late) = (users(0), users(10));
    assert!(late.iter().all(|(case, user)| all[case] == *user));
}

#[test]
fn a_share_of_the_events_comes_late_by_as_much_as_asked_for() {
    let late = conditions("--late-labels 0.25 --late-hours 48");
    let mut delayed = acts();
    late.delay(7, &mut delayed);
    let hours: Vec<f64> = delayed
        .iter()
        .map(|act| (act.delivered_at - act.ts).num_milliseconds() as f64 / 3_600_000.0)
        .collect();
    let of_late: Vec<f64> = hours.iter().copied().filter(|hours| *hours > 0.0).collect();
    let share = of_late.len() as f64 / hours.len() as f64;
    assert!((share - 0.25).abs() < 0.03, "{share}");
    let mean = of_late.iter().sum::<f64>() / of_late.len() as f64;
    assert!((mean - 48.0).abs() < 6.0, "{mean}");
    for (act, before) in delayed.iter().zip(acts()) {
        // What happened is the same, and a repetition keeps its distance.
        assert_eq!(
            (act.event_id, act.ts, act.rank_pos),
            (before.event_id, before.ts, before.rank_pos)
        );
        let apart = act.repeated_at.map(|again| again - act.delivered_at);
        assert_eq!(apart, before.repeated_at.map(|again| again - before.delivered_at));
        assert!(act.delivered_at - act.ts <= Duration::days(LATEST));
    }
}

#[test]
fn the_truth_moves_slowly_within_its_bounds_and_in_both_directions() {
    let moving = conditions("--drift 0.4");
    let of = |number: i64| {
        let Drift(factors) = moving.drift(
            7,
            "2026-10-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::days(number),
        );
        factors
    };
    for weight in 0..4 {
        let path: Vec<f64> = (0..365).map(|number| of(number)[weight]).collect();
        assert!(path.iter().all(|factor| (0.6..=1.4).contains(factor)), "{path:?}");
        let step = path
            .windows(2)
            .map(|days| (days[1] - days[0]).abs())
            .fold(0.0, f64::max);
        assert!(step <= 0.4 * TAU / PERIODS.start, "{step}");
        let (low, high) = path
            .iter()
            .fold((2.0, 0.0), |(low, high), f| (f64::min(low, *f), f64::max(high, *f)));
        assert!(low < 0.75 && high > 1.25, "{low} {high}");
    }
    assert_ne!(of(0)[0], of(0)[1], "weights move apart");
}

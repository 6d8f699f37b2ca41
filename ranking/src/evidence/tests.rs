use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::bootstrap::Interval;
use crate::labels::Grade;
use crate::outcomes::Displayed;
use crate::release::Exposure;
use crate::statistics::simulated::{Binomial, Draws, Market};

const MODEL: &str = "20261001T021500Z";
/// As narrow as if coins had said it.
const ETA: Interval = Interval {
    estimate: 1.0,
    low: 0.9,
    high: 1.1,
};

fn case(id: u128, lawyers: Vec<RankedLawyer>) -> ComparedCase {
    ComparedCase {
        case_id: Uuid::from_u128(id),
        // Both halves of the users are as large.
        user: Uuid::from_u128(id * 7),
        ts_utc: DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(id as i64),
        model_version: MODEL.to_owned(),
        policy: Policy::Rung,
        arm: Some(Arm::Legacy),
        coins: Vec::new(),
        lawyers,
        has_all: true,
    }
}

fn lawyer(displayed: Option<u32>, legacy: u32, ltr: u32, is_clicked: bool) -> RankedLawyer {
    RankedLawyer {
        displayed,
        legacy: Some(legacy),
        ltr: Some(ltr),
        is_clicked,
        groups: Arc::default(),
    }
}

/// How LTR's ranking stands to legacy's, whose noise is 0.3.
#[derive(Clone, Copy, Debug, PartialEq)]
struct World {
    noise_of_ltr: f64,
    is_ltr_displayed: bool,
    /// How many lawyers of twelve are displayed.
    places: u32,
}

/// A log of clients who examine by 1/rank.
fn log(seed: u64, n: u128, world: World) -> Vec<ComparedCase> {
    let mut market = Market::new(seed);
    let cases = (0..n).map(|id| {
        let relevance = market.case();
        let legacy = market.ranked(&relevance, 0.3);
        let ltr = market.ranked(&relevance, world.noise_of_ltr);
        let shown = if world.is_ltr_displayed { &ltr } else { &legacy };
        let clicked = market.clicks(&relevance, shown);
        let rank = |order: &[usize], lawyer| order.iter().position(|at| *at == lawyer).unwrap() as u32 + 1;
        let lawyers = (0..relevance.len()).map(|at| {
            let place = rank(shown, at);
            let displayed = (place <= world.places).then_some(place);
            let is_clicked = displayed.is_some() && clicked[place as usize - 1];
            lawyer(displayed, rank(&legacy, at), rank(&ltr, at), is_clicked)
        });
        case(id, lawyers.collect())
    });
    cases.collect()
}

/// The sums of a log that is counted in days of 500 cases.
fn sums(cases: &[ComparedCase]) -> ValueSums {
    let mut all = ValueSums::default();
    for day in cases.chunks(500) {
        all.merge(&count_day(&[], day, Coverage::default()).models[MODEL].values);
    }
    all
}

fn holds(interval: Interval, value: f64) -> bool {
    interval.low <= value && value <= interval.high
}

#[test]
fn equal_rankers_come_out_equal_whichever_was_displayed_and_a_random_one_worse() {
    for is_ltr_displayed in [false, true] {
        for (noise_of_ltr, is_equal) in [(0.3, true), (1_000.0, false)] {
            let world = World {
                noise_of_ltr,
                is_ltr_displayed,
                places: 12,
            };
            let judged = judge(&sums(&log(1, 8_000, world)), Some(ETA), true, 0.95);
            println!("{world:?}: {:?}", judged.ips.unwrap());
            for estimate in [judged.ips, judged.doubly_robust] {
                let difference = estimate.unwrap().difference;
                assert_eq!(holds(difference, 0.0), is_equal, "{world:?} {difference:?}");
                assert!(is_equal || difference.high < 0.0, "{world:?} {difference:?}");
            }
            assert_eq!((judged.users, judged.unseen_top), (8_000, 0.0));
            let effective = judged.effective_sample_size.unwrap();
            assert!(effective > 0.0 && effective <= judged.clicks as f64);
        }
    }
}

#[test]
fn while_position_bias_is_unknown_there_are_bounds_and_the_sentence_why() {
    let world = World {
        noise_of_ltr: 0.05,
        is_ltr_displayed: false,
        places: 6,
    };
    let sums = sums(&log(2, 5_000, world));
    let known = judge(&sums, Some(ETA), true, 0.95);
    let unknown = judge(&sums, None, false, 0.95);
    let wide = Interval {
        low: 0.2,
        high: 1.8,
        ..ETA
    };
    let too_wide = judge(&sums, Some(wide), false, 0.95);
    for judged in [&unknown, &too_wide] {
        assert_eq!((judged.ips, judged.doubly_robust), (None, None));
    }
    assert_eq!((unknown.etas, too_wide.etas), ([0.0, 2.0], [0.2, 1.8]));
    assert!(unknown.reason.contains("no coin"), "{}", unknown.reason);
    assert!(too_wide.reason.contains("1.00 [0.20, 1.80]"), "{}", too_wide.reason);
    assert!(known.reason.contains("is known"), "{}", known.reason);
    let [of_known, of_wide, of_unknown] = [&known, &too_wide, &unknown].map(|judged| judged.bounds.unwrap());
    println!("known {:?} {of_known:?}; unknown {of_unknown:?}", known.ips);
    let difference = known.doubly_robust.unwrap().difference;
    assert!(of_known.worst <= difference.low && difference.high <= of_known.best);
    assert!(of_unknown.worst <= of_wide.worst && of_wide.worst <= of_known.worst);
    assert!(of_unknown.best >= of_wide.best && of_wide.best >= of_known.best);
    // LTR lifts lawyers whom nobody was shown.
    assert!(
        known.unseen_top > 0.02 && known.unseen_top < 0.5,
        "{}",
        known.unseen_top
    );
    let biases = known.known_biases.join("\n");
    assert!(
        biases.contains("clicks only") && biases.contains("displayed to nobody"),
        "{biases}"
    );
    let nobody = judge(&ValueSums::default(), Some(ETA), true, 0.95);
    assert_eq!((nobody.bounds, nobody.ips), (None, None));
    assert!(nobody.reason.contains("fewer than two users"), "{}", nobody.reason);
}

#[test]
fn between_two_exponents_of_the_grid_the_value_is_what_counting_with_it_gives() {
    use crate::counterfactual::{Case, Estimator};
    let world = World {
        noise_of_ltr: 0.1,
        is_ltr_displayed: false,
        places: 12,
    };
    let log = log(3, 4_000, world);
    let cases: Vec<Case> = log
        .iter()
        .map(|case| Case {
            client: case.user,
            lawyers: case.lawyers_of_lists(),
        })
        .collect();
    let sums = sums(&log);
    for eta in [0.0, 0.06, 0.31, 0.94, 1.0, 1.44, 2.0] {
        let estimator = Estimator {
            eta,
            ..Estimator::default()
        };
        let exact = estimator.ips(&cases);
        let around = Interval {
            estimate: eta,
            low: eta,
            high: eta,
        };
        let judged = judge(&sums, Some(around), true, 0.95);
        let ips = judged.ips.unwrap();
        let near = |a: f64, b: f64| (a - b).abs() < 0.05 * (exact.difference.high - exact.difference.low).max(0.05);
        assert!(
            near(ips.difference.estimate, exact.difference.estimate),
            "{eta}: {ips:?} {exact:?}"
        );
        assert!(
            near(ips.difference.low, exact.difference.low),
            "{eta}: {ips:?} {exact:?}"
        );
        assert!(near(ips.clipping, exact.clipping), "{eta}: {ips:?} {exact:?}");
    }
}

#[test]
fn a_coin_halves_the_difference_that_its_places_make() {
    // One lawyer was clicked at place 1, and a fair coin could have put them at place 3.
    let coin = Coin {
        pair: [1, 3],
        swapped: false,
        probability: 0.5,
    };
    let tossed = |id, coins| ComparedCase {
        coins,
        ..case(
            id,
            vec![
                lawyer(Some(1), 1, 2, true),
                lawyer(Some(2), 2, 1, false),
                lawyer(Some(3), 3, 3, false),
            ],
        )
    };
    let value = |coins: Vec<Coin>| {
        let cases = [tossed(1, coins.clone()), tossed(2, coins)];
        judge(&sums(&cases), Some(ETA), true, 0.95).ips.unwrap()
    };
    // theta is 1, 1/2, 1/3; the mean over the coin's places 2/3.
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
    assert!(close(value(Vec::new()).ltr, 0.5) && close(value(Vec::new()).legacy, 1.0));
    assert!(close(value(vec![coin]).ltr, 0.75) && close(value(vec![coin]).legacy, 1.5));
}

fn displayed(id: u128, policy: Policy, source: Source) -> Displayed {
    Displayed {
        case_id: Uuid::from_u128(id),
        user: Uuid::from_u128(1_000 + id),
        ts_utc: DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(id as i64),
        policy,
        source,
        model_version: None,
        drafted_by: Vec::new(),
        coin: None,
        came_before: false,
        acted: vec![(1, Grade::Clicked)],
    }
}

#[test]
fn a_user_counts_once_a_day_and_what_somebody_asked_for_never() {
    let two = || vec![lawyer(Some(1), 1, 2, true), lawyer(Some(2), 2, 1, false)];
    let mut again = case(2, two());
    again.user = case(1, two()).user;
    let mut forced = case(3, two());
    forced.policy = Policy::Forced;
    let compared = [case(1, two()), again, forced];
    let shown = [
        displayed(1, Policy::Rung, Source::Legacy),
        displayed(2, Policy::Rung, Source::Ltr),
        displayed(3, Policy::Forced, Source::Legacy),
        Displayed {
            drafted_by: vec![
                Source::Ltr,
                Source::Legacy,
                Source::Interleaved,
                Source::Legacy,
                Source::Ltr,
            ],
            ..displayed(4, Policy::Interleaved, Source::Interleaved)
        },
        Displayed {
            user: Uuid::from_u128(1_004),
            ..displayed(5, Policy::HoldOut, Source::Legacy)
        },
    ];
    let said = Coverage {
        actions: 9,
        ..Coverage::default()
    };
    let day = count_day(&shown, &compared, said);
    assert_eq!(judge(&day.models[MODEL].values, None, false, 0.95).users, 1);
    assert_eq!(
        (day.coverage.cases, day.coverage.compared, day.coverage.actions),
        (5, 3, 9)
    );
    assert_eq!(
        day.sampled,
        Sampled {
            shown: vec![
                (Policy::Rung, Source::Legacy, 1),
                (Policy::Rung, Source::Ltr, 1),
                (Policy::Interleaved, Source::Interleaved, 1),
            ],
            swaps: [0, 0],
            drafts: [1, 1],
            compared: [2, 1],
        }
    );
}

#[test]
fn exposure_is_the_share_of_attention_beside_the_share_of_candidates() {
    let of = |group: &str| Arc::new(BTreeMap::from([("gender".to_owned(), group.to_owned())]));
    let lawyers = [(1, 2, "M"), (2, 1, "F"), (3, 3, ""), (4, 4, "F")];
    let lawyers = lawyers.map(|(legacy, ltr, group)| RankedLawyer {
        groups: of(group),
        ..lawyer((legacy <= 3).then_some(legacy), legacy, ltr, false)
    });
    let day = count_day(&[], &[case(1, lawyers.to_vec())], Coverage::default());
    let found = shares(&day.models[MODEL].exposure, 1.0);
    let share = |ranking: Ranking| {
        let of_women = found
            .iter()
            .find(|share| share.group == "F" && share.ranking == ranking);
        let share = of_women.unwrap();
        assert!((share.of_candidates - 2.0 / 3.0).abs() < 1e-12);
        share.of_examination
    };
    // Three are displayed: of those whose group is known one man and one woman, at places 1 and 2.
    let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
    assert!(close(share(Ranking::Legacy), 1.0 / 3.0) && close(share(Ranking::Ltr), 2.0 / 3.0));
    assert!(close(share(Ranking::Displayed(Arm::Legacy)), 1.0 / 3.0));
    assert_eq!(found.len(), 6, "{found:?}");
}

/// A day on which so many users of a share saw both rankings, and so many legacy.
fn split(interleaved: u64, legacy: u64) -> EvidenceDay {
    EvidenceDay {
        sampled: Sampled {
            shown: vec![
                // Whom no draft could be shown.
                (Policy::None, Source::Legacy, interleaved / 10),
                (Policy::HoldOut, Source::Legacy, 21),
                (Policy::Rung, Source::Legacy, legacy - legacy / 5),
                // Whose neighbours are swapped.
                (Policy::Swap, Source::Legacy, legacy / 5),
                (Policy::Interleaved, Source::Interleaved, interleaved - interleaved / 10),
            ],
            compared: [20, 180],
            drafts: [100, 100],
            swaps: [0, 0],
        },
        ..EvidenceDay::default()
    }
}

#[test]
fn a_sampler_that_chooses_too_many_is_found_and_a_fair_one_is_not() {
    let exposure = Exposure {
        hold_out: 0.05,
        ..Exposure::whole(0.5)
    };
    let broken = |share: f64, days: usize| {
        let (mut draws, of_day) = (Draws::new(5), Binomial::new(400, share));
        let days: Vec<EvidenceDay> = (0..days)
            .map(|_| {
                let inside = of_day.draw(&mut draws);
                split(inside, 400 - inside)
            })
            .collect();
        let tests = samplers(&days.iter().collect::<Vec<_>>(), Some(&exposure), Some(0.1));
        let names: Vec<&str> = tests.iter().map(|test| test.sampler).collect();
        assert_eq!(names, ["ladder", "hold_out", "drafts", "shadow"]);
        let broken: Vec<&str> = tests
            .iter()
            .filter(|test| test.is_broken)
            .map(|test| test.sampler)
            .collect();
        (broken, tests)
    };
    assert_eq!(broken(0.5, 90).0, [""; 0]);
    let (found, tests) = broken(0.53, 28);
    assert_eq!(found, ["ladder"]);
    assert!(tests[0].decides_trials && (tests[0].observed.unwrap() - 0.53).abs() < 0.02);
    // The first and the last day may have been compared in part.
    assert_eq!(tests[3].n, 26 * 200);
    // Where the share is not known to be one, who saw what says nothing.
    let days = [split(900, 100)];
    let tests = samplers(&[&days[0]], None, None);
    assert_eq!(tests.iter().map(|test| test.sampler).collect::<Vec<_>>(), ["drafts"]);
}

#[test]
fn a_day_that_a_former_program_counted_is_read_and_the_new_form_is_read_by_it() {
    let former =
        r#"{"date":"2026-10-01","arms":{"ltr":{"users":2,"contracts":1,"tenths":10}},"credit":{},"blocks":[]}"#;
    let read: ClosedDay = serde_json::from_str(former).unwrap();
    assert_eq!((read.outcomes.arms[&Arm::Ltr].users, &read.evidence), (2, &None));
    assert_eq!(serde_json::from_str::<OutcomeDay>(former).unwrap(), read.outcomes);
    let now = ClosedDay {
        evidence: Some(count_day(
            &[displayed(1, Policy::Rung, Source::Ltr)],
            &some_cases(),
            Coverage::default(),
        )),
        ..read
    };
    let text = serde_json::to_string(&now).unwrap();
    assert_eq!(serde_json::from_str::<OutcomeDay>(&text).unwrap(), now.outcomes);
    assert!(same(
        &serde_json::from_str::<ClosedDay>(&text).unwrap().evidence.unwrap(),
        &now.evidence.unwrap()
    ));
}

fn some_cases() -> Vec<ComparedCase> {
    let world = World {
        noise_of_ltr: 0.2,
        is_ltr_displayed: true,
        places: 5,
    };
    log(4, 60, world)
}

/// Integers are equal, and floats to 1e-12.
fn same(one: &EvidenceDay, other: &EvidenceDay) -> bool {
    fn near(one: &serde_json::Value, other: &serde_json::Value) -> bool {
        use serde_json::Value::{Array, Number, Object};
        match (one, other) {
            (Number(a), Number(b)) if a.is_f64() => {
                let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
                (a - b).abs() <= 1e-12 * a.abs().max(1.0)
            }
            (Array(a), Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(a, b)),
            (Object(a), Object(b)) => a.len() == b.len() && a.iter().all(|(k, a)| b.get(k).is_some_and(|b| near(a, b))),
            _ => one == other,
        }
    }
    near(
        &serde_json::to_value(one).unwrap(),
        &serde_json::to_value(other).unwrap(),
    )
}

proptest! {
    #[test]
    fn the_order_of_cases_and_of_lawyers_changes_no_bit(by in any::<u64>()) {
        let mut cases = some_cases();
        let day = count_day(&[], &cases, Coverage::default());
        let mut draws = Draws::new(by);
        for last in (1..cases.len()).rev() {
            cases.swap(last, draws.below(last + 1));
        }
        for case in &mut cases {
            let shift = draws.below(case.lawyers.len());
            case.lawyers.rotate_left(shift);
        }
        prop_assert_eq!(count_day(&[], &cases, Coverage::default()), day);
    }
}

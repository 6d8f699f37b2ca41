//! Labels by day.

use proptest::prelude::*;
use ranking::ActionKind::{ClickProfile, ContactMade, ContractSigned};

use super::*;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn grades(rows: &[Row]) -> Vec<u8> {
    rows.iter().map(|row| row.grade).collect()
}

#[tokio::test]
async fn the_strongest_action_inside_its_window_is_the_label_and_features_are_as_served() {
    let place = Place::new().await;
    place
        .log([
            event(1, 1, start(), shown(&["a", "b", "c", "d"])),
            event(2, 1, later(1), act(ClickProfile, "b", 2)),
            event(3, 1, later(1), act(ClickProfile, "c", 3)),
            event(4, 1, later(25), act(ClickProfile, "d", 4)),
            event(5, 1, later(71), act(ContactMade, "c", 3)),
            event(6, 1, later(167), act(ContractSigned, "a", 1)),
            event(7, 1, later(168), act(ContractSigned, "b", 2)),
            event(8, 1, later(2), act(ContractSigned, "d", 1)),
        ])
        .await;
    place.night(later(169)).await;
    let rows = place.matrix(day("2026-10-01"));
    assert_eq!(grades(&rows), [3, 1, 2, 0]);
    assert_eq!((rows[1].position, rows[1].price, rows[1].mature), (2, Some(0.1), true));
    let report = place
        .etl(later(168))
        .await
        .report(day("2026-10-01"))
        .await
        .unwrap()
        .unwrap();
    let facts: Vec<(&str, u64)> = report
        .facts
        .iter()
        .map(|(name, number)| (name.as_str(), *number))
        .collect();
    assert_eq!(
        facts,
        [
            ("actions_after_window", 2),
            ("actions_counted", 4),
            ("actions_unbound", 1),
            ("cases", 1),
            ("cases_immature", 0),
            ("cases_single", 0)
        ]
    );
    assert_eq!((report.rows, report.grades), (4, [1, 1, 1, 1]));
}

#[tokio::test]
async fn an_open_case_is_kept_and_marked_and_becomes_mature_by_time_alone() {
    let place = Place::new().await;
    place.log([event(1, 1, start(), shown(&["a", "b"]))]).await;
    let first = day("2026-10-01");
    assert_eq!(place.night(later(2)).await, [first]);
    assert!(place.matrix(first).iter().all(|row| !row.mature));
    assert_eq!(place.night(later(168)).await, [first]);
    assert!(place.matrix(first).iter().all(|row| row.mature));
    // The day is over for all its cases.
    assert_eq!(place.night(later(300)).await, [first]);
    assert_eq!(place.night(later(301)).await, []);
}

#[tokio::test]
async fn a_night_makes_the_days_that_late_events_and_open_windows_reopen_and_no_others() {
    let place = Place::new().await;
    let case = |number: u128, hours: i64| event(number, number, later(hours), shown(&["a", "b"]));
    place.log((0..20).map(|number| case(number as u128, number * 24))).await;
    let as_of = later(20 * 24);
    assert_eq!(place.night(as_of).await.len(), 20);
    assert_eq!(place.night(as_of).await, [], "twice is once");
    // A click, a day late.
    place
        .log([event(100, 17, later(17 * 24 + 1), act(ClickProfile, "b", 2))])
        .await;
    let touched = place.night(as_of).await;
    assert_eq!(
        touched.last(),
        Some(&day("2026-10-19")),
        "an action may be dated a day early: {touched:?}"
    );
    assert_eq!(touched.first(), Some(&day("2026-10-11")));
    assert_eq!(grades(&place.matrix(day("2026-10-18"))), [0, 1]);
}

fn kinds() -> impl Strategy<Value = ActionKind> {
    prop::sample::select(vec![ClickProfile, ContactMade, ContractSigned])
}

/// Events of a few cases over two weeks.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let lawyers = ["a", "b", "c", "d"];
    let body = prop_oneof![
        (
            prop::sample::subsequence(lawyers.to_vec(), 1..=4).prop_shuffle(),
            any::<bool>()
        )
            .prop_map(|(shown, gateway)| {
                let origin = if gateway { Origin::Gateway } else { Origin::Client };
                Body::Impression(impression(&shown, origin))
            }),
        (
            kinds(),
            prop::sample::select(lawyers.to_vec()),
            1..=4_u32,
            prop::option::of(any::<bool>()),
            prop::option::of(77..79_u128)
        )
            .prop_map(|(kind, lawyer, place, unbound, request)| Body::Action(Action {
                unbound,
                request_id: request.map(Uuid::from_u128),
                ..Action::new(kind, lawyer, place)
            })),
    ];
    let one = (
        0..5_u128,
        0..14 * 86_400_000_000_i64,
        body,
        8..10_u128,
        prop::option::weighted(0.2, Just(1_u128)),
    );
    prop::collection::vec(one, 1..60).prop_map(|all| {
        let event =
            |(number, (case, micros, body, user, salt)): (usize, (u128, i64, Body, u128, Option<u128>))| Event {
                user_id: Uuid::from_u128(user),
                salt_id: salt.map(Uuid::from_u128),
                ..event(number as u128, case, start() + Duration::microseconds(micros), body)
            };
        all.into_iter().enumerate().map(event).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Whatever the order and however often an event came, in one night or in several, by both rules.
    #[test]
    fn the_matrix_is_what_the_rules_say(
        events in events(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 80),
        nights in 1..4_usize,
        hours in 100..30 * 24_i64,
        attribution in prop::sample::select(vec![Attribution::FirstImpression, Attribution::LastTouch]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = Place::with(attribution).await;
            let as_of = later(hours);
            let given: Vec<Event> = order.iter().map(|at| events[at.index(events.len())].clone()).collect();
            for some in given.chunks(given.len().div_ceil(nights)) {
                place.log(some.iter().cloned()).await;
                place.night(as_of).await;
            }
            let expected = reference::matrix(&given, &place.rules, as_of);
            assert_eq!(place.rows(as_of).await, expected);
        });
    }
}

#[tokio::test]
async fn a_matrix_that_is_gone_or_is_another_one_is_made_again() {
    let place = Place::new().await;
    place.log([event(1, 1, start(), shown(&["a", "b"]))]).await;
    let day = start().date_naive();
    assert_eq!(place.night(later(500)).await, [day]);
    let rows = place.rows(later(500)).await;
    let file = place.path().join(format!("lake/ltr/processed/{day}/matrix.parquet"));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(place.night(later(500)).await, [day]);
    assert_eq!(place.rows(later(500)).await, rows);
    // What an earlier night left, whose program ended before it said so.
    std::fs::write(&file, "another one").unwrap();
    assert_eq!(place.night(later(500)).await, [day]);
    assert_eq!(place.rows(later(500)).await, rows);
    assert!(place.night(later(500)).await.is_empty());
}

#[tokio::test]
async fn two_runs_that_make_the_same_day_at_once_leave_no_note_of_a_matrix_that_is_not_there() {
    let place = Place::new().await;
    place.log([event(1, 1, start(), shown(&["a", "b"]))]).await;
    place.sink().await;
    let (early, late) = (place.etl(later(1)).await, place.etl(later(500)).await);
    let day = start().date_naive();
    let of_early = early.make(day).await.unwrap();
    late.make(day).await.unwrap();
    let error = early.note_done(&of_early).await.unwrap_err().to_string();
    assert!(error.contains("another run"), "{error}");
    assert!(!early.is_current(day).await.unwrap());
    assert_eq!(place.night(later(500)).await, [day]);
}

#[tokio::test]
async fn a_damaged_file_of_one_day_stops_no_other_day() {
    let place = Place::new().await;
    let of = |day: i64| event(day as u128, day as u128, later(24 * day), shown(&["a", "b"]));
    // Days that have nothing to do with each other.
    place.log([of(0), of(100)]).await;
    place.sink().await;
    let file = place
        .path()
        .join("lake/ltr/raw/2026/10/01/impression_lawyers/0000000000.parquet");
    std::fs::write(&file, "no Parquet").unwrap();
    place.log([of(101)]).await;
    let error = sink(&place.store, &place.lake, &features(), None, false, |_| {})
        .await
        .unwrap_err();
    assert!(error.to_string().contains("2026/10/01"), "{error}");
    let etl = place.etl(later(24 * 200)).await;
    let days = etl.days();
    assert_eq!(days.len(), 3);
    let error = etl.is_current(days[0]).await.unwrap_err();
    assert!(error.to_string().contains("2026/10/01"), "{error}");
    for &day in &days[1..] {
        let made = etl.make(day).await.unwrap();
        assert_eq!((made.report.rows, made.closed.len()), (2, 1));
    }
}

#[tokio::test]
async fn a_closed_day_has_its_cases_as_the_gateway_displayed_them() {
    use ranking::outcomes::{Arm, count_day};
    use ranking::{Grade, Policy, Source};
    let place = Place::new().await;
    let drafted = Impression {
        policy: Some(Policy::Interleaved),
        source: Source::Interleaved,
        model_version: Some("20261001T021500Z".to_owned()),
        drafted_by: Some(vec![Source::Interleaved, Source::Ltr, Source::Legacy]),
        ..impression(&["a", "b", "c"], Origin::Gateway)
    };
    let beside = Impression {
        policy: Some(Policy::Rung),
        ..impression(&["a", "b"], Origin::Gateway)
    };
    let swapped = swapped();
    let coin = swapped.coin;
    place
        .log([
            event(1, 1, start(), Body::Impression(drafted)),
            event(2, 1, later(20), act(ActionKind::ContractSigned, "b", 2)),
            event(3, 2, later(1), Body::Impression(beside)),
            event(5, 4, later(3), Body::Impression(swapped)),
            event(6, 4, later(4), act(ActionKind::ClickProfile, "a", 2)),
            // What a client says was shown is evidence of nothing.
            event(
                4,
                3,
                later(2),
                Body::Impression(impression(&["a", "b"], Origin::Client)),
            ),
        ])
        .await;
    place.sink().await;
    let day = start().date_naive();
    // On its last day a window is still open.
    let open = place.etl(later(24 * 7)).await.make(day).await.unwrap();
    assert_eq!(open.displayed, None);
    let closed = place.etl(later(24 * 8)).await.make(day).await.unwrap();
    assert_eq!((closed.closed.len(), closed.labels.len()), (4, 2));
    let displayed = closed.displayed.unwrap();
    assert_eq!(displayed.len(), 3);
    assert_eq!((displayed[0].coin, displayed[2].coin), (None, coin));
    assert_eq!(displayed[0].drafted_by[1], Source::Ltr);
    assert_eq!(displayed[0].acted, [(2, Grade::Contracted)]);
    let counted = count_day(day, &displayed);
    assert_eq!(
        (
            counted.arms[&Arm::Interleaved].contracts,
            counted.arms[&Arm::Legacy].users
        ),
        (1, 1)
    );
    assert_eq!(counted.credit["20261001T021500Z"].ltr, 1);
    assert_eq!(counted.blocks, [(false, true, 1)]);
    assert_eq!(tossed(&counted.swaps), [([1, 2], 1, [0, 1])]);
    assert_eq!(tossed(&counted.drafts), [([2, 3], 1, [1, 0])]);
}

/// A ranking of which a coin swapped the first two.
fn swapped() -> Impression {
    Impression {
        policy: Some(ranking::Policy::Swap),
        coin: Some(ranking::Coin {
            pair: [1, 2],
            swapped: true,
            probability: 0.5,
        }),
        order_before: Some(["a", "b"].map(str::to_owned).to_vec()),
        ..impression(&["b", "a"], Origin::Gateway)
    }
}

/// Places, tosses and clicks of each pair.
fn tossed(swaps: &ranking::propensities::Swaps) -> Vec<([u32; 2], u64, [u64; 2])> {
    let pairs = swaps.pairs().iter();
    pairs.map(|of| (of.pair, of.tosses, of.clicks)).collect()
}

#[tokio::test]
async fn a_closed_day_says_who_was_displayed_a_ranking_of_the_same_arm_on_the_days_before() {
    use ranking::outcomes::REST_DAYS;
    use ranking::{Policy, Source};
    let place = Place::new().await;
    let rest = REST_DAYS as i64;
    let displayed = |policy, source| {
        let impression = Impression {
            policy: Some(policy),
            source,
            model_version: (source != Source::Legacy).then(|| "20261001T021500Z".to_owned()),
            ..impression(&["a", "b"], Origin::Gateway)
        };
        Body::Impression(impression)
    };
    let drafted = || displayed(Policy::Interleaved, Source::Interleaved);
    let of_another = |event: Event| Event {
        user_id: Uuid::from_u128(10),
        ..event
    };
    place
        .log([
            event(1, 1, start(), drafted()),
            // Twice on a day, which is not before.
            event(2, 2, later(1), drafted()),
            event(3, 3, later(24 * rest), drafted()),
            of_another(event(4, 4, later(24 * rest), drafted())),
            event(5, 5, later(24 * rest), displayed(Policy::Rung, Source::Legacy)),
            // What clients say, and cases that somebody asked for, are of no arm.
            of_another(event(
                6,
                6,
                later(24),
                Body::Impression(impression(&["a", "b"], Origin::Client)),
            )),
            of_another(event(7, 7, later(24), displayed(Policy::Forced, Source::Ltr))),
            event(8, 8, later(24 * (2 * rest + 1)), drafted()),
        ])
        .await;
    place.sink().await;
    let etl = place.etl(later(24 * 400)).await;
    let mut came_before = Vec::new();
    for days in [0, rest, 2 * rest + 1] {
        let day = later(24 * days).date_naive();
        let displayed = etl.make(day).await.unwrap().displayed.unwrap();
        came_before.extend(displayed.iter().map(|case| (case.case_id.as_u128(), case.came_before)));
    }
    came_before.sort_unstable();
    let expected = [(1, false), (2, false), (3, true), (4, false), (5, false), (8, false)];
    assert_eq!(came_before, expected);
}

/// A row of the lawyers' file: lawyer, hours after the start from which it holds, groups, cases of the last 30 days.
type Fact = (&'static str, i64, Option<&'static str>, Option<i64>);

fn put_lawyers(place: &Place, facts: &[Fact]) {
    use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
    use std::sync::Arc;
    let times = facts.iter().map(|fact| later(fact.1).timestamp_micros());
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let columns: [(&str, ArrayRef); 4] = [
        (
            "lawyer_id",
            Arc::new(StringArray::from_iter_values(facts.iter().map(|fact| fact.0))),
        ),
        ("from_utc", Arc::new(times)),
        (
            "groups",
            Arc::new(facts.iter().map(|fact| fact.2).collect::<StringArray>()),
        ),
        (
            "cases_30d",
            Arc::new(facts.iter().map(|fact| fact.3).collect::<Int64Array>()),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    std::fs::create_dir_all(place.path().join("lake/ltr")).unwrap();
    let file = std::fs::File::create(place.path().join("lake/ltr/lawyers.parquet")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[tokio::test]
async fn what_an_impression_does_not_say_of_a_lawyer_the_lawyers_file_says_as_of_then() {
    let place = Place::new().await;
    let silent = Impression {
        cases_30d: None,
        ..impression(&["a", "b"], Origin::Gateway)
    };
    place.log([event(1, 1, start(), Body::Impression(silent))]).await;
    place.log([event(2, 2, later(1), shown(&["a", "b"]))]).await;
    let day = start().date_naive();
    place.night(later(500)).await;
    let facts = |place: &Place| -> Vec<(String, Option<i64>)> {
        let file = place.path().join(format!("lake/ltr/processed/{day}/matrix.parquet"));
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap()).unwrap();
        let batch = reader.build().unwrap().next().unwrap().unwrap();
        let groups = batch.column_by_name("groups").unwrap().as_string::<i32>().clone();
        let load = batch
            .column_by_name("cases_30d")
            .unwrap()
            .as_primitive::<Int64Type>()
            .clone();
        let row = |at: usize| (groups.value(at).to_owned(), load.is_valid(at).then(|| load.value(at)));
        (0..batch.num_rows()).map(row).collect()
    };
    let none = || "{}".to_owned();
    assert_eq!(
        facts(&place),
        [(none(), None), (none(), None), (none(), Some(3)), (none(), Some(3))]
    );
    // What was not known yet, and what was replaced, does not count; what was served does.
    put_lawyers(
        &place,
        &[
            ("a", -50, None, Some(1)),
            ("a", -2, Some(r#"{"gender":"F"}"#), Some(7)),
            ("a", 1, Some(r#"{"gender":"M"}"#), Some(9)),
            ("b", 2, None, Some(5)),
        ],
    );
    assert_eq!(place.night(later(500)).await, [day], "the file is new");
    let (f, m) = (r#"{"gender":"F"}"#.to_owned(), r#"{"gender":"M"}"#.to_owned());
    assert_eq!(
        facts(&place),
        [(f, Some(7)), (none(), None), (m, Some(3)), (none(), Some(3))]
    );
    assert!(place.night(later(500)).await.is_empty());
    put_lawyers(&place, &[("a", 0, Some("female"), None)]);
    let error = Etl::new(&place.lake, &features(), place.rules.clone(), later(500))
        .await
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("ltr/lawyers.parquet: groups: \"female\""),
        "{error}"
    );
}

use chrono::Duration;
use ranking::Source;

use super::*;

fn start() -> DateTime<Utc> {
    "2026-10-01T08:00:00Z".parse().unwrap()
}

fn always() -> Range<DateTime<Utc>> {
    crate::etl::always()
}

fn later(hours: i64) -> DateTime<Utc> {
    start() + Duration::hours(hours)
}

fn event(number: u128, case: u128, ts_utc: DateTime<Utc>, body: Body) -> Event {
    Event {
        event_id: Uuid::from_u128(number),
        ts_utc,
        case_id: Uuid::from_u128(case),
        user_id: Uuid::from_u128(9),
        body,
    }
}

fn shown(lawyers: &[&str]) -> Body {
    let rows = lawyers.len();
    Body::Impression(Impression {
        request_id: Uuid::from_u128(77),
        lawyer_ids: lawyers.iter().map(|l| (*l).to_owned()).collect(),
        weights_used: BTreeMap::new(),
        features: (0..rows).map(|at| vec![Some(at as f64 / 10.0), None]).collect(),
        source: Source::Legacy,
        model_version: None,
        legacy_scores: Some((0..rows).map(|at| 1.0 - at as f64 / 10.0).collect()),
        groups: Some(vec![BTreeMap::new(); rows]),
        cases_30d: Some(vec![3; rows]),
        monthly_capacity: Some(vec![10; rows]),
        last_offered_at: None,
    })
}

fn act(kind: ActionKind, lawyer: &str) -> Body {
    Body::Action(Action {
        kind,
        lawyer_id: lawyer.to_owned(),
        rank_pos: 1,
    })
}

use ActionKind::{ClickProfile, ContactMade, ContractSigned};

fn grades(attributed: &Attributed) -> Vec<u8> {
    attributed.cases[0].grades()
}

#[test]
fn the_strongest_action_inside_its_window_is_the_label_and_features_are_as_served() {
    let events = [
        event(1, 1, start(), shown(&["a", "b", "c", "d"])),
        event(2, 1, later(1), act(ClickProfile, "b")),
        event(3, 1, later(1), act(ClickProfile, "c")),
        event(4, 1, later(25), act(ClickProfile, "d")),
        event(5, 1, later(71), act(ContactMade, "c")),
        event(6, 1, later(167), act(ContractSigned, "a")),
        event(7, 1, later(168), act(ContractSigned, "b")),
    ];
    let attributed = attribute(&events, &Windows::default(), &always(), later(168));
    assert_eq!(grades(&attributed), [3, 1, 2, 0]);
    let row = &attributed.cases[0].rows[1];
    assert_eq!((row.position, row.features[0]), (2, 0.1));
    assert!(row.features[1].is_nan(), "missing is not zero");
    assert_eq!(row.legacy_score, Some(0.9));
    assert_eq!(attributed.counts.actions_counted, 4);
    assert_eq!(attributed.counts.actions_after_window, 2);
    let labels: Vec<f32> = attributed.labels.iter().map(|(_, _, label)| *label).collect();
    assert_eq!(labels, [1.0, 0.3, 0.6]);
}

#[test]
fn a_case_enters_when_its_longest_window_closes_and_not_before() {
    let events = [
        event(1, 1, start(), shown(&["a", "b"])),
        event(2, 1, later(1), act(ClickProfile, "a")),
    ];
    let at = |as_of| attribute(&events, &Windows::default(), &always(), as_of);
    let open = at(later(168) - Duration::seconds(1));
    assert!(open.cases.is_empty() && open.labels.is_empty());
    assert_eq!((open.counts.cases_open, open.counts.actions_of_left_out_cases), (1, 1));
    assert_eq!(grades(&at(later(168))), [1, 0]);
}

#[test]
fn a_case_ranked_twice_is_one_query_from_its_first_impression() {
    let events = [
        event(1, 1, start(), shown(&["a", "b"])),
        event(2, 1, later(2), shown(&["c", "b"])),
        event(3, 1, later(3), act(ClickProfile, "b")),
        event(4, 1, later(3), act(ContractSigned, "c")),
    ];
    let attributed = attribute(&events, &Windows::default(), &always(), later(400));
    assert_eq!(attributed.cases.len(), 1);
    assert_eq!(grades(&attributed), [0, 1]);
    assert_eq!(attributed.counts.actions_not_shown, 1);
}

#[test]
fn every_event_is_accounted_for() {
    let events = [
        event(1, 1, later(-1), act(ClickProfile, "a")),
        event(2, 1, start(), shown(&["a", "b"])),
        event(3, 2, start(), shown(&["a"])),
        event(4, 2, later(1), act(ClickProfile, "a")),
        event(5, 3, later(1), act(ClickProfile, "a")),
    ];
    let attributed = attribute(&events, &Windows::default(), &always(), later(400));
    let counts = &attributed.counts;
    assert_eq!(counts.actions_before_impression, 1);
    assert_eq!((counts.cases_single, counts.actions_of_left_out_cases), (1, 1));
    assert_eq!(counts.actions_without_impression, 1);
    // The shadow log has single rows as well, so their labels count there.
    assert_eq!(attributed.labels.len(), 1);
}

#[test]
fn a_range_picks_cases_by_first_impression_but_labels_the_shadow_of_all() {
    let events = [
        event(1, 1, start(), shown(&["a", "b"])),
        event(2, 1, later(1), act(ClickProfile, "a")),
        event(3, 2, later(24), shown(&["a", "b"])),
        event(4, 1, later(24), shown(&["a", "b"])),
    ];
    let day = later(20)..later(44);
    let attributed = attribute(&events, &Windows::default(), &day, later(400));
    let qids: Vec<Uuid> = attributed.cases.iter().map(|case| case.qid).collect();
    assert_eq!(qids, [Uuid::from_u128(2)]);
    assert_eq!(attributed.counts.cases_out_of_range, 1);
    assert_eq!(attributed.labels.len(), 1);
}

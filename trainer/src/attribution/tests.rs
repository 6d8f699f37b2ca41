use chrono::Duration;

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
    Event::new(
        Uuid::from_u128(number),
        ts_utc,
        Uuid::from_u128(case),
        Uuid::from_u128(9),
        body,
    )
}

fn impression(lawyers: &[&str]) -> Impression {
    let rows = lawyers.len();
    Impression {
        legacy_scores: Some((0..rows).map(|at| Some(1.0 - at as f64 / 10.0)).collect()),
        groups: Some(vec![BTreeMap::new(); rows]),
        cases_30d: Some(vec![3; rows]),
        monthly_capacity: Some(vec![10; rows]),
        origin: Some(Origin::Gateway),
        ..Impression::new(
            Uuid::from_u128(77),
            lawyers.iter().map(|l| (*l).to_owned()).collect(),
            (0..rows).map(|at| vec![Some(at as f64 / 10.0), None]).collect(),
        )
    }
}

fn shown(lawyers: &[&str]) -> Body {
    Body::Impression(impression(lawyers))
}

/// An action on a lawyer, whose position is their letter's place in the alphabet.
fn act(kind: ActionKind, lawyer: &str) -> Body {
    act_at(kind, lawyer, u32::from(lawyer.as_bytes()[0] - b'a') + 1)
}

fn act_at(kind: ActionKind, lawyer: &str, rank_pos: u32) -> Body {
    Body::Action(Action::new(kind, lawyer, rank_pos))
}

fn attribute(events: &[Event], windows: &Windows, range: &Range<DateTime<Utc>>, as_of: DateTime<Utc>) -> Attributed {
    super::attribute(events, windows, range, as_of, None)
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
        event(4, 1, later(3), act_at(ContractSigned, "c", 1)),
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
    // The shadow log includes cases with one lawyer, so it gets their labels.
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

#[test]
fn an_action_counts_only_if_that_user_saw_that_lawyer_at_that_position() {
    let anothers = Event {
        user_id: Uuid::from_u128(8),
        ..event(2, 1, later(1), act(ContractSigned, "a"))
    };
    let mut of_another_ranking = Action::new(ContractSigned, "b", 2);
    of_another_ranking.request_id = Some(Uuid::from_u128(78));
    let events = [
        event(1, 1, start(), shown(&["a", "b"])),
        anothers,
        event(3, 1, later(1), act_at(ContractSigned, "a", 2)),
        event(4, 1, later(1), act_at(ContractSigned, "b", 4_294_967_295)),
        event(5, 1, later(1), Body::Action(of_another_ranking)),
        event(6, 1, later(1), act(ContractSigned, "z")),
        event(7, 1, later(1), act(ClickProfile, "b")),
    ];
    let attributed = attribute(&events, &Windows::default(), &always(), later(400));
    assert_eq!(grades(&attributed), [0, 1]);
    assert_eq!(attributed.counts.actions_unbound, 5);
}

#[test]
fn impressions_posted_by_clients_do_not_count_if_the_gateway_ranked() {
    let invented = Impression {
        origin: Some(Origin::Client),
        ..impression(&["b", "a", "c"])
    };
    let events = [
        event(1, 1, later(-5), Body::Impression(invented.clone())),
        event(2, 1, start(), shown(&["a", "b"])),
        event(3, 1, later(1), act_at(ContractSigned, "c", 3)),
        event(4, 2, start(), Body::Impression(invented)),
        event(5, 2, later(1), act_at(ClickProfile, "b", 1)),
    ];
    let attributed = attribute(&events, &Windows::default(), &always(), later(400));
    let lawyers: Vec<_> = attributed.cases[1]
        .rows
        .iter()
        .map(|row| row.lawyer_id.as_str())
        .collect();
    let first = &attributed.cases[0];
    assert_eq!(
        (first.qid, first.rows.len(), first.grades()),
        (Uuid::from_u128(1), 2, vec![0, 0])
    );
    assert_eq!(
        (lawyers, attributed.cases[1].grades()),
        (vec!["b", "a", "c"], vec![1, 0, 0])
    );
    assert_eq!(attributed.counts.impressions_of_clients_left_out, 1);
    assert_eq!(attributed.counts.actions_unbound, 1);
}

#[test]
fn an_id_and_its_pseudonym_are_the_same_user() {
    let salt = b"salt".as_slice();
    let under = |event: Event| Event {
        user_id: pseudonym(salt, event.user_id),
        salt_id: Some(salt_id(salt)),
        ..event
    };
    let mut seen = Action::new(ClickProfile, "b", 2);
    seen.unbound = Some(false);
    let events = [
        event(1, 1, start(), shown(&["a", "b", "c"])),
        under(event(2, 1, later(1), act(ClickProfile, "a"))),
        under(event(3, 1, later(1), Body::Action(seen))),
        under(Event {
            user_id: Uuid::from_u128(8),
            ..event(4, 1, later(1), act(ClickProfile, "c"))
        }),
    ];
    let graded = |salt| {
        let attributed = super::attribute(&events, &Windows::default(), &always(), later(400), salt);
        grades(&attributed)
    };
    assert_eq!(graded(Some(salt)), [1, 1, 0]);
    assert_eq!(graded(None), [0, 1, 0], "by the gateway's check on receipt");
}

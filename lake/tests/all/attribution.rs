//! Which impression an action counts for, and which one is a case's query.

use ranking::ActionKind::{ClickProfile, ContactMade, ContractSigned};

use super::*;

fn first_day() -> NaiveDate {
    start().date_naive()
}

/// The lawyers of a case's query with their grades, in the order shown.
fn query(rows: &[Row]) -> Vec<(&str, u8)> {
    rows.iter().map(|row| (row.lawyer_id.as_str(), row.grade)).collect()
}

/// An impression by a ranking of its own.
fn shown_by(request: u128, lawyers: &[&str]) -> Body {
    Body::Impression(Impression {
        request_id: Uuid::from_u128(request),
        ..impression(lawyers, Origin::Gateway)
    })
}

fn act_on(request: u128, kind: ActionKind, lawyer: &str, rank_pos: u32) -> Body {
    Body::Action(Action {
        request_id: Some(Uuid::from_u128(request)),
        ..Action::new(kind, lawyer, rank_pos)
    })
}

/// A case that was shown, clicked, shown in another order a day later, and signed.
fn shown_twice() -> Vec<Event> {
    vec![
        event(1, 1, start(), shown_by(1, &["a", "b", "c"])),
        event(2, 1, later(1), act_on(1, ClickProfile, "a", 1)),
        event(3, 1, later(24), shown_by(2, &["b", "d", "a"])),
        event(4, 1, later(25), act_on(2, ClickProfile, "a", 3)),
        event(5, 1, later(26), act_on(2, ContractSigned, "b", 1)),
    ]
}

#[tokio::test]
async fn by_first_impression_all_actions_count_for_the_list_shown_first() {
    let place = Place::new().await;
    place.log(shown_twice()).await;
    place.night(later(400)).await;
    let rows = place.matrix(first_day());
    assert_eq!(query(&rows), [("a", 1), ("b", 3), ("c", 0)]);
}

#[tokio::test]
async fn by_last_touch_the_query_is_the_list_that_the_strongest_action_was_about() {
    let place = Place::with(Attribution::LastTouch).await;
    place.log(shown_twice()).await;
    place.night(later(400)).await;
    let rows = place.matrix(first_day());
    // The click on a, a day earlier, was about the other list.
    assert_eq!(query(&rows), [("b", 3), ("d", 0), ("a", 1)]);
    assert_eq!((rows[2].position, rows[2].price), (3, Some(0.2)), "as served then");
    assert_eq!(rows[0].ts, start(), "a case is as old as its first impression");
    assert_eq!(place.rows(later(400)).await.len(), 3, "a case is one query, of one day");
    let report = place.etl(later(400)).await.report(first_day()).await.unwrap().unwrap();
    assert_eq!(report.facts["actions_counted"], 2);
    assert_eq!(report.facts["actions_other_impression"], 1);
}

#[tokio::test]
async fn by_last_touch_a_case_without_actions_that_count_is_the_list_shown_first() {
    let place = Place::with(Attribution::LastTouch).await;
    place
        .log([
            event(1, 1, start(), shown(&["a", "b"])),
            event(2, 1, later(24), shown(&["b", "a"])),
            event(3, 1, later(49), act(ClickProfile, "a", 2)),
        ])
        .await;
    place.night(later(400)).await;
    assert_eq!(
        query(&place.matrix(first_day())),
        [("a", 0), ("b", 0)],
        "the click came too late"
    );
}

#[tokio::test]
async fn an_action_touches_the_latest_list_before_it_that_had_the_lawyer_at_that_place() {
    let place = Place::with(Attribution::LastTouch).await;
    place
        .log([
            // c is at place 3 of the first list alone.
            event(1, 1, start(), shown_by(1, &["a", "b", "c"])),
            event(2, 1, later(2), shown_by(2, &["c", "a", "b"])),
            event(3, 1, later(3), act(ContactMade, "c", 3)),
            // The second list came after the click; of the third one the action says so.
            event(11, 2, start(), shown_by(1, &["a", "b"])),
            event(12, 2, later(1), act(ClickProfile, "b", 2)),
            event(13, 2, later(2), shown_by(2, &["a", "b", "c"])),
            event(21, 3, start(), shown_by(1, &["a", "b"])),
            event(22, 3, later(1), shown_by(2, &["a", "b", "c"])),
            event(23, 3, later(2), act_on(1, ClickProfile, "b", 2)),
        ])
        .await;
    place.night(later(400)).await;
    let rows = place.matrix(first_day());
    let of = |case: u128| {
        let own: Vec<Row> = rows
            .iter()
            .filter(|row| row.qid == Uuid::from_u128(case))
            .cloned()
            .collect();
        query(&own)
            .into_iter()
            .map(|(lawyer, grade)| (lawyer.to_owned(), grade))
            .collect::<Vec<_>>()
    };
    let expected = |rows: &[(&str, u8)]| -> Vec<(String, u8)> {
        rows.iter()
            .map(|(lawyer, grade)| ((*lawyer).to_owned(), *grade))
            .collect()
    };
    assert_eq!(of(1), expected(&[("a", 0), ("b", 0), ("c", 2)]));
    assert_eq!(of(2), expected(&[("a", 0), ("b", 1)]));
    assert_eq!(of(3), expected(&[("a", 0), ("b", 1)]));
}

#[tokio::test]
async fn by_last_touch_a_case_is_closed_after_twice_the_longest_window() {
    let place = Place::with(Attribution::LastTouch).await;
    place
        .log([
            event(1, 1, start(), shown(&["a", "b"])),
            event(2, 1, later(160), shown(&["b", "a"])),
            event(3, 1, later(320), act(ContractSigned, "a", 2)),
            // No list of the case any more: it was shown a week after the first.
            event(4, 1, later(168), shown(&["a", "b", "c"])),
            event(5, 1, later(169), act(ContractSigned, "c", 3)),
        ])
        .await;
    place.night(later(335)).await;
    let rows = place.matrix(first_day());
    assert_eq!(query(&rows), [("b", 0), ("a", 3)]);
    assert!(rows.iter().all(|row| !row.mature));
    assert_eq!(place.night(later(336)).await.first(), Some(&first_day()));
    assert!(place.matrix(first_day()).iter().all(|row| row.mature));
}

#[tokio::test]
async fn another_rule_makes_the_matrices_again() {
    let mut place = Place::new().await;
    place.log(shown_twice()).await;
    assert_eq!(place.night(later(400)).await.len(), 2);
    assert_eq!(place.night(later(400)).await, []);
    place.rules = rules(Attribution::LastTouch);
    assert_eq!(place.night(later(400)).await.len(), 2);
    assert_eq!(place.matrix(first_day())[0].lawyer_id, "b");
}

#[tokio::test]
async fn a_list_of_the_gateway_counts_whatever_a_client_said_before() {
    let by_client = |lawyers: &[&str]| Body::Impression(impression(lawyers, Origin::Client));
    for attribution in [Attribution::FirstImpression, Attribution::LastTouch] {
        let place = Place::with(attribution).await;
        place
            .log([
                event(1, 1, start(), by_client(&["a", "b"])),
                event(2, 1, later(48), shown(&["c", "d"])),
                event(11, 2, start(), by_client(&["a", "b"])),
                event(12, 2, later(240), shown(&["c", "d"])),
                event(21, 3, start(), by_client(&["a", "b"])),
                event(22, 3, later(160), shown_by(1, &["c", "d"])),
                event(23, 3, later(200), shown_by(2, &["d", "c"])),
                event(24, 3, later(201), act_on(2, ClickProfile, "d", 1)),
            ])
            .await;
        place.night(later(1000)).await;
        let rows = place.rows(later(1000)).await;
        let of = |case: u128| -> Vec<&str> {
            let own = rows.iter().filter(|row| row.qid == Uuid::from_u128(case));
            own.map(|row| row.lawyer_id.as_str()).collect()
        };
        // Ten days apart, nobody knew of the gateway's list when the client's was closed: each is a query of its day.
        assert_eq!((of(1), of(2)), (vec!["c", "d"], vec!["a", "b", "c", "d"]));
        // The windows begin with the gateway's first list, of which the second is a week's neighbour.
        let third = match attribution {
            Attribution::FirstImpression => vec!["c", "d"],
            Attribution::LastTouch => vec!["d", "c"],
        };
        assert_eq!(of(3), third);
    }
}

#[tokio::test]
async fn nobody_acts_on_a_case_in_anothers_name_by_having_it_ranked_for_himself() {
    for attribution in [Attribution::FirstImpression, Attribution::LastTouch] {
        let place = Place::with(attribution).await;
        let by_another = |event: Event| Event {
            user_id: Uuid::from_u128(666),
            ..event
        };
        place
            .log([
                event(1, 1, start(), shown_by(1, &["a", "b"])),
                by_another(event(2, 1, later(1), shown_by(2, &["b", "a"]))),
                by_another(event(3, 1, later(2), act_on(2, ContractSigned, "b", 1))),
                by_another(event(4, 1, later(2), act(ContractSigned, "b", 2))),
            ])
            .await;
        place.night(later(1000)).await;
        assert_eq!(query(&place.matrix(first_day())), [("a", 0), ("b", 0)]);
    }
}

//! Events are taken once, all of a call or none, and say what they are on.

use hyper::Method;
use ranking::{Body, Event, Origin, pseudonym};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Running, Site, case, request_id};

/// The user of case 1.
const USER: Uuid = Uuid::from_u128(1_000_001);

/// A gateway that has shown adv_1 to adv_3 in case 1.
async fn with_a_case_shown(site: &Site) -> Running {
    let running = site.start().await;
    running.rank(&[("x-request-id", &request_id(1))], &case(1)).await.ok();
    running
}

fn action(id: u128, event: &str, lawyer: &str) -> Value {
    json!({
        "event": event, "event_id": Uuid::from_u128(id), "ts_utc": "2026-10-05T12:00:00Z",
        "case_id": Uuid::from_u128(1), "user_id": USER, "lawyer_id": lawyer,
        "rank_pos": lawyer.trim_start_matches("adv_").parse::<u32>().unwrap(),
    })
}

fn impression(id: u128, case: u128, lawyer: &str) -> Value {
    json!({
        "event": "impression", "event_id": Uuid::from_u128(id), "ts_utc": "2026-10-05T12:00:00Z",
        "case_id": Uuid::from_u128(case), "user_id": USER, "lawyer_ids": [lawyer],
        "weights_used": {"geo": 1.0}, "features": [[0.1, 0.2, 0.3, null, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 0.0]],
        "source": "legacy", "model_version": null, "request_id": Uuid::from_u128(id),
    })
}

async fn all(running: &Running) -> Vec<Event> {
    let later = chrono::Utc::now() + chrono::Duration::days(1);
    let kept = running
        .gateway
        .store
        .events_between(chrono::DateTime::UNIX_EPOCH, later);
    kept.await.unwrap().records
}

async fn kept(running: &Running) -> usize {
    all(running).await.len()
}

/// What is said of the action with this id.
async fn unbound(running: &Running, id: u128) -> Option<bool> {
    let all = all(running).await;
    let event = all.iter().find(|event| event.event_id.as_u128() == id).unwrap();
    let Body::Action(action) = &event.body else {
        panic!("{event:?}")
    };
    action.unbound
}

fn receipt(accepted: u32, duplicates: u32, unbound: u32) -> Value {
    json!({"accepted": accepted, "duplicates": duplicates, "unbound": unbound})
}

#[tokio::test]
async fn one_event_an_array_and_lines_are_taken_and_a_repetition_is_known() {
    let site = Site::new();
    let running = with_a_case_shown(&site).await;
    let one = action(1, "click_profile", "adv_1");
    assert_eq!(running.post("/events", &one).await.ok(), receipt(1, 0, 0));
    assert_eq!(running.post("/events", &one).await.ok(), receipt(0, 1, 0));
    let array = json!([
        one,
        action(2, "contact_made", "adv_1"),
        action(2, "contact_made", "adv_1")
    ]);
    assert_eq!(running.post("/events", &array).await.ok(), receipt(1, 2, 0));
    let lines = format!(
        "{}\n{}\n",
        action(3, "contract_signed", "adv_1"),
        action(4, "click_profile", "adv_2")
    );
    let headers = [("content-type", "application/x-ndjson")];
    let answer = running.send(Method::POST, "/events", &headers, lines).await.ok();
    assert_eq!(answer, receipt(2, 0, 0));
    assert_eq!(kept(&running).await, 1 + 4, "the impression of /rank and four actions");
}

#[tokio::test]
async fn one_bad_event_refuses_the_call_and_nothing_of_it_is_kept() {
    let site = Site::new();
    let running = with_a_case_shown(&site).await;
    let good = action(1, "click_profile", "adv_1");
    let with = |field: &str, value: Value| {
        let mut event = action(2, "click_profile", "adv_1");
        event[field] = value;
        event
    };
    let bad = [
        (with("event", json!("clicked")), "event", "clicked"),
        (with("rank_pos", json!(0)), "rank_pos", "0"),
        (with("rank_pos", json!(1.5)), "rank_pos", "1.5"),
        (with("rank_pos", json!(4_294_967_295u32)), "rank_pos", "4294967295"),
        (with("lawyer_id", json!("adv\u{0}9")), "lawyer_id", "adv"),
        (with("ts_utc", json!("9999-01-01T00:00:00Z")), "ts_utc", "9999"),
        (with("ts_utc", json!("yesterday")), "ts_utc", "yesterday"),
        (with("event_id", json!("1")), "event_id", "1"),
        (with("colour", json!("red")), "colour", "red"),
    ];
    for (event, field, value) in bad {
        let error = running.post("/events", &json!([good, event])).await.refused(422);
        let text = error.to_string();
        assert!(
            error["field"].as_str().unwrap().contains(&format!("[1].{field}")),
            "{field}: {text}"
        );
        assert!(error["message"].as_str().unwrap().contains(value), "{field}: {text}");
        assert!(!error["allowed"].as_str().unwrap().is_empty(), "{field}: {text}");
    }
    assert_eq!(kept(&running).await, 1, "only the impression of /rank");
}

#[tokio::test]
async fn an_action_on_what_was_not_shown_is_kept_and_marked_and_nobody_elses() {
    let site = Site::new();
    let running = with_a_case_shown(&site).await;
    let with = |id: u128, field: &str, value: Value| {
        let mut event = action(id, "click_profile", "adv_1");
        event[field] = value;
        event
    };
    let on_nothing = [
        with(2, "lawyer_id", json!("adv_9")),
        with(3, "rank_pos", json!(2)),
        with(4, "user_id", json!(Uuid::from_u128(7))),
        with(5, "case_id", json!(Uuid::from_u128(77))),
        with(6, "request_id", json!(request_id(2))),
    ];
    for (id, event) in (2..).zip(&on_nothing) {
        assert_eq!(running.post("/events", event).await.ok(), receipt(1, 0, 1), "{event}");
        assert_eq!(unbound(&running, id).await, Some(true), "{event}");
    }
    let both = json!([with(7, "request_id", json!(request_id(1))), on_nothing[0]]);
    assert_eq!(running.post("/events", &both).await.ok(), receipt(1, 1, 1));
    assert_eq!(unbound(&running, 7).await, Some(false));
    assert!(running.metric("ltr_events_unbound_total").await >= 6.0);
}

#[tokio::test]
async fn a_case_that_was_ranked_very_often_does_not_make_an_action_slow_or_wrong() {
    let site = Site::new();
    let running = site.start().await;
    for request in 0..300 {
        running
            .rank(&[("x-request-id", &request_id(request))], &case(1))
            .await
            .ok();
    }
    let shown = action(1, "click_profile", "adv_1");
    assert_eq!(running.post("/events", &shown).await.ok(), receipt(1, 0, 0));
    assert_eq!(unbound(&running, 1).await, Some(false));
    // There is more than is looked through, so nothing is said of it.
    let mut other = action(2, "click_profile", "adv_1");
    other["rank_pos"] = json!(3);
    assert_eq!(running.post("/events", &other).await.ok(), receipt(1, 0, 0));
    assert_eq!(unbound(&running, 2).await, None);
}

#[tokio::test]
async fn an_impression_earlier_in_the_same_call_counts_and_is_the_clients_word() {
    let site = Site::new();
    let running = site.start().await;
    let mut click = action(1, "click_profile", "adv_7");
    click["case_id"] = json!(Uuid::from_u128(9));
    click["rank_pos"] = json!(1);
    let shown = impression(2, 9, "adv_7");
    assert_eq!(
        running.post("/events", &json!([shown, click])).await.ok(),
        receipt(2, 0, 0)
    );
    assert_eq!(unbound(&running, 1).await, Some(false));
    // And one that was kept by an earlier call.
    click["event_id"] = json!(Uuid::from_u128(3));
    assert_eq!(running.post("/events", &click).await.ok(), receipt(1, 0, 0));
    assert_eq!(unbound(&running, 3).await, Some(false));
    let all = all(&running).await;
    let impressions = all.iter().filter_map(|event| match &event.body {
        Body::Impression(impression) => Some(impression.origin),
        Body::Action(_) => None,
    });
    assert_eq!(impressions.collect::<Vec<_>>(), [Some(Origin::Client)]);
    // One that comes later was not seen yet.
    let mut early = click.clone();
    (early["event_id"], early["case_id"]) = (json!(Uuid::from_u128(5)), json!(Uuid::from_u128(10)));
    let late = impression(6, 10, "adv_7");
    assert_eq!(
        running.post("/events", &json!([early, late])).await.ok(),
        receipt(2, 0, 1)
    );
    let mut forged = impression(4, 9, "adv_7");
    forged["origin"] = json!("gateway");
    assert!(
        running
            .post("/events", &forged)
            .await
            .refused(422)
            .to_string()
            .contains("origin")
    );
}

#[tokio::test]
async fn of_very_many_impressions_in_one_call_some_are_looked_through_and_nothing_is_said_of_the_rest() {
    let site = Site::new();
    let running = site.start().await;
    let mut events: Vec<Value> = (10..309).map(|id| impression(id, 9, "adv_1")).collect();
    events.push(impression(309, 9, "adv_2"));
    for (id, lawyer, rank) in [(1, "adv_1", 1), (2, "adv_1", 2), (3, "adv_2", 1)] {
        let mut click = action(id, "click_profile", lawyer);
        click["case_id"] = json!(Uuid::from_u128(9));
        click["rank_pos"] = json!(rank);
        events.push(click);
    }
    assert_eq!(running.post("/events", &json!(events)).await.ok(), receipt(303, 0, 0));
    assert_eq!(unbound(&running, 1).await, Some(false));
    assert_eq!(unbound(&running, 2).await, None);
    assert_eq!(unbound(&running, 3).await, None, "the last ones are not looked at");
}

#[tokio::test]
async fn nobody_can_take_the_place_of_an_impression_that_is_to_come() {
    let site = Site::new();
    let running = site.start().await;
    // What a client can work out of request and case.
    let (request, case_id) = (request_id(1).parse().unwrap(), Uuid::from_u128(1));
    let guesses = [
        ranking::events::impression_id(b"", request, case_id),
        ranking::events::comparison_id(request, case_id),
        request,
    ];
    for guess in guesses {
        let mut taken = impression(0, 1, "adv_9");
        taken["event_id"] = json!(guess);
        running.post("/events", &taken).await.ok();
    }
    running.rank(&[("x-request-id", &request_id(1))], &case(1)).await.ok();
    let all = all(&running).await;
    let ours = all.iter().filter(|event| event.origin() == Some(Origin::Gateway));
    assert_eq!(ours.count(), 1);
}

#[tokio::test]
async fn two_cases_under_one_request_id_are_two_rankings_and_a_retry_is_one() {
    let site = Site::new();
    let running = site.start().await;
    for id in [1, 2, 1, 2] {
        running.rank(&[("x-request-id", &request_id(1))], &case(id)).await.ok();
    }
    assert_eq!(kept(&running).await, 2);
    let mut click = action(1, "click_profile", "adv_1");
    click["case_id"] = json!(Uuid::from_u128(2));
    click["user_id"] = json!(Uuid::from_u128(1_000_002));
    assert_eq!(running.post("/events", &click).await.ok(), receipt(1, 0, 0));
    assert_eq!(unbound(&running, 1).await, Some(false));
}

#[tokio::test]
async fn events_have_the_users_pseudonym_or_their_id_as_configured_and_either_binds() {
    let mut site = Site::new();
    site.settings.privacy.pseudonymise_events = false;
    let running = with_a_case_shown(&site).await;
    assert!(
        all(&running)
            .await
            .iter()
            .all(|event| event.user_id == USER && event.salt_id.is_none())
    );
    running.stop().await;

    site.settings.privacy.pseudonymise_events = true;
    let running = site.start().await;
    // On an impression that was kept under the user's id.
    let click = action(1, "click_profile", "adv_1");
    assert_eq!(running.post("/events", &click).await.ok(), receipt(1, 0, 0));
    assert_eq!(unbound(&running, 1).await, Some(false));
    // And on one that is kept under the pseudonym.
    running.rank(&[("x-request-id", &request_id(2))], &case(2)).await.ok();
    let (mut click, user) = (action(2, "click_profile", "adv_1"), Uuid::from_u128(1_000_002));
    (click["case_id"], click["user_id"]) = (json!(Uuid::from_u128(2)), json!(user));
    assert_eq!(running.post("/events", &click).await.ok(), receipt(1, 0, 0));
    assert_eq!(unbound(&running, 2).await, Some(false));
    let salt = &running.gateway.pseudonyms.salt;
    let all = all(&running).await;
    let expected = |user| (pseudonym(salt, user), Some(ranking::salt_id(salt)));
    let acted = all.iter().find(|event| event.event_id == Uuid::from_u128(1)).unwrap();
    assert_eq!((acted.user_id, acted.salt_id), expected(USER));
    let of_second: Vec<&Event> = all.iter().filter(|event| event.case_id == Uuid::from_u128(2)).collect();
    assert_eq!(of_second.len(), 2);
    for event in of_second {
        assert_eq!((event.user_id, event.salt_id), expected(user), "{event:?}");
    }
}

#[tokio::test]
async fn an_event_of_an_impossible_time_is_refused_unless_replays_are_wanted() {
    let mut site = Site::new();
    site.settings.events.max_age_hours = 24;
    let running = site.start().await;
    let at = |hours: i64| {
        let mut event = impression(1, 9, "adv_1");
        event["ts_utc"] = json!(chrono::Utc::now() + chrono::Duration::hours(hours));
        event
    };
    for (hours, key) in [(1, "events.max_ahead_seconds"), (-25, "events.max_age_hours")] {
        let error = running.post("/events", &at(hours)).await.refused(422);
        assert_eq!(error["field"], "events[0].ts_utc");
        assert!(error["allowed"].as_str().unwrap().contains(key), "{error}");
    }
    running.post("/events", &at(-23)).await.ok();
    running.stop().await;

    site.settings.events.max_age_hours = 0;
    site.settings.events.max_ahead_seconds = 0;
    let running = site.start().await;
    for ts in ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"] {
        let mut event = impression(2, 9, "adv_1");
        event["ts_utc"] = json!(ts);
        event["event_id"] = json!(Uuid::new_v4());
        running.post("/events", &event).await.ok();
    }
}

#[tokio::test]
async fn an_impression_is_refused_that_is_older_than_nights_look_for_a_cases_first_one() {
    let mut site = Site::new();
    site.settings.events.max_age_hours = 90 * 24;
    let running = site.start().await;
    let days_ago = |mut event: Value, days: i64| {
        event["ts_utc"] = json!(chrono::Utc::now() - chrono::Duration::days(days));
        event
    };
    let old = running.post("/events", &days_ago(impression(1, 9, "adv_1"), 31)).await;
    let error = old.refused(422);
    assert!(error["allowed"].as_str().unwrap().contains("lake.case_days"), "{error}");
    running
        .post("/events", &days_ago(impression(1, 9, "adv_1"), 29))
        .await
        .ok();
    let click = action(2, "click_profile", "adv_1");
    running.post("/events", &days_ago(click, 31)).await.ok();
}

#[tokio::test]
async fn another_salt_on_the_same_database_is_refused() {
    let mut site = Site::new();
    site.start().await.stop().await;
    let other = site.settings.privacy.salt_file.with_file_name("other.salt");
    std::fs::write(&other, "another salt that is long enough for that\n").unwrap();
    site.settings.privacy.salt_file = other;
    let opened = ltr_host::server::bootstrap::open(site.settings.clone()).await;
    let refused = opened.err().expect("it must not start").to_string();
    assert!(refused.contains("privacy.salt_file"), "{refused}");
}

#[tokio::test]
async fn what_is_not_events_at_all_is_refused() {
    let site = Site::new();
    let running = site.start().await;
    for (body, status) in [
        ("", 422),
        ("[", 400),
        ("{\"event\":\"impression\"", 400),
        ("7", 422),
        ("[[]]", 422),
    ] {
        let error = running.send(Method::POST, "/events", &[], body).await.refused(status);
        assert!(error["message"].is_string(), "{body:?}");
    }
    assert_eq!(kept(&running).await, 0);
}

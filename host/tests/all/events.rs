//! Events are taken once, all of a call or none.

use hyper::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Running, Site, case, request_id};

/// A gateway that has shown adv_1 to adv_3 in case 1.
async fn with_a_case_shown(site: &Site) -> Running {
    let running = site.start().await;
    running.rank(&[("x-request-id", &request_id(1))], &case(1)).await.ok();
    running
}

fn action(id: u128, event: &str, lawyer: &str) -> Value {
    json!({
        "event": event, "event_id": Uuid::from_u128(id), "ts_utc": "2026-10-05T12:00:00Z",
        "case_id": Uuid::from_u128(1), "user_id": Uuid::from_u128(2), "lawyer_id": lawyer, "rank_pos": 1,
    })
}

fn impression(id: u128, case: u128, lawyer: &str) -> Value {
    json!({
        "event": "impression", "event_id": Uuid::from_u128(id), "ts_utc": "2026-10-05T12:00:00Z",
        "case_id": Uuid::from_u128(case), "user_id": Uuid::from_u128(2), "lawyer_ids": [lawyer],
        "weights_used": {"geo": 1.0}, "features": [[0.1, 0.2, 0.3, null, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 0.0]],
        "source": "legacy", "model_version": null, "request_id": Uuid::from_u128(id),
    })
}

async fn kept(running: &Running) -> usize {
    let later = chrono::Utc::now() + chrono::Duration::days(1);
    running
        .gateway
        .store
        .events_between(chrono::DateTime::UNIX_EPOCH, later)
        .await
        .unwrap()
        .len()
}

#[tokio::test]
async fn one_event_an_array_and_lines_are_taken_and_a_repetition_is_known() {
    let site = Site::new();
    let running = with_a_case_shown(&site).await;
    let one = action(1, "click_profile", "adv_1");
    assert_eq!(
        running.post("/events", &one).await.ok(),
        json!({"accepted": 1, "duplicates": 0})
    );
    assert_eq!(
        running.post("/events", &one).await.ok(),
        json!({"accepted": 0, "duplicates": 1})
    );
    let array = json!([
        one,
        action(2, "contact_made", "adv_1"),
        action(2, "contact_made", "adv_1")
    ]);
    assert_eq!(
        running.post("/events", &array).await.ok(),
        json!({"accepted": 1, "duplicates": 2})
    );
    let lines = format!(
        "{}\n{}\n",
        action(3, "contract_signed", "adv_1"),
        action(4, "click_profile", "adv_2")
    );
    let headers = [("content-type", "application/x-ndjson")];
    let answer = running.send(Method::POST, "/events", &headers, lines).await.ok();
    assert_eq!(answer, json!({"accepted": 2, "duplicates": 0}));
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
        (with("lawyer_id", json!("adv_9")), "lawyer_id", "adv_9"),
        (with("case_id", json!(Uuid::from_u128(77))), "lawyer_id", "adv_1"),
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
async fn a_lawyer_counts_as_shown_from_an_impression_earlier_in_the_same_call() {
    let site = Site::new();
    let running = site.start().await;
    let mut click = action(1, "click_profile", "adv_7");
    click["case_id"] = json!(Uuid::from_u128(9));
    let shown = impression(2, 9, "adv_7");
    running.post("/events", &json!([click, shown])).await.refused(422);
    assert_eq!(
        running.post("/events", &json!([shown, click])).await.ok(),
        json!({"accepted": 2, "duplicates": 0})
    );
    // And from one that was kept by an earlier call.
    click["event_id"] = json!(Uuid::from_u128(3));
    assert_eq!(
        running.post("/events", &click).await.ok(),
        json!({"accepted": 1, "duplicates": 0})
    );
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

//! Whatever `/rank` takes, everything that comes after it can read.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use ranking::{Body, Impression};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Running, Site, case};

/// Values of which some are of the grammar and some are not.
fn any_value() -> impl Strategy<Value = Value> {
    const TEXTS: [&str; 8] = ["", "a\0b", "\n", "São Paulo", "\u{1F600}", "\u{85}", "\\\"", "\u{feff}"];
    const TIMES: [&str; 7] = [
        "0001-01-01T00:00:00Z",
        "0000-12-31T23:59:59Z",
        "9999-12-31T23:59:59.999999999Z",
        "9999-12-31T23:59:59-01:00",
        "2016-12-31T23:59:60Z",
        "2026-01-31T12:00:00+23:59",
        "now",
    ];
    prop_oneof![
        proptest::sample::select(TEXTS.as_slice()).prop_map(Value::from),
        proptest::sample::select(TIMES.as_slice()).prop_map(Value::from),
        proptest::string::string_regex(".{0,300}")
            .unwrap()
            .prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        any::<u64>().prop_map(Value::from),
        proptest::sample::select([1e100, 1.1e100, f64::MAX, -f64::MAX, 5e-324].as_slice()).prop_map(Value::from),
        Just(Value::Null),
    ]
}

/// What each case was shown.
async fn impressions(running: &Running) -> BTreeMap<Uuid, Impression> {
    let later = chrono::Utc::now() + chrono::Duration::days(1);
    let events = running
        .gateway
        .store
        .events_between(chrono::DateTime::UNIX_EPOCH, later);
    let events = events.await.unwrap();
    assert_eq!(events.unreadable, []);
    let impressions = events.records.into_iter().map(|event| match event.body {
        Body::Impression(impression) => (event.case_id, impression),
        Body::Action(action) => panic!("{action:?}"),
    });
    impressions.collect()
}

#[tokio::test]
async fn a_ranking_that_was_taken_is_read_back_as_it_was_sent() {
    let site = Site::new();
    let running = site.start().await;
    let mut runner = TestRunner::deterministic();
    let fields = [
        "/lawyers/0/lawyer_id",
        "/lawyers/0/features/geo",
        "/lawyers/0/features/area_match",
        "/lawyers/0/groups/gender",
        "/lawyers/0/last_offered_at",
        "/lawyers/0/groups_consented_at",
        "/lawyers/0/cases_30d",
        "/lawyers/0/monthly_capacity",
    ];
    let (mut taken, mut refused) = (0, 0);
    for n in 0..400 {
        let mut body = case(n);
        body["lawyers"][0]["groups_consented_at"] = Value::Null;
        for field in fields {
            if n % 3 == 0 || any::<u8>().new_tree(&mut runner).unwrap().current() < 32 {
                let value = any_value().new_tree(&mut runner).unwrap().current();
                *body.pointer_mut(field).unwrap() = value;
            }
        }
        match running.rank(&[], &body).await.status.as_u16() {
            200 => taken += 1,
            422 => {
                refused += 1;
                continue;
            }
            status => panic!("{status}: {body}"),
        }
        let impressions = impressions(&running).await;
        assert_eq!(impressions.len(), taken, "{body}");
        let sent = &body["lawyers"][0];
        let shown = &impressions[&Uuid::from_u128(n)];
        let at = shown.lawyer_ids.iter().position(|id| *id == sent["lawyer_id"]).unwrap();
        assert_eq!(shown.features[at][3], sent["features"]["geo"].as_f64());
        assert_eq!(shown.features[at][0], sent["features"]["area_match"].as_f64());
        assert!(shown.legacy_scores.as_ref().unwrap().iter().all(Option::is_some));
        assert_eq!(shown.lawyer_ids.len(), 3);
    }
    assert!(taken > 50 && refused > 50, "{taken} taken, {refused} refused");
}

#[tokio::test]
async fn a_click_on_whatever_was_shown_is_bound_to_it() {
    let site = Site::new();
    let running = site.start().await;
    for (id, name) in (1..).zip(["São Paulo", "\u{1F600}", "a\\\"b'", " ", &"x".repeat(256)]) {
        let mut body = case(id);
        body["lawyers"][1]["lawyer_id"] = json!(name);
        let answer = running.rank(&[], &body).await.ok();
        assert_eq!(answer["ranking"][0]["lawyer_id"], name);
        let click = json!({
            "event": "click_profile", "event_id": Uuid::new_v4(), "ts_utc": chrono::Utc::now(),
            "case_id": body["case"]["case_id"], "user_id": body["case"]["user_id"], "lawyer_id": name, "rank_pos": 1,
        });
        let receipt = running.post("/events", &click).await.ok();
        assert_eq!(
            receipt,
            json!({"accepted": 1, "duplicates": 0, "unbound": 0}),
            "{name:?}"
        );
    }
}

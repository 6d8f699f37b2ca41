use proptest::prelude::*;
use serde_json::json;

use super::*;

fn schema() -> Schema {
    Schema::new(["geo", "review"]).unwrap()
}

const ID: &str = "6f1b1a34-3c1e-4c5a-9e0d-2f5b8c7d9e10";

fn action() -> Value {
    json!({"event": "click_profile", "event_id": ID, "ts_utc": "2026-01-31T12:00:00.25-03:00", "case_id": ID,
           "user_id": ID, "lawyer_id": "adv_1", "rank_pos": 2})
}

fn impression() -> Value {
    json!({"event": "impression", "event_id": ID, "ts_utc": "2026-01-31T12:00:00Z", "case_id": ID, "user_id": ID,
           "request_id": ID, "lawyer_ids": ["a", "b"], "weights_used": {"geo": 0.5, "review": 0.5},
           "features": [[0.1, null], [1, 0]], "source": "ltr", "model_version": "20261123T021500Z",
           "legacy_scores": [0.5, 0.25], "groups": [{"gender": "F"}, {}], "cases_30d": [1, 2],
           "monthly_capacity": [10, 0], "last_offered_at": [null, "2026-01-01T00:00:00Z"]})
}

fn refusal(mut event: Value, field: &str, value: Value) -> EventError {
    event[field] = value;
    Event::from_json(&event, &schema()).unwrap_err()
}

proptest! {
    #[test]
    fn an_impression_is_the_same_event_for_the_same_request_only_and_comes_when_it_came(a: u128, b: u128) {
        let (earlier, later) = (Uuid::from_u128(a.min(b)), Uuid::from_u128(a.max(b)));
        prop_assert_eq!(impression_id(earlier), impression_id(earlier));
        prop_assert_eq!(impression_id(earlier) == impression_id(later), earlier == later);
        prop_assert_eq!(impression_id(later).get_version_num(), 8);
        let time = |id: Uuid| id.as_u128() >> 80;
        prop_assert_eq!(time(impression_id(earlier)), time(earlier));
    }
}

#[test]
fn an_event_survives_json() {
    for value in [action(), impression()] {
        let event = Event::from_json(&value, &schema()).unwrap();
        assert_eq!(Event::from_json(&event.to_json(), &schema()).unwrap(), event);
        assert_eq!(event.kind(), value["event"]);
    }
    let event = Event::from_json(&action(), &schema()).unwrap();
    assert_eq!(event.to_json()["ts_utc"], "2026-01-31T15:00:00.250Z");
    let Body::Action(action) = event.body else { panic!() };
    assert_eq!((action.kind, action.rank_pos), (ActionKind::ClickProfile, 2));
    let Body::Impression(shown) = Event::from_json(&impression(), &schema()).unwrap().body else {
        panic!()
    };
    assert_eq!(shown.features, [[Some(0.1), None], [Some(1.0), Some(0.0)]]);
}

#[test]
fn what_only_offline_evaluation_needs_may_be_absent() {
    let mut event = impression();
    event["source"] = json!("legacy");
    let fields = event.as_object_mut().unwrap();
    for name in [
        "model_version",
        "legacy_scores",
        "groups",
        "cases_30d",
        "monthly_capacity",
        "last_offered_at",
    ] {
        fields.remove(name);
    }
    let event = Event::from_json(&event, &schema()).unwrap();
    assert_eq!(Event::from_json(&event.to_json(), &schema()).unwrap(), event);
    assert!(event.to_json().get("groups").is_none());
}

#[test]
fn an_unknown_type_or_field_is_refused_with_those_there_are() {
    let error = refusal(action(), "event", json!("purchase"));
    assert_eq!(
        error.to_string(),
        "event: \"purchase\" is refused; allowed: impression, click_profile, contact_made, contract_signed"
    );
    let error = refusal(action(), "colour", json!("red"));
    assert_eq!((error.field.as_str(), error.value.as_str()), ("colour", "\"red\""));
    assert!(error.allowed.contains("lawyer_id, rank_pos"), "{error}");
    // Fields of the other kind are unknown too.
    assert_eq!(refusal(impression(), "rank_pos", json!(1)).field, "rank_pos");
    assert_eq!(
        Event::from_json(&json!([1]), &schema()).unwrap_err().value,
        "a list of 1"
    );
}

#[test]
fn every_required_field_is_missed_by_name() {
    let optional = [
        "legacy_scores",
        "groups",
        "cases_30d",
        "monthly_capacity",
        "last_offered_at",
    ];
    for whole in [action(), impression()] {
        for name in whole
            .as_object()
            .unwrap()
            .keys()
            .filter(|n| !optional.contains(&n.as_str()))
        {
            let mut event = whole.clone();
            event.as_object_mut().unwrap().remove(name);
            let error = Event::from_json(&event, &schema()).unwrap_err();
            assert_eq!(&error.field, name, "{error}");
        }
    }
}

#[test]
fn a_bad_value_is_refused_with_its_path() {
    let long = "x".repeat(257);
    let groups: serde_json::Map<String, Value> = (0..33).map(|i| (i.to_string(), json!("g"))).collect();
    let lawyers: Vec<String> = (0..10_001).map(|i| i.to_string()).collect();
    for (base, field, value, path, allowed) in [
        (action(), "event_id", json!("x"), "event_id", "a UUID"),
        (action(), "user_id", json!(7), "user_id", "a UUID"),
        (action(), "ts_utc", json!("yesterday"), "ts_utc", "RFC 3339"),
        (action(), "ts_utc", json!("2026-01-31T12:00:00"), "ts_utc", "RFC 3339"),
        (action(), "ts_utc", json!("1969-12-31T23:00:00Z"), "ts_utc", "1970"),
        (action(), "lawyer_id", json!(""), "lawyer_id", "1 to 256 bytes"),
        (action(), "lawyer_id", json!(long), "lawyer_id", "1 to 256 bytes"),
        (action(), "lawyer_id", json!("a\u{0}"), "lawyer_id", "control"),
        (action(), "rank_pos", json!(0), "rank_pos", "at least 1"),
        (action(), "rank_pos", json!(-1), "rank_pos", "integer"),
        (action(), "rank_pos", json!(1.5), "rank_pos", "integer"),
        (impression(), "lawyer_ids", json!([]), "lawyer_ids", "1 to 10000"),
        (impression(), "lawyer_ids", json!(lawyers), "lawyer_ids", "1 to 10000"),
        (impression(), "lawyer_ids", json!(["a", "a"]), "lawyer_ids[1]", "once"),
        (
            impression(),
            "weights_used",
            json!({"colour": 1}),
            "weights_used.colour",
            "geo, review",
        ),
        (
            impression(),
            "weights_used",
            json!({"geo": -1}),
            "weights_used.geo",
            "at least 0",
        ),
        (impression(), "features", json!([[1, 2]]), "features", "which has 2"),
        (
            impression(),
            "features",
            json!([[1, 2], [1]]),
            "features[1]",
            "2 numbers",
        ),
        (
            impression(),
            "features",
            json!([[1, 2], [1, "NaN"]]),
            "features[1][1]",
            "null where",
        ),
        (impression(), "source", json!("oracle"), "source", "legacy, ltr"),
        (
            impression(),
            "model_version",
            json!(null),
            "model_version",
            "source is ltr",
        ),
        (
            impression(),
            "legacy_scores",
            json!([1]),
            "legacy_scores",
            "which has 2",
        ),
        (
            impression(),
            "legacy_scores",
            json!([1, null]),
            "legacy_scores[1]",
            "finite",
        ),
        (
            impression(),
            "groups",
            json!([{}, {"gender": 1}]),
            "groups[1].gender",
            "text",
        ),
        (impression(), "groups", json!([{}, groups]), "groups[1]", "at most 32"),
        (impression(), "cases_30d", json!([1, -1]), "cases_30d[1]", "integer"),
        (
            impression(),
            "monthly_capacity",
            json!([1, 5_000_000_000u64]),
            "monthly_capacity[1]",
            "4294967295",
        ),
        (
            impression(),
            "last_offered_at",
            json!([null, "x"]),
            "last_offered_at[1]",
            "RFC 3339",
        ),
    ] {
        let error = refusal(base, field, value);
        assert_eq!(error.field, path, "{error}");
        assert!(error.allowed.contains(allowed), "{error}");
        assert!(error.to_string().len() < 600, "{error}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!(ID)),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_value_of_any_field_makes_it_panic_and_what_is_read_survives(
        which in 0usize..16, value in any_json(), shown in any::<bool>()
    ) {
        let mut event = if shown { impression() } else { action() };
        let names: Vec<String> = event.as_object().unwrap().keys().cloned().collect();
        event[&names[which % names.len()]] = value;
        if let Ok(event) = Event::from_json(&event, &schema()) {
            prop_assert_eq!(Event::from_json(&event.to_json(), &schema()), Ok(event));
        }
    }

    #[test]
    fn features_come_back_to_the_last_bit(a in proptest::num::f64::NORMAL, b in proptest::num::f64::SUBNORMAL) {
        let mut value = impression();
        value["features"] = json!([[a, b], [null, -0.0]]);
        let event = Event::from_json(&value, &schema()).unwrap();
        let text = event.to_json().to_string();
        let again = Event::from_json(&serde_json::from_str(&text).unwrap(), &schema()).unwrap();
        let Body::Impression(shown) = again.body else { panic!() };
        prop_assert_eq!(shown.features[0][0].unwrap().to_bits(), a.to_bits());
        prop_assert_eq!(shown.features[0][1].unwrap().to_bits(), b.to_bits());
        prop_assert_eq!(shown.features[1][1].unwrap().to_bits(), (-0.0f64).to_bits());
    }
}

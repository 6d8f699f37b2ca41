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
    fn ids_follow_from_request_and_case_and_come_when_the_request_came(
        a: u128, b: u128, case_a: u128, case_b: u128
    ) {
        let (earlier, later) = (Uuid::from_u128(a.min(b)), Uuid::from_u128(a.max(b)));
        let (case_a, case_b) = (Uuid::from_u128(case_a), Uuid::from_u128(case_b));
        let time = |id: Uuid| id.as_u128() >> 80;
        let keyed = |request, case| impression_id(b"salt", request, case);
        for id in [keyed, comparison_id] {
            prop_assert_eq!(id(earlier, case_a), id(earlier, case_a));
            prop_assert_eq!(id(earlier, case_a) == id(later, case_a), earlier == later);
            prop_assert_eq!(id(earlier, case_a) == id(earlier, case_b), case_a == case_b);
            prop_assert_eq!(time(id(later, case_a)), time(later));
        }
        prop_assert_eq!(keyed(later, case_a).get_version_num(), 8);
        prop_assert_ne!(impression_id(b"pepper", later, case_a), keyed(later, case_a));
    }
}

fn read_back(event: &Event) -> Event {
    Event::from_stored(event.to_json()).unwrap()
}

#[test]
fn an_event_survives_json() {
    for value in [action(), impression()] {
        let event = Event::from_json(&value, &schema()).unwrap();
        assert_eq!(read_back(&event), event);
        assert_eq!(event.kind(), value["event"]);
    }
    let event = Event::from_json(&action(), &schema()).unwrap();
    assert_eq!(event.to_json()["ts_utc"], "2026-01-31T15:00:00.250Z");
    assert_eq!(event.to_json()["schema_version"], 2);
    let Body::Action(action) = event.body else { panic!() };
    assert_eq!((action.kind, action.rank_pos), (ActionKind::ClickProfile, 2));
    let Body::Impression(shown) = Event::from_json(&impression(), &schema()).unwrap().body else {
        panic!()
    };
    assert_eq!(shown.features, [[Some(0.1), None], [Some(1.0), Some(0.0)]]);
}

#[test]
fn how_a_ranking_came_about_survives_json() {
    let mut value = impression();
    for (name, field) in [
        ("source", json!("interleaved")),
        ("policy", json!("interleaved")),
        ("order_before", json!(["b", "a"])),
        ("coin", json!({"pair": [1, 2], "swapped": true, "probability": 0.5})),
        ("drafted_by", json!(["ltr", "interleaved"])),
        ("ltr_version", json!("20261123T021500Z")),
        ("ltr_ranks", json!([1, 2])),
        ("ltr_scores", json!([0.25, -3.5])),
        ("state_version", json!(7)),
        ("groups_consented_at", json!(["2026-01-01T00:00:00Z", null])),
    ] {
        value[name] = field;
    }
    let mut event = Event::from_json(&value, &schema()).unwrap();
    event.salt_id = Some(Uuid::from_u128(1));
    let Body::Impression(shown) = &mut event.body else {
        panic!()
    };
    shown.origin = Some(Origin::Gateway);
    shown.fairness = Some(Fairness::default());
    shown.features_id = Some(schema().id());
    let json = event.to_json();
    for (name, field) in value.as_object().unwrap() {
        // Numbers are written as floating-point, which JSON does not tell apart.
        if !["features", "weights_used"].contains(&name.as_str()) {
            assert_eq!(&json[name], field, "{name}");
        }
    }
    assert_eq!(read_back(&event), event);
}

#[test]
fn an_event_of_a_newer_form_is_kept_with_what_is_not_known_here() {
    for mut value in [action(), impression()] {
        value["schema_version"] = json!(3);
        value["mood"] = json!({"of": ["the", "day"]});
        let event = Event::from_json(&value, &schema()).unwrap();
        assert_eq!(event.to_json()["mood"], value["mood"]);
        assert_eq!(read_back(&event), event);

        value["mood"] = json!(["a\0"]);
        assert_eq!(Event::from_json(&value, &schema()).unwrap_err().field, "mood");
        value.as_object_mut().unwrap().remove("mood");
        for ours in ["salt_id", "unbound", "origin", "features_id"] {
            let mut value = value.clone();
            value[ours] = json!("x");
            assert_eq!(Event::from_json(&value, &schema()).unwrap_err().field, ours);
        }
    }
}

/// What older programs took, and what no program should have written.
#[test]
fn a_newer_programs_values_of_optional_fields_are_kept_and_cost_the_event_nothing_else() {
    let lists = ["ltr_scores", "groups", "drafted_by"];
    let strange = [
        ("policy", json!("thompson")),
        ("origin", json!("replay")),
        ("drafted_by", json!(["somebody"])),
        ("coin", json!({ "swapped": null })),
        ("state_version", json!("7a")),
        ("ltr_scores", json!([null])),
        ("groups", json!([{ "gender": 5 }])),
        ("fairness", json!("none")),
        ("features_id", json!(7)),
    ];
    for (name, value) in &strange {
        let mut stored = impression();
        stored["schema_version"] = json!(3);
        // The others are as they are in this program's form.
        for list in lists {
            stored.as_object_mut().unwrap().remove(list);
        }
        let plain = Event::from_stored(stored.clone()).unwrap();
        stored[*name] = value.clone();
        let event = Event::from_stored(stored).unwrap();
        assert_eq!(event.unknown.get(*name), Some(value), "{name}");
        assert_eq!(event.to_json()[*name], *value, "{name}");
        let (Body::Impression(read), Body::Impression(plain)) = (&event.body, &plain.body) else {
            panic!("{name}");
        };
        assert_eq!(
            (&read.lawyer_ids, &read.features),
            (&plain.lawyer_ids, &plain.features),
            "{name}"
        );
        assert_eq!(Event::from_stored(event.to_json()).unwrap(), event, "{name}");
    }
    // But what its readers need is needed.
    let mut stored = impression();
    (stored["policy"], stored["features"]) = (json!("thompson"), json!("none"));
    assert!(Event::from_stored(stored).unwrap_err().0.contains("invalid type"));
}

#[test]
fn a_stored_event_is_read_by_what_its_readers_need_and_not_by_todays_grammar() {
    let mut old = impression();
    old["lawyer_ids"] = json!(["a\u{0}b", "\n"]);
    old["last_offered_at"] = json!([null, "9999-12-31T23:59:59Z"]);
    // A weighted mean that overflowed, and JSON has no infinity.
    old["features"] = json!([[1e99, null, 3.0], [1e99, 0, 1]]);
    old["legacy_scores"] = json!([null, 0.5]);
    old["weights_used"] = json!({"a feature of another day": 1.0});
    let event = Event::from_stored(old).unwrap();
    assert_eq!(event.schema_version, 1);
    assert_eq!(Event::from_stored(event.to_json()).unwrap(), event);

    let mut far = action();
    far["rank_pos"] = json!(4_294_967_295u32);
    assert!(Event::from_stored(far).is_ok());

    for (field, value) in [
        ("event", json!("message_read")),
        ("event_id", json!("x")),
        ("lawyer_ids", json!([])),
        ("lawyer_ids", json!(["a", "a"])),
        ("lawyer_ids", json!(["a"])),
        ("features", json!([[1, 2], [1]])),
        ("features", json!([[1, 2], [1.7e308, 0]])),
        ("lawyer_ids", json!(["a", ""])),
        ("groups", json!([{}])),
        ("source", json!("oracle")),
        ("ts_utc", json!("yesterday")),
    ] {
        let mut bad = impression();
        bad[field] = value;
        let error = Event::from_stored(bad).unwrap_err();
        assert!(error.to_string().len() < 300, "{error}");
    }
    let mut empty = impression();
    let fields = empty.as_object_mut().unwrap().values_mut();
    fields
        .filter(|field| field.is_array())
        .for_each(|list| *list = json!([]));
    assert!(Event::from_stored(empty).is_err());
    assert!(Event::from_stored(json!(null)).is_err());
    assert!(Event::from_stored(json!([action()])).is_err());
}

#[test]
fn whose_word_an_old_impression_is_follows_from_its_id() {
    let mut event = Event::from_stored(impression()).unwrap();
    assert_eq!(event.origin(), Some(Origin::Client));
    event.event_id = former_impression_id(Uuid::parse_str(ID).unwrap());
    assert_eq!(event.origin(), Some(Origin::Gateway));
    let Body::Impression(shown) = &mut event.body else {
        panic!()
    };
    shown.origin = Some(Origin::Client);
    assert_eq!(event.origin(), Some(Origin::Client));
    assert_eq!(Event::from_stored(action()).unwrap().origin(), None);
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
    assert_eq!(read_back(&event), event);
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
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_bad_value_is_refused_with_its_path() {
    let long = "x".repeat(257);
    let groups: serde_json::Map<String, Value> = (0..33).map(|i| (i.to_string(), json!("g"))).collect();
    let lawyers: Vec<String> = (0..10_001).map(|i| i.to_string()).collect();
    for (base, field, value, path, allowed) in [
        (action(), "event_id", json!("x"), "event_id", "a UUID"),
        (action(), "user_id", json!(7), "user_id", "a UUID"),
        (action(), "schema_version", json!(0), "schema_version", "1 to"),
        (action(), "ts_utc", json!("yesterday"), "ts_utc", "RFC 3339"),
        (action(), "ts_utc", json!("2026-01-31T12:00:00"), "ts_utc", "RFC 3339"),
        (action(), "ts_utc", json!("0000-12-31T23:00:00Z"), "ts_utc", "year 1"),
        (action(), "lawyer_id", json!(""), "lawyer_id", "1 to 256 bytes"),
        (action(), "lawyer_id", json!(long), "lawyer_id", "1 to 256 bytes"),
        (action(), "lawyer_id", json!("a\u{0}"), "lawyer_id", "control"),
        (action(), "rank_pos", json!(0), "rank_pos", "1 to 10000"),
        (action(), "rank_pos", json!(4_294_967_295u32), "rank_pos", "1 to 10000"),
        (action(), "request_id", json!("x"), "request_id", "a UUID"),
        (impression(), "policy", json!("chance"), "policy", "interleaved"),
        (
            impression(),
            "drafted_by",
            json!(["ltr", "somebody"]),
            "drafted_by[1]",
            "legacy, ltr, interleaved",
        ),
        (impression(), "ltr_ranks", json!([1, 0]), "ltr_ranks[1]", "1 to 10000"),
        (impression(), "state_version", json!(-1), "state_version", "at least 0"),
        (
            impression(),
            "coin",
            json!({"pair": [1, 3], "swapped": true, "probability": 0.5}),
            "coin",
            "two places",
        ),
        (
            impression(),
            "order_before",
            json!(["a", "a"]),
            "order_before[1]",
            "once",
        ),
        (
            impression(),
            "features",
            json!([[1, 2], [1, 1.7e308]]),
            "features[1][1]",
            "1e100",
        ),
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
            "1e100",
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
            prop_assert_eq!(Event::from_stored(event.to_json()), Ok(event));
        }
    }

    #[test]
    fn features_come_back_to_the_last_bit(a in -1e100..1e100f64, b in proptest::num::f64::SUBNORMAL) {
        let mut value = impression();
        value["features"] = json!([[a, b], [null, -0.0]]);
        let event = Event::from_json(&value, &schema()).unwrap();
        let text = event.to_json().to_string();
        let again = Event::from_stored(serde_json::from_str(&text).unwrap()).unwrap();
        let Body::Impression(shown) = again.body else { panic!() };
        prop_assert_eq!(shown.features[0][0].unwrap().to_bits(), a.to_bits());
        prop_assert_eq!(shown.features[0][1].unwrap().to_bits(), b.to_bits());
        prop_assert_eq!(shown.features[1][1].unwrap().to_bits(), (-0.0f64).to_bits());
    }
}

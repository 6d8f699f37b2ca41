//! Bad input is refused with its place, its value and what is allowed, and leaves nothing behind.

use hyper::Method;
use ranking::features::DEFAULT_FEATURES;
use serde_json::{Value, json};

use crate::{Running, Site, case, lawyer};

type Change = fn(&mut Value);

/// What is done to a good request, the place that must be named, and what the message must say.
const REFUSED: [(&str, Change, &str, &str); 24] = [
    ("no lawyers", |b| b["lawyers"] = json!([]), "lawyers", "1 to 10000"),
    (
        "lawyers absent",
        |b| drop(b.as_object_mut().unwrap().remove("lawyers")),
        "lawyers",
        "absent",
    ),
    (
        "a doubled lawyer",
        |b| b["lawyers"][2]["lawyer_id"] = json!("adv_1"),
        "lawyers[2].lawyer_id",
        "adv_1",
    ),
    (
        "an empty lawyer id",
        |b| b["lawyers"][0]["lawyer_id"] = json!(""),
        "lawyers[0].lawyer_id",
        "\"\"",
    ),
    (
        "a missing feature",
        |b| drop(b["lawyers"][1]["features"].as_object_mut().unwrap().remove("geo")),
        "lawyers[1].features.geo",
        "absent",
    ),
    (
        "an unknown feature",
        |b| b["lawyers"][1]["features"]["charm"] = json!(1),
        "lawyers[1].features.charm",
        "area_match",
    ),
    (
        "NaN as a string",
        |b| b["lawyers"][0]["features"]["geo"] = json!("NaN"),
        "lawyers[0].features.geo",
        "NaN",
    ),
    (
        "a feature that is true",
        |b| b["lawyers"][0]["features"]["geo"] = json!(true),
        "lawyers[0].features.geo",
        "true",
    ),
    (
        "features as a list",
        |b| b["lawyers"][0]["features"] = json!([1]),
        "lawyers[0].features",
        "an object",
    ),
    ("top_n 0", |b| b["top_n"] = json!(0), "top_n", "0"),
    ("top_n below 0", |b| b["top_n"] = json!(-1), "top_n", "-1"),
    ("top_n 1.5", |b| b["top_n"] = json!(1.5), "top_n", "1.5"),
    (
        "an unknown preset",
        |b| b["preset"] = json!("cheap"),
        "preset",
        "balanced, expert, fast",
    ),
    (
        "a case without an id",
        |b| drop(b["case"].as_object_mut().unwrap().remove("case_id")),
        "case.case_id",
        "absent",
    ),
    (
        "a case id that is none",
        |b| b["case"]["case_id"] = json!("7"),
        "case.case_id",
        "a UUID",
    ),
    (
        "a user id that is none",
        |b| b["case"]["user_id"] = json!(7),
        "case.user_id",
        "a UUID",
    ),
    ("an unknown field", |b| b["sort"] = json!("fair"), "sort", "top_n"),
    (
        "an unknown field of a lawyer",
        |b| b["lawyers"][0]["name"] = json!("x"),
        "lawyers[0].name",
        "lawyer_id",
    ),
    (
        "negative cases",
        |b| b["lawyers"][0]["cases_30d"] = json!(-1),
        "lawyers[0].cases_30d",
        "-1",
    ),
    (
        "capacity as text",
        |b| b["lawyers"][0]["monthly_capacity"] = json!("30"),
        "lawyers[0].monthly_capacity",
        "30",
    ),
    (
        "no capacity",
        |b| drop(b["lawyers"][0].as_object_mut().unwrap().remove("monthly_capacity")),
        "lawyers[0].monthly_capacity",
        "absent",
    ),
    (
        "a group that is a number",
        |b| b["lawyers"][0]["groups"]["gender"] = json!(1),
        "lawyers[0].groups.gender",
        "a string",
    ),
    (
        "a time that is none",
        |b| b["lawyers"][0]["last_offered_at"] = json!("today"),
        "lawyers[0].last_offered_at",
        "RFC 3339",
    ),
    ("a list for a body", |b| *b = json!([]), "", "an object"),
];

async fn nothing_kept(running: &Running) {
    let later = chrono::Utc::now() + chrono::Duration::days(1);
    let events = running
        .gateway
        .store
        .events_between(chrono::DateTime::UNIX_EPOCH, later)
        .await
        .unwrap();
    assert_eq!(events, store::Readable::default());
}

#[tokio::test]
async fn each_kind_of_bad_request_names_the_place_and_what_is_allowed() {
    let site = Site::new();
    let running = site.start().await;
    for (name, change, field, says) in REFUSED {
        let mut body = case(1);
        change(&mut body);
        let error = running.rank(&[], &body).await.refused(422);
        assert_eq!(error["field"], field, "{name}: {error}");
        assert!(error["message"].as_str().unwrap().contains(says), "{name}: {error}");
        assert!(!error["allowed"].as_str().unwrap().is_empty(), "{name}: {error}");
    }
    nothing_kept(&running).await;
}

#[tokio::test]
async fn ten_thousand_lawyers_are_ranked_and_one_more_is_refused() {
    let site = Site::new();
    let running = site.start().await;
    let with = |count: usize| {
        let mut body = case(1);
        body["lawyers"] = (0..count).map(|i| lawyer(&format!("adv_{i}"), 0.5, 0.5)).collect();
        body["top_n"] = json!(1);
        body
    };
    assert_eq!(
        running.rank(&[], &with(10_000)).await.ok()["ranking"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let error = running.rank(&[], &with(10_001)).await.refused(422);
    assert_eq!(error["field"], "lawyers");
    assert!(error["message"].as_str().unwrap().contains("10001"), "{error}");
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_before_anything_else() {
    let mut site = Site::new();
    site.settings.host.max_body_bytes = 100_000;
    let running = site.start().await;
    let good = case(1).to_string();
    let doubled = good.replacen("\"geo\":", "\"geo\":0.5,\"geo\":", 1);
    assert_ne!(good, doubled);
    let bodies: [(&str, Vec<u8>, u16, &str); 8] = [
        ("empty", b"".to_vec(), 400, "invalid_json"),
        (
            "cut off",
            good.as_bytes()[..good.len() - 1].to_vec(),
            400,
            "invalid_json",
        ),
        ("two values", format!("{good}{good}").into_bytes(), 400, "invalid_json"),
        (
            "not UTF-8",
            good.replace("adv_1", "adv_é")
                .into_bytes()
                .iter()
                .copied()
                .filter(|b| *b != 0xa9)
                .collect(),
            400,
            "invalid_utf8",
        ),
        ("NaN", good.replacen("0.9", "NaN", 1).into_bytes(), 400, "invalid_json"),
        ("a feature twice", doubled.into_bytes(), 400, "doubled_name"),
        (
            "10,000 levels",
            [b"[".repeat(10_000), b"]".repeat(10_000)].concat(),
            400,
            "too_deep",
        ),
        (
            "over the limit",
            format!("{good}{}", " ".repeat(100_000)).into_bytes(),
            413,
            "body_too_large",
        ),
    ];
    for path in ["/rank", "/ltr/score", "/events"] {
        for (name, body, status, code) in &bodies {
            // Without a model /ltr/score has nothing to read a body with; and events may follow each other.
            if path == "/ltr/score" && *status != 413 || path == "/events" && matches!(*name, "two values" | "empty") {
                continue;
            }
            let error = running
                .send(Method::POST, path, &[], body.clone())
                .await
                .refused(*status);
            assert_eq!(error["code"], *code, "{path}, {name}: {error}");
        }
    }
    nothing_kept(&running).await;
}

#[tokio::test]
async fn features_may_come_in_any_order() {
    let site = Site::new();
    let running = site.start().await;
    let expected = running.rank(&[], &case(1)).await.ok()["ranking"].clone();
    // serde_json keeps names sorted; the schema's own order is another.
    let mut text = case(1).to_string();
    for lawyer in case(1)["lawyers"].as_array().unwrap() {
        let features = &lawyer["features"];
        let schema_order: Vec<String> = DEFAULT_FEATURES
            .iter()
            .map(|name| format!("{name:?}:{}", features[name]))
            .collect();
        text = text.replacen(&features.to_string(), &format!("{{{}}}", schema_order.join(",")), 1);
    }
    let answer = running.send(Method::POST, "/rank", &[], text).await.ok();
    assert_eq!(answer["ranking"], expected);
}

#[tokio::test]
async fn a_path_that_is_not_there_and_a_method_that_it_does_not_have_are_told_what_there_is() {
    let running = Site::new().start().await;
    let answer = running.get("/rankings").await;
    let error = answer.refused(404);
    assert_eq!(error["code"], "no_such_path");
    assert!(
        error["allowed"].as_str().unwrap().contains("/rank, /ltr/score"),
        "{error}"
    );
    let answer = running.get("/rank").await;
    assert_eq!(answer.refused(405)["code"], "wrong_method");
    assert_eq!(answer.header("allow"), "POST");
    let answer = running.post("/healthz", &json!({})).await;
    assert_eq!(answer.refused(405)["allowed"], "GET, HEAD");
    let head = running.send(Method::HEAD, "/healthz", &[], "").await;
    assert_eq!(head.status, 200);
}

#[tokio::test]
async fn errors_repeat_little_of_what_was_sent() {
    let site = Site::new();
    let running = site.start_with(evil::Behaviour::Honest).await;
    let long = "n".repeat(1 << 20);
    let mut unknown = case(1);
    unknown[&long] = json!(1);
    let mut feature = case(1);
    feature["lawyers"][0]["features"][&long] = json!(1);
    let mut id = case(1);
    id["case"]["case_id"] = json!(long);
    let mut group = case(1);
    group["lawyers"][0]["groups"] = json!({ &long: "x" });
    let row = feature["lawyers"][0]["features"].clone();
    let doubled = format!("{{\"{long}\": 1, \"{long}\": 2}}");
    let event = json!({ "event_id": long, &long: 1 });
    for (path, body) in [
        ("/rank", unknown.to_string()),
        ("/rank", feature.to_string()),
        ("/rank", id.to_string()),
        ("/rank", group.to_string()),
        ("/rank", doubled),
        ("/ltr/score", json!({ "features": row }).to_string()),
        ("/ltr/score", json!({ "rows": [{ &long: 1 }] }).to_string()),
        ("/events", event.to_string()),
        ("/rollout/weight", json!({ &long: 1 }).to_string()),
        ("/rollout/weight", json!({ "weight": long }).to_string()),
        ("/models/notify", json!({ "version": long }).to_string()),
    ] {
        let answer = running.send(Method::POST, path, &[], body).await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.status);
        let text = String::from_utf8(answer.body).unwrap();
        assert!(text.len() < 2_000, "{path}: {} bytes", text.len());
        assert!(!text.contains(&"n".repeat(100)), "{path}: {text}");
    }
    let answer = running.get(&format!("/{}", "n".repeat(10_000))).await;
    assert!(answer.body.len() < 1_000);
}

#[tokio::test]
async fn a_number_beyond_a_double_and_half_a_character_are_told_so() {
    let site = Site::new();
    let running = site.start_with(evil::Behaviour::Honest).await;
    let good = case(1).to_string();
    for path in ["/rank", "/ltr/score", "/events"] {
        for (from, to, says) in [
            ("0.9", "1e400", "too large for a double"),
            ("0.9", "-1e999", "too large for a double"),
            ("adv_1", "\\ud800", "unpaired surrogate"),
            ("adv_1", "\\udc00x", "unpaired surrogate"),
        ] {
            let body = good.replacen(from, to, 1);
            assert_ne!(body, good);
            let error = running.send(Method::POST, path, &[], body).await.refused(400);
            assert_eq!(error["code"], "invalid_json", "{path} {to}");
            assert!(
                error["message"].as_str().unwrap().contains(says),
                "{path} {to}: {error}"
            );
        }
    }
}

//! Bad input: a clear error that names the field and the value, and nothing changed.

use std::time::{Duration, Instant};

use evil::Behaviour;
use serde_json::{Value, json};

use crate::harness::{Client, LARGE, Site, case, click, id, lawyer};

/// `host.max_body_bytes` by default.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// A body that must be refused.
struct Bad {
    name: &'static str,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
    /// `error.field`, in the message too; empty: the body as a whole is wrong.
    field: &'static str,
    /// What the message must say of the value.
    value: &'static str,
}

impl Bad {
    /// 422 for a field of a body that could be read.
    fn field(name: &'static str, body: Value, code: &'static str, field: &'static str, value: &'static str) -> Bad {
        Bad {
            name,
            body: body.to_string().into(),
            status: 422,
            code,
            field,
            value,
        }
    }

    /// For a body that cannot be read.
    fn body(name: &'static str, body: Vec<u8>, status: u16, code: &'static str, value: &'static str) -> Bad {
        Bad {
            name,
            body,
            status,
            code,
            field: "",
            value,
        }
    }

    async fn assert_refused(self, client: &Client, path: &str) {
        let Bad {
            name,
            body,
            status,
            code,
            field,
            value,
        } = self;
        let answer = client.post(path, &[("x-shadow-ltr", "1")], body).await;
        let error = &answer.body["error"];
        assert_eq!(answer.status, status, "{path}, {name}: {error:#}");
        assert_eq!(error["code"], code, "{path}, {name}: {error:#}");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains(value),
            "{path}, {name}: the message does not say {value:?}: {message}"
        );
        if !field.is_empty() {
            assert_eq!(error["field"], field, "{path}, {name}: {error:#}");
            assert!(
                message.contains(field),
                "{path}, {name}: the message does not say {field:?}: {message}"
            );
            assert!(
                !error["allowed"].as_str().unwrap().is_empty(),
                "{path}, {name}: {error:#}"
            );
        }
    }
}

/// Bodies that are wrong whatever they are for.
fn unreadable() -> Vec<Bad> {
    let mut not_utf8 = case("bad", LARGE).to_string().into_bytes();
    *not_utf8.last_mut().unwrap() = 0xff;
    let mut too_large = case("bad", LARGE).to_string().into_bytes();
    too_large.resize(MAX_BODY + 1, b' ');
    vec![
        Bad::body("invalid UTF-8", not_utf8, 400, "invalid_utf8", "not UTF-8 at byte"),
        Bad::body(
            "lists nested 10,000 deep",
            "[".repeat(10_000).into(),
            400,
            "too_deep",
            "line 1 column",
        ),
        Bad::body(
            "objects nested 10,000 deep",
            ("{\"a\":".repeat(10_000) + "1" + &"}".repeat(10_000)).into(),
            400,
            "too_deep",
            "line 1 column",
        ),
        Bad::body("a body over the limit", too_large, 413, "body_too_large", "8388608"),
        Bad::body("no JSON", "lawyers=3".into(), 400, "invalid_json", "line 1"),
        Bad::body(
            "NaN as a bare word",
            "{\"case\": NaN}".into(),
            400,
            "invalid_json",
            "line 1",
        ),
        Bad::body(
            "a doubled name",
            "{\"case\": 1, \"case\": 2}".into(),
            400,
            "doubled_name",
            "\"case\"",
        ),
    ]
}

/// A good case with one thing changed.
fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut case = case("bad", LARGE);
    change(&mut case);
    case
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn bad_cases() -> Vec<Bad> {
    let many: Vec<Value> = (0..10_001).map(lawyer).collect();
    let without_geo = changed(|case| {
        case["lawyers"][3]["features"].as_object_mut().unwrap().remove("geo");
    });
    let set = |pointer: &'static str, value: Value| changed(move |case| *case.pointer_mut(pointer).unwrap() = value);
    let add = |name: &'static str, value: Value| changed(move |case| case[name] = value);
    let invalid = "invalid_value";
    vec![
        Bad::field(
            "no lawyers",
            set("/lawyers", json!([])),
            invalid,
            "lawyers",
            "an array of 0",
        ),
        Bad::field(
            "10,001 lawyers",
            set("/lawyers", many.into()),
            invalid,
            "lawyers",
            "an array of 10001",
        ),
        Bad::field(
            "a doubled lawyer_id",
            set("/lawyers/7/lawyer_id", json!("adv_2")),
            invalid,
            "lawyers[7].lawyer_id",
            "adv_2",
        ),
        Bad::field(
            "a missing feature",
            without_geo,
            "missing_field",
            "lawyers[3].features.geo",
            "absent",
        ),
        Bad::field(
            "an unknown feature",
            changed(|case| case["lawyers"][4]["features"]["charm"] = json!(0.25)),
            invalid,
            "lawyers[4].features.charm",
            "0.25",
        ),
        Bad::field(
            "NaN as a string",
            set("/lawyers/0/features/urgency", json!("NaN")),
            invalid,
            "lawyers[0].features.urgency",
            "NaN",
        ),
        Bad::field(
            "an unknown preset",
            add("preset", json!("cheapest")),
            invalid,
            "preset",
            "cheapest",
        ),
        Bad::field("top_n 0", add("top_n", json!(0)), invalid, "top_n", "0"),
        Bad::field("a negative top_n", add("top_n", json!(-1)), invalid, "top_n", "-1"),
        Bad::field(
            "an unknown field",
            add("presets", json!("fast")),
            invalid,
            "presets",
            "fast",
        ),
        Bad::field(
            "no UUID",
            set("/case/case_id", json!("case-7")),
            invalid,
            "case.case_id",
            "case-7",
        ),
        Bad::field(
            "a negative count",
            set("/lawyers/1/cases_30d", json!(-3)),
            invalid,
            "lawyers[1].cases_30d",
            "-3",
        ),
    ]
}

/// Events, shadow records and their requests that are kept.
async fn kept(site: &Site) -> i64 {
    site.number(
        "SELECT (SELECT count(*) FROM match_events) + (SELECT count(*) FROM ltr_shadow_log)
              + (SELECT count(*) FROM ltr_shadow_request)",
    )
    .await
}

/// Sends something good, which is written after whatever came before, and counts what it left.
async fn assert_only_the_good_is_kept(site: &Site, client: &Client, before: i64) {
    let headers = [("x-shadow-ltr", "1")];
    let answer = client
        .post("/rank", &headers, case("good", LARGE).to_string().into())
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let click = click(id("good"), &case("good", LARGE), &json!("adv_0"), 1);
    let answer = client.post("/events", &[], click.to_string().into()).await;
    assert_eq!(
        (answer.status, &answer.body["accepted"]),
        (200, &json!(1)),
        "{answer:?}"
    );
    // An impression, the shadow request with a row a lawyer, and the click.
    assert_eq!(kept(site).await, before + 1 + 1 + LARGE as i64 + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_case_is_refused_with_field_and_value_and_leaves_nothing() {
    let site = Site::new();
    site.publish("m1", Behaviour::Honest);
    let gateway = site.start().await;
    for bad in bad_cases().into_iter().chain(unreadable()) {
        bad.assert_refused(&gateway, "/rank").await;
    }
    assert_eq!(kept(&site).await, 0);
    assert_only_the_good_is_kept(&site, &gateway, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_event_is_refused_with_field_and_value_and_so_is_all_that_came_with_it() {
    let site = Site::new();
    site.publish("m1", Behaviour::Honest);
    let gateway = site.start().await;
    let shown = case("shown", LARGE);
    let answer = gateway.rank(&shown).await;
    assert_eq!(answer.status, 200);
    let good = |name: &str| click(id(name), &shown, &json!("adv_1"), 1);
    // Known to be written: this click is refused otherwise.
    let first = gateway.post("/events", &[], good("first").to_string().into()).await;
    assert_eq!(first.status, 200, "{first:?}");
    let before = kept(&site).await;

    let second = |field: &str, value: Value| {
        let mut bad = good("second");
        bad[field] = value;
        json!([good("beside"), bad])
    };
    let invalid = "invalid_value";
    let bad = [
        Bad::field(
            "unknown type",
            second("event", json!("called")),
            invalid,
            "events[1].event",
            "called",
        ),
        Bad::field(
            "rank_pos 0",
            second("rank_pos", json!(0)),
            invalid,
            "events[1].rank_pos",
            "0",
        ),
        Bad::field(
            "a place that no ranking has",
            second("rank_pos", json!(4_294_967_295u32)),
            invalid,
            "events[1].rank_pos",
            "4294967295",
        ),
        Bad::field(
            "unknown field",
            second("mood", json!("good")),
            invalid,
            "events[1].mood",
            "good",
        ),
        Bad::field(
            "no time",
            second("ts_utc", json!("yesterday")),
            invalid,
            "events[1].ts_utc",
            "yesterday",
        ),
    ];
    for bad in bad.into_iter().chain(unreadable()) {
        bad.assert_refused(&gateway, "/events").await;
    }
    assert_eq!(kept(&site).await, before);
    assert_only_the_good_is_kept(&site, &gateway, before).await;
}

/// Exit code and stderr of a gateway that must not start.
fn refused_to_start(mut command: std::process::Command, site: &Site) -> (Option<i32>, String) {
    let log = site.path().join("refusal.log");
    let mut child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        if start.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the gateway runs with a configuration that it should refuse");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    (code, std::fs::read_to_string(log).unwrap())
}

#[test]
fn a_bad_configuration_ends_with_code_2_naming_the_key_and_touches_nothing() {
    let files = [
        ("[host]\ndeadline_sm = 250\n", ["host.deadline_sm", "250"]),
        ("[hosts]\ndeadline_ms = 250\n", ["hosts", "the sections ranking"]),
        ("[host]\ndeadline_ms = \"soon\"\n", ["host.deadline_ms", "soon"]),
        ("[shadow]\nfraction = 1.5\n", ["shadow.fraction", "1.5"]),
    ];
    for (text, named) in files {
        let site = Site::new();
        std::fs::write(site.path().join("ltr.toml"), text).unwrap();
        let mut command = site.command();
        command.args(["--config", "ltr.toml"]);
        let (code, stderr) = refused_to_start(command, &site);
        assert_eq!(code, Some(2), "{text}{stderr}");
        assert!(
            named.iter().all(|name| stderr.contains(name)),
            "{text}is answered with {stderr}"
        );
        assert!(stderr.contains("allowed"), "{text}is answered with {stderr}");
        assert!(!site.path().join("var/ltr.db").exists(), "{text}: a database was made");
    }
}

#[test]
fn an_unknown_key_in_the_environment_ends_with_code_2_naming_it() {
    let site = Site::new();
    let mut command = site.command();
    command.env("LTR_HOST__DEADLINE_SM", "250");
    let (code, stderr) = refused_to_start(command, &site);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(
        stderr.contains("LTR_HOST__DEADLINE_SM") && stderr.contains("250"),
        "{stderr}"
    );
}

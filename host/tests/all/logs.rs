//! What a request is called, and what the log says of it and does not.

use std::path::Path;

use evil::Behaviour;
use hyper::{Method, StatusCode};
use ltr_host::http::request_id::MAX_ID_BYTES;
use serde_json::{Value, json};
use servers::Redis;
use uuid::Uuid;

use crate::running::{Program, log};
use crate::{Site, TOKEN, VERSION, case, request_id};

#[tokio::test]
async fn every_answer_carries_the_callers_id_or_a_fresh_one_and_errors_say_it_too() {
    let running = Site::new().start().await;
    let long = "x".repeat(MAX_ID_BYTES);
    for given in [&request_id(1), "checkout-17/retry:2", long.as_str()] {
        let answer = running.rank(&[("x-request-id", given)], &case(1)).await;
        assert_eq!(answer.header("x-request-id"), given);
        let ranked = answer.ok()["request_id"].as_str().unwrap().parse::<Uuid>().unwrap();
        if let Ok(uuid) = given.parse::<Uuid>() {
            assert_eq!(ranked, uuid);
        }
    }
    for refused in ["", "two words", "é", &"x".repeat(MAX_ID_BYTES + 1)] {
        let answer = running.rank(&[("x-request-id", refused)], &case(1)).await;
        let fresh = answer.header("x-request-id").parse::<Uuid>().unwrap();
        assert_eq!(answer.ok()["request_id"], json!(fresh), "{refused:?}");
    }
    let id = [("x-request-id", "wrong-1")];
    for (answer, status) in [
        (running.rank(&id, &json!({})).await, 422),
        (running.send_bare(Method::POST, "/rank", &id, "").await, 401),
        (running.send(Method::POST, "/events", &id, "{").await, 400),
    ] {
        assert_eq!(answer.header("x-request-id"), "wrong-1");
        assert_eq!(answer.refused(status)["request_id"], "wrong-1");
    }
    let unknown = running.send(Method::GET, "/nowhere", &id, "").await;
    assert_eq!(
        (unknown.status, unknown.header("x-request-id")),
        (StatusCode::NOT_FOUND, "wrong-1")
    );
    let probe = running.get("/healthz").await;
    assert!(probe.header("x-request-id").parse::<Uuid>().is_ok());
}

/// The lines of a log that must be JSON, each of them.
fn lines(site: &Site) -> Vec<Value> {
    let text = std::fs::read_to_string(log(site)).unwrap();
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(line).collect()
}

#[tokio::test]
async fn a_json_log_has_one_object_a_line_and_the_id_of_the_request_it_tells_of() {
    let site = Site::new();
    let more = [
        ("LTR_LOG__FORMAT", Path::new("json")),
        ("LTR_LOG__REQUESTS", Path::new("true")),
    ];
    let program = Program::start(&site, &more);
    let id = [("x-request-id", "tell-me\"apart")];
    assert_eq!(program.send("/rank", &id, Some(&case(1))).await.0, 200);
    // Of a model that is refused the log tells too.
    program.notify("20260101T000000Z").await;
    let lines = lines(&site);
    for line in &lines {
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
        for text in ["level", "target", "message"] {
            assert!(line[text].is_string(), "{text}: {line}");
        }
    }
    let ranked = lines.iter().find(|line| line["request_id"] == id[0].1);
    let fields = &ranked.unwrap_or_else(|| panic!("{lines:?}"))["fields"];
    assert_eq!((&fields["route"], &fields["status"]), (&json!("/rank"), &json!(200)));
    assert!(fields["milliseconds"].as_f64().unwrap() > 0.0, "{fields}");
    let refused = lines
        .iter()
        .find(|line| line["message"].as_str().unwrap().starts_with("model refused"));
    let refused = refused.unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!(
        (&refused["level"], &refused["fields"]["version"]),
        (&json!("warn"), &json!("20260101T000000Z"))
    );
}

#[tokio::test]
async fn a_damaged_part_of_the_spool_is_logged_with_its_file_and_its_place() {
    let site = Site::new();
    let path = site.settings.database.spool_dir.join(format!("{:020}.spool", 0));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "no record\n").unwrap();
    let program = Program::start(&site, &[("LTR_LOG__FORMAT", Path::new("json"))]);
    assert_eq!(program.source().await, "legacy");
    let lines = lines(&site);
    let damaged = lines.iter().find(|line| line["fields"]["offset"].is_u64());
    let damaged = damaged.unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!(damaged["level"], "error");
    let fields = &damaged["fields"];
    assert_eq!(
        (&fields["path"], &fields["offset"], &fields["bytes"]),
        (&json!(path), &json!(0), &json!(10))
    );
}

#[tokio::test]
async fn a_spool_that_takes_nothing_is_logged_once_and_not_for_every_call() {
    let mut site = Site::new();
    // Where no server is.
    site.settings.database.url = "postgres://ltr@127.0.0.1:1/ltr".to_owned().into();
    let more = [
        ("LTR_LOG__FORMAT", Path::new("json")),
        ("LTR_DATABASE__SPOOL_MB", Path::new("1")),
    ];
    let program = Program::start(&site, &more);
    let click = |id: u128| {
        json!({
            "event": "click_profile", "event_id": Uuid::from_u128(id), "ts_utc": chrono::Utc::now(),
            "case_id": Uuid::nil(), "user_id": Uuid::nil(), "lawyer_id": "adv_1", "rank_pos": 1,
        })
    };
    let clicks = json!((0..1_000).map(click).collect::<Vec<Value>>());
    let mut refused = 0;
    for _ in 0..30 {
        let (status, answer) = program.call("/events", Some(&clicks)).await;
        assert!(status == 200 || answer["error"]["code"] == "spool_full", "{answer}");
        refused += usize::from(status == 503);
    }
    assert!(refused > 10, "{refused}");
    let lines = lines(&site);
    let message = |line: &&Value| {
        line["message"]
            .as_str()
            .unwrap()
            .starts_with("the spool cannot be written")
    };
    assert_eq!(lines.iter().filter(message).count(), 1, "{lines:?}");
}

#[tokio::test]
async fn a_kill_switch_that_is_not_understood_is_logged_as_an_error() {
    let (site, redis) = (Site::new(), Redis::start());
    redis.set("ltr:kill_switch", "halt");
    let url = redis.url();
    let more = [
        ("LTR_LOG__FORMAT", Path::new("json")),
        ("LTR_FLAGS__REDIS_URL", Path::new(&url)),
        ("LTR_FLAGS__FILE", &site.settings.flags.file),
    ];
    let program = Program::start(&site, &more);
    assert_eq!(program.source().await, "legacy");
    let lines = lines(&site);
    let told = lines.iter().filter(|line| {
        let message = line["message"].as_str().unwrap();
        line["level"] == "error" && message.contains("kill_switch") && message.contains("halt")
    });
    assert_eq!(told.count(), 1, "{lines:?}");
}

#[tokio::test]
async fn requests_are_not_logged_unless_asked_for() {
    let site = Site::new();
    let program = Program::start(&site, &[("RUST_LOG", Path::new("debug"))]);
    assert_eq!(program.source().await, "legacy");
    drop(program);
    let text = std::fs::read_to_string(log(&site)).unwrap();
    assert!(!text.contains("/rank"), "{text}");
}

#[tokio::test]
async fn no_log_names_a_person_or_shows_a_token_however_much_it_tells() {
    for format in ["text", "json"] {
        let site = Site::new();
        site.publish(VERSION, Behaviour::Honest);
        let more = [
            ("LTR_LOG__FORMAT", format),
            ("LTR_LOG__REQUESTS", "true"),
            ("RUST_LOG", "trace"),
        ];
        let program = Program::start(&site, &more.map(|(name, value)| (name, Path::new(value))));
        program.notify(VERSION).await;
        let forced = [("x-shadow-ltr", "1")];
        let mut case = case(7);
        let value = 0.123_456_789_f64;
        case["lawyers"][0]["features"]["geo"] = json!(value);
        assert_eq!(program.send("/rank", &forced, Some(&case)).await.0, 200);
        let click = |lawyer: &str| {
            json!({
                "event": "click_profile", "event_id": Uuid::new_v4(), "ts_utc": "2026-10-02T12:00:00Z",
                "case_id": case["case"]["case_id"], "user_id": case["case"]["user_id"],
                "lawyer_id": lawyer, "rank_pos": 1,
            })
        };
        assert_eq!(program.send("/events", &[], Some(&click("adv_2"))).await.0, 200);
        assert_eq!(program.send("/events", &[], Some(&click("adv_9"))).await.0, 200);
        assert_eq!(program.send("/events", &[], Some(&click("adv_\n"))).await.0, 422);
        case["lawyers"][0]["cases_30d"] = json!(-1);
        assert_eq!(program.send("/rank", &[], Some(&case)).await.0, 422);
        drop(program);
        let text = std::fs::read_to_string(log(&site)).unwrap();
        assert!(text.contains("/events"), "the requests are in the log: {text}");
        let text_of = |name: &str| case["case"][name].as_str().unwrap().to_owned();
        let value = value.to_string();
        for secret in [
            &text_of("user_id"),
            &text_of("case_id"),
            "adv_",
            TOKEN,
            &value,
            "127.0.0.1",
        ] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} in a {format} log");
        }
    }
}

#[test]
fn directives_that_cannot_be_read_end_it_with_code_2() {
    let site = Site::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ltr-host"));
    command.arg("serve").env_clear().env("RUST_LOG", "ltr_host=loud");
    let output = command
        .current_dir(site.settings.models.dir.parent().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("RUST_LOG") && said.contains("ltr_host=loud") && said.contains("allowed"),
        "{said}"
    );
}

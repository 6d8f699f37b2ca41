//! The fleet's switches in Redis: followed at once, remembered while it is away, and never taken for what they are not.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use evil::Behaviour;
use evil::entries::Entry;
use hyper::StatusCode;
use serde_json::{Value, json};
use servers::{Authority, Redis};
use settings::Settings;

use crate::{Running, Site, VERSION, case};

const KILL_SWITCH: &str = "ltr:kill_switch";
const SHADOW: &str = "ltr:shadow_fraction";

/// A site that follows `redis`, closely.
fn site(redis: &Redis) -> Site {
    let mut site = Site::new();
    site.settings.flags.redis_url = redis.url().into();
    site.settings.flags.poll_ms = 50;
    site
}

async fn flags(running: &Running) -> Value {
    running.get("/rollout").await.ok()["flags"].clone()
}

/// Until the flags are as `expected` says, which gets them.
#[track_caller]
fn until(running: &Running, expected: impl Fn(&Value) -> bool) -> impl Future<Output = Value> {
    let caller = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        loop {
            let flags = flags(running).await;
            if expected(&flags) {
                return flags;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{caller}: {flags}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn killed(flags: &Value) -> bool {
    flags["kill_switch"]["value"] == true
}

fn up(flags: &Value) -> bool {
    flags["redis"]["up"] == true
}

/// Who answers a case, and why not LTR.
async fn served(running: &Running) -> (Value, Value) {
    let answer = running.rank(&[], &case(1)).await.ok();
    (answer["source"].clone(), answer["fallback"].clone())
}

#[tokio::test]
async fn the_kill_switch_stops_serving_and_shadow_for_every_request_and_off_starts_them_again() {
    let redis = Redis::start();
    let site = site(&redis);
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    assert_eq!(served(&running).await, (json!("ltr"), json!(null)));

    redis.set(KILL_SWITCH, "on");
    let shown = until(&running, killed).await;
    assert_eq!(shown["kill_switch"], json!({"value": true, "source": "redis"}));
    assert_eq!(served(&running).await, (json!("legacy"), json!("kill_switch")));
    let compared = running.metric("ltr_shadow_total{outcome=\"ok\"}").await;
    for headers in [("x-shadow-ltr", "1"), ("x-ltr-edge-copy", "1")] {
        running.rank(&[headers], &case(2)).await.ok();
    }
    assert_eq!(running.metric("ltr_shadow_total{outcome=\"ok\"}").await, compared);
    let row = json!({"features": case(1)["lawyers"][0]["features"]});
    assert_eq!(
        running.post("/ltr/score", &row).await.refused(503)["code"],
        "kill_switch"
    );
    assert_eq!(running.metric("ltr_kill_switch").await, 1.0);
    assert!(running.metric("ltr_fallback_total{reason=\"kill_switch\"}").await >= 1.0);

    redis.set(KILL_SWITCH, "off");
    until(&running, |flags| !killed(flags)).await;
    assert_eq!(served(&running).await, (json!("ltr"), json!(null)));
    running.post("/ltr/score", &row).await.ok();
}

#[tokio::test]
async fn the_shadow_fraction_is_followed_and_is_the_configurations_where_redis_has_none() {
    let redis = Redis::start();
    redis.set(SHADOW, "1");
    let mut site = site(&redis);
    site.settings.shadow.fraction = 0.25;
    let running = site.start_with(Behaviour::Honest).await;
    // Known before the first request.
    let shown = flags(&running).await;
    assert_eq!(shown["shadow_fraction"], json!({"value": 1.0, "source": "redis"}));
    assert!(
        up(&shown) && shown["redis"]["age_seconds"].as_f64().unwrap() < 30.0,
        "{shown}"
    );
    let compared = async || running.metric("ltr_shadow_total{outcome=\"ok\"}").await;
    let before = compared().await;
    running.rank(&[], &case(1)).await.ok();
    assert_eq!(compared().await, before + 1.0);

    redis.set(SHADOW, "0");
    until(&running, |flags| flags["shadow_fraction"]["value"] == 0.0).await;
    for id in 2..10 {
        running.rank(&[], &case(id)).await.ok();
    }
    assert_eq!(compared().await, before + 1.0);
    assert_eq!(running.metric("ltr_shadow_fraction").await, 0.0);

    redis.command(&["DEL", SHADOW]);
    let shown = until(&running, |flags| flags["shadow_fraction"]["value"] == 0.25).await;
    assert_eq!(shown["shadow_fraction"]["source"], "configuration");
}

#[tokio::test]
async fn while_redis_is_away_its_last_word_counts_and_when_it_is_back_it_is_followed_again() {
    let mut redis = Redis::start();
    redis.set(KILL_SWITCH, "on");
    let site = site(&redis);
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    redis.crash();
    let shown = until(&running, |flags| !up(flags)).await;
    assert!(killed(&shown) && shown["redis"]["read_at"].is_string(), "{shown}");
    assert_eq!(running.metric("ltr_flags_up").await, 0.0);
    assert_eq!(served(&running).await, (json!("legacy"), json!("kill_switch")));

    redis.go_on();
    redis.set(KILL_SWITCH, "off");
    until(&running, |flags| !killed(flags) && up(flags)).await;
    assert_eq!(running.metric("ltr_flags_up").await, 1.0);
    assert_eq!(served(&running).await, (json!("ltr"), json!(null)));
}

#[tokio::test]
async fn a_redis_that_does_not_answer_holds_up_nobody() {
    let redis = Redis::start();
    redis.set(SHADOW, "0.5");
    let site = site(&redis);
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    redis.pause();
    until(&running, |flags| !up(flags)).await;
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(served(&running).await, (json!("ltr"), json!(null)));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(flags(&running).await["shadow_fraction"]["value"], 0.5);
    running.stop().await;
    // Nor a start.
    let start = Instant::now();
    let running = site.start().await;
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert_eq!(flags(&running).await["shadow_fraction"]["value"], 0.5);
    redis.resume();
    until(&running, up).await;
}

#[tokio::test]
async fn a_gateway_that_starts_while_redis_is_away_goes_by_its_last_word_or_else_by_the_configuration() {
    let mut redis = Redis::start();
    let site = site(&redis);
    redis.crash();
    let running = site.start_with(Behaviour::Honest).await;
    let shown = flags(&running).await;
    assert_eq!(
        shown["redis"],
        json!({"up": false, "read_at": null, "age_seconds": null})
    );
    assert_eq!(shown["kill_switch"], json!({"value": false, "source": "configuration"}));
    running.ltr_serves().await;

    redis.go_on();
    redis.set(KILL_SWITCH, "on");
    until(&running, killed).await;
    // It is in force a moment before it is on disk.
    let file = &site.settings.flags.file;
    while !std::fs::read_to_string(file).is_ok_and(|text| text.contains("\"kill_switch\": true")) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    redis.crash();
    running.stop().await;
    let running = site.start().await;
    assert!(killed(&flags(&running).await));
    assert_eq!(served(&running).await, (json!("legacy"), json!("kill_switch")));
}

#[tokio::test]
async fn a_kill_switch_is_not_turned_off_by_a_redis_that_lost_its_data() {
    let redis = Redis::start();
    redis.set(KILL_SWITCH, "on");
    redis.set(SHADOW, "0.5");
    let site = site(&redis);
    let running = site.start_with(Behaviour::Honest).await;
    redis.command(&["FLUSHALL"]);
    let shown = until(&running, |flags| flags["shadow_fraction"]["source"] == "configuration").await;
    assert!(killed(&shown), "{shown}");
}

#[tokio::test]
async fn a_kill_switch_that_is_set_and_not_understood_stops_ltr_until_it_is_off() {
    let redis = Redis::start();
    let site = site(&redis);
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    let long = format!("off{}on", " ".repeat(100_000));
    let unclear = ["perhaps", "ON!", "", " ", "2", "off\u{7f}", long.as_str()];
    for value in unclear.into_iter().chain(["ON", "on ", "TRUE", "yes", "stop", "1"]) {
        redis.set(KILL_SWITCH, value);
        let shown = until(&running, killed).await;
        assert_eq!(shown["kill_switch"]["source"], "redis", "{value:?}");
        assert_eq!(
            served(&running).await,
            (json!("legacy"), json!("kill_switch")),
            "{value:?}"
        );
        assert_eq!(
            shown["kill_switch"].get("not_understood").is_some(),
            unclear.contains(&value),
            "{value:?}: {shown}"
        );
        assert!(shown.to_string().len() < 1_000, "{value:?}");
        redis.set(KILL_SWITCH, "OFF ");
        until(&running, |flags| !killed(flags)).await;
        assert_eq!(served(&running).await, (json!("ltr"), json!(null)), "{value:?}");
    }
    // Of another type, it is set all the same.
    for command in [["LPUSH", "off"], ["SADD", "off"]] {
        redis.command(&["DEL", KILL_SWITCH]);
        redis.command(&[command[0], KILL_SWITCH, command[1]]);
        until(&running, killed).await;
        // That the value is gone turns nothing off.
        redis.command(&["DEL", KILL_SWITCH]);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(killed(&flags(&running).await), "{command:?}");
        redis.set(KILL_SWITCH, "off");
        until(&running, |flags| !killed(flags)).await;
    }
    redis.set(KILL_SWITCH, "halt");
    until(&running, killed).await;
    assert!(running.metric("ltr_flags_refused_total{flag=\"kill_switch\"}").await >= 1.0);
    running.stop().await;
    // Nor does a restart.
    let running = site.start().await;
    assert!(killed(&flags(&running).await));
}

#[tokio::test]
async fn of_a_shadow_fraction_that_is_not_understood_the_last_one_stays_or_nothing_is_compared() {
    let redis = Redis::start();
    redis.set(SHADOW, "0,05");
    let mut site = site(&redis);
    site.settings.shadow.fraction = 1.0;
    let running = site.start_with(Behaviour::Honest).await;
    assert_eq!(flags(&running).await["shadow_fraction"]["value"], 0.0);
    let refused = async || {
        running
            .metric("ltr_flags_refused_total{flag=\"shadow_fraction\"}")
            .await
    };
    redis.set(SHADOW, "0.5");
    until(&running, |flags| flags["shadow_fraction"]["value"] == 0.5).await;
    for nonsense in ["1.5", "-0.1", "nan", "half", "", &"9".repeat(100_000)] {
        let before = refused().await;
        redis.set(SHADOW, nonsense);
        while refused().await < before + 2.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(flags(&running).await["shadow_fraction"]["value"], 0.5, "{nonsense:.20}");
    }
    // One that is wrong does not keep the other from being followed.
    redis.command(&["DEL", SHADOW]);
    redis.command(&["LPUSH", SHADOW, "1"]);
    redis.set(KILL_SWITCH, "on");
    until(&running, killed).await;
    redis.set(KILL_SWITCH, "off");
    until(&running, |flags| !killed(flags)).await;
    assert_eq!(flags(&running).await["shadow_fraction"]["value"], 0.5);
}

#[tokio::test]
async fn the_configuration_alone_can_stop_a_gateway_too() {
    let redis = Redis::start();
    redis.set(KILL_SWITCH, "off");
    let mut site = site(&redis);
    site.settings.flags.kill_switch = true;
    let running = site.start_with(Behaviour::Honest).await;
    let shown = flags(&running).await;
    assert_eq!(shown["kill_switch"], json!({"value": true, "source": "configuration"}));
    assert_eq!(served(&running).await.1, "kill_switch");
    assert_eq!(running.get("/models").await.ok()["loaded"][0]["version"], VERSION);
}

#[tokio::test]
async fn a_last_word_that_cannot_be_read_stops_ltr_until_redis_says_off() {
    let mut redis = Redis::start();
    let site = site(&redis);
    site.publish(VERSION, Behaviour::Honest);
    std::fs::write(&site.settings.flags.file, "{\"kill_switch\": tr").unwrap();
    redis.crash();
    let running = site.start().await;
    let shown = flags(&running).await;
    assert!(killed(&shown), "{shown}");
    let unclear = shown["kill_switch"]["not_understood"].as_str().unwrap();
    assert!(unclear.starts_with("flags.file: "), "{unclear}");
    running.ltr_serves().await;
    assert_eq!(served(&running).await, (json!("legacy"), json!("kill_switch")));
    redis.go_on();
    redis.set(KILL_SWITCH, "off");
    until(&running, |flags| !killed(flags)).await;
    assert_eq!(served(&running).await, (json!("ltr"), json!(null)));
    running.stop().await;
    redis.crash();
    for entry in Entry::ALL {
        entry.make(&site.settings.flags.file);
        let starting = tokio::time::timeout(Duration::from_secs(20), site.start()).await;
        let running = starting.expect("it does not wait");
        let shown = flags(&running).await;
        assert!(killed(&shown), "{entry:?}: {shown}");
        running.stop().await;
    }
}

/// `ltr-host flags`, with the settings' Redis.
fn program(settings: &Settings, args: &[&str]) -> (Option<i32>, String) {
    program_trusting(Path::new(""), settings, args)
}

/// Where the authorities of the system are those in this file.
fn program_trusting(authorities: &Path, settings: &Settings, args: &[&str]) -> (Option<i32>, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_ltr-host"))
        .arg("flags")
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("SSL_CERT_FILE", authorities)
        .env("LTR_FLAGS__REDIS_URL", settings.flags.redis_url.expose())
        .output()
        .unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn an_operator_turns_the_switches_with_the_program() {
    let mut redis = Redis::start();
    let site = site(&redis);
    let running = site.start_with(Behaviour::Honest).await;
    let run = |args: &[&str]| program(&site.settings, args);
    let (code, said) = run(&["get"]);
    assert!(
        code == Some(0) && said.contains("kill_switch      not set  (ltr:kill_switch)"),
        "{said}"
    );
    assert_eq!(run(&["set", "kill_switch", "STOP"]).0, Some(0));
    assert_eq!(run(&["set", "shadow_fraction", "0.05"]).0, Some(0));
    let shown = until(&running, |flags| {
        killed(flags) && flags["shadow_fraction"]["value"] == 0.05
    })
    .await;
    assert!(up(&shown));
    let (_, said) = run(&["get", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said, json!({"kill_switch": true, "shadow_fraction": 0.05}));
    assert_eq!(run(&["unset", "shadow_fraction"]).0, Some(0));
    until(&running, |flags| flags["shadow_fraction"]["source"] == "configuration").await;

    for (wrong, allowed) in [
        (["set", "shadow_fraction", "1.5"], "a number, 0 to 1"),
        (["set", "kill_switch", "perhaps"], "on, true, yes, 1 or stop"),
        (["set", "weight", "1"], "kill_switch, shadow_fraction"),
    ] {
        let (code, said) = run(&wrong);
        assert!(code == Some(2) && said.contains(allowed), "{wrong:?}: {said}");
    }
    redis.crash();
    let (code, said) = run(&["get"]);
    assert!(code == Some(1) && said.contains("flags.redis_url"), "{said}");
    assert!(!said.contains(Redis::PASSWORD), "{said}");
    let (code, said) = program(&Settings::default(), &["get"]);
    assert!(code == Some(1) && said.contains("flags.redis_url is empty"), "{said}");
    assert_eq!(running.get("/readyz").await.status, StatusCode::OK);
}

#[test]
fn a_redis_that_speaks_tls_is_asked_only_if_its_certificate_is_of_an_authority_of_the_system() {
    let authority = Authority::new();
    let redis = Redis::start_with_tls(&authority.sign("127.0.0.1"));
    let mut site = Site::new();
    site.settings.flags.redis_url = redis.url().into();
    let ask = |authority: &Authority| {
        let file = site.settings.flags.file.with_file_name("authorities.pem");
        std::fs::write(&file, authority.certificate.pem()).unwrap();
        program_trusting(&file, &site.settings, &["get"])
    };
    let (code, said) = ask(&authority);
    assert!(code == Some(0) && said.contains("not set"), "{said}");
    let (code, said) = ask(&Authority::new());
    assert!(code == Some(1) && said.contains("certificate"), "{said}");
}

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
async fn what_a_flag_cannot_be_is_refused_and_counted_and_the_last_value_stays() {
    let redis = Redis::start();
    redis.set(SHADOW, "0.5");
    redis.set(KILL_SWITCH, "on");
    let site = site(&redis);
    let running = site.start_with(Behaviour::Honest).await;
    let refused = async |flag: &str| {
        running
            .metric(&format!("ltr_flags_refused_total{{flag=\"{flag}\"}}"))
            .await
    };
    for nonsense in ["1.5", "-0.1", "nan", "half", &"9".repeat(100_000)] {
        let before = refused("shadow_fraction").await;
        redis.set(SHADOW, nonsense);
        while refused("shadow_fraction").await < before + 2.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(flags(&running).await["shadow_fraction"]["value"], 0.5);
    }
    // One that is wrong does not keep the other from being followed.
    redis.command(&["DEL", SHADOW]);
    redis.command(&["LPUSH", SHADOW, "1"]);
    redis.set(KILL_SWITCH, "off");
    until(&running, |flags| !killed(flags)).await;
    assert_eq!(flags(&running).await["shadow_fraction"]["value"], 0.5);
    let before = refused("kill_switch").await;
    redis.set(KILL_SWITCH, "perhaps");
    while refused("kill_switch").await < before + 1.0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!killed(&flags(&running).await));
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
async fn a_last_word_that_cannot_be_read_is_an_error_and_not_taken_for_off() {
    let redis = Redis::start();
    let site = site(&redis);
    std::fs::write(&site.settings.flags.file, "{\"kill_switch\": tr").unwrap();
    let error = ltr_host::gateway::Gateway::open(site.settings.clone())
        .await
        .err()
        .unwrap();
    let line = format!("{error:#}");
    assert!(
        line.starts_with("flags.file: ") && line.contains("flags.json"),
        "{line}"
    );
    for entry in Entry::ALL {
        entry.make(&site.settings.flags.file);
        let opening = ltr_host::gateway::Gateway::open(site.settings.clone());
        let opened = tokio::time::timeout(Duration::from_secs(20), opening).await;
        let line = format!("{:#}", opened.expect("it does not wait").err().unwrap());
        assert!(line.starts_with("flags.file: "), "{entry:?}: {line}");
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
    assert_eq!(run(&["set", "kill_switch", "on"]).0, Some(0));
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
        (["set", "kill_switch", "perhaps"], "on, true or 1"),
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

//! A gateway that starts while PostgreSQL is away: legacy ranks, nothing is lost, and LTR is back with the database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evil::Behaviour;
use hyper::StatusCode;
use ltr_host::router::Router;
use ltr_host::server::bootstrap;
use serde_json::json;
use servers::Postgres;
use uuid::Uuid;

use crate::running::{Program, log};
use crate::{Running, Site, VERSION, case, lawyers_shown};

/// A site whose database in `server` says that LTR answers everything.
async fn site(server: &Postgres) -> Site {
    let mut site = Site::new();
    site.settings.database.url = server.database().into();
    site.settings.database.timeout_ms = 1_000;
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    running.stop().await;
    site
}

/// As the program starts it: without waiting for the database.
async fn start(site: &Site) -> Running {
    let (gateway, written) = bootstrap::open(site.settings.clone()).await.unwrap();
    let restoring = Arc::downgrade(&gateway);
    tokio::spawn(async move { bootstrap::restore_when_possible(&restoring).await.unwrap() });
    Running {
        front: Router::whole(&gateway),
        gateway,
        written,
    }
}

async fn until_ready_says(running: &Running, words: &str) {
    let start = Instant::now();
    loop {
        let ready = running.get("/readyz").await;
        let said = String::from_utf8(ready.body).unwrap();
        if said.contains(words) {
            return assert_eq!(ready.status, StatusCode::OK, "{said}");
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{said}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What must hold while the database is away, of this many requests.
async fn check_without(running: &Running, requests: u128) {
    until_ready_says(running, "unavailable since the start, legacy answers").await;
    for id in 1..=requests {
        let ranked = running.rank(&[], &case(id)).await;
        let answer = ranked.ok();
        assert_eq!(
            (&answer["source"], &answer["fallback"]),
            (&json!("legacy"), &json!("database"))
        );
        assert_eq!(ranked.header("x-ltr-logged"), "committed");
        let click = json!({
            "event": "click_profile", "event_id": Uuid::from_u128(id), "ts_utc": "2026-10-05T12:00:00Z",
            "case_id": Uuid::from_u128(id), "user_id": Uuid::from_u128(2), "lawyer_id": "adv_1", "rank_pos": 1,
        });
        let answer = running.post("/events", &click).await.ok();
        assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(1), &json!(0)));
    }
    until_ready_says(running, &format!("{} records are spooled", 2 * requests)).await;
    assert_eq!(running.metric("ltr_database_up").await, 0.0);
    let rollout = running.get("/rollout").await.ok();
    assert_eq!(
        (&rollout["state"], &rollout["weight"]),
        (&json!(null), &json!(0)),
        "nothing was read yet"
    );
    // A model cannot come in by the back door: what serves is the database's to say.
    let notified = running
        .post("/models/notify?wait=1", &json!({"version": VERSION}))
        .await;
    assert_eq!(notified.refused(422)["code"], "database");
}

/// What must hold once it is back.
async fn check_with(running: &Running, requests: u128) {
    until_ready_says(running, "ready\n").await;
    let answer = running.rank(&[], &case(1_000)).await.ok();
    assert_eq!(
        (&answer["source"], &answer["model_version"]),
        (&json!("ltr"), &json!(VERSION))
    );
    assert_eq!(running.get("/rollout").await.ok()["weight"], 100);
    assert_eq!(running.metric("ltr_database_up").await, 1.0);
    for id in 1..=requests {
        let shown = lawyers_shown(&running.gateway.store, id).await;
        assert_eq!(shown, [3], "what was spooled is in the database");
    }
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start_is_used_as_soon_as_it_is_up() {
    let mut server = Postgres::start();
    let site = site(&server).await;
    server.crash();
    let running = start(&site).await;
    check_without(&running, 3).await;
    server.go_on();
    check_with(&running, 3).await;
}

#[tokio::test]
async fn a_server_that_hangs_at_the_start_is_used_as_soon_as_it_answers() {
    let server = Postgres::start();
    let site = site(&server).await;
    server.pause();
    let started = Instant::now();
    let running = start(&site).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    check_without(&running, 2).await;
    server.resume();
    check_with(&running, 2).await;
}

#[tokio::test]
async fn a_new_database_gets_its_tables_when_it_is_there() {
    let mut server = Postgres::start();
    let mut site = Site::new();
    site.settings.database.url = server.database().into();
    site.settings.database.timeout_ms = 1_000;
    server.crash();
    site.publish(VERSION, Behaviour::Honest);
    let running = start(&site).await;
    check_without(&running, 1).await;
    server.go_on();
    until_ready_says(&running, "ready\n").await;
    assert_eq!(running.get("/rollout").await.ok()["challenger"], VERSION);
    assert_eq!(lawyers_shown(&running.gateway.store, 1).await, [3]);
}

#[tokio::test]
async fn a_gateway_that_waits_for_the_database_stops_when_it_is_told_to() {
    let mut server = Postgres::start();
    let site = site(&server).await;
    server.crash();
    let running = start(&site).await;
    until_ready_says(&running, "unavailable since the start").await;
    running.rank(&[], &case(1)).await.ok();
    tokio::time::timeout(Duration::from_secs(10), running.stop())
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_the_configuration_still_ends_the_start_and_says_what() {
    let server = Postgres::start();
    let url = server.database();
    let secret = url.split(['@', ':']).nth(2).unwrap();
    for (url, reason) in [
        (url.replace(secret, "guessed"), "password authentication failed"),
        (format!("{url}_absent"), "does not exist"),
        ("sqlite:///dev/null/ltr.db".to_owned(), "/dev/null"),
    ] {
        let mut site = Site::new();
        site.settings.database.url = url.into();
        let error = bootstrap::open(site.settings.clone()).await.err().unwrap();
        let line = format!("{error:#}");
        assert!(line.starts_with("database.url: ") && line.contains(reason), "{line}");
        assert!(!line.contains(secret) && !line.contains("guessed"), "{line}");
    }
}

#[tokio::test]
async fn a_program_with_another_salt_than_the_databases_ends_as_soon_as_it_can_tell() {
    let mut server = Postgres::start();
    let site = site(&server).await;
    server.crash();
    std::fs::write(&site.settings.privacy.salt_file, "0".repeat(64)).unwrap();
    let program = Program::start(&site, &[]);
    assert_eq!(program.source().await, "legacy");
    server.go_on();
    assert!(!program.ended().await.success());
    let said = std::fs::read_to_string(log(&site)).unwrap();
    assert!(said.contains("privacy.salt_file"), "{said}");
}

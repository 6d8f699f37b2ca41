//! The gateway as a program, with PostgreSQL.

use std::io::Write;
use std::path::Path;

use chrono::{DateTime, Utc};
use evil::Behaviour;
use serde_json::json;
use servers::Postgres;
use store::Store;
use uuid::Uuid;

use crate::running::{Program, log};
use crate::{Site, VERSION, case, comparisons, request_id};

const CASES: u128 = 10;

fn start(site: &Site) -> Program {
    let more = [
        ("RUST_LOG", "debug"),
        ("LTR_DATABASE__TIMEOUT_MS", "1000"),
        ("LTR_HOST__DEADLINE_MS", "60000"),
        ("LTR_HOST__LTR_BUDGET_MS", "20000"),
    ];
    Program::start(site, &more.map(|(name, value)| (name, Path::new(value))))
}

/// Ranks every case with a comparison in shadow, and clicks; how many of the clicks were known.
async fn send_all(gateway: &Program) -> u64 {
    let mut known = 0;
    for id in 0..CASES {
        let request_id = request_id(id);
        let headers = [("x-request-id", &*request_id), ("x-shadow-ltr", "1")];
        let ranked = gateway.request("/rank", &headers, Some(&case(id))).await;
        assert_eq!(ranked.status(), 200);
        assert_eq!(ranked.headers()["x-ltr-logged"], "committed");
        let click = json!({
            "event": "click_profile", "event_id": Uuid::from_u128(1_000 + id), "ts_utc": "2026-10-05T12:00:00Z",
            "case_id": Uuid::from_u128(id), "user_id": Uuid::from_u128(2), "lawyer_id": "adv_1", "rank_pos": 1,
        });
        let (status, answer) = gateway.call("/events", Some(&click)).await;
        assert_eq!(status, 200, "{answer}");
        known += answer["duplicates"].as_u64().unwrap();
    }
    known
}

/// Until the challenger is loaded and nothing waits in the spool.
async fn settled(gateway: &Program) {
    let said = async || gateway.request("/readyz", &[], None).await.text().await.unwrap();
    while said().await != "ready\n" {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_gateway_and_the_server_and_is_there_once() {
    let mut server = Postgres::start();
    let url = server.database();
    let mut site = Site::new();
    site.settings.database.url = url.clone().into();
    site.publish(VERSION, Behaviour::Honest);

    let gateway = start(&site);
    settled(&gateway).await;
    assert_eq!(send_all(&gateway).await, 0);
    drop(gateway);
    server.crash();
    server.go_on();
    let gateway = start(&site);
    settled(&gateway).await;
    assert_eq!(send_all(&gateway).await, CASES as u64, "every click is known");
    drop(gateway);

    check_kept(&url).await;
    let logged = std::fs::read_to_string(log(&site)).unwrap();
    let secret = url.split(['@', ':']).nth(2).unwrap();
    assert!(logged.contains("sqlx::query") && !logged.contains(secret) && !logged.contains(Postgres::PASSWORD));
}

#[tokio::test]
async fn a_gateway_that_was_killed_replays_its_spool_at_the_next_start() {
    let mut server = Postgres::start();
    let url = server.database();
    let mut site = Site::new();
    site.settings.database.url = url.clone().into();
    site.publish(VERSION, Behaviour::Honest);
    let gateway = start(&site);
    settled(&gateway).await;
    server.crash();
    assert_eq!(send_all(&gateway).await, 0);
    drop(gateway);

    // Half a line, as it is left where the crash meets the writing of one that nobody was told of.
    let spool = std::fs::read_dir(&site.settings.database.spool_dir).unwrap();
    let last = spool
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "spool"));
    let mut last = std::fs::File::options().append(true).open(last.max().unwrap()).unwrap();
    last.write_all(b"0123456789abcdef 1 [{\"event\":").unwrap();
    server.go_on();
    let gateway = start(&site);
    settled(&gateway).await;
    assert_eq!(send_all(&gateway).await, CASES as u64, "every click is known");
    drop(gateway);
    check_kept(&url).await;
}

/// Everything of [`send_all`] is in the database, once.
async fn check_kept(url: &str) {
    let store = Store::open(url).await.unwrap();
    let later = Utc::now() + chrono::Duration::days(1);
    let events = store.events_between(DateTime::UNIX_EPOCH, later).await.unwrap().records;
    assert_eq!(events.len(), 2 * CASES as usize);
    let compared = comparisons(&store).await;
    assert_eq!(compared.len(), CASES as usize);
    assert!(compared.iter().all(|case| case.rows.len() == 3));
}

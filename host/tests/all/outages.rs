//! A database that goes away under traffic: rankings do not notice, and what was acknowledged is there afterwards, once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use evil::Behaviour;
use hyper::StatusCode;
use ranking::events::impression_id;
use serde_json::{Value, json};
use servers::Postgres;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};
use store::Store;
use uuid::Uuid;

use crate::{Running, Site, VERSION, case, request_id};

/// A site whose database is `server`'s, and which soon gives up waiting for it.
fn site(server: &Postgres) -> Site {
    let mut site = Site::new();
    site.settings.database.url = server.database().into();
    site.settings.database.timeout_ms = 300;
    site
}

fn click(id: u128) -> Value {
    json!({
        "event": "click_profile", "event_id": Uuid::from_u128(id), "ts_utc": "2026-10-05T12:00:00Z",
        "case_id": Uuid::from_u128(1), "user_id": Uuid::from_u128(2), "lawyer_id": "adv_1", "rank_pos": 1,
    })
}

/// Until the database is there and nothing waits in the spool.
async fn recovered(running: &Running) {
    for _ in 0..600 {
        if running.get("/readyz").await.body == b"ready\n" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{}", String::from_utf8_lossy(&running.get("/readyz").await.body));
}

/// The ids of all events, of which none may be there twice.
async fn kept(store: &Store) -> BTreeSet<Uuid> {
    let later = Utc::now() + chrono::Duration::days(1);
    let events = store.events_between(DateTime::UNIX_EPOCH, later).await.unwrap();
    let ids: BTreeSet<Uuid> = events.iter().map(|event| event.event_id).collect();
    assert_eq!(ids.len(), events.len());
    ids
}

#[tokio::test]
async fn a_frozen_database_holds_up_neither_rankings_nor_events_and_has_them_when_it_is_back() {
    let server = Postgres::start();
    let site = site(&server);
    let running = site.start_with(Behaviour::Honest).await;
    running.rank(&[("x-request-id", &request_id(1))], &case(1)).await.ok();
    assert_eq!(running.get("/readyz").await.body, b"ready\n");
    assert_eq!(running.metric("ltr_database_up").await, 1.0);

    server.pause();
    for id in 2..12 {
        let request = request_id(id);
        let headers = [("x-request-id", &*request), ("x-shadow-ltr", "1")];
        let ranked = running.rank(&headers, &case(id)).await;
        ranked.ok();
        assert_eq!(ranked.header("x-ltr-logged"), "committed");
        let answer = running.post("/events", &click(id)).await.ok();
        assert_eq!(answer, json!({"accepted": 1, "duplicates": 0}));
    }
    let ready = running.get("/readyz").await;
    let said = String::from_utf8(ready.body).unwrap();
    assert_eq!(ready.status, StatusCode::OK);
    assert!(said.contains("unavailable") && said.contains("30 records"), "{said}");
    assert_eq!(running.metric("ltr_database_up").await, 0.0);
    assert_eq!(running.metric("ltr_spool_records").await, 30.0);

    server.resume();
    recovered(&running).await;
    assert_eq!(running.metric("ltr_database_up").await, 1.0);
    assert_eq!(running.metric("ltr_spool_records").await, 0.0);
    let again: Vec<Value> = (2..12).map(click).collect();
    let answer = running.post("/events", &json!(again)).await.ok();
    assert_eq!(answer, json!({"accepted": 0, "duplicates": 10}));
    let store = running.gateway.store.clone();
    assert_eq!(kept(&store).await.len(), 11 + 10);
    let later = Utc::now() + chrono::Duration::days(1);
    store.label_shadow(&[], later).await.unwrap();
    assert_eq!(store.shadow_cases(VERSION, later).await.unwrap().len(), 10);
}

#[tokio::test]
async fn a_restart_of_the_database_under_load_loses_and_doubles_nothing() {
    let mut server = Postgres::start();
    let site = site(&server);
    let running = Arc::new(site.start().await);
    running.rank(&[("x-request-id", &request_id(1))], &case(1)).await.ok();
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (1..=4)
        .map(|client| {
            let (running, stop) = (running.clone(), stop.clone());
            tokio::spawn(async move {
                let mut sent = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let id = client * 1_000_000 + sent.len() as u128;
                    let answer = running.post("/events", &click(id)).await.ok();
                    assert_eq!(answer, json!({"accepted": 1, "duplicates": 0}));
                    sent.push(Uuid::from_u128(id));
                }
                sent
            })
        })
        .collect();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.crash();
        tokio::time::sleep(Duration::from_millis(700)).await;
        server.go_on();
        // Replayed while events keep coming.
        recovered(&running).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut sent = BTreeSet::new();
    for client in clients {
        sent.extend(client.await.unwrap());
    }
    recovered(&running).await;
    let mut kept = kept(&running.gateway.store).await;
    kept.retain(|id| *id != impression_id(request_id(1).parse().unwrap()));
    assert_eq!(kept, sent);
}

#[tokio::test]
async fn a_full_spool_refuses_events_and_keeps_what_it_acknowledged() {
    let mut server = Postgres::start();
    let mut site = site(&server);
    site.settings.database.spool_mb = 1;
    let running = site.start().await;
    running.rank(&[], &case(1)).await.ok();
    server.crash();
    let body = |batch: u128| json!((0..400).map(|id| click(batch * 1_000 + id)).collect::<Vec<_>>());
    let mut acknowledged = 0;
    let refused = loop {
        let answer = running.post("/events", &body(acknowledged)).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        acknowledged += 1;
    };
    assert_eq!(refused.refused(503)["code"], "spool_full");
    assert_eq!(refused.header("retry-after"), "1");
    assert!(acknowledged > 2);
    let mut spooled = acknowledged * 400;
    // Rankings go on, at first with what still finds room.
    loop {
        let ranked = running.rank(&[], &case(spooled)).await;
        ranked.ok();
        match ranked.header("x-ltr-logged") {
            "committed" => spooled += 1,
            logged => break assert_eq!(logged, "dropped"),
        }
    }

    server.go_on();
    recovered(&running).await;
    assert_eq!(kept(&running.gateway.store).await.len() as u128, 1 + spooled);
    // What was refused can be sent again, and what was acknowledged is known.
    let answer = running.post("/events", &body(0)).await.ok();
    assert_eq!(answer, json!({"accepted": 0, "duplicates": 400}));
}

#[tokio::test]
async fn a_file_that_another_program_holds_for_long_holds_up_nobody() {
    let mut site = Site::new();
    site.settings.database.timeout_ms = 100;
    let running = site.start().await;
    running.rank(&[], &case(1)).await.ok();
    let mut other = SqliteConnection::connect(site.settings.database.url.expose())
        .await
        .unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let ranked = running.rank(&[], &case(2)).await;
    ranked.ok();
    assert_eq!(ranked.header("x-ltr-logged"), "committed");
    let answer = running.post("/events", &click(1)).await.ok();
    assert_eq!(answer, json!({"accepted": 1, "duplicates": 0}));
    other.execute("ROLLBACK").await.unwrap();
    recovered(&running).await;
    assert_eq!(kept(&running.gateway.store).await.len(), 3);
}

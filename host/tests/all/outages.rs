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
use servers::{Postgres, Tmpfs};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};
use store::Store;
use uuid::Uuid;

use crate::{Running, Site, case, comparisons, request_id};

/// A site whose database is `server`'s, and which soon gives up waiting for it; but not before a busy machine connects.
fn site(server: &Postgres) -> Site {
    let mut site = Site::new();
    site.settings.database.url = server.database().into();
    site.settings.database.timeout_ms = 1_000;
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
    let ids: BTreeSet<Uuid> = events.records.iter().map(|event| event.event_id).collect();
    assert_eq!(ids.len(), events.records.len());
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
        assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(1), &json!(0)));
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
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(0), &json!(10)));
    let store = running.gateway.store.clone();
    assert_eq!(kept(&store).await.len(), 11 + 10);
    assert_eq!(comparisons(&store).await.len(), 10);
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
                    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(1), &json!(0)));
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
    kept.retain(|id| {
        *id != impression_id(
            &running.gateway.pseudonyms.salt,
            request_id(1).parse().unwrap(),
            Uuid::from_u128(1),
        )
    });
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
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(0), &json!(400)));
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
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(1), &json!(0)));
    other.execute("ROLLBACK").await.unwrap();
    recovered(&running).await;
    assert_eq!(kept(&running.gateway.store).await.len(), 3);
}

/// Ranks and clicks `requests` times, from this id on; each must be acknowledged.
async fn use_it(running: &Running, ids: std::ops::Range<u128>) {
    for id in ids {
        let ranked = running.rank(&[("x-request-id", &request_id(id))], &case(id)).await;
        ranked.ok();
        assert_eq!(ranked.header("x-ltr-logged"), "committed");
        let click = json!({
            "event": "click_profile", "event_id": Uuid::from_u128(id), "ts_utc": "2026-10-05T12:00:00Z",
            "case_id": Uuid::from_u128(id), "user_id": Uuid::from_u128(2), "lawyer_id": "adv_1", "rank_pos": 1,
        });
        let answer = running.post("/events", &click).await.ok();
        assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(1), &json!(0)));
    }
}

async fn check_away(running: &Running) {
    let ready = running.get("/readyz").await;
    let said = String::from_utf8(ready.body).unwrap();
    assert!(said.contains("unavailable"), "{said}");
    assert_eq!(running.metric("ltr_database_up").await, 0.0);
}

#[tokio::test]
async fn what_a_database_refuses_for_other_reasons_than_the_record_is_there_when_it_is_mended() {
    let server = Postgres::start();
    let mut site = site(&server);
    let url = site.settings.database.url.expose().to_owned();
    let mut admin = sqlx::postgres::PgConnection::connect(&url).await.unwrap();
    admin
        .execute("CREATE ROLE tenant LOGIN PASSWORD 'first'")
        .await
        .unwrap();
    admin.execute("GRANT ALL ON SCHEMA public TO tenant").await.unwrap();
    let place = url.rsplit_once('@').unwrap().1;
    site.settings.database.url = format!("postgres://tenant:first@{place}").into();
    let running = site.start().await;
    let faults = [
        (
            "ALTER ROLE tenant PASSWORD 'second'",
            "ALTER ROLE tenant PASSWORD 'first'",
        ),
        (
            "REVOKE INSERT ON match_events FROM tenant",
            "GRANT INSERT ON match_events TO tenant",
        ),
        (
            "ALTER TABLE match_events RENAME TO elsewhere",
            "ALTER TABLE elsewhere RENAME TO match_events",
        ),
    ];
    let mut sent = 0;
    for (fault, mend) in faults {
        use_it(&running, sent..sent + 5).await;
        admin.execute(fault).await.unwrap();
        admin
            .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'tenant'")
            .await
            .unwrap();
        use_it(&running, sent + 5..sent + 15).await;
        check_away(&running).await;
        admin.execute(mend).await.unwrap();
        recovered(&running).await;
        sent += 15;
        // With a connection that has time to be made.
        let store = Store::open(&url).await.unwrap();
        assert_eq!(kept(&store).await.len() as u128, 2 * sent, "{fault}");
    }
    assert!(!site.settings.database.spool_dir.join("refused.ndjson").exists());
}

#[tokio::test]
async fn a_database_file_that_was_deleted_takes_nothing_with_it_that_comes_later() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    use_it(&running, 0..5).await;
    let file = site.settings.database.url.expose().strip_prefix("sqlite://").unwrap();
    std::fs::remove_file(file).unwrap();
    use_it(&running, 5..15).await;
    // No new file is made while it runs: it would not know who serves.
    check_away(&running).await;
    running.stop().await;
    let running = site.start().await;
    recovered(&running).await;
    running.stop().await;
    let kept = kept(&Store::open(site.settings.database.url.expose()).await.unwrap()).await;
    assert!((5..15).all(|id| kept.contains(&Uuid::from_u128(id))), "{kept:?}");
    assert_eq!(kept.len(), 20);
}

#[tokio::test]
async fn a_database_file_that_is_elsewhere_for_a_while_gets_what_came_meanwhile() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    use_it(&running, 0..5).await;
    let file = site.settings.database.url.expose().strip_prefix("sqlite://").unwrap();
    let places = ["", "-wal", "-shm"].map(|suffix| (format!("{file}{suffix}"), format!("{file}.away{suffix}")));
    for (here, away) in &places {
        std::fs::rename(here, away).unwrap();
    }
    use_it(&running, 5..15).await;
    check_away(&running).await;
    for (here, away) in &places {
        std::fs::rename(away, here).unwrap();
    }
    recovered(&running).await;
    assert_eq!(kept(&running.gateway.store).await.len(), 30);
}

#[tokio::test]
async fn a_full_disk_of_the_database_loses_nothing_and_an_operator_is_heard_as_soon_as_there_is_room() {
    let disk = Tmpfs::mount(4 << 20);
    let mut site = Site::new();
    site.settings.database.url = format!("sqlite://{}", disk.path().join("ltr.db").display()).into();
    let running = site.start_with(Behaviour::Honest).await;
    use_it(&running, 0..5).await;
    disk.fill(usize::MAX);
    let mut sent = 5;
    while running.metric("ltr_database_up").await > 0.0 {
        use_it(&running, sent..sent + 5).await;
        sent += 5;
        assert!(sent < 5_000, "it is never full");
    }
    check_away(&running).await;
    use_it(&running, sent..sent + 5).await;
    sent += 5;
    // A rollback acts, and is on record once there is room.
    let back = running.post("/rollout/rollback", &json!({ "reason": "full" })).await;
    assert_eq!(
        (back.status, &back.json()["recorded"]),
        (StatusCode::ACCEPTED, &json!(false))
    );
    assert_eq!(running.rank(&[], &case(9_999)).await.ok()["source"], "legacy");
    sent += 1;
    disk.make_room();
    running.gateway.release.look().await.unwrap();
    let rollout = running.get("/rollout").await.ok();
    assert_eq!(rollout["state"]["phase"]["name"], "rolled_back", "{rollout:#}");
    assert_eq!(rollout["following"]["rollback_pending"], json!(null));
    recovered(&running).await;
    // The last ranking has no click.
    assert_eq!(kept(&running.gateway.store).await.len() as u128, 2 * sent - 1);
}

#[tokio::test]
async fn a_full_disk_of_the_spool_refuses_events_in_time_and_makes_no_files() {
    let disk = Tmpfs::mount(1 << 20);
    let mut server = Postgres::start();
    let mut site = site(&server);
    site.settings.database.spool_dir = disk.path().join("spool");
    let running = site.start().await;
    running.rank(&[], &case(1)).await.ok();
    server.crash();
    running.post("/events", &click(1)).await.ok();
    disk.fill(usize::MAX);
    let mut acknowledged = 1;
    let mut refused = 0;
    while refused < 200 {
        let answer = running.post("/events", &click(acknowledged + 1)).await;
        match answer.status {
            StatusCode::OK => acknowledged += 1,
            _ => {
                assert_eq!(answer.refused(503)["code"], "spool_full");
                assert_eq!(answer.header("retry-after"), "1");
                refused += 1;
            }
        }
    }
    let files = std::fs::read_dir(&site.settings.database.spool_dir).unwrap().count();
    assert!(files <= 5, "{files} files");
    disk.make_room();
    running.post("/events", &click(acknowledged + 1)).await.ok();
    server.go_on();
    recovered(&running).await;
    let known = kept(&running.gateway.store).await;
    assert!((1..=acknowledged + 1).all(|id| known.contains(&Uuid::from_u128(id))));
}

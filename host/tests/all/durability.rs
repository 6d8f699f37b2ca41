//! A database that is held, and what was acknowledged all the same.

use std::time::Duration;

use chrono::{DateTime, Utc};
use evil::Behaviour;
use ranking::{Action, ActionKind, Body, Event, ShadowRow};
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use store::{Appended, Record, ShadowRecord, Spool};
use uuid::Uuid;

use crate::{Running, Site, VERSION, case, lawyers_shown, request_id};

/// A second program that holds the write lock until it is dropped or rolls back.
async fn holding(site: &Site) -> SqliteConnection {
    let mut other = SqliteConnection::connect(site.settings.database.url.expose())
        .await
        .unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    other
}

#[tokio::test]
async fn a_held_database_holds_up_no_ranking_and_what_was_queued_is_kept_afterwards() {
    let mut site = Site::new();
    site.settings.host.deadline_ms = 300;
    site.settings.host.ltr_budget_ms = 200;
    let running = site.start_with(Behaviour::Honest).await;
    let mut other = holding(&site).await;
    // The lock is let go only after the answer: one that waited for it would come as an error, or not at all.
    let answer = running.rank(&[("x-request-id", &request_id(1))], &case(1)).await;
    answer.ok();
    assert_eq!(answer.header("x-ltr-logged"), "queued");
    other.execute("ROLLBACK").await.unwrap();
    let answer = running.rank(&[("x-request-id", &request_id(2))], &case(2)).await;
    answer.ok();
    let store = running.gateway.store.clone();
    running.stop().await;
    for case in [1, 2] {
        assert_eq!(lawyers_shown(&store, case).await, [3], "case {case}");
    }
}

#[tokio::test]
async fn an_action_may_overtake_the_impression_it_belongs_to() {
    let mut site = Site::new();
    site.settings.host.deadline_ms = 100;
    site.settings.host.ltr_budget_ms = 50;
    let running = site.start().await;
    let mut other = holding(&site).await;
    let answer = running.rank(&[], &case(1)).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-ltr-logged")), (200, "queued"));
    let click = json!({
        "event": "click_profile", "event_id": Uuid::from_u128(1), "ts_utc": "2026-10-05T12:00:00Z",
        "case_id": Uuid::from_u128(1), "user_id": Uuid::from_u128(1_000_001), "lawyer_id": "adv_1", "rank_pos": 1,
    });
    let (clicked, ()) = tokio::join!(running.post("/events", &click), async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        other.execute("ROLLBACK").await.unwrap();
    });
    assert_eq!(clicked.ok(), json!({"accepted": 1, "duplicates": 0, "unbound": 0}));
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart_and_nothing_twice() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    for id in 0..20 {
        let request = request_id(id);
        let answer = running.rank(&[("x-request-id", &request)], &case(id)).await;
        assert_eq!(answer.header("x-ltr-logged"), "committed");
    }
    // Without draining: what was acknowledged does not depend on it.
    drop(running);
    // ConnectionRuntimes of the former gateway may still hold what it held.
    while Spool::open(&site.settings.database.spool_dir, 1 << 20).is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let running = site.start().await;
    let state = running.get("/rollout").await.ok();
    assert_eq!((&state["weight"], &state["champion"]), (&json!(100), &json!(VERSION)));
    for id in 0..20 {
        let request = request_id(id);
        let answer = running.rank(&[("x-request-id", &request)], &case(id)).await;
        assert_eq!(
            (answer.ok()["source"].clone(), answer.header("x-ltr-logged")),
            (json!("ltr"), "committed")
        );
    }
    let later = chrono::Utc::now() + chrono::Duration::days(1);
    let events = running
        .gateway
        .store
        .events_between(chrono::DateTime::UNIX_EPOCH, later)
        .await
        .unwrap();
    assert_eq!(events.records.len(), 20);
}

#[tokio::test]
async fn an_impression_holds_what_training_needs_as_it_was_served() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    let mut body = case(1);
    body["top_n"] = json!(2);
    body["lawyers"][2]["features"]["geo"] = json!(null);
    let answer = running.rank(&[("x-request-id", &request_id(1))], &body).await.ok();
    let later = chrono::Utc::now() + chrono::Duration::days(1);
    let events = running
        .gateway
        .store
        .events_between(chrono::DateTime::UNIX_EPOCH, later)
        .await
        .unwrap();
    let event = events.records[0].to_json();
    let shown: Vec<_> = answer["ranking"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| place["lawyer_id"].clone())
        .collect();
    assert_eq!(event["lawyer_ids"], json!(shown));
    assert_eq!(
        (&event["source"], &event["model_version"]),
        (&json!("ltr"), &json!(VERSION))
    );
    assert_eq!(event["request_id"], request_id(1));
    assert_eq!(event["features"][0][3], json!(null), "missing is not zero");
    assert_eq!(event["features"][0][0], json!(0.8));
    assert_eq!(event["features"].as_array().unwrap().len(), 2);
    let weights = event["weights_used"].as_object().unwrap();
    let sum: f64 = weights.values().map(|weight| weight.as_f64().unwrap()).sum();
    assert!(weights.len() == 11 && (sum - 1.0).abs() < 1e-12, "{weights:?}");
    assert_eq!(event["groups"][0]["gender"], "F");
}

#[tokio::test]
async fn unless_told_to_a_ranking_does_not_wait_for_the_disk_and_is_kept_all_the_same() {
    let mut site = Site::new();
    site.settings.database.rank_waits = false;
    let running = site.start_with(Behaviour::Honest).await;
    let mut other = holding(&site).await;
    let answer = running.rank(&[], &case(1)).await;
    answer.ok();
    assert_eq!(answer.header("x-ltr-logged"), "queued");
    other.execute("ROLLBACK").await.unwrap();
    // An action on what was shown finds it, however soon it comes.
    let action = json!({
        "event": "click_profile", "event_id": Uuid::from_u128(9), "ts_utc": "2026-10-05T12:00:00Z", "lawyer_id": "adv_1",
        "case_id": Uuid::from_u128(1), "user_id": Uuid::from_u128(2), "rank_pos": 1,
    });
    running.post("/events", &action).await.ok();
}

#[tokio::test]
async fn what_the_database_refuses_is_set_aside_and_takes_nothing_else_with_it() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    // Handed over at once, they share a transaction; the last ones share a call, too.
    let calls = [
        vec![event(1, 1)],
        vec![event(2, 0)],
        vec![event(3, 1)],
        vec![event(4, 1), shadow(5, 0), event(6, 1), event(7, 0), event(8, 1)],
    ];
    let receipts = calls.map(|records| running.gateway.writer.submit(records).unwrap());
    let mut outcomes = Vec::new();
    for receipt in receipts {
        outcomes.extend(receipt.committed().await.unwrap());
    }
    use Appended::{Refused, Stored};
    assert_eq!(
        outcomes,
        [Stored, Refused, Stored, Stored, Refused, Stored, Refused, Stored]
    );
    assert_eq!(kept(&running).await, [1, 3, 4, 6, 8]);
    let refused = refused(&site);
    assert_eq!(refused.len(), 3);
    assert_eq!(
        refused[0]["record"]["event"]["event_id"],
        Uuid::from_u128(2).to_string()
    );
    assert_eq!(running.metric("ltr_records_refused_total").await, 3.0);
    assert_eq!(running.get("/readyz").await.body, b"ready\n");
}

/// What was set aside.
fn refused(site: &Site) -> Vec<serde_json::Value> {
    let lines = std::fs::read_to_string(site.settings.database.spool_dir.join("refused.ndjson")).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The ids of the events that [`event`] made and that are in the database.
async fn kept(running: &Running) -> Vec<u128> {
    let day = chrono::Duration::days(1);
    let store = &running.gateway.store;
    let events = store.events_between(Utc::now() - day, Utc::now() + day).await.unwrap();
    let mut ids: Vec<u128> = events.records.iter().map(|event| event.event_id.as_u128()).collect();
    ids.sort_unstable();
    ids
}

/// Until nothing waits in the spool.
async fn replayed(running: &Running) {
    for _ in 0..3_000 {
        if running.metric("ltr_spool_records").await == 0.0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the spool is not replayed");
}

#[tokio::test]
async fn what_nobody_waits_for_is_written_all_the_same_and_before_what_comes_later() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let writer = &running.gateway.writer;
    let (start, end) = (
        DateTime::UNIX_EPOCH,
        DateTime::UNIX_EPOCH + Duration::from_secs(1 << 32),
    );
    let known = async || {
        running
            .gateway
            .store
            .events_between(start, end)
            .await
            .unwrap()
            .records
            .len()
    };
    writer.submit_unacked(vec![event(1, 1)]).unwrap();
    writer.submit_unacked(vec![event(2, 1)]).unwrap();
    writer.submit(vec![event(3, 1)]).unwrap().committed().await.unwrap();
    assert_eq!(known().await, 3);
    writer.submit_unacked(vec![event(4, 1)]).unwrap();
    for _ in 0..1_000 {
        if known().await == 4 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it was not written in ten seconds");
}

#[tokio::test]
async fn a_loss_that_nobody_waits_to_hear_of_is_counted() {
    let mut site = Site::new();
    site.settings.database.timeout_ms = 100;
    site.settings.database.spool_mb = 1;
    let running = site.start_with(Behaviour::Honest).await;
    let before = running.metric("ltr_log_dropped_total").await;
    let _other = holding(&site).await;
    // No room for as many in the spool.
    let many = (0..10_000).map(|id| event(id, 1)).collect();
    drop(running.gateway.writer.submit(many).unwrap());
    // What was handed over before is done with when this is, which may share its fate.
    let after = running.gateway.writer.submit(vec![event(10_001, 1)]).unwrap();
    let _ = after.committed().await;
    assert!(running.metric("ltr_log_dropped_total").await > before);
    let after = running.gateway.writer.submit(vec![event(10_002, 1)]).unwrap();
    after.committed().await.unwrap();
}

#[tokio::test]
async fn what_the_database_refuses_does_not_hold_up_the_spool() {
    let site = Site::new();
    let dir = &site.settings.database.spool_dir;
    let mut spool = Spool::open(dir, 1 << 20).unwrap();
    spool.append(&[event(1, 1), shadow(2, 0), event(3, 1)]).unwrap();
    drop(spool);
    let running = site.start_with(Behaviour::Honest).await;
    replayed(&running).await;
    assert_eq!(kept(&running).await, [1, 3]);
    let refused = refused(&site);
    assert_eq!(refused.len(), 1);
    assert_eq!(
        refused[0]["record"]["shadow"]["request_id"],
        Uuid::from_u128(2).to_string()
    );
    assert!(
        refused[0]["reason"].as_str().unwrap().contains("rank_legacy"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_cannot_be_read_in_the_spool_holds_up_nothing_before_and_after_a_restart() {
    let site = Site::new();
    let dir = &site.settings.database.spool_dir;
    let mut spool = Spool::open(dir, 1 << 20).unwrap();
    spool.append(&[event(1, 1), event(2, 1), event(3, 1)]).unwrap();
    drop(spool);
    let path = dir.join(format!("{:020}.spool", 0));
    let mut file = std::fs::read(&path).unwrap();
    let frames: Vec<usize> = (0..file.len()).filter(|at| file[*at] == 0x1e).collect();
    file[frames[1] + 60] ^= 1;
    // A line of version 0.1, whole, of which one record is nothing that this version knows.
    let records = format!("[{},{{\"later\":1}}]", serde_json::to_string(&event(4, 1)).unwrap());
    let body = format!("2 {records}");
    let sum = hex::encode(&Sha256::digest(&body)[..8]);
    file.extend(format!("{sum} {body}\n").into_bytes());
    std::fs::write(&path, &file).unwrap();

    let running = site.start_with(Behaviour::Honest).await;
    replayed(&running).await;
    assert_eq!(kept(&running).await, [1, 3, 4]);
    assert_eq!(running.metric("ltr_spool_damaged_total").await, 1.0);
    assert_eq!(running.metric("ltr_records_refused_total").await, 1.0);
    assert_eq!(refused(&site)[0]["record"]["later"], 1);
    assert_eq!(std::fs::read(path.with_extension("damaged")).unwrap(), file);
    running.stop().await;

    let running = site.start().await;
    running
        .gateway
        .writer
        .submit(vec![event(5, 1)])
        .unwrap()
        .committed()
        .await
        .unwrap();
    assert_eq!(kept(&running).await, [1, 3, 4, 5]);
    assert_eq!(refused(&site).len(), 1);
}

#[tokio::test]
async fn a_record_that_the_database_fails_on_without_saying_why_waits_and_the_others_do_not() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let mut other = SqliteConnection::connect(site.settings.database.url.expose())
        .await
        .unwrap();
    let picky = format!(
        "CREATE TRIGGER picky BEFORE INSERT ON match_events WHEN NEW.event_id = '{}' \
         BEGIN SELECT RAISE(ABORT, 'not this one'); END",
        Uuid::from_u128(2)
    );
    other.execute(AssertSqlSafe(picky)).await.unwrap();
    let writer = &running.gateway.writer;
    let many = vec![event(1, 1), event(2, 1), event(3, 1)];
    writer.submit(many).unwrap().committed().await.unwrap();
    let until = async |expected: &[u128]| {
        for _ in 0..3_000 {
            if kept(&running).await == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?}", kept(&running).await);
    };
    until(&[1, 3]).await;
    writer.submit(vec![event(4, 1)]).unwrap().committed().await.unwrap();
    until(&[1, 3, 4]).await;
    other.execute("DROP TRIGGER picky").await.unwrap();
    until(&[1, 2, 3, 4]).await;
    replayed(&running).await;
    assert!(!site.settings.database.spool_dir.join("refused.ndjson").exists());
}

#[tokio::test]
async fn what_cannot_be_set_aside_waits_and_everything_else_does_not() {
    let site = Site::new();
    let dir = &site.settings.database.spool_dir;
    let mut spool = Spool::open(dir, 1 << 20).unwrap();
    spool.append(&[event(1, 1), event(2, 0)]).unwrap();
    drop(spool);
    // In the place of the file.
    let aside = dir.join("refused.ndjson");
    std::fs::create_dir(&aside).unwrap();
    let running = site.start_with(Behaviour::Honest).await;
    let mut expected = vec![1];
    for id in 3..6 {
        running
            .gateway
            .writer
            .submit(vec![event(id, 1)])
            .unwrap()
            .committed()
            .await
            .unwrap();
        expected.push(id);
    }
    for _ in 0..3_000 {
        if kept(&running).await == expected {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(kept(&running).await, expected);
    std::fs::remove_dir(&aside).unwrap();
    replayed(&running).await;
    assert_eq!(refused(&site).len(), 1);
}

/// A comparison of one lawyer, at a place as of [`event`].
fn shadow(id: u128, rank_legacy: u16) -> Record {
    Record::Shadow(ShadowRecord {
        trigger: None,
        salt_id: None,
        unknown: Default::default(),
        request_id: Uuid::from_u128(id),
        ts_utc: Utc::now(),
        case_id: Uuid::from_u128(1),
        user_pseudonym: Uuid::from_u128(2),
        model_version: VERSION.into(),
        outcome: ranking::ShadowOutcome::Unscored(ranking::Unscored::Trap),
        score_us: None,
        rows: vec![ShadowRow {
            lawyer_id: "adv_1".into(),
            rank_legacy,
            rank_ltr: None,
            label: None,
            fair_legacy: 0.5,
            fair_ltr: None,
            groups: Default::default(),
        }],
    })
}

/// A click at a place, which counts from 1; the table checks it.
fn event(id: u128, rank_pos: u32) -> Record {
    let action = Action::new(ActionKind::ClickProfile, "adv_1", rank_pos);
    Record::Event(Event::new(
        Uuid::from_u128(id),
        Utc::now(),
        Uuid::from_u128(1),
        Uuid::from_u128(2),
        Body::Action(action),
    ))
}

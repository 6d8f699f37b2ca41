//! An hour's load in two minutes, while everything around the gateway fails in turn: no ranking is refused, nothing that
//! was acknowledged is lost or doubled, and no memory stays behind.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use evil::Behaviour;
use ranking::events::{Body, impression_id};
use ranking::features::DEFAULT_FEATURES;
use serde_json::{Value, json};
use servers::{Postgres, Redis};
use store::Store;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::harness::{Client, Site, case, click};

/// Sent by each of them, one request after the other, with a moment between.
const CLIENTS: usize = 4;
const MOMENT: Duration = Duration::from_millis(2);
const LAWYERS: usize = 20;
/// A ranking in so many leads to a click, and a click in so many is sent twice.
const CLICKS: usize = 3;
/// A model a second.
const SWAPS: usize = 120;
/// Swaps after which memory is what it stays.
const WARM: usize = 10;
/// How long the database is frozen.
const FROZEN: Duration = Duration::from_secs(20);

/// What a client was told.
#[derive(Default)]
struct Told {
    rankings: usize,
    /// Events that were acknowledged, impressions of rankings among them.
    kept: HashSet<Uuid>,
    /// Those that may be there or not: the answer was that they could not be taken now.
    refused: HashSet<Uuid>,
}

/// Ranks and clicks until told to stop. No ranking may fail, whatever happens around it.
fn client(client: &Client, salt: &str, number: usize, stop: &Arc<AtomicBool>) -> JoinHandle<Told> {
    let (client, salt, stop) = (client.clone(), salt.to_owned(), stop.clone());
    tokio::spawn(async move {
        let mut told = Told::default();
        while !stop.load(Ordering::Relaxed) {
            let at = told.rankings;
            let case = case(&format!("{number} {at}"), LAWYERS);
            let request_id = Uuid::new_v4();
            let headers = [("x-request-id", &*request_id.to_string())];
            let answer = client.post("/rank", &headers, case.to_string().into()).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(["committed", "queued"].contains(&&*answer.logged), "{answer:?}");
            told.rankings += 1;
            let case_id = case["case"]["case_id"].as_str().unwrap().parse().unwrap();
            told.kept.insert(impression_id(salt.as_bytes(), request_id, case_id));
            if at % CLICKS == 0 {
                let shown = &answer.body["ranking"][0]["lawyer_id"];
                send(&client, &click(Uuid::new_v4(), &case, shown, 1), &mut told).await;
            }
            tokio::time::sleep(MOMENT).await;
        }
        told
    })
}

/// Sends a click, and every so often the same once more, as a client does who did not hear the answer.
async fn send(client: &Client, click: &Value, told: &mut Told) {
    let event_id: Uuid = click["event_id"].as_str().unwrap().parse().unwrap();
    let times = 1 + usize::from(told.rankings.is_multiple_of(2));
    for _ in 0..times {
        let answer = client.post("/events", &[], click.to_string().into()).await;
        match answer.status {
            200 => {
                told.refused.remove(&event_id);
                told.kept.insert(event_id);
            }
            503 if !told.kept.contains(&event_id) => {
                told.refused.insert(event_id);
            }
            503 => {}
            _ => panic!("{answer:?}"),
        }
    }
}

/// What fails, and when.
async fn outages(mut database: Postgres, mut redis: Redis) -> (Postgres, Redis) {
    let pause = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    pause(15).await;
    redis.crash();
    pause(5).await;
    redis.go_on();
    pause(5).await;
    database.crash();
    pause(5).await;
    database.go_on();
    pause(15).await;
    database.pause();
    tokio::time::sleep(FROZEN).await;
    database.resume();
    pause(10).await;
    redis.pause();
    pause(5).await;
    redis.resume();
    (database, redis)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make soak runs it"]
#[expect(clippy::too_many_lines, reason = "an hour of traffic told from its start to its end")]
async fn an_hour_of_load_with_swaps_and_outages_loses_nothing() {
    let (database, redis) = (Postgres::start(), Redis::start());
    let url = database.database();
    let site = Site::new()
        .with("LTR_DATABASE__URL", &url)
        .with("LTR_FLAGS__REDIS_URL", &redis.url())
        // As by default.
        .with("LTR_DATABASE__RANK_WAITS", "false");
    site.publish("m000", Behaviour::Honest);
    let gateway = site.start().await;
    gateway.set_weight(50).await;
    let began: DateTime<Utc> = Utc::now();
    let stop = Arc::new(AtomicBool::new(false));
    let salt = std::fs::read_to_string(site.path().join("var/keys/privacy.salt")).unwrap();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| client(&gateway, salt.trim(), number, &stop))
        .collect();
    let mut outages = None;
    let mut servers = Some((database, redis));
    let mut before = 0;
    let mut loaded = 0;
    let start = Instant::now();
    for swap in 1..=SWAPS {
        let version = format!("m{swap:03}");
        // Another component each time, so that each is compiled.
        site.publish_bytes(&version, &evil::raw::padded(&DEFAULT_FEATURES, 1_000 + swap));
        let answer = gateway.notify(&version).await;
        // Which model is compared is on record, so that none comes in while the database is away.
        match answer.status {
            200 => loaded += 1,
            _ => assert_eq!(answer.body["error"]["code"], "database", "{answer:?}"),
        }
        if swap == WARM {
            before = gateway.resident_memory();
            outages = servers
                .take()
                .map(|(database, redis)| tokio::spawn(self::outages(database, redis)));
        }
        tokio::time::sleep_until((start + Duration::from_secs(swap as u64)).into()).await;
    }
    let (database, redis) = outages.unwrap().await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let mut told = Told::default();
    for client in clients {
        let client = client.await.unwrap();
        told.rankings += client.rankings;
        told.kept.extend(client.kept);
        told.refused.extend(client.refused);
    }
    while gateway.metric("ltr_spool_records").await > 0.0 || gateway.metric("ltr_database_up").await < 1.0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The allocator gives back what is free within seconds.
    let settling = Instant::now();
    while gateway.resident_memory() > before + before / 10 && settling.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let after = gateway.resident_memory();
    println!(
        "{} rankings, {} events kept, {} refused, {loaded} models, {} MiB resident before and {} after",
        told.rankings,
        told.kept.len(),
        told.refused.len(),
        before >> 20,
        after >> 20
    );
    assert!(loaded > SWAPS / 2, "{loaded} of {SWAPS} models came in");

    // What was handed over before is written before this.
    assert_eq!(
        gateway.post("/events", &[], json!([]).to_string().into()).await.status,
        422
    );
    let store = Store::open(&url).await.unwrap();
    let day = chrono::TimeDelta::days(1);
    let events = store.events_between(began - day, began + day).await.unwrap().records;
    let found: HashSet<Uuid> = events.iter().map(|event| event.event_id).collect();
    assert_eq!(found.len(), events.len(), "no event is there twice");
    let lost: Vec<&Uuid> = told.kept.difference(&found).collect();
    assert!(lost.is_empty(), "{} lost: {lost:?}", lost.len());
    let foreign: Vec<&Uuid> = found
        .iter()
        .filter(|id| !told.kept.contains(id) && !told.refused.contains(id))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    let impressions = events.iter().filter(|event| matches!(event.body, Body::Impression(_)));
    assert_eq!(impressions.count(), told.rankings);
    assert!(
        after <= before + before / 10,
        "{before} bytes resident before, {after} after"
    );
    drop((database, redis));
}

//! What is logged gets to the event bus and from there into the lake, whoever ends without warning.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lake::{Lake, Table};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use servers::{Kafka, Seaweed};
use testkit::PATIENCE;
use uuid::Uuid;

use crate::harness::{Client, Gateway, SMALL, Site, case, click, id};

/// Events of one call.
const A_CALL: usize = 50;
const CLIENTS: usize = 4;

fn site(broker: &Kafka) -> Site {
    Site::patient()
        .with("LTR_EVENTS__BUS", &broker.url())
        .with("LTR_EVENTS__BUS_TIMEOUT_MS", "3000")
}

/// What the topic has: by record how often, and in which order.
fn on_bus(broker: &Kafka) -> (BTreeMap<String, usize>, Vec<String>) {
    let mut counts = BTreeMap::new();
    let mut order = Vec::new();
    for record in broker.records() {
        let record: Value = serde_json::from_slice(&record).unwrap();
        let id = match record["event"].as_str() {
            Some("comparison") => format!("comparison of {}", record["request_id"].as_str().unwrap()),
            Some("impression") => format!("impression of {}", record["request_id"].as_str().unwrap()),
            _ => record["event_id"].as_str().unwrap().to_owned(),
        };
        *counts.entry(id.clone()).or_default() += 1;
        order.push(id);
    }
    (counts, order)
}

fn clicks(name: &str, of: std::ops::Range<usize>) -> Vec<(Uuid, Value)> {
    let case = case(name, SMALL);
    let clicks = of.map(|number| {
        let event_id = id(&format!("{name} {number}"));
        (event_id, click(event_id, &case, &json!("lawyer-0"), 1))
    });
    clicks.collect()
}

async fn send(client: &Client, clicks: &[(Uuid, Value)]) -> Option<()> {
    let body = Value::from(clicks.iter().map(|(_, click)| click.clone()).collect::<Vec<_>>());
    let answer = client.try_post("/events", &[], body.to_string().into());
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("no answer").ok()?;
    (answer.status == 200).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_comes_once_the_brokers_have_the_record() {
    let broker = Kafka::start(2);
    let site = site(&broker);
    let gateway = site.start().await;
    let sent = clicks("one", 0..3);
    send(&gateway.client, &sent).await.unwrap();
    let (counts, order) = on_bus(&broker);
    let ids: Vec<String> = sent.iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(order, ids, "{counts:?}");
    // A repetition is none on the bus.
    send(&gateway.client, &sent).await.unwrap();
    assert_eq!(on_bus(&broker).1, ids);
    let request_id = id("a ranking").to_string();
    let answer = gateway
        .client
        .try_post(
            "/rank",
            &[("x-request-id", &request_id)],
            case("two", SMALL).to_string().into(),
        )
        .await
        .unwrap();
    assert_eq!(answer.logged, "committed");
    assert_eq!(on_bus(&broker).0.get(&format!("impression of {request_id}")), Some(&1));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_brokers_are_away_the_database_keeps_records_and_they_are_sent_in_order() {
    let store = Seaweed::start();
    let mut broker = Kafka::start_on(&store, 1);
    let site = site(&broker);
    let gateway = site.start().await;
    send(&gateway.client, &clicks("case", 0..10)).await.unwrap();
    broker.crash();
    for first in (10..60).step_by(10) {
        send(&gateway.client, &clicks("case", first..first + 10)).await.unwrap();
    }
    // Nothing of it is lost with the gateway.
    gateway.kill();
    let gateway = site.start().await;
    send(&gateway.client, &clicks("case", 60..70)).await.unwrap();
    broker.go_on();
    let start = Instant::now();
    loop {
        let (counts, order) = on_bus(&broker);
        if counts.len() == 70 {
            let expected: Vec<String> = clicks("case", 0..70).iter().map(|(id, _)| id.to_string()).collect();
            assert_eq!(order, expected);
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{} of 70 are there", counts.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // From then on the brokers are waited for again.
    send(&gateway.client, &clicks("case", 70..71)).await.unwrap();
    assert_eq!(on_bus(&broker).1.len(), 71);
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_hang_delay_an_answer_once() {
    let broker = Kafka::start(1);
    let site = site(&broker);
    let gateway = site.start().await;
    send(&gateway.client, &clicks("case", 0..1)).await.unwrap();
    broker.pause();
    send(&gateway.client, &clicks("case", 1..2)).await.unwrap();
    let start = Instant::now();
    send(&gateway.client, &clicks("case", 2..3)).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    broker.resume();
    let start = Instant::now();
    while on_bus(&broker).0.len() < 3 {
        assert!(start.elapsed() < PATIENCE, "{:?}", on_bus(&broker));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// `ltr-trainer sink --follow`.
struct Sink(Child);

impl Sink {
    fn start(site: &Site, broker: &Kafka) -> Sink {
        let program = std::env::current_exe().unwrap();
        let program = program.parent().unwrap().parent().unwrap().join("ltr-trainer");
        assert!(
            program.exists(),
            "{} is missing; build it with `make build`",
            program.display()
        );
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(site.path().join("sink.log"));
        let sink = Command::new(program)
            .args(["sink", "--follow", "--every", "1"])
            .current_dir(site.path())
            .env_clear()
            .env("LTR_EVENTS__BUS", broker.url())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn();
        Sink(sink.unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How often each event is in the lake.
async fn in_lake(site: &Site) -> BTreeMap<Uuid, usize> {
    let dir = site.path().join("var/lake");
    let lake = Lake::open(dir.to_str().unwrap()).unwrap();
    let mut counts = BTreeMap::new();
    for file in lake::files(&lake, Table::Actions).await.unwrap() {
        let file = std::fs::File::open(dir.join(file.path().as_ref())).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let mask = ProjectionMask::columns(builder.parquet_schema(), ["event_id"]);
        for batch in builder.with_projection(mask).build().unwrap() {
            let batch = batch.unwrap();
            let ids = arrow::array::AsArray::as_string::<i32>(batch.column(0)).clone();
            for id in ids.iter().flatten() {
                *counts.entry(id.parse().unwrap()).or_default() += 1;
            }
        }
    }
    counts
}

/// Clients that send events until there are enough, each call again until it is answered.
struct Load {
    client: Arc<Mutex<Client>>,
    acknowledged: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<Vec<Uuid>>>,
}

impl Load {
    fn start(client: Client, events: usize, stop: &Arc<AtomicBool>) -> Load {
        let client = Arc::new(Mutex::new(client));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let clients = (0..CLIENTS).map(|number| {
            let (client, acknowledged, stop) = (client.clone(), acknowledged.clone(), stop.clone());
            tokio::spawn(async move {
                let mut all = Vec::new();
                for call in 0..events / CLIENTS / A_CALL {
                    let clicks = clicks(&format!("{number} {call}"), 0..A_CALL);
                    loop {
                        let now = client.lock().unwrap().clone();
                        if send(&now, &clicks).await.is_some() {
                            break;
                        }
                        assert!(!stop.load(Ordering::SeqCst), "it is over, and not all was answered");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    all.extend(clicks.iter().map(|(id, _)| *id));
                    acknowledged.fetch_add(A_CALL, Ordering::SeqCst);
                }
                all
            })
        });
        Load {
            clients: clients.collect(),
            client,
            acknowledged,
        }
    }
}

/// Kills one of the three after each of so many parts of the load.
async fn survive(events: usize, kills: usize) {
    let store = Seaweed::start();
    let mut broker = Kafka::start_on(&store, 3);
    let site = site(&broker);
    let mut gateway: Gateway = site.start().await;
    let mut sink = Sink::start(&site, &broker);
    let stop = Arc::new(AtomicBool::new(false));
    let load = Load::start(gateway.client.clone(), events, &stop);
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(22);
    for kill in 0..kills {
        let after = events * kill / kills;
        let start = Instant::now();
        while load.acknowledged.load(Ordering::SeqCst) < after {
            assert!(start.elapsed() < 10 * PATIENCE, "nothing more is acknowledged");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_micros(random.random_range(0..400_000))).await;
        match kill % 3 {
            0 => {
                gateway.kill();
                gateway = site.start().await;
                *load.client.lock().unwrap() = gateway.client.clone();
            }
            1 => {
                sink.kill();
                sink = Sink::start(&site, &broker);
            }
            _ => {
                broker.crash();
                tokio::time::sleep(Duration::from_millis(random.random_range(0..500))).await;
                broker.go_on();
            }
        }
    }
    let mut acknowledged = Vec::new();
    for client in load.clients {
        acknowledged.extend(client.await.unwrap());
    }
    stop.store(true, Ordering::SeqCst);
    assert_eq!(acknowledged.len(), events / CLIENTS / A_CALL * CLIENTS * A_CALL);
    let start = Instant::now();
    loop {
        let found = in_lake(&site).await;
        assert!(found.values().all(|count| *count == 1), "an event is in the lake twice");
        if found.len() >= acknowledged.len() {
            acknowledged.retain(|id| !found.contains_key(id));
            assert!(acknowledged.is_empty(), "acknowledged and lost: {acknowledged:?}");
            return;
        }
        let log = std::fs::read_to_string(site.path().join("sink.log")).unwrap_or_default();
        assert!(
            start.elapsed() < 4 * PATIENCE,
            "{} of {}\n{log}",
            found.len(),
            acknowledged.len()
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_in_the_lake_once_whoever_is_killed() {
    survive(6_000, 9).await;
}

#[ignore = "takes minutes: make test-kills"]
#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_in_two_hundred_thousand_events() {
    survive(200_000, 50).await;
}

//! `kill -9` under load: what was acknowledged is there afterwards, once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use evil::Behaviour;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::harness::{Client, LARGE, SMALL, Site, case, click, id};

/// When the gateway is killed: after this many acknowledgements, and this many microseconds more, so that the
/// kill meets requests, transactions and flushes at different points.
const KILLS: [(usize, u64); 7] = [
    (1, 0),
    (5, 300),
    (23, 1_100),
    (60, 0),
    (111, 2_300),
    (170, 700),
    (240, 4_900),
];
const CLIENTS: usize = 8;

/// A case that a client sent, and what it was told.
struct Sent {
    request_id: Uuid,
    case: Value,
    /// The ranking's answer said that its records are on disk.
    committed: bool,
    /// Sent after the answer.
    clicks: Vec<Value>,
    /// The clicks were answered with 200.
    acknowledged: bool,
}

impl Sent {
    fn new(name: &str) -> Sent {
        let case = case(name, LARGE);
        Sent {
            request_id: id(name),
            case,
            committed: false,
            clicks: Vec::new(),
            acknowledged: false,
        }
    }

    /// Ranks, then clicks on the first two. `None` when the gateway was gone before it had answered everything.
    async fn send(&mut self, client: &Client, acknowledgements: &AtomicUsize) -> Option<()> {
        let request_id = self.request_id.to_string();
        let headers = [("x-request-id", request_id.as_str()), ("x-shadow-ltr", "1")];
        let answer = client
            .try_post("/rank", &headers, self.case.to_string().into())
            .await
            .ok()?;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.text("request_id"), Some(request_id.as_str()));
        if answer.logged == "committed" {
            self.committed = true;
            acknowledgements.fetch_add(1, Ordering::SeqCst);
        }
        if self.clicks.is_empty() {
            let shown = answer.body["ranking"].as_array().unwrap();
            let clicks = shown.iter().take(2).map(|place| {
                let event_id = id(&format!("{request_id} {}", place["rank_pos"]));
                click(
                    event_id,
                    &self.case,
                    &place["lawyer_id"],
                    place["rank_pos"].as_u64().unwrap(),
                )
            });
            self.clicks = clicks.collect();
        }
        let body = Value::from(self.clicks.clone()).to_string().into();
        let answer = client.try_post("/events", &[], body).await.ok()?;
        assert_eq!(answer.status, 200, "{answer:?}");
        let known = answer.body["duplicates"].as_u64().unwrap();
        assert_eq!(
            answer.body["accepted"].as_u64().unwrap() + known,
            self.clicks.len() as u64
        );
        assert!(
            !self.acknowledged || known == self.clicks.len() as u64,
            "lost although acknowledged: {answer:?}"
        );
        self.acknowledged = true;
        acknowledgements.fetch_add(self.clicks.len(), Ordering::SeqCst);
        Some(())
    }
}

/// Clients that send one case after the other until the gateway is gone.
struct Load {
    acknowledgements: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<Sent>>>,
}

impl Load {
    fn start(client: &Client, round: usize) -> Load {
        let acknowledgements = Arc::new(AtomicUsize::new(0));
        let clients = (0..CLIENTS).map(|number| {
            let (client, acknowledgements) = (client.clone(), acknowledgements.clone());
            tokio::spawn(async move {
                let mut all = Vec::new();
                loop {
                    let mut sent = Sent::new(&format!("{round} {number} {}", all.len()));
                    let answered = sent.send(&client, &acknowledgements).await;
                    all.push(sent);
                    if answered.is_none() {
                        return all;
                    }
                }
            })
        });
        Load {
            clients: clients.collect(),
            acknowledgements,
        }
    }

    async fn until_acknowledged(&self, count: usize) {
        let start = Instant::now();
        while self.acknowledgements.load(Ordering::SeqCst) < count {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "nothing more is acknowledged"
            );
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }

    async fn sent(self) -> Vec<Sent> {
        let mut all = Vec::new();
        for client in self.clients {
            all.extend(client.await.unwrap());
        }
        all
    }
}

/// What the database holds.
struct Kept {
    /// By request.
    impressions: HashMap<String, i64>,
    /// Rows and different lawyers by request.
    shadow: HashMap<String, (i64, i64)>,
    /// Times a click (case, lawyer, place) is there, by event.
    clicks: HashMap<String, (String, String, i64, i64)>,
}

impl Kept {
    async fn read(site: &Site) -> Kept {
        let mut database = site.database().await;
        let impressions = sqlx::query_as(
            "SELECT request_id, count(*) FROM match_events WHERE event = 'impression' GROUP BY request_id",
        );
        let shadow = sqlx::query_as::<_, (String, i64, i64)>(
            "SELECT request_id, count(*), count(DISTINCT lawyer_id) FROM ltr_shadow_log
             JOIN ltr_shadow_request USING (request_id) GROUP BY request_id",
        );
        let clicks = sqlx::query_as::<_, (String, String, String, i64, i64)>(
            "SELECT event_id, case_id, lawyer_id, rank_pos,
                    count(*) OVER (PARTITION BY case_id, lawyer_id, rank_pos)
             FROM match_events WHERE event = 'click_profile'",
        );
        let impressions = impressions.fetch_all(&mut database).await.unwrap();
        let shadow = shadow.fetch_all(&mut database).await.unwrap();
        let clicks = clicks.fetch_all(&mut database).await.unwrap();
        Kept {
            impressions: impressions.into_iter().collect(),
            shadow: shadow
                .into_iter()
                .map(|(request, rows, lawyers)| (request, (rows, lawyers)))
                .collect(),
            clicks: clicks
                .into_iter()
                .map(|(event, case, lawyer, at, n)| (event, (case, lawyer, at, n)))
                .collect(),
        }
    }

    fn holds(&self, sent: &Sent) {
        let request = sent.request_id.to_string();
        let impressions = self.impressions.get(&request).copied().unwrap_or(0);
        assert!(impressions <= 1, "{request} has {impressions} impressions");
        assert!(
            impressions == 1 || !sent.committed,
            "the impression of {request} is lost"
        );
        // The impression and the comparison of a request are kept together or not at all.
        let lawyers = impressions * LARGE as i64;
        let shadow = self.shadow.get(&request).copied().unwrap_or_default();
        assert_eq!(shadow, (lawyers, lawyers), "shadow rows and lawyers of {request}");

        let stored: Vec<_> = sent
            .clicks
            .iter()
            .filter_map(|click| Some((click, self.click(click)?)))
            .collect();
        assert!(
            stored.len() == sent.clicks.len() || !sent.acknowledged,
            "a click of {request} is lost"
        );
        assert!(
            stored.is_empty() || stored.len() == sent.clicks.len(),
            "a body of events was kept in part"
        );
        for (click, (case, lawyer, rank_pos, times)) in stored {
            let kept = json!([case, lawyer, rank_pos]);
            assert_eq!(kept, json!([click["case_id"], click["lawyer_id"], click["rank_pos"]]));
            assert_eq!(*times, 1, "{click} is there {times} times");
        }
    }

    fn click(&self, click: &Value) -> Option<&(String, String, i64, i64)> {
        self.clicks.get(click["event_id"].as_str().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_under_load_loses_and_doubles_nothing_that_was_acknowledged() {
    let site = Site::patient();
    site.publish("m1", Behaviour::Honest);
    let mut before: Vec<Sent> = Vec::new();
    for (round, (acknowledgements, microseconds)) in KILLS.into_iter().enumerate() {
        let gateway = site.start().await;
        let load = Load::start(&gateway, round);
        load.until_acknowledged(acknowledgements).await;
        tokio::time::sleep(Duration::from_micros(microseconds)).await;
        gateway.kill();
        let mut sent = load.sent().await;

        let gateway = site.start().await;
        let kept = Kept::read(&site).await;
        before.iter().chain(&sent).for_each(|sent| kept.holds(sent));

        // Whoever heard nothing sends again, and so does a client that does not remember.
        for sent in &mut sent {
            sent.send(&gateway, &AtomicUsize::new(0))
                .await
                .expect("nobody kills this gateway");
            assert!(sent.committed, "an answer within five seconds is committed");
        }
        let kept = Kept::read(&site).await;
        before.extend(sent);
        before.iter().for_each(|sent| kept.holds(sent));
        assert_eq!(kept.impressions.len(), before.len());
        assert_eq!(
            kept.clicks.len(),
            before.iter().map(|sent| sent.clicks.len()).sum::<usize>()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_keeps_the_weight_the_champion_and_the_challenger() {
    let site = Site::patient();
    site.publish("m1", Behaviour::Honest);
    site.publish("m2", Behaviour::Honest);
    let champion = store::RolloutState {
        weight: 0,
        champion: Some("m1".into()),
        challenger: None,
    };
    let entry = store::HistoryEntry {
        ts_utc: chrono::Utc::now(),
        action: "promote".into(),
        actor: "test".into(),
        detail: json!({}),
    };
    let store = store::Store::open(&site.database_url()).await.unwrap();
    store.save_rollout(&champion, &entry).await.unwrap();
    store.close().await;

    let gateway = site.start().await;
    assert_eq!(gateway.notify("m2").await.status, 200);
    gateway.set_weight(100).await;
    gateway.kill();

    let gateway = site.start().await;
    let rollout = gateway.json("/rollout").await;
    let state = json!([rollout["weight"], rollout["champion"], rollout["challenger"]]);
    assert_eq!(state, json!([100, "m1", "m2"]), "{rollout:#}");
    let answer = gateway.rank(&case("after", SMALL)).await;
    assert_eq!(
        (answer.text("source"), answer.text("model_version")),
        (Some("ltr"), Some("m1")),
        "{answer:?}"
    );
    gateway.set_weight(25).await;
    gateway.kill();

    let gateway = site.start().await;
    let rollout = gateway.json("/rollout").await;
    assert_eq!(rollout["weight"], 25);
    let actions: Vec<&str> = rollout["history"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["action"].as_str())
        .collect();
    assert_eq!(
        actions.iter().filter(|&&action| action == "weight").count(),
        2,
        "{actions:?}"
    );
}

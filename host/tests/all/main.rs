//! What must hold for whoever calls the gateway, whatever the model or the database does.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests make, read and time what they like"
)]

mod access;
mod bad_input;
mod cold_start;
mod draining;
mod durability;
mod events;
mod fallback;
mod flags;
mod grammar;
mod limits;
mod logs;
mod models;
mod object_store;
mod operator;
mod outages;
mod postgres;
mod program;
mod promotion;
mod ranking_cases;
mod receiver;
mod record;
mod reports;
mod running;
mod scoring;
mod shadow;
mod swaps;
mod tables;
mod tls;
mod traces;
mod trials;
mod trust;
mod turns;
mod watch;
mod webhooks;

use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use evil::Behaviour;
use http_body_util::{BodyExt, Either, Full};
use hyper::{HeaderMap, Method, Request, StatusCode};
use ltr_host::router::Router;
use ltr_host::server::bootstrap;
use ltr_host::state::Gateway;
use ranking::features::DEFAULT_FEATURES;
use serde_json::{Value, json};
use settings::{Role, Settings, Token};
use sha2::{Digest, Sha256};
use store::HistoryEntry;
use tempfile::TempDir;
use testkit_gateway::{Publisher, golden_of_first_feature};
use tokio::task::JoinHandle;
use uuid::Uuid;

const TOKEN: &str = "a-token-for-tests";
const VERSION: &str = "20261001T021500Z";

/// A folder with everything a gateway needs, and where models are published.
struct Site {
    _folder: TempDir,
    settings: Settings,
    publisher: Publisher,
}

/// A running gateway without a port.
struct Running {
    gateway: Arc<Gateway>,
    front: Router,
    written: JoinHandle<()>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut settings = Settings::default();
        settings.database.url = format!("sqlite://{}", path("ltr.db").display()).into();
        settings.database.spool_dir = path("spool");
        settings.database.rank_waits = true;
        settings.flags.file = path("flags.json");
        settings.models.dir = path("models");
        settings.models.trusted_keys = path("trusted");
        settings.models.code_cache_dir = path("code");
        settings.privacy.salt_file = path("privacy.salt");
        settings.privacy.groups_without_consent = true;
        // Events of tests are of fixed days.
        settings.events.max_age_hours = 0;
        settings.access.tokens = vec![token("tests", TOKEN, &Role::ALL)];
        // Only what a test asks for is compared in shadow.
        settings.shadow.fraction = 0.0;
        // Only what a test orders is promoted, and to everybody.
        settings.rollout.automatic = false;
        settings.rollout.hold_out = 0.0;
        // Models of tests are challengers, unless a test promotes one.
        settings.host.score_challenger = true;
        // Far beyond what an honest component takes on a machine that is busy with other tests.
        settings.host.deadline_ms = 60_000;
        settings.host.ltr_budget_ms = 20_000;
        Site {
            publisher: Publisher::new(&settings.models.dir, &settings.models.trusted_keys),
            _folder: folder,
            settings,
        }
    }

    /// Publishes a model that scores a lawyer by `area_match`, and behaves as told.
    fn publish(&self, version: &str, behaviour: Behaviour) {
        self.publish_named(version, &DEFAULT_FEATURES, behaviour);
    }

    fn publish_named(&self, version: &str, names: &[&str], behaviour: Behaviour) {
        self.publish_files(version, names, &[], behaviour);
    }

    /// With these files beside the component.
    fn publish_files(&self, version: &str, names: &[&str], files: &[(&str, &[u8])], behaviour: Behaviour) {
        let golden = golden_of_first_feature(vec![vec![Some(0.25); names.len()]]);
        let wasm = evil::component(names, behaviour);
        self.publisher.publish(version, names, &wasm, files, golden).unwrap();
    }

    /// Puts on record what a program before the state machine would have left.
    async fn left_on_record(&self, weight: u8, champion: Option<&str>, challenger: Option<&str>) {
        let store = store::Store::open(self.settings.database.address()).await.unwrap();
        let state = store::RolloutState {
            weight,
            champion: champion.map(str::to_owned),
            challenger: challenger.map(str::to_owned),
        };
        store
            .save_rollout(&state, &history_entry("weight", "admin"))
            .await
            .unwrap();
        store.close().await;
    }

    async fn start(&self) -> Running {
        let (gateway, written) = bootstrap::open(self.settings.clone()).await.unwrap();
        // Patiently: a machine that is busy with other tests connects late.
        let restoring = Arc::downgrade(&gateway);
        bootstrap::restore_when_possible(&restoring).await.unwrap();
        Running {
            front: Router::whole(&gateway),
            gateway,
            written,
        }
    }

    /// A gateway whose challenger behaves as told.
    async fn start_with(&self, behaviour: Behaviour) -> Running {
        self.publish(VERSION, behaviour);
        self.start().await
    }
}

/// An entry of the rollout's history without numbers.
fn history_entry(action: &str, actor: &str) -> HistoryEntry {
    HistoryEntry {
        ts_utc: Utc::now(),
        action: action.into(),
        actor: actor.into(),
        detail: json!({}),
    }
}

impl Running {
    /// With the token that may do everything.
    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let bearer = format!("Bearer {TOKEN}");
        let headers = [headers, &[("authorization", bearer.as_str())]].concat();
        self.send_bare(method, path, &headers, body).await
    }

    /// With no headers but these, and the host.
    async fn send_bare(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "127.0.0.1:8080");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Either::Right(Full::new(body.into()));
        let response = self.front.answer(None, request.body(body).unwrap()).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[], body.to_string()).await
    }

    async fn rank(&self, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.send(Method::POST, "/rank", headers, body.to_string()).await
    }

    /// Lets LTR answer every request, on an operator's word.
    async fn ltr_serves(&self) {
        self.newest_serves(100).await;
    }

    /// Lets the challenger, or else the champion, answer this share, on an operator's word.
    async fn newest_serves(&self, weight: u8) {
        let state = self.get("/rollout").await.ok();
        let known = [&state["challenger"], &state["champion"]];
        let version = known.into_iter().find(|version| version.is_string());
        self.post("/rollout/weight", &json!({"weight": weight, "version": version}))
            .await
            .ok();
    }

    /// Evaluates the rollout as the controller does in the background, at `now`.
    async fn evaluated(&self, now: chrono::DateTime<Utc>) {
        let has_lease = self.gateway.release.evaluate(now).await.unwrap();
        assert!(has_lease, "nobody else has the lease");
    }

    /// Waits for everything handed over, and stops.
    async fn stop(self) {
        drop((self.gateway, self.front));
        self.written.await.unwrap();
    }

    async fn metric(&self, series: &str) -> f64 {
        let page = String::from_utf8(self.get("/metrics").await.body).unwrap();
        let found = page
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or(0.0)
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body of an answer that must be 200.
    #[track_caller]
    fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// The `error` of an answer that must be a refusal with this status.
    #[track_caller]
    fn refused(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self.json()["error"].clone()
    }
}

/// A configured token.
fn token(name: &str, token: &str, roles: &[Role]) -> Token {
    Token {
        name: name.into(),
        roles: roles.to_vec(),
        sha256: hex::encode(Sha256::digest(token)),
    }
}

/// A lawyer whose legacy score is about `legacy` and whose LTR score is `area_match`.
fn lawyer(id: &str, legacy: f64, area_match: f64) -> Value {
    let mut features = serde_json::Map::new();
    for name in DEFAULT_FEATURES {
        features.insert(name.into(), json!(legacy));
    }
    features["area_match"] = json!(area_match);
    json!({
        "lawyer_id": id, "features": features, "cases_30d": 10, "monthly_capacity": 30,
        "groups": {"gender": "F"}, "last_offered_at": null,
    })
}

/// A case for which legacy says adv_1, adv_2, adv_3, and the model says the opposite.
fn case(id: u128) -> Value {
    json!({
        "case": {"case_id": Uuid::from_u128(id), "user_id": Uuid::from_u128(1_000_000 + id)},
        "lawyers": [lawyer("adv_2", 0.5, 0.5), lawyer("adv_1", 0.9, 0.1), lawyer("adv_3", 0.05, 0.8)],
    })
}

/// As [`case`], with so many lawyers that a component built with `When::ValuesOver(BIG)` turns on it.
fn big_case(id: u128) -> Value {
    let mut case = case(id);
    case["lawyers"] = (0..8)
        .map(|i| lawyer(&format!("adv_{i}"), 0.1 * f64::from(i), 0.5))
        .collect();
    case
}

/// Values in the smallest batch that still is not a [`big_case`].
const BIG: u32 = 5 * DEFAULT_FEATURES.len() as u32;

fn ids(answer: &Value) -> Vec<&str> {
    answer["ranking"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| place["lawyer_id"].as_str().unwrap())
        .collect()
}

/// How many lawyers each impression of a case has shown.
async fn lawyers_shown(store: &store::Store, case: u128) -> Vec<usize> {
    let later = chrono::Utc::now() + chrono::Duration::days(1);
    let events = store.events_between(chrono::DateTime::UNIX_EPOCH, later).await.unwrap();
    let shown = events.records.iter().filter(|event| event.case_id.as_u128() == case);
    shown
        .filter_map(|event| match &event.body {
            ranking::Body::Impression(impression) => Some(impression.lawyer_ids.len()),
            ranking::Body::Action(_) => None,
        })
        .collect()
}

/// All comparisons as they are kept, whoever asked for them.
async fn comparisons(store: &store::Store) -> Vec<store::ShadowRecord> {
    let mut keys = Vec::new();
    for day in store.comparison_days().await.unwrap() {
        keys.extend(store.comparison_keys(day.day).await.unwrap());
    }
    let stored = store.comparisons(&keys).await.unwrap();
    stored.into_iter().map(|(_, record)| record.unwrap()).collect()
}

/// The id that makes a request the same request.
fn request_id(id: u128) -> String {
    Uuid::from_u128(0xfeed_0000 + id).to_string()
}

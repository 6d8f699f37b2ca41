//! A real `ltr-host serve` in a directory of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use evil::Behaviour;
use ranking::features::DEFAULT_FEATURES;
use reqwest::StatusCode;
use runtime::artefact::Golden;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, SqlSafeStr};
use store::{HistoryEntry, RolloutState, Store};
use tempfile::TempDir;
use testkit::PATIENCE;
use testkit_gateway::{Publisher, Serving, golden_of_first_feature};
use uuid::Uuid;

pub(crate) const TOKEN: &str = "token-of-the-gateway-tests";
/// What the gateway knows of it.
pub(crate) const TOKEN_SHA256: &str = "9e40cfbd0ce59c942fbec5c6ea9e6d429f71a5232affd058a64f0470d6a048fc";
/// Lawyers of a case on which a component with `When::ValuesOver(SMALL_VALUES)` misbehaves.
pub(crate) const LARGE: usize = 12;
/// Lawyers of a case on which it behaves.
pub(crate) const SMALL: usize = 2;
/// Values that a small case has, and the golden rows too.
pub(crate) const SMALL_VALUES: u32 = (SMALL * DEFAULT_FEATURES.len()) as u32;

/// What outlives a gateway: its working directory, its configuration and the key of its publisher.
pub(crate) struct Site {
    dir: TempDir,
    env: Vec<(&'static str, String)>,
    publisher: Publisher,
}

impl Site {
    pub(crate) fn new() -> Site {
        let dir = TempDir::new().unwrap();
        let publisher = Publisher::new(&dir.path().join("var/models"), &dir.path().join("var/keys/trusted"));
        Site {
            dir,
            env: Vec::new(),
            publisher,
        }
    }

    /// A site where nothing but the test's subject can be late: neither a slow disk nor a busy processor makes
    /// an answer leave without its scores or its commit.
    pub(crate) fn patient() -> Site {
        Site::new()
            .with("LTR_HOST__DEADLINE_MS", "5000")
            .with("LTR_HOST__LTR_BUDGET_MS", "4000")
    }

    /// This site with one more setting.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Site {
        self.env.push((name, value.to_owned()));
        self
    }

    /// This site with another folder of models, and another one of trusted keys.
    pub(crate) fn publishing_into(mut self, models: &Path, trusted: &Path) -> Site {
        self.publisher = Publisher::new(models, trusted);
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `ltr-host serve` in this directory, with no environment but this site's.
    pub(crate) fn command(&self) -> Command {
        let tests = std::env::current_exe().unwrap();
        let program = tests.parent().unwrap().parent().unwrap().join("ltr-host");
        assert!(
            program.exists(),
            "{} is missing; build it with `make build` or cargo build",
            program.display()
        );
        let tokens =
            format!("[{{ name = \"tests\", roles = [\"ingest\", \"rank\", \"admin\"], sha256 = \"{TOKEN_SHA256}\" }}]");
        let mut command = Command::new(program);
        command.arg("serve").current_dir(self.path()).env_clear();
        command
            .env("LTR_HOST__LISTEN", "127.0.0.1:0")
            .env("LTR_ACCESS__TOKENS", tokens)
            // What a ranking leaves behind is there when a test looks.
            .env("LTR_DATABASE__RANK_WAITS", "true")
            // Models come when a test says so.
            .env("LTR_MODELS__POLL_SECONDS", "0")
            // And they are challengers, unless it promotes one.
            .env("LTR_HOST__SCORE_CHALLENGER", "true")
            // Which nobody does but a test, and to everybody.
            .env("LTR_ROLLOUT__AUTOMATIC", "false")
            .env("LTR_ROLLOUT__HOLD_OUT", "0")
            // Hostile components stay for as long as a test wants them.
            .env("LTR_ROLLOUT__EVALUATE_SECONDS", "3600");
        command.envs(self.env.iter().cloned());
        command
    }

    /// A gateway that is ready.
    pub(crate) async fn start(&self) -> Gateway {
        let serving = Serving::start(self.command(), &self.log());
        let gateway = Gateway {
            client: Client {
                http: testkit_gateway::http().build().unwrap(),
                address: serving.url.clone(),
            },
            serving,
        };
        let start = Instant::now();
        while gateway.client.get("/readyz").await.0 != StatusCode::OK {
            assert!(
                start.elapsed() < PATIENCE,
                "the gateway did not become ready:\n{}",
                self.logged()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        gateway
    }

    /// Publishes a component under `version`, with golden rows that its honest part passes.
    pub(crate) fn publish(&self, version: &str, behaviour: Behaviour) -> PathBuf {
        self.publish_bytes(version, &evil::component(&DEFAULT_FEATURES, behaviour))
    }

    /// As [`Site::publish`], whatever the bytes are.
    pub(crate) fn publish_bytes(&self, version: &str, wasm: &[u8]) -> PathBuf {
        let rows: Vec<Vec<Option<f64>>> = (0..SMALL)
            .map(|row| {
                (0..DEFAULT_FEATURES.len())
                    .map(|column| Some(feature(row, column)))
                    .collect()
            })
            .collect();
        self.publish_golden(version, wasm, golden_of_first_feature(rows))
    }

    /// Publishes a component that gives these scores.
    pub(crate) fn publish_golden(&self, version: &str, wasm: &[u8], golden: Golden) -> PathBuf {
        self.publish_files(version, wasm, &[], golden)
    }

    /// As [`Site::publish_golden`], with these files beside the component.
    pub(crate) fn publish_files(&self, version: &str, wasm: &[u8], files: &[(&str, &[u8])], golden: Golden) -> PathBuf {
        self.publisher
            .publish(version, &DEFAULT_FEATURES, wasm, files, golden)
            .unwrap()
    }

    /// Puts on record, before the gateway starts, that `version` was promoted.
    pub(crate) async fn promoted(&self, version: &str) {
        let store = Store::open(&self.database_url()).await.unwrap();
        let state = RolloutState {
            weight: 100,
            champion: Some(version.to_owned()),
            challenger: None,
        };
        let entry = HistoryEntry {
            ts_utc: chrono::Utc::now(),
            action: "promote".into(),
            actor: "test".into(),
            detail: json!({}),
        };
        store.save_rollout(&state, &entry).await.unwrap();
        store.close().await;
    }

    pub(crate) fn database_url(&self) -> String {
        format!("sqlite://{}", self.path().join("var/ltr.db").display())
    }

    /// The gateway's database, to read.
    pub(crate) async fn database(&self) -> SqliteConnection {
        let path = self.path().join("var/ltr.db");
        SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(PATIENCE)
            .connect()
            .await
            .unwrap()
    }

    /// The one number that `query` gives.
    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        let mut database = self.database().await;
        sqlx::query_scalar(query.into_sql_str())
            .fetch_one(&mut database)
            .await
            .unwrap()
    }

    /// The texts that `query` gives.
    pub(crate) async fn texts(&self, query: &'static str) -> Vec<String> {
        let mut database = self.database().await;
        sqlx::query_scalar(query.into_sql_str())
            .fetch_all(&mut database)
            .await
            .unwrap()
    }

    fn log(&self) -> PathBuf {
        self.path().join("gateway.log")
    }

    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }
}

/// A running gateway; SIGKILL is its only end.
pub(crate) struct Gateway {
    serving: Serving,
    pub client: Client,
}

impl Gateway {
    /// `kill -9`, and waits until the process is gone.
    pub(crate) fn kill(self) {}

    /// Stops the process, and lets it go on.
    pub(crate) fn signal(&self, signal: &str) {
        self.serving.signal(signal);
    }

    /// The most memory that the process ever had resident, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The process's resident memory, in bytes.
    pub(crate) fn resident_memory(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The addresses that the process has reserved, in bytes.
    pub(crate) fn virtual_memory(&self) -> u64 {
        self.memory("VmSize:")
    }

    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.serving.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl std::ops::Deref for Gateway {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Speaks to a gateway.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    address: String,
}

/// An answer in full.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    /// The header `x-ltr-logged`, empty where there is none.
    pub logged: String,
    pub body: Value,
    pub took: Duration,
}

impl Answer {
    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.body[field].as_str()
    }
}

impl Client {
    /// Where the gateway listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.strip_prefix("http://").unwrap().parse().unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        self.get_with(path, &[]).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
        let mut request = self.http.get(format!("{}{path}", self.address)).bearer_auth(TOKEN);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let (status, text) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// `Err`: the connection broke, so nothing was acknowledged.
    pub(crate) async fn try_post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer, reqwest::Error> {
        let start = Instant::now();
        let request = self.http.post(format!("{}{path}", self.address));
        let mut request = request.bearer_auth(TOKEN).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let logged = response
            .headers()
            .get("x-ltr-logged")
            .map(|value| value.to_str().unwrap().to_owned());
        let text = response.text().await?;
        Ok(Answer {
            status,
            logged: logged.unwrap_or_default(),
            body: serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path} answers {status} {text:?}")),
            took: start.elapsed(),
        })
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        self.try_post(path, headers, body).await.unwrap()
    }

    pub(crate) async fn rank(&self, case: &Value) -> Answer {
        self.post("/rank", &[], case.to_string().into()).await
    }

    pub(crate) async fn notify(&self, version: &str) -> Answer {
        self.post(
            "/models/notify?wait=1",
            &[],
            json!({ "version": version }).to_string().into(),
        )
        .await
    }

    /// Lets the champion, or else the challenger, answer this share, on an operator's word.
    pub(crate) async fn set_weight(&self, weight: u8) {
        let rollout = self.json("/rollout").await;
        let known = [&rollout["champion"], &rollout["challenger"]];
        let version = known.into_iter().find(|version| version.is_string());
        self.weigh(weight, version.and_then(Value::as_str)).await;
    }

    /// Lets this version answer this share.
    pub(crate) async fn weigh(&self, weight: u8, version: Option<&str>) {
        let body = json!({ "weight": weight, "version": version }).to_string().into();
        let answer = self.post("/rollout/weight", &[], body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// `ltr_fallback_total{reason}`.
    pub(crate) async fn fallbacks(&self, reason: &str) -> u64 {
        self.metric(&format!("ltr_fallback_total{{reason=\"{reason}\"}}")).await as u64
    }

    /// The value of one series, 0 while there is none.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let (_, metrics) = self.get("/metrics").await;
        metrics
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
            .map_or(0.0, |value| value.parse().unwrap())
    }
}

/// The value of a lawyer's feature: spread over [0, 1], and different from lawyer to lawyer.
fn feature(lawyer: usize, column: usize) -> f64 {
    ((lawyer * 7 + column * 3) % 13) as f64 / 12.0
}

/// The lawyer `adv_{at}` as `/rank` takes it.
pub(crate) fn lawyer(at: usize) -> Value {
    let features: serde_json::Map<String, Value> = DEFAULT_FEATURES
        .iter()
        .enumerate()
        .map(|(column, name)| ((*name).into(), feature(at, column).into()))
        .collect();
    json!({
        "lawyer_id": format!("adv_{at}"),
        "features": features,
        "cases_30d": at % 10,
        "monthly_capacity": 30,
        "groups": { "gender": if at.is_multiple_of(2) { "F" } else { "M" } },
        "last_offered_at": null,
    })
}

/// A case named by `name`, with this many lawyers.
pub(crate) fn case(name: &str, lawyers: usize) -> Value {
    json!({
        "case": { "case_id": id(&format!("case {name}")), "user_id": id("user") },
        "lawyers": (0..lawyers).map(lawyer).collect::<Vec<_>>(),
    })
}

/// The UUID that stands for `name`.
pub(crate) fn id(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
}

/// A click on a lawyer of a case.
pub(crate) fn click(event_id: Uuid, case: &Value, lawyer_id: &Value, rank_pos: u64) -> Value {
    json!({
        "event_id": event_id,
        "ts_utc": chrono::Utc::now().to_rfc3339(),
        "event": "click_profile",
        "case_id": case["case"]["case_id"],
        "user_id": case["case"]["user_id"],
        "lawyer_id": lawyer_id,
        "rank_pos": rank_pos,
    })
}

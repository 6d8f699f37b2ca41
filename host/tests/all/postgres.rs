//! The gateway as a program, with PostgreSQL.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use chrono::{DateTime, Utc};
use evil::Behaviour;
use serde_json::{Value, json};
use servers::Postgres;
use store::Store;
use uuid::Uuid;

use crate::{Site, VERSION, case, request_id};

const CASES: u128 = 10;

/// `ltr-host serve`; SIGKILL is its only end.
struct Program {
    child: Child,
    address: String,
}

impl Program {
    fn start(site: &Site, database: &str) -> Program {
        let path = |path: &std::path::Path| path.display().to_string();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log(site))
            .unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ltr-host"))
            .arg("serve")
            .env_clear()
            .env("RUST_LOG", "debug")
            .env("LTR_DATABASE__URL", database)
            .env("LTR_DATABASE__SPOOL_DIR", path(&site.settings.database.spool_dir))
            .env("LTR_DATABASE__TIMEOUT_MS", "1000")
            .env("LTR_DATABASE__RANK_WAITS", "true")
            .env("LTR_HOST__LISTEN", "127.0.0.1:0")
            .env("LTR_HOST__DEADLINE_MS", "60000")
            .env("LTR_HOST__LTR_BUDGET_MS", "20000")
            .env("LTR_MODELS__DIR", path(&site.settings.models.dir))
            .env("LTR_MODELS__TRUSTED_KEYS", path(&site.settings.models.trusted_keys))
            .env("LTR_MODELS__CODE_CACHE_DIR", path(&site.settings.models.code_cache_dir))
            .env("LTR_PRIVACY__SALT_FILE", path(&site.settings.privacy.salt_file))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let line = BufReader::new(child.stdout.take().unwrap()).lines().next();
        let address = line.unwrap().unwrap().strip_prefix("listening on ").unwrap().to_owned();
        Program { child, address }
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> (reqwest::header::HeaderMap, Value) {
        let mut request = crate::http().build().unwrap().post(format!("{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.json(body).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let headers = response.headers().clone();
        (headers, serde_json::from_str(&response.text().await.unwrap()).unwrap())
    }

    /// Ranks every case with a comparison in shadow, and clicks; how many of the clicks were known.
    async fn send_all(&self) -> u64 {
        let mut known = 0;
        for id in 0..CASES {
            let request_id = request_id(id);
            let headers = [("x-request-id", &*request_id), ("x-shadow-ltr", "1")];
            let (headers, _) = self.post("/rank", &headers, &case(id)).await;
            assert_eq!(headers["x-ltr-logged"], "committed");
            let click = json!({
                "event": "click_profile", "event_id": Uuid::from_u128(1_000 + id), "ts_utc": "2026-10-05T12:00:00Z",
                "case_id": Uuid::from_u128(id), "user_id": Uuid::from_u128(2), "lawyer_id": "adv_1", "rank_pos": 1,
            });
            let (_, answer) = self.post("/events", &[], &click).await;
            known += answer["duplicates"].as_u64().unwrap();
        }
        known
    }

    /// Until the challenger is loaded and nothing waits in the spool.
    async fn settled(&self) {
        let said = async || {
            let asked = crate::http().build().unwrap().get(format!("{}/readyz", self.address));
            let answer = asked.send().await.unwrap();
            answer.text().await.unwrap()
        };
        while said().await != "ready\n" {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log(site: &Site) -> std::path::PathBuf {
    site.settings.models.dir.with_file_name("gateway.log")
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_gateway_and_the_server_and_is_there_once() {
    let mut server = Postgres::start();
    let url = server.database();
    let site = Site::new();
    site.publish(VERSION, Behaviour::Honest);

    let gateway = Program::start(&site, &url);
    gateway.settled().await;
    assert_eq!(gateway.send_all().await, 0);
    drop(gateway);
    server.crash();
    server.go_on();
    let gateway = Program::start(&site, &url);
    gateway.settled().await;
    assert_eq!(gateway.send_all().await, CASES as u64, "every click is known");
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
    let site = Site::new();
    site.publish(VERSION, Behaviour::Honest);
    let gateway = Program::start(&site, &url);
    gateway.settled().await;
    server.crash();
    assert_eq!(gateway.send_all().await, 0);
    drop(gateway);

    // Half a line, as it is left where the crash meets the writing of one that nobody was told of.
    let spool = std::fs::read_dir(&site.settings.database.spool_dir).unwrap();
    let last = spool
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "spool"));
    let mut last = std::fs::File::options().append(true).open(last.max().unwrap()).unwrap();
    last.write_all(b"0123456789abcdef 1 [{\"event\":").unwrap();
    server.go_on();
    let gateway = Program::start(&site, &url);
    gateway.settled().await;
    assert_eq!(gateway.send_all().await, CASES as u64, "every click is known");
    drop(gateway);
    check_kept(&url).await;
}

/// Everything of [`Program::send_all`] is in the database, once.
async fn check_kept(url: &str) {
    let store = Store::open(url).await.unwrap();
    let later = Utc::now() + chrono::Duration::days(1);
    let events = store.events_between(DateTime::UNIX_EPOCH, later).await.unwrap().records;
    assert_eq!(events.len(), 2 * CASES as usize);
    store.label_shadow(&[], later).await.unwrap();
    let compared = store.shadow_cases(VERSION, later).await.unwrap().records;
    assert_eq!(compared.len(), CASES as usize);
    assert!(compared.iter().all(|case| case.rows.len() == 3));
}

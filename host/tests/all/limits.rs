//! Each limit: what is beyond it is refused with its key, and what is slow is cut off.

use std::net::SocketAddr;
use std::time::Duration;

use evil::{Behaviour, Fault, When};
use hyper::Method;
use ltr_host::listen::Connections;
use ltr_host::threads::Threads;
use serde_json::{Value, json};
use settings::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::{Running, Site, TOKEN, VERSION, case, token};

/// Only against a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway with a port, as long as it is held.
struct Listening {
    address: SocketAddr,
    _stop: watch::Sender<bool>,
}

async fn listening(site: &Site, running: &Running) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let connections = Connections::new(&site.settings.host, Threads::start().unwrap());
    tokio::spawn(connections.serve(listener, running.front.clone(), stopped));
    Listening { address, _stop: stop }
}

impl Listening {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends this, and reads until the gateway closes.
    async fn say(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // A reset ends it as well as an end does.
    let _ = read.expect("the gateway closes");
    String::from_utf8(bytes).unwrap()
}

/// That an answer with this status names the key, in its sentence.
#[track_caller]
fn names(answer: &crate::Answer, status: u16, key: &str) {
    let error = answer.refused(status);
    let text = format!("{} {}", error["message"], error["allowed"]);
    assert!(text.contains(key), "{key}: {error}");
}

#[tokio::test]
async fn what_is_too_large_or_too_deep_is_refused_with_the_limit_and_its_key() {
    let mut site = Site::new();
    let host = &mut site.settings.host;
    (host.max_headers, host.max_header_bytes) = (10, 1000);
    (host.max_body_bytes, host.max_json_depth) = (20_000, 8);
    (host.max_lawyers, host.max_rows) = (3, 2);
    site.publish(VERSION, Behaviour::Honest);
    let running = site.start().await;

    let many: Vec<(String, &str)> = (0..10).map(|i| (format!("x-{i}"), "1")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let long = "x".repeat(1000);
    for path in [
        "/rank",
        "/ltr/score",
        "/events",
        "/rollout/weight",
        "/models/notify",
        "/nowhere",
    ] {
        let answer = running.send(Method::POST, path, &many, "{}").await;
        names(&answer, 431, "host.max_headers");
        let answer = running.send(Method::POST, path, &[("x-long", &long)], "{}").await;
        names(&answer, 431, "host.max_header_bytes");
    }
    for path in ["/rank", "/ltr/score", "/events", "/rollout/weight", "/models/notify"] {
        let answer = running.send(Method::POST, path, &[], " ".repeat(20_001)).await;
        names(&answer, 413, "host.max_body_bytes");
        let deep = format!("{}{}", "[".repeat(9), "]".repeat(9));
        let answer = running.send(Method::POST, path, &[], deep).await;
        names(&answer, 400, "host.max_json_depth");
    }
    let mut large = case(1);
    let lawyer = crate::lawyer("adv_4", 0.5, 0.5);
    large["lawyers"].as_array_mut().unwrap().push(lawyer);
    names(&running.rank(&[], &large).await, 422, "host.max_lawyers");
    running.rank(&[], &case(1)).await.ok();
    let row = &case(1)["lawyers"][0]["features"];
    let answer = running.post("/ltr/score", &json!({"rows": [row, row, row]})).await;
    names(&answer, 422, "host.max_rows");
    running.post("/ltr/score", &json!({"rows": [row, row]})).await.ok();
}

#[tokio::test]
async fn a_client_beyond_its_rate_is_told_when_to_come_again_and_others_go_on() {
    let mut site = Site::new();
    (site.settings.host.rate_per_second, site.settings.host.rate_burst) = (1, 1);
    site.settings.access.tokens.push(token("other", "another", &Role::ALL));
    let running = site.start().await;
    // More than one a second, unless each of them took a second.
    let mut refused = None;
    for _ in 0..50 {
        let answer = running.rank(&[], &case(1)).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let answer = refused.expect("a client beyond its rate");
    names(&answer, 429, "host.rate_per_second");
    assert_eq!(answer.header("retry-after"), "1");
    assert!(!String::from_utf8_lossy(&answer.body).contains(TOKEN));
    let headers = [("authorization", "Bearer another")];
    let body = case(2).to_string();
    running.send_bare(Method::POST, "/rank", &headers, body).await.ok();
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_up() {
    let mut site = Site::new();
    let host = &mut site.settings.host;
    (host.deadline_ms, host.ltr_budget_ms, host.request_timeout_ms) = (3_000, 2_000, 100);
    let spins = Behaviour::Faulty(Fault::Spin, When::ValuesOver(crate::BIG));
    let running = site.start_with(spins).await;
    let row = &case(1)["lawyers"][0]["features"];
    let answer = running.post("/ltr/score", &json!({ "rows": vec![row; 8] })).await;
    names(&answer, 503, "host.request_timeout_ms");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_and_a_head_that_does_not_come_is_cut_off() {
    let mut site = Site::new();
    (site.settings.host.body_timeout_ms, site.settings.host.header_timeout_ms) = (100, 300);
    let running = site.start().await;
    let listening = listening(&site, &running).await;
    let head =
        format!("POST /rank HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 9\r\n\r\n{{");
    let answer = listening.say(&head).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("host.body_timeout_ms"), "{answer}");
    for slow in ["", "GET /heal", "GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: y"] {
        assert_eq!(listening.say(slow).await, "", "{slow:?}");
    }
    // Idle after an answer is the same as slow before one.
    let answer = listening.say("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.ends_with("ok\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_cut_off() {
    let mut site = Site::new();
    site.settings.host.write_timeout_ms = 100;
    let running = site.start().await;
    let listening = listening(&site, &running).await;
    let mut stream = listening.connect().await;
    let request = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
    let cut_off = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, cut_off).await.expect("it is cut off");
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_a_place_that_is_left_is_taken_again() {
    let mut site = Site::new();
    site.settings.host.max_connections = 1;
    let running = site.start().await;
    let listening = listening(&site, &running).await;
    let mut first = listening.connect().await;
    let request = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    first.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    first.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");

    let answer = listening.say(request).await;
    assert!(
        answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after"),
        "{answer}"
    );
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert!(
        body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("host.max_connections"),
        "{body}"
    );

    drop(first);
    let request = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let served = async { while !listening.say(request).await.starts_with("HTTP/1.1 200") {} };
    tokio::time::timeout(PATIENCE, served).await.expect("the place is free");
}

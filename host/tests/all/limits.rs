//! Each limit: what is beyond it is refused with its key, and what is slow is cut off.

use std::net::SocketAddr;
use std::time::Duration;

use evil::{Behaviour, Fault, When};
use hyper::Method;
use ltr_host::server::connection_runtimes::ConnectionRuntimes;
use ltr_host::server::listener::Connections;
use serde_json::{Value, json};
use settings::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::{Running, Site, TOKEN, VERSION, case, token};
use testkit::PATIENCE;

/// A gateway with a port, as long as it is held.
struct Listening {
    address: SocketAddr,
    _stop: watch::Sender<bool>,
}

async fn listening(site: &Site, running: &Running) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let connections = Connections::new(&site.settings.host, ConnectionRuntimes::start().unwrap());
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

/// The head of a POST with this body's length.
fn head(path: &str, length: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {length}\r\n\r\n")
}

/// Reads one answer that has arrived.
async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 64 << 10];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut bytes)).await;
    let length = read.expect("it is answered").unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

/// Until this holds.
async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes to that");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
async fn bodies_together_stay_within_their_budget_and_cases_are_ranked_all_the_same() {
    const MIB: usize = 1 << 20;
    let mut site = Site::new();
    (site.settings.host.max_body_bytes, site.settings.host.max_body_total_mb) = (MIB, 4);
    site.settings.host.body_timeout_ms = 600_000;
    let running = site.start().await;
    let listening = listening(&site, &running).await;
    let bodies = &running.gateway.bodies;

    // What is announced and does not come holds nothing.
    let mut idle = Vec::new();
    for _ in 0..20 {
        let mut stream = listening.connect().await;
        stream.write_all(head("/events", "1000000").as_bytes()).await.unwrap();
        idle.push(stream);
    }
    // All but the last byte, again and again, with the length announced and without.
    let text = "[".repeat(999_999);
    let chunked = format!(
        "POST /events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{text}",
        1_000_000
    );
    let (mut slow, mut refused) = (Vec::new(), 0);
    for at in 0..12 {
        let mut stream = listening.connect().await;
        let request = match at % 2 {
            0 => head("/events", "1000000") + &text,
            _ => chunked.clone(),
        };
        // One that is refused may be closed before it has said all.
        let said = stream.write_all(request.as_bytes()).await;
        let before = bodies.held();
        let mut byte = [0; 64 << 10];
        let answered = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut byte)).await;
        match answered {
            Err(_) => slow.push(stream),
            Ok(read) => {
                let answer = String::from_utf8(byte[..read.unwrap()].to_vec()).unwrap();
                assert!(said.is_err() || answer.starts_with("HTTP/1.1 503"), "{answer}");
                assert!(
                    answer.contains("bodies_full") && answer.contains("host.max_body_total_mb"),
                    "{answer}"
                );
                assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
                assert!(answer.contains("connection: close\r\n"), "{answer}");
                refused += 1;
            }
        }
        // The last quarter is for what is small, as a body that has just begun is.
        assert!(before <= 4 * MIB, "{before} bytes");
        assert!(bodies.held() <= 3 * MIB, "{} bytes", bodies.held());
    }
    assert!(refused >= 8 && !slow.is_empty(), "{refused} of 12 were refused");
    assert!(bodies.held() >= 2 * MIB, "{} bytes", bodies.held());
    assert!(running.metric("ltr_bodies_refused_total").await >= f64::from(refused));

    // A case of a hundred lawyers, and one of five hundred, have room left.
    for lawyers in [100, 400] {
        let mut body = case(1);
        body["lawyers"] = (0..lawyers)
            .map(|i| crate::lawyer(&format!("adv_{i}"), 0.5, 0.5))
            .collect();
        let body = body.to_string();
        let mut stream = listening.connect().await;
        let request = head("/rank", &body.len().to_string()) + &body;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{lawyers} lawyers: {answer}");
    }
    // Whatever ends a request gives back what it held: here that its client goes away.
    drop(slow);
    until(|| bodies.held() == 0).await;
    drop(idle);
    // And that its body is no JSON.
    let answer = running.send(Method::POST, "/events", &[], "[".repeat(900_000)).await;
    answer.refused(400);
    assert_eq!(bodies.held(), 0);
}

#[tokio::test]
async fn a_length_beyond_the_limit_is_refused_before_the_body_comes() {
    let mut site = Site::new();
    site.settings.host.body_timeout_ms = 600_000;
    let running = site.start().await;
    let listening = listening(&site, &running).await;
    for path in ["/rank", "/events", "/ltr/score", "/models/notify"] {
        for length in ["8388609", "4294967296", "9223372036854775807", "9223372036854775808"] {
            let mut stream = listening.connect().await;
            stream.write_all(head(path, length).as_bytes()).await.unwrap();
            let answer = answer(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 413"), "{path} {length}: {answer}");
            assert!(answer.contains("host.max_body_bytes"), "{answer}");
            assert!(answer.contains("connection: close\r\n"), "{answer}");
        }
    }
    // Beyond what a length can be.
    for length in [
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999",
        "-1",
        "+5",
        "5x",
        "0x5",
        "1e3",
        "5, 6",
    ] {
        let answer = listening.say(&head("/rank", length)).await;
        assert!(
            ["HTTP/1.1 400", "HTTP/1.1 413", "HTTP/1.1 431"]
                .iter()
                .any(|status| answer.starts_with(status)),
            "{length}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_request_whose_end_is_in_doubt_is_the_last_on_its_connection() {
    let site = Site::new();
    let running = site.start().await;
    let listening = listening(&site, &running).await;
    let next = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let lengths = "content-length: 2\r\ncontent-length: 30";
    let two = format!("POST /rank HTTP/1.1\r\nhost: x\r\n{lengths}\r\n\r\n{{}}{next}");
    let two = listening.say(&two).await;
    assert!(
        two.starts_with("HTTP/1.1 400") && two.matches("HTTP/1.1").count() == 1,
        "{two}"
    );
    for lengths in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
    ] {
        let both = format!("POST /rank HTTP/1.1\r\nhost: x\r\n{lengths}\r\n\r\n0\r\n\r\n{next}");
        let both = listening.say(&both).await;
        assert_eq!(both.matches("HTTP/1.1").count(), 1, "{lengths}: {both}");
    }
}

#[tokio::test]
async fn a_request_without_one_valid_host_is_refused() {
    let site = Site::new();
    let running = site.start().await;
    let listening = listening(&site, &running).await;
    for hosts in [
        "",
        "host: a\r\nhost: a\r\n",
        "host: a\r\nhost: b\r\n",
        "host: a, b\r\n",
        "host:\r\n",
        "host: a b\r\n",
        "host: u@a\r\n",
    ] {
        for path in ["/healthz", "/rank", "/nowhere"] {
            let answer = listening
                .say(&format!("GET {path} HTTP/1.1\r\n{hosts}connection: close\r\n\r\n"))
                .await;
            assert!(
                answer.starts_with("HTTP/1.1 400") && answer.contains("invalid_host"),
                "{hosts:?}: {answer}"
            );
        }
    }
    // Health checks of old load balancers.
    let answer = listening.say("GET /healthz HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

//! Whoever is served through the filter is served as without it: the same answers from a server that saw the same.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, Request};
use servers::Envoy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::client::{self, Answer, Protocol, Sent, nothing, request, whole};
use crate::configuration::{Configuration, filter, mark_and_mirror, to};
use crate::model::filter_file;
use crate::origin::{Origin, Seen, frames_of};
use crate::settled;

/// Two servers, and an Envoy that has one way to the first of them without the filter, and one with it, which copies
/// every request to the second.
struct Edge {
    origin: Origin,
    shadow: Origin,
    envoy: Envoy,
}

impl Edge {
    async fn start() -> Edge {
        let (origin, shadow) = (Origin::start().await, Origin::start().await);
        let filters = [filter(&filter_file(), &mark_and_mirror())];
        let configuration = Configuration::new()
            .listener("plain", &[], to("origin"))
            .listener("filtered", &filters, to("origin"))
            .cluster("origin", origin.address())
            .cluster("shadow", shadow.address());
        let envoy = Envoy::start(&configuration.to_json());
        Edge { origin, shadow, envoy }
    }

    /// What the client is told and the server sees.
    async fn send(&self, listener: &str, protocol: Protocol, request: Request<Sent>) -> (Answer, Seen) {
        let answer = client::send(self.envoy.listener(listener), protocol, request).await;
        assert!(
            answer.header("x-origin").is_some(),
            "it does not come through: {answer:?}"
        );
        let mut seen = self.origin.take();
        assert_eq!(seen.len(), 1, "the server sees it once");
        (answer, seen.remove(0))
    }
}

/// A request with `id`, however often it is asked for.
type Case = (&'static str, Protocol, fn(Protocol, &str) -> Request<Sent>);

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(
        "x-checksum".parse().unwrap(),
        HeaderValue::from_bytes(b"\xffcaf\xe9").unwrap(),
    )])
}

const CASES: [Case; 12] = [
    ("no body", Protocol::Http1, |p, id| {
        request(Method::GET, "/a?q=1", p, &[("x-request-id", id.as_bytes())], nothing())
    }),
    ("an empty body", Protocol::Http1, |p, id| {
        let headers: [(&str, &[u8]); 2] = [("x-request-id", id.as_bytes()), ("content-length", b"0")];
        request(Method::POST, "/a", p, &headers, nothing())
    }),
    ("a body", Protocol::Http1, |p, id| {
        request(Method::POST, "/a", p, &[("x-request-id", id.as_bytes())], whole("text"))
    }),
    ("a method of no route", Protocol::Http1, |p, id| {
        request(
            Method::DELETE,
            "/a",
            p,
            &[("x-request-id", id.as_bytes())],
            whole("text"),
        )
    }),
    ("bytes in headers that are not UTF-8", Protocol::Http1, |p, id| {
        let headers: [(&str, &[u8]); 4] = [
            ("x-request-id", id.as_bytes()),
            ("content-type", b"\xff\xfe"),
            ("x-latin", b"caf\xe9"),
            ("x-user-id", b"\x80\x81"),
        ];
        request(Method::POST, "/a", p, &headers, whole("text"))
    }),
    ("bytes in a path that are not UTF-8", Protocol::Http1, |p, id| {
        request(
            Method::GET,
            "/%ff%fe?%80",
            p,
            &[("x-request-id", id.as_bytes())],
            nothing(),
        )
    }),
    ("an id that is none", Protocol::Http1, |p, _| {
        request(
            Method::POST,
            "/a",
            p,
            &[("x-request-id", b"not\xffa uuid")],
            whole("text"),
        )
    }),
    ("an opt-out", Protocol::Http1, |p, id| {
        let headers: [(&str, &[u8]); 2] = [("x-request-id", id.as_bytes()), ("x-ltr-opt-out", b"\xff")];
        request(Method::POST, "/a", p, &headers, whole("text"))
    }),
    ("chunks", Protocol::Http1, |p, id| {
        let chunks = (0..100).map(|at| Frame::data(Bytes::from(vec![at; 1000])));
        let body = frames_of(chunks.collect::<Vec<_>>()).boxed_unsync();
        request(Method::POST, "/a", p, &[("x-request-id", id.as_bytes())], body)
    }),
    ("trailers", Protocol::Http1, |p, id| {
        let body = frames_of([Frame::data("text".into()), Frame::trailers(trailers())]).boxed_unsync();
        let headers: [(&str, &[u8]); 2] = [("x-request-id", id.as_bytes()), ("trailer", b"x-checksum")];
        request(Method::POST, "/trailers", p, &headers, body)
    }),
    ("HTTP/2", Protocol::Http2, |p, id| {
        request(
            Method::POST,
            "/a?q=1",
            p,
            &[("x-request-id", id.as_bytes()), ("x-latin", b"caf\xe9")],
            whole("text"),
        )
    }),
    ("HTTP/2 with trailers", Protocol::Http2, |p, id| {
        let body = frames_of([Frame::data("text".into()), Frame::trailers(trailers())]).boxed_unsync();
        request(Method::POST, "/trailers", p, &[("x-request-id", id.as_bytes())], body)
    }),
];

/// Without what differs from one request to the next anyhow.
fn comparable(mut answer: Answer) -> Answer {
    let own = |name: &str| name == "date" || name == "x-envoy-upstream-service-time";
    answer.headers.retain(|(name, _)| !own(name));
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_request_is_answered_as_without_the_filter() {
    let edge = Edge::start().await;
    for (name, protocol, request) in CASES {
        let id = Uuid::new_v4().to_string();
        let plain = edge.send("plain", protocol, request(protocol, &id)).await;
        let (answer, mut seen) = edge.send("filtered", protocol, request(protocol, &id)).await;
        let marked = seen.is_marked();
        seen.headers.retain(|(name, _)| name != "x-shadow-ltr");
        assert_eq!(answer.status, 200, "{name}");
        assert_eq!(seen.trailers.is_empty(), !name.contains("trailers"), "{name}");
        assert_eq!(comparable(answer), comparable(plain.0), "{name}: the answer");
        assert_eq!(seen, plain.1, "{name}: what the server saw");
        let unmarked = ["a method of no route", "an id that is none", "an opt-out"];
        assert_eq!(marked, !unmarked.contains(&name), "{name}");
    }
    settled(&edge.envoy).await;
    let stat = |name: &str| edge.envoy.stat(name).unwrap_or(0);
    let copies = edge.shadow.take().len() as u64;
    assert_eq!(copies, CASES.len() as u64 - 3);
    assert_eq!(
        (stat("mirror_sent_total"), stat("mirror_answered_total")),
        (copies, copies)
    );
    assert_eq!(
        (stat("ltr_edge_opted_out_total"), stat("ltr_edge_no_key_total")),
        (1, 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_never_answers_or_is_not_there_holds_nothing_up() {
    let edge = Edge::start().await;
    edge.shadow.fall_silent();
    let sent = || request(Method::POST, "/a", Protocol::Http1, &[], whole("text"));
    // More than may be in flight: the rest is dropped.
    for _ in 0..300 {
        let (answer, _) = edge.send("filtered", Protocol::Http1, sent()).await;
        assert_eq!((answer.status, answer.whole), (200, true));
    }
    edge.shadow.wait_for(30).await;
    let Edge { origin, shadow, envoy } = edge;
    assert!(envoy.stat("mirror_dropped_busy_total").unwrap() > 0);
    assert_eq!(
        envoy.stat("mirror_answered_total"),
        Some(0),
        "no shadow has answered yet"
    );
    drop(shadow);
    let edge = Edge {
        shadow: Origin::start().await,
        origin,
        envoy,
    };
    for _ in 0..300 {
        let (answer, _) = edge.send("filtered", Protocol::Http1, sent()).await;
        assert_eq!((answer.status, answer.whole), (200, true));
    }
    settled(&edge.envoy).await;
    assert!(edge.envoy.stat("mirror_failed_total").unwrap() >= 30);
}

/// Asks for another protocol, and gives what comes back for `said`.
async fn upgraded(envoy: &Envoy, listener: &str, said: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(envoy.listener(listener)).await.unwrap();
    let head = "GET /socket HTTP/1.1\r\nhost: edge.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    stream.write_all(said).await.unwrap();
    let mut echo = vec![0; said.len()];
    stream.read_exact(&mut echo).await.unwrap();
    echo
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_goes_through_untouched_and_is_not_copied() {
    let edge = Edge::start().await;
    for listener in ["plain", "filtered"] {
        let said: Vec<u8> = (0..=255).collect();
        assert_eq!(upgraded(&edge.envoy, listener, &said).await, said, "{listener}");
    }
    assert_eq!(edge.envoy.stat("mirror_dropped_upgrade_total"), Some(1));
    settled(&edge.envoy).await;
    assert!(edge.shadow.take().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_go_in_the_middle_leave_nothing_behind() {
    let edge = Edge::start().await;
    let address = edge.envoy.listener("filtered");
    for at in 0..200 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = "POST /a HTTP/1.1\r\nhost: edge.test\r\ncontent-length: 1000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        // In the middle of the body, or at its beginning.
        stream.write_all(&vec![b'.'; at % 2 * 500]).await.unwrap();
        stream.flush().await.unwrap();
    }
    // In the middle of an answer.
    for _ in 0..50 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = "GET /bytes/50000000 HTTP/1.1\r\nhost: edge.test\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 10_000]).await.unwrap();
    }
    settled(&edge.envoy).await;
    let incomplete = edge.envoy.stat("mirror_dropped_incomplete_total").unwrap();
    assert!(incomplete > 0, "{}", edge.envoy.admin("/stats?filter=ltr_edge"));
    let copies = edge.shadow.take();
    assert!(
        copies.iter().all(|copy| copy.path.starts_with("/bytes/")),
        "no half request is copied"
    );
    edge.origin.take();
    let sent = request(Method::POST, "/a", Protocol::Http1, &[], whole("text"));
    assert_eq!(edge.send("filtered", Protocol::Http1, sent).await.0.status, 200);
}

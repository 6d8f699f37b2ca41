//! Scores at the edge are the component's, and refusals the gateway's.

use std::net::SocketAddr;

use ranking::features::DEFAULT_FEATURES;
use runtime::artefact::Golden;
use runtime::{Engine, Limits, Output, Scorer};
use serde_json::{Map, Value, json};
use servers::Envoy;

use crate::PATIENCE;
use crate::client::{self, Answer, Connection, Headers, Protocol, post};
use crate::configuration::{Configuration, filter, score, to};
use crate::gateway::{Gateway, Site, TOKEN, TOKEN_SHA256};
use crate::model::{WIDTH, component, filter_file, rows};
use crate::origin::Origin;

const ROWS: usize = 100_000;
/// Rows of a request.
const BATCH: usize = 1_000;
const ID: &str = "6f1f0c2d-51a6-4e0e-8a4a-0b8f7d343e4f";

fn scorer() -> Scorer {
    Engine::new(Limits::default()).unwrap().load(&component("1")).unwrap()
}

fn scores(scorer: &Scorer, rows: &[[Option<f64>; WIDTH]]) -> Vec<f64> {
    let values: Vec<f64> = rows.iter().flatten().map(|x| x.unwrap_or(f64::NAN)).collect();
    scorer.score(&values, Output::Converted, PATIENCE).unwrap()
}

fn named(row: &[Option<f64>; WIDTH]) -> Value {
    let fields = DEFAULT_FEATURES.iter().zip(row);
    Value::Object(fields.map(|(name, value)| ((*name).to_owned(), json!(value))).collect())
}

/// An Envoy that scores, and sends what it cannot score to `upstream`.
fn edge(upstream: SocketAddr) -> Envoy {
    let configuration = Configuration::new()
        .listener("edge", &[filter(&filter_file(), &score(TOKEN_SHA256))], to("upstream"))
        .cluster("upstream", upstream);
    Envoy::start(&configuration.to_json())
}

/// A gateway with the filter's model.
async fn gateway() -> (Site, Gateway) {
    let site = Site::patient();
    let gateway = site.start().await;
    let golden = rows(8);
    let scores = scores(&scorer(), &golden);
    let rows = golden.iter().map(|row| row.to_vec()).collect();
    site.publish_golden("1", &component("1"), Golden { rows, scores });
    assert_eq!(gateway.notify("1").await.status, 200);
    (site, gateway)
}

async fn ask(address: SocketAddr, path: &str, headers: Headers<'_>, body: &[u8]) -> Answer {
    let token = format!("Bearer {TOKEN}");
    let mut all: Vec<(&str, &[u8])> = vec![("x-request-id", ID.as_bytes())];
    if !headers.iter().any(|(name, _)| *name == "authorization") {
        all.push(("authorization", token.as_bytes()));
    }
    all.extend(headers);
    client::send(address, Protocol::Http1, post(path, &all, body.to_vec())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_rows_score_as_the_component_scores_them() {
    let nobody = Origin::start().await;
    let envoy = edge(nobody.address());
    let mut connection = Connection::open(envoy.listener("edge"), Protocol::Http1).await;
    let (scorer, rows) = (scorer(), rows(ROWS));
    let token = format!("Bearer {TOKEN}");
    let mut distinct = std::collections::HashSet::new();
    for batch in rows.chunks(BATCH) {
        let body = json!({ "rows": batch.iter().map(named).collect::<Vec<_>>() });
        let headers: [(&str, &[u8]); 1] = [("authorization", token.as_bytes())];
        let answer = connection
            .send(post("/ltr/score", &headers, body.to_string()))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        let told: Vec<u64> = told["scores"]
            .as_array()
            .unwrap()
            .iter()
            .map(|x| x.as_f64().unwrap().to_bits())
            .collect();
        let expected: Vec<u64> = scores(&scorer, batch).into_iter().map(f64::to_bits).collect();
        assert_eq!(told, expected);
        distinct.extend(told);
    }
    assert!(distinct.len() > ROWS / 10, "{} different scores", distinct.len());
    assert!(nobody.take().is_empty(), "nothing went upstream");
}

/// A body with this in the place of the first feature.
fn with_first(value: &str) -> String {
    let mut row = named(&[Some(0.5); WIDTH]);
    row[DEFAULT_FEATURES[0]] = json!("HERE");
    format!("{{\"features\":{row}}}").replace("\"HERE\"", value)
}

/// What a client may send, from good to hopeless.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn bodies() -> Vec<Vec<u8>> {
    let good = named(&[Some(0.25); WIDTH]);
    let without = |name: &str| {
        let mut row: Map<String, Value> = good.as_object().unwrap().clone();
        row.remove(name);
        Value::Object(row)
    };
    let mut more = good.clone();
    more["shoe_size"] = json!(44);
    let reversed: Vec<String> = DEFAULT_FEATURES
        .iter()
        .rev()
        .map(|name| format!("\"{name}\": 0.25"))
        .collect();
    let mut bodies: Vec<Vec<u8>> = [
        json!({ "features": good }),
        json!({ "rows": [good, good] }),
        json!({ "rows": [] }),
        json!({ "rows": [without("geo")] }),
        json!({ "rows": [good, {}] }),
        json!({ "rows": [good, 7] }),
        json!({ "rows": good }),
        json!({ "rows": null }),
        json!({ "features": without("maturity") }),
        json!({ "features": more }),
        json!({ "features": [good] }),
        json!({ "features": {} }),
        json!({ "features": null }),
        json!({ "features": good, "rows": [good] }),
        json!({ "features": good, "row": 1 }),
        json!({}),
        json!([]),
        json!(null),
        json!("features"),
        json!(1),
    ]
    .map(|body| body.to_string().into_bytes())
    .into();
    let values = [
        "null",
        "true",
        "\"0.5\"",
        "[]",
        "{}",
        "-0.0",
        "1e308",
        "1e309",
        "-1e999",
        "5e-324",
        "1e-999",
        "NaN",
        "Infinity",
        "0.1e",
        "01",
        "+1",
        ".5",
        "1.",
        "123456789012345678901234567890",
        "9007199254740993",
        "\"caf\u{e9}\"",
        "\"\\ud800\"",
        "\"a\\u0000b\"",
    ];
    bodies.extend(values.map(|value| with_first(value).into_bytes()));
    let first = DEFAULT_FEATURES[0];
    bodies.extend(
        [
            String::new(),
            " ".into(),
            "{".into(),
            format!("{{\"features\": {{{}}}}}", reversed.join(", ")),
            format!("{{\"features\": {good}}} "),
            format!("{{\"features\": {good}}}x"),
            format!("{{\"features\": {good}, \"features\": {good}}}"),
            with_first(&format!("0.5, \"{first}\": 0.5")),
            with_first("0.5").replace(first, "\\u0061rea_match"),
            format!("\u{feff}{{\"features\": {good}}}"),
            "[".repeat(31),
            "[".repeat(200),
            format!("{{\"features\": {}{}}}", "[".repeat(40), "]".repeat(40)),
            format!("{{\"rows\": {}}}", "7".repeat(5_000)),
        ]
        .map(String::into_bytes),
    );
    bodies.extend([
        b"\xff\xfe".to_vec(),
        b"{\"features\": \"\xc3\x28\"}".to_vec(),
        b"\0".to_vec(),
        vec![b'x'; 10_000],
    ]);
    bodies
}

/// Of an answer all that the client can tell one server from another by.
fn visible(answer: &Answer) -> (u16, [Option<&[u8]>; 3], String) {
    (
        answer.status,
        ["content-type", "x-request-id", "x-ltr-model"].map(|name| answer.header(name)),
        String::from_utf8_lossy(&answer.body).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_refuses_the_edge_refuses_in_the_same_words() {
    let (_site, gateway) = gateway().await;
    let nobody = Origin::start().await;
    let envoy = edge(nobody.address());
    let address = envoy.listener("edge");
    let mut refused = 0;
    for body in bodies() {
        let at_the_edge = ask(address, "/ltr/score", &[], &body).await;
        let by_the_gateway = ask(gateway.address(), "/ltr/score", &[], &body).await;
        assert_eq!(
            visible(&at_the_edge),
            visible(&by_the_gateway),
            "{}",
            String::from_utf8_lossy(&body)
        );
        refused += u64::from(at_the_edge.status >= 400);
    }
    assert!(nobody.take().is_empty(), "nothing went upstream");
    assert!(refused > 40, "{refused} were refused");
    assert_eq!(envoy.stat("ltr_edge_score_refused_total"), Some(refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_edge_cannot_do_the_gateway_does() {
    let (_site, gateway) = gateway().await;
    let envoy = edge(gateway.address());
    let good = json!({ "features": named(&[Some(0.25); WIDTH]) })
        .to_string()
        .into_bytes();
    let many = json!({ "rows": vec![named(&[Some(0.25); WIDTH]); 1_500] })
        .to_string()
        .into_bytes();
    let arrow: (&str, &[u8]) = ("content-type", b"application/vnd.apache.arrow.stream");
    let cases: [(&str, &str, Headers, &[u8]); 9] = [
        ("a stream of Arrow", "/ltr/score", &[arrow], b"no stream"),
        ("more rows than it may score", "/ltr/score", &[], &many),
        (
            "a body larger than it may hold",
            "/ltr/score",
            &[],
            &vec![b' '; 600_000],
        ),
        ("no token", "/ltr/score", &[("authorization", b"")], &good),
        (
            "another's token",
            "/ltr/score",
            &[("authorization", b"Bearer somebody")],
            &good,
        ),
        (
            "another scheme",
            "/ltr/score",
            &[("authorization", b"Basic dDp0")],
            &good,
        ),
        (
            "a token that is not UTF-8",
            "/ltr/score",
            &[("authorization", b"Bearer \xff")],
            &good,
        ),
        ("another path", "/ltr/scores", &[], &good),
        ("a path below", "/ltr/score/1", &[], &good),
    ];
    for (name, path, headers, body) in cases {
        let at_the_edge = ask(envoy.listener("edge"), path, headers, body).await;
        let by_the_gateway = ask(gateway.address(), path, headers, body).await;
        assert_eq!(visible(&at_the_edge), visible(&by_the_gateway), "{name}");
    }
    assert_eq!(envoy.stat("ltr_edge_scored_total"), Some(0));
}

/// In chunks, over HTTP/2, with trailers: what is held up is scored when it is whole, or sent on whole.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_in_pieces_are_scored_or_sent_on_whole() {
    use http_body_util::BodyExt;
    use hyper::body::Frame;

    let origin = Origin::start().await;
    let envoy = edge(origin.address());
    let token = format!("Bearer {TOKEN}");
    let row = [Some(0.25); WIDTH];
    let expected = scores(&scorer(), &[row])[0];
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for (kind, scored) in [("application/json", true), ("text/plain", false)] {
            let body = json!({ "features": named(&row) }).to_string();
            let pieces: Vec<_> = body
                .as_bytes()
                .chunks(7)
                .map(|piece| Frame::data(piece.to_vec().into()))
                .collect();
            let trailers = hyper::HeaderMap::from_iter([(
                "x-checksum".parse::<hyper::header::HeaderName>().unwrap(),
                hyper::header::HeaderValue::from_static("1"),
            )]);
            let frames = pieces
                .into_iter()
                .chain([Frame::trailers(trailers)])
                .collect::<Vec<_>>();
            let headers: [(&str, &[u8]); 3] = [
                ("authorization", token.as_bytes()),
                ("content-type", kind.as_bytes()),
                ("trailer", b"x-checksum"),
            ];
            let headers = if protocol == Protocol::Http1 {
                &headers[..]
            } else {
                &headers[..2]
            };
            let sent = crate::origin::frames_of(frames).boxed_unsync();
            let request = client::request(hyper::Method::POST, "/ltr/score", protocol, headers, sent);
            let answer = client::send(envoy.listener("edge"), protocol, request).await;
            assert_eq!(answer.status, 200, "{protocol:?} {kind}: {:?}", answer.body);
            let seen = origin.take();
            if scored {
                let told: Value = serde_json::from_slice(&answer.body).unwrap();
                assert_eq!(
                    told["score"].as_f64().map(f64::to_bits),
                    Some(expected.to_bits()),
                    "{protocol:?}"
                );
                assert!(seen.is_empty(), "{protocol:?}");
            } else {
                assert_eq!(seen[0].body, body, "{protocol:?}");
                assert_eq!(
                    seen[0].trailers,
                    [("x-checksum".to_owned(), b"1".to_vec())],
                    "{protocol:?}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_go_while_they_are_held_up_leave_nothing_behind() {
    use tokio::io::AsyncWriteExt;

    let nobody = Origin::start().await;
    let mut envoy = edge(nobody.address());
    let address = envoy.listener("edge");
    for at in 0..200 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /ltr/score HTTP/1.1\r\nhost: edge.test\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 1000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; at % 2 * 999]).await.unwrap();
    }
    let body = json!({ "features": named(&[Some(0.25); WIDTH]) }).to_string();
    assert_eq!(ask(address, "/ltr/score", &[], body.as_bytes()).await.status, 200);
    assert!(nobody.take().is_empty(), "no half request goes upstream");
    assert!(
        envoy.is_alive() && envoy.stat("ltr_edge_scored_total") == Some(1),
        "{}",
        envoy.log()
    );
}

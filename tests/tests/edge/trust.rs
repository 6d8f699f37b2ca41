//! What a request says about sampling is believed of peers that are trusted, and of nobody else.

use serde_json::{Value, json};
use servers::Envoy;
use uuid::Uuid;

use crate::client::{self, Connection, Headers, Protocol, get};
use crate::configuration::{Configuration, filter, mark, mirror_all, past, to};
use crate::model::filter_file;
use crate::origin::{Origin, Seen};
use crate::settled;

/// With `bypass`, requests that the filter would not change skip it, as in deploy/envoy.
fn edge(origin: &Origin, own: &Value, bypass: bool) -> Envoy {
    let (configuration, more) = if bypass {
        (Configuration::new().inline_headers(), past(own, &to("origin")))
    } else {
        (Configuration::new(), json!({}))
    };
    let configuration = configuration
        .listener_with("edge", &[filter(&filter_file(), own)], to("origin"), more)
        .cluster("origin", origin.address())
        .cluster("shadow", origin.address());
    Envoy::start(&configuration.to_json())
}

/// What the server sees of so many requests with these headers.
async fn seen(envoy: &Envoy, origin: &Origin, requests: usize, headers: Headers<'_>) -> Vec<Seen> {
    let mut connection = Connection::open(envoy.listener("edge"), Protocol::Http1).await;
    for _ in 0..requests {
        assert_eq!(connection.send(get("/fast", headers)).await.unwrap().status, 200);
    }
    origin.take()
}

const INTERNAL: [(&str, &[u8]); 3] = [
    ("x-shadow-ltr", b"1"),
    ("x-ltr-edge-copy", b"1"),
    ("x-ltr-shadow-fraction", b"1"),
];

#[tokio::test(flavor = "multi_thread")]
async fn strangers_choose_nothing() {
    let origin = Origin::start().await;
    let mut own = mark(0.0);
    // Some network, but not ours; and what a client says of itself is not its address.
    own["trusted"] = json!({ "cidrs": ["10.0.0.0/8"] });
    let forwarded: (&str, &[u8]) = ("x-forwarded-for", b"10.0.0.1");
    for bypass in [false, true] {
        let envoy = edge(&origin, &own, bypass);
        for (name, value) in INTERNAL
            .into_iter()
            .flat_map(|(name, one)| [one, b"", b"\xff"].map(|value| (name, value)))
        {
            for headers in [
                &[(name, value), forwarded][..],
                &[(name, value), (name, b"1"), forwarded],
            ] {
                for seen in seen(&envoy, &origin, 3, headers).await {
                    assert_eq!(seen.header(name), None, "{headers:?}, bypass {bypass}");
                    assert!(!seen.is_marked(), "{headers:?}, bypass {bypass}");
                }
            }
        }
        assert_eq!(envoy.stat("ltr_edge_stripped_total"), Some(54));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_peer_sets_the_share_of_its_requests() {
    let origin = Origin::start().await;
    let mut own = mark(0.0);
    own["trusted"] = json!({ "cidrs": ["127.0.0.0/8"] });
    for bypass in [false, true] {
        let envoy = edge(&origin, &own, bypass);
        for (fraction, marked) in [("1", 20), ("0", 0), ("1.5", 0), ("\u{e9}", 0)] {
            let seen = seen(&envoy, &origin, 20, &[("x-ltr-shadow-fraction", fraction.as_bytes())]).await;
            assert_eq!(
                seen.iter().filter(|seen| seen.is_marked()).count(),
                marked,
                "{fraction}"
            );
            assert!(
                seen.iter().all(|seen| seen.header("x-ltr-shadow-fraction").is_none()),
                "it stays at the edge"
            );
        }
        assert_eq!(envoy.stat("ltr_edge_fraction_invalid_total"), Some(40));
        let opted_out: [(&str, &[u8]); 2] = [("x-ltr-shadow-fraction", b"1"), ("x-ltr-opt-out", b"")];
        assert!(!seen(&envoy, &origin, 1, &opted_out).await[0].is_marked());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_copy_is_not_copied_again() {
    let origin = Origin::start().await;
    let mut own = mirror_all();
    own["trusted"] = json!({ "cidrs": ["127.0.0.1"] });
    let envoy = edge(&origin, &own, false);
    let id = Uuid::new_v4().to_string();
    let headers: [(&str, &[u8]); 2] = [("x-ltr-edge-copy", b"1"), ("x-request-id", id.as_bytes())];
    let answer = client::send(envoy.listener("edge"), Protocol::Http1, get("/a", &headers)).await;
    assert_eq!(answer.status, 200);
    settled(&envoy).await;
    let seen = origin.take();
    assert_eq!((seen.len(), seen[0].header("x-ltr-edge-copy")), (1, Some(&b"1"[..])));
    assert_eq!(envoy.stat("ltr_edge_mirror_sent_total"), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_off_a_request_is_not_in_its_copy_either() {
    let origin = Origin::start().await;
    let mut own = mirror_all();
    own["mirror"]["headers"] = json!(["x-shadow-ltr", "x-team"]);
    let envoy = edge(&origin, &own, false);
    let id = Uuid::new_v4().to_string();
    let headers: [(&str, &[u8]); 3] = [INTERNAL[0], ("x-team", b"a"), ("x-request-id", id.as_bytes())];
    let answer = client::send(envoy.listener("edge"), Protocol::Http1, get("/a", &headers)).await;
    assert_eq!(answer.status, 200);
    settled(&envoy).await;
    let seen = origin.take();
    assert_eq!(seen.len(), 2, "the request and its copy");
    for seen in seen {
        assert_eq!(
            (seen.header("x-shadow-ltr"), seen.header("x-team")),
            (None, Some(&b"a"[..]))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_header_all_of_a_users_requests_are_chosen_or_none() {
    let origin = Origin::start().await;
    let mut own = mark(0.5);
    own["sampling"]["key_header"] = json!("x-user-id");
    let envoy = edge(&origin, &own, false);
    let mut chosen = 0;
    for user in 0..40u8 {
        // Bytes, whatever they are.
        let seen = seen(&envoy, &origin, 3, &[("x-user-id", &[0x80 | user, b'u'])]).await;
        let marked = seen.iter().filter(|seen| seen.is_marked()).count();
        assert!(marked == 0 || marked == 3, "{marked} of user {user}'s three");
        chosen += marked / 3;
    }
    assert!((1..40).contains(&chosen), "{chosen} of 40 users");
    assert!(
        !seen(&envoy, &origin, 1, &[]).await[0].is_marked(),
        "without the header"
    );
}

//! The filter that only marks: what it does is what the whole one does, and more it does not promise.

use serde_json::Value;
use servers::Envoy;
use uuid::Uuid;

use crate::client::{Connection, Protocol, get, post};
use crate::configuration::{
    Configuration, NOBODY, SALT, discover, discovered_filter, filter, mark, mark_and_mirror, score, to,
};
use crate::model::{filter_file, mark_file};
use crate::origin::Origin;
use crate::reloaded;

const REQUESTS: u32 = 300;

/// Sends requests with bodies of many parts and a mark of a stranger, on the listeners in turn; for each listener,
/// which of them went on with a mark.
async fn marked(envoy: &Envoy, origin: &Origin, listeners: &[&str]) -> Vec<Vec<bool>> {
    let mut connections = Vec::new();
    for listener in listeners {
        connections.push(Connection::open(envoy.listener(listener), Protocol::Http1).await);
    }
    let mut marked = vec![Vec::new(); listeners.len()];
    for at in 0..REQUESTS {
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, &at.to_be_bytes()).to_string();
        for (connection, marked) in connections.iter_mut().zip(&mut marked) {
            let headers: [(&str, &[u8]); 3] = [
                ("x-request-id", id.as_bytes()),
                ("x-shadow-ltr", b"1"),
                ("x-city", b"caf\xe9 \xff"),
            ];
            let answer = connection
                .send(post("/a", &headers, vec![b'.'; 100_000]))
                .await
                .unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            let seen = origin.take().remove(0);
            assert_eq!((seen.body_bytes, seen.whole), (100_000, true));
            marked.push(seen.is_marked());
        }
    }
    marked
}

#[tokio::test(flavor = "multi_thread")]
async fn it_marks_what_the_whole_filter_marks_and_each_listener_by_its_own_configuration() {
    let (origin, only) = (Origin::start().await, mark_file());
    // The two that only mark are in one virtual machine.
    let configuration = Configuration::new()
        .listener("half", &[filter(&only, &mark(0.5))], to("origin"))
        .listener("none", &[filter(&only, &mark(0.0))], to("origin"))
        .listener("whole", &[filter(&filter_file(), &mark(0.5))], to("origin"))
        .cluster("origin", origin.address());
    let mut envoy = Envoy::start(&configuration.to_json());
    let marked = marked(&envoy, &origin, &["half", "none", "whole"]).await;
    assert_eq!(marked[0], marked[2]);
    assert!(marked[0].contains(&true) && marked[0].contains(&false));
    assert!(!marked[1].contains(&true), "what a stranger marks is not marked");
    assert_eq!(envoy.stat("ltr_edge_stripped_total"), Some(u64::from(3 * REQUESTS)));
    let chosen = marked.iter().flatten().filter(|marked| **marked).count();
    assert_eq!(envoy.stat("ltr_edge_marked_total"), Some(chosen as u64));
    assert!(
        envoy.is_alive() && !envoy.log().contains("Function: proxy_on"),
        "{}",
        envoy.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_configuration_is_followed() {
    let (origin, only) = (Origin::start().await, mark_file());
    let folder = tempfile::tempdir().unwrap();
    discover(folder.path(), "0", &only, &mark(0.0));
    let configuration = Configuration::new()
        .listener("edge", &[discovered_filter(folder.path())], to("origin"))
        .cluster("origin", origin.address());
    let envoy = Envoy::start(&configuration.to_json());
    let mut connection = Connection::open(envoy.listener("edge"), Protocol::Http1).await;
    for at in 0..20 {
        reloaded(&envoy, at + 1).await;
        assert_eq!(connection.send(get("/a", &[])).await.unwrap().status, 200);
        assert_eq!(origin.take()[0].is_marked(), at % 2 == 1, "{at}");
        discover(
            folder.path(),
            &(at + 1).to_string(),
            &only,
            &mark((at + 1) as f64 % 2.0),
        );
    }
}

#[test]
fn what_needs_bodies_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |own: &Value| {
        let only = filter(&mark_file(), own);
        let path = folder.path().join("envoy.json");
        let configuration = Configuration::new().listener("edge", &[only], to("origin"));
        std::fs::write(&path, configuration.cluster("origin", NOBODY.into()).to_json()).unwrap();
        let said = Envoy::validate(&path, &[("LTR_PRIVACY_SALT", SALT)]);
        (!said.status.success()).then(|| String::from_utf8_lossy(&said.stderr).into_owned())
    };
    assert_eq!(refused(&mark(0.1)), None);
    for own in [mark_and_mirror(), score(&"ab".repeat(32))] {
        let said = refused(&own).expect("a refusal");
        let sentence = "routes[0].modes is not only mark; allowed: only mark, because edge-mark.wasm gets no bodies";
        assert!(said.contains(sentence), "{said}");
    }
}

//! What becomes of requests when a filter's virtual machine breaks, by `failure_policy`: why the configurations say
//! FAIL_OPEN.

use servers::Envoy;

use crate::client::{Connection, Protocol, get};
use crate::configuration::{Configuration, filter, to};
use crate::origin::Origin;

/// A filter that breaks at the head of every request.
const BREAKING: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
    (func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable))"#;
const REQUESTS: usize = 20;

/// The answers' statuses.
async fn statuses(policy: &str) -> Vec<u16> {
    let origin = Origin::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("breaking.wasm");
    std::fs::write(&file, wat::parse_str(BREAKING).unwrap()).unwrap();
    let mut breaking = filter(&file, &serde_json::json!({}));
    breaking["typed_config"]["config"]["failure_policy"] = policy.into();
    let configuration = Configuration::new()
        .listener("edge", &[breaking], to("origin"))
        .cluster("origin", origin.address());
    let envoy = Envoy::start(&configuration.to_json());
    // One connection, and so one worker with one virtual machine.
    let mut connection = Connection::open(envoy.listener("edge"), Protocol::Http1).await;
    let mut statuses = Vec::new();
    for _ in 0..REQUESTS {
        statuses.push(connection.send(get("/a", &[])).await.unwrap().status);
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_breaks_costs_one_request_when_it_fails_open_and_all_of_them_otherwise() {
    let open = statuses("FAIL_OPEN").await;
    assert_eq!(open[0], 503, "the request in which it breaks");
    assert!(open[1..].iter().all(|status| *status == 200), "{open:?}");
    for policy in ["FAIL_RELOAD", "FAIL_CLOSED"] {
        let closed = statuses(policy).await;
        assert!(closed.iter().all(|status| *status == 503), "{policy}: {closed:?}");
    }
}

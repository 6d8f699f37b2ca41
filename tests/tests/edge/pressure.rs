//! The filter under bodies, crowds and changes that would break it if anything does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Frame;
use serde_json::Value;
use servers::Envoy;
use tempfile::TempDir;

use crate::client::{self, Connection, Protocol, get, nothing, request};
use crate::configuration::{Configuration, discover, discovered_filter, filter, mark, mark_and_mirror, to};
use crate::model::{filter_file, mark_file, write_filter};
use crate::origin::{Origin, frames_of};
use crate::{PATIENCE, reloaded, settled};

const MEGABYTE: usize = 1 << 20;

/// What Envoy says of its virtual machines: they were made, and none of them broke.
fn assert_no_crash(envoy: &mut Envoy) {
    assert!(envoy.is_alive(), "{}", envoy.log());
    let log = envoy.log();
    let broken = [
        "Function: proxy_on",
        "Uncaught",
        "Wasm VM failed",
        "wasm runtime error",
        "panicked",
    ];
    assert!(!broken.iter().any(|word| log.contains(word)), "{log}");
    assert!(envoy.stat("wasm.envoy.wasm.runtime.v8.active").unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_a_hundred_megabytes_pass_whole_and_are_not_kept() {
    const SIZE: usize = 100 * MEGABYTE;
    let (origin, shadow) = (Origin::start().await, Origin::start().await);
    let filters = [filter(&filter_file(), &mark_and_mirror())];
    let configuration = Configuration::new()
        .listener("plain", &[], to("origin"))
        .listener("edge", &filters, to("origin"))
        .cluster("origin", origin.address())
        .cluster("shadow", shadow.address());
    let mut envoy = Envoy::start(&configuration.to_json());
    let body = |announced: bool| {
        let piece = Bytes::from(vec![b'.'; MEGABYTE]);
        let body = frames_of((0..SIZE / MEGABYTE).map(move |_| Frame::data(piece.clone()))).boxed_unsync();
        let length = SIZE.to_string();
        let headers: &[(&str, &[u8])] = if announced {
            &[("content-length", length.as_bytes())]
        } else {
            &[]
        };
        request(Method::POST, "/a", Protocol::Http1, headers, body)
    };
    let mut sums = Vec::new();
    for listener in ["plain", "edge"] {
        for announced in [true, false] {
            let answer = client::send(envoy.listener(listener), Protocol::Http1, body(announced)).await;
            assert_eq!(answer.status, 200, "{listener}");
            let seen = origin.take().remove(0);
            assert_eq!((seen.body_bytes, seen.whole), (SIZE, true), "{listener}");
            sums.push(seen.body_sha256);
        }
        let path = format!("/bytes/{SIZE}");
        let answer = client::send(envoy.listener(listener), Protocol::Http1, get(&path, &[])).await;
        assert_eq!(
            (answer.status, answer.body_bytes, answer.whole),
            (200, SIZE, true),
            "{listener}"
        );
        origin.take();
    }
    assert!(sums.iter().all(|sum| *sum == sums[0]));
    settled(&envoy).await;
    assert_eq!(envoy.stat("mirror_dropped_too_large_total"), Some(2));
    assert_eq!(shadow.take().len(), 1, "the request without a body is copied");
    let allocated = envoy.allocated_memory() as usize;
    assert!(allocated < SIZE, "{allocated} bytes");
    assert_no_crash(&mut envoy);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_at_once_are_served_while_the_shadow_cluster_is_stopped() {
    const CONNECTIONS: usize = 50;
    const STREAMS: usize = 200;
    let origin = Origin::start().await;
    let nobody = {
        let stopped = Origin::start().await;
        stopped.address()
    };
    let filters = [filter(&filter_file(), &mark_and_mirror())];
    let configuration = Configuration::new()
        .listener("edge", &filters, to("origin"))
        .http2_cluster("origin", origin.address())
        .cluster("shadow", nobody);
    let mut envoy = Envoy::start(&configuration.to_json());
    let address = envoy.listener("edge");
    let answered = Arc::new(AtomicUsize::new(0));
    let mut senders = Vec::new();
    for _ in 0..CONNECTIONS {
        let Connection::Http2(sender) = Connection::open(address, Protocol::Http2).await else {
            unreachable!("HTTP/2 was asked for");
        };
        for _ in 0..STREAMS {
            let (sender, answered) = (sender.clone(), answered.clone());
            senders.push(tokio::spawn(async move {
                let request = request(Method::POST, "/hold", Protocol::Http2, &[], client::whole("text"));
                let answer = Connection::Http2(sender).send(request).await.unwrap();
                assert_eq!((answer.status, answer.text()), (200, "released"));
                answered.fetch_add(1, Ordering::Relaxed);
            }));
        }
    }
    let start = Instant::now();
    while origin.held() < CONNECTIONS * STREAMS {
        assert!(start.elapsed() < PATIENCE, "{} came through", origin.held());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(answered.load(Ordering::Relaxed), 0, "all of them are under way at once");
    origin.release();
    for sender in senders {
        sender.await.unwrap();
    }
    assert!(origin.take().iter().all(|seen| seen.is_marked()));
    settled(&envoy).await;
    let outcomes = ["sent", "unsent", "dropped_busy"].map(|name| envoy.stat(&format!("ltr_edge_mirror_{name}_total")));
    let [sent, unsent, busy] = outcomes.map(Option::unwrap);
    assert_eq!((sent + unsent + busy) as usize, CONNECTIONS * STREAMS);
    assert_eq!(envoy.stat("ltr_edge_mirror_failed_total"), Some(sent));
    assert_no_crash(&mut envoy);
}

/// Load that goes on until it is stopped; every answer must be 200.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<usize>>,
}

impl Load {
    fn start(address: std::net::SocketAddr) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |stop: Arc<AtomicBool>| async move {
            let mut connection = Connection::open(address, Protocol::Http1).await;
            let mut answers = 0;
            while !stop.load(Ordering::Relaxed) {
                let request = request(Method::POST, "/a", Protocol::Http1, &[], client::whole("text"));
                let answer = connection.send(request).await.unwrap();
                assert_eq!((answer.status, answer.whole), (200, true), "{answer:?}");
                answers += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            answers
        };
        let clients = (0..4).map(|_| tokio::spawn(client(stop.clone()))).collect();
        Load { stop, clients }
    }

    /// How many were answered.
    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut answers = 0;
        for client in self.clients {
            answers += client.await.unwrap();
        }
        answers
    }
}

/// An Envoy with a listener whose filter is what a file says, first this one, and the folder of that file.
fn discovering(origin: &Origin, shadow: &Origin, code: &Path, first: &Value) -> (Envoy, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    discover(folder.path(), "0", code, first);
    let configuration = Configuration::new()
        .listener("edge", &[discovered_filter(folder.path())], to("origin"))
        .cluster("origin", origin.address())
        .cluster("shadow", shadow.address());
    (Envoy::start(&configuration.to_json()), folder)
}

/// Makes a thousand updates under load, each with a configuration that was not there before: by their numbers, what the
/// filter's code is and what it is configured to do.
async fn update_a_thousand_times(code: impl Fn(u64) -> PathBuf, own: impl Fn(u64) -> Value) {
    const UPDATES: u64 = 1_000;
    /// After so many, memory is what it stays.
    const WARM: u64 = 200;
    let (origin, shadow) = (Origin::start().await, Origin::start().await);
    let (mut envoy, folder) = discovering(&origin, &shadow, &code(0), &own(0));
    reloaded(&envoy, 1).await;
    let load = Load::start(envoy.listener("edge"));
    let memory = |envoy: &Envoy| (envoy.allocated_memory(), envoy.resident_memory());
    let mut warm = (0, 0);
    for at in 1..=UPDATES {
        let mut own = own(at);
        own["sampling"]["salt"] = format!("salt-{at}").into();
        discover(folder.path(), &at.to_string(), &code(at), &own);
        reloaded(&envoy, at + 1).await;
        origin.take();
        shadow.take();
        if at == WARM {
            warm = memory(&envoy);
        }
    }
    let answers = load.stop().await;
    settled(&envoy).await;
    let after = memory(&envoy);
    let machines = envoy.stat("wasm.envoy.wasm.runtime.v8.active").unwrap();
    eprintln!("{answers} answers; allocated and resident {warm:?}, then {after:?}; {machines} virtual machines");
    assert!(answers as u64 > UPDATES);
    assert!(after.0 < warm.0 + MEGABYTE as u64 * 8, "Envoy's own memory grows");
    assert!(
        after.1 < warm.1 + MEGABYTE as u64 * 64,
        "the virtual machines' memory grows"
    );
    // One that the workers' are copies of, and two workers; of this configuration and of one that is going.
    assert!(machines <= 6, "{machines} virtual machines are left");
    assert_no_crash(&mut envoy);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make soak runs it"]
async fn a_thousand_configurations_under_load_fail_no_request_and_leave_no_memory_behind() {
    /// Every so many, the filter's code is another, too.
    const CODE: u64 = 50;
    let models = tempfile::tempdir().unwrap();
    let files = [filter_file(), write_filter(models.path(), "2")];
    let own = |at: u64| match at % 2 {
        0 => mark(0.5),
        _ => mark_and_mirror(),
    };
    update_a_thousand_times(|at| files[(at / CODE % 2) as usize].clone(), own).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make soak runs it"]
async fn a_thousand_configurations_of_the_filter_that_only_marks_leave_no_memory_behind_either() {
    update_a_thousand_times(|_| mark_file(), |_| mark(0.5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_refused_changes_nothing() {
    let (origin, shadow) = (Origin::start().await, Origin::start().await);
    let (envoy, folder) = discovering(&origin, &shadow, &filter_file(), &mark(1.0));
    let address = envoy.listener("edge");
    let mut wrong = mark(0.0);
    wrong["sampling"]["fraction"] = 1.5.into();
    discover(folder.path(), "1", &filter_file(), &wrong);
    let start = Instant::now();
    while !envoy.log().contains("sampling.fraction is 1.5; allowed: 0 to 1") {
        assert!(start.elapsed() < PATIENCE, "{}", envoy.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let answer = client::send(
        address,
        Protocol::Http1,
        request(Method::GET, "/a", Protocol::Http1, &[], nothing()),
    )
    .await;
    assert_eq!(answer.status, 200);
    assert!(origin.take()[0].is_marked(), "what was in force is in force");
}

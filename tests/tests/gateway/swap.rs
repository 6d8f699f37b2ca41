//! A new model under traffic: nobody is kept waiting, nobody is left with half a model, and nothing stays behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use evil::Behaviour;
use ranking::features::DEFAULT_FEATURES;

use crate::harness::{Client, SMALL, Site, case};

/// Swaps until memory is measured first, and those after it.
const BEFORE: usize = 20;
const SWAPS: usize = 100;

/// Ranks until told to stop; every answer must be LTR's. Gives how many there were.
fn traffic(client: &Client, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<usize> {
    let (client, stop) = (client.clone(), stop.clone());
    tokio::spawn(async move {
        let mut answered = 0;
        while !stop.load(Ordering::Relaxed) {
            let answer = client.rank(&case("swapped", SMALL)).await;
            assert_eq!((answer.status, answer.text("source")), (200, Some("ltr")), "{answer:?}");
            answered += 1;
        }
        answered
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_swaps_under_traffic_lose_no_answer_and_give_their_memory_back() {
    let site = Site::patient();
    site.publish("m000", Behaviour::Honest);
    let gateway = site.start().await;
    gateway.set_weight(100).await;
    let stop = Arc::new(AtomicBool::new(false));
    let traffic = [traffic(&gateway, &stop), traffic(&gateway, &stop)];
    let mut before = (0, 0);
    for swap in 1..=BEFORE + SWAPS {
        let version = format!("m{swap:03}");
        // Another component each time, so that each is compiled.
        site.publish_bytes(&version, &evil::raw::padded(&DEFAULT_FEATURES, 1_000 + swap));
        let answer = gateway.notify(&version).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        gateway.weigh(100, Some(&version)).await;
        if swap == BEFORE {
            before = (gateway.resident_memory(), gateway.virtual_memory());
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in traffic {
        assert!(client.await.unwrap() > 0);
    }
    let after = (gateway.resident_memory(), gateway.virtual_memory());
    let mib = |bytes: u64| bytes >> 20;
    assert!(
        after.0 < before.0 + before.0 / 10 + (8 << 20),
        "{} MiB resident after {SWAPS} swaps; {} MiB before",
        mib(after.0),
        mib(before.0)
    );
    // An instance reserves 4 GiB of addresses: a few may have been made for requests at the same time, and none of
    // the hundreds of old ones may be left.
    assert!(
        after.1 < before.1 + (64 << 30),
        "{} MiB reserved after {SWAPS} swaps; {} MiB before",
        mib(after.1),
        mib(before.1)
    );
    let codes = gateway.json("/models").await["loads"].take();
    assert!(
        codes.as_array().unwrap().iter().all(|load| load["code"] == "compiled"),
        "{codes}"
    );
    let last = format!("m{:03}", BEFORE + SWAPS);
    assert_eq!(
        gateway.rank(&case("swapped", SMALL)).await.text("model_version"),
        Some(last.as_str())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_nobody_tells_of_is_found_in_its_directory() {
    let site = Site::new().with("LTR_MODELS__POLL_SECONDS", "1");
    let gateway = site.start().await;
    site.publish("m1", Behaviour::Honest);
    let start = Instant::now();
    loop {
        let models = gateway.json("/models").await;
        if models["loaded"][0]["version"] == "m1" {
            assert_eq!(models["loads"][0]["trigger"], "watch");
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{models}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

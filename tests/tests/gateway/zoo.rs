//! The running gateway and every guest of the zoo: each meets its end, and nobody else notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evil::zoo::{GUESTS, Outcome};
use evil::{Behaviour, Fault, When};
use serde_json::{Value, json};

use crate::harness::{Client, Gateway, LARGE, SMALL, SMALL_VALUES, Site, case};

/// What refusing a guest may take of the gateway's memory at most: a component of the largest size allowed, once
/// more for its compilation, and what a hostile description may allocate before it is stopped.
const MOST_MEMORY: u64 = 400 << 20;

/// A model that behaves, answering everything.
async fn honest(site: &Site) -> Gateway {
    site.publish("m0", Behaviour::Honest);
    let gateway = site.start().await;
    gateway.set_weight(100).await;
    gateway
}

/// The 99th percentile, from which on a bystander has been harmed: nothing in its answers is slow, but the
/// machine may be busy with other tests.
const LATE: Duration = Duration::from_millis(500);

/// Ranks small cases until told to stop; each must be answered by `m0`. Gives how long each took.
fn bystander(client: &Client, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<Duration>> {
    let (client, stop) = (client.clone(), stop.clone());
    tokio::spawn(async move {
        let mut took = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let answer = client.rank(&case(&format!("bystander {}", took.len()), SMALL)).await;
            assert_eq!(
                (answer.status, answer.text("model_version")),
                (200, Some("m0")),
                "{answer:?}"
            );
            took.push(answer.took);
        }
        took
    })
}

/// The 99th percentile.
fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_guest_is_refused_for_its_reason_while_the_model_in_service_answers() {
    let site = Site::patient();
    let gateway = honest(&site).await;
    let stop = Arc::new(AtomicBool::new(false));
    let others = bystander(&gateway, &stop);
    let before = gateway.peak_memory();
    for guest in GUESTS {
        let Outcome::Refused { code, said } = guest.outcome else {
            continue;
        };
        site.publish_bytes(
            guest.name,
            &guest.bytes(&ranking::features::DEFAULT_FEATURES, When::Always),
        );
        let answer = gateway.notify(guest.name).await;
        let error = &answer.body["error"];
        assert_eq!(
            (answer.status, error["code"].as_str()),
            (422, Some(code)),
            "{}: {error}",
            guest.name
        );
        assert!(
            error["message"].as_str().unwrap().contains(said),
            "{}: {error}",
            guest.name
        );
    }
    let grown = gateway.peak_memory() - before;
    assert!(grown < MOST_MEMORY, "refusing them took {} MiB", grown >> 20);
    stop.store(true, Ordering::Relaxed);
    let p99 = p99(others.await.unwrap());
    assert!(p99 < LATE, "the others' p99 was {p99:?}");
    assert_eq!(gateway.json("/models").await["loaded"][0]["version"], "m0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_guest_that_turns_in_service_is_answered_for_by_legacy_with_its_reason() {
    let site = Site::patient();
    let gateway = honest(&site).await;
    let legacy = site_legacy(&gateway).await;
    for guest in GUESTS {
        let reason = match guest.outcome {
            Outcome::Refused { .. } => continue,
            Outcome::Fails { reason, .. } => Some(reason),
            Outcome::NoNumbers => Some("bad_output"),
            Outcome::Scores => None,
        };
        let turns = When::ValuesOver(SMALL_VALUES);
        site.publish_bytes(guest.name, &guest.bytes(&ranking::features::DEFAULT_FEATURES, turns));
        let answer = gateway.notify(guest.name).await;
        assert_eq!(answer.status, 200, "{}: {answer:?}", guest.name);
        gateway.weigh(100, Some(guest.name)).await;
        let small = gateway.rank(&case("small", SMALL)).await;
        assert_eq!(small.text("model_version"), Some(guest.name), "before: {small:?}");
        let large = gateway.rank(&case("large", LARGE)).await;
        assert_eq!(
            (large.status, large.text("fallback")),
            (200, reason),
            "{}: {large:?}",
            guest.name
        );
        if reason.is_some() {
            assert_eq!(large.body["ranking"], legacy, "{}", guest.name);
        }
        let small = gateway.rank(&case("small", SMALL)).await;
        assert_eq!(small.text("model_version"), Some(guest.name), "afterwards: {small:?}");
    }
}

/// The legacy ranking of the large case.
async fn site_legacy(gateway: &Gateway) -> Value {
    gateway.set_weight(0).await;
    let legacy = gateway.rank(&case("large", LARGE)).await.body["ranking"].take();
    gateway.set_weight(100).await;
    legacy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_traps_on_its_nth_call_costs_that_call_alone() {
    let site = Site::patient();
    // Nine good calls in each instance, those of the load among them.
    site.publish("m1", Behaviour::Faulty(Fault::Trap, When::AfterCalls(9)));
    let gateway = site.start().await;
    gateway.set_weight(100).await;
    let mut outcomes = Vec::new();
    for at in 0..60 {
        let answer = gateway.rank(&case(&at.to_string(), SMALL)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        outcomes.push(answer.text("fallback").map(str::to_owned));
    }
    let trapped = outcomes.iter().filter(|o| o.as_deref() == Some("trap")).count();
    let fine = outcomes.iter().filter(|o| o.is_none()).count();
    assert_eq!(trapped + fine, 60, "{outcomes:?}");
    assert!((5..=8).contains(&trapped), "{outcomes:?}");
}

/// Requests of the measurement, and those sent at a time.
const REQUESTS: usize = 4_000;
const AT_A_TIME: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_spinning_champion_and_challenger_answers_stay_in_time_and_the_breakers_open() {
    let site = Site::new();
    for version in ["m1", "m2"] {
        site.publish(version, Behaviour::Faulty(Fault::Spin, When::ValuesOver(SMALL_VALUES)));
    }
    site.promoted("m1").await;
    let gateway = site.start().await;
    let models = gateway.json("/models").await;
    let slot = |at: usize, field: &str| models["loaded"][at][field].clone();
    assert_eq!((slot(0, "role"), slot(0, "version")), (json!("champion"), json!("m1")));
    assert_eq!(
        (slot(1, "role"), slot(1, "version")),
        (json!("challenger"), json!("m2"))
    );

    let clients = (0..AT_A_TIME).map(|number| {
        let client = gateway.client.clone();
        tokio::spawn(async move {
            let mut took = Vec::new();
            for at in 0..REQUESTS / AT_A_TIME {
                let case = case(&format!("{number} {at}"), LARGE).to_string();
                let answer = client.post("/rank", &[("x-shadow-ltr", "1")], case.into()).await;
                assert_eq!(
                    (answer.status, answer.text("source")),
                    (200, Some("legacy")),
                    "{answer:?}"
                );
                let reason = answer.text("fallback").unwrap_or_default();
                assert!(["timeout", "busy"].contains(&reason), "{answer:?}");
                took.push(answer.took);
            }
            took
        })
    });
    let mut took = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        took.extend(client.await.unwrap());
    }
    let p99 = p99(took);
    // The default deadline of 200 ms.
    assert!(p99 < Duration::from_millis(250), "p99 is {p99:?}");
    let models = gateway.json("/models").await;
    for (at, role) in ["champion", "challenger"].into_iter().enumerate() {
        let breaker = &models["loaded"][at]["breaker"];
        assert_ne!(breaker["state"], "closed", "{role}: {breaker}");
        assert_eq!(breaker["reason"], "timeout", "{role}: {breaker}");
        let opened = gateway
            .metric(&format!("ltr_breaker_opened_total{{role=\"{role}\"}}"))
            .await;
        assert!(opened >= 1.0, "{role}: opened {opened} times");
        let state = gateway.metric(&format!("ltr_breaker_state{{role=\"{role}\"}}")).await;
        assert!(state > 0.0, "{role}: state {state}");
    }
}

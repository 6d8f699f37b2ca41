//! No model, a corrupt one, and models that misbehave: `/rank` answers from legacy and says why.

use std::time::{Duration, Instant};

use evil::{Behaviour, Fault, When};
use serde_json::{Value, json};

use crate::harness::{Answer, Client, Gateway, LARGE, SMALL, SMALL_VALUES, Site, case};

/// The deadline is 200 ms. A loaded machine may be late, but only a gateway that waits for the component
/// without end is as late as this.
const LIVELY: Duration = Duration::from_secs(1);
/// More than open the gateway's circuit breaker, so that both an asked and an unasked component are seen.
const REPEATS: usize = 8;

/// A 200 from legacy with this reason, and the ranking that legacy gives.
fn assert_legacy(answer: &Answer, reason: &str, ranking: Option<&Value>) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text("source"), Some("legacy"), "{answer:?}");
    assert_eq!(answer.text("fallback"), Some(reason), "{answer:?}");
    assert_eq!(answer.body["model_version"], Value::Null);
    assert!(answer.took < LIVELY, "{reason}: answered after {:?}", answer.took);
    if let Some(ranking) = ranking {
        assert_eq!(&answer.body["ranking"], ranking, "{reason}: not the legacy ranking");
    }
}

fn assert_ltr(answer: &Answer, version: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text("source"), Some("ltr"), "{answer:?}");
    assert_eq!(answer.text("model_version"), Some(version), "{answer:?}");
    assert_eq!(answer.body["fallback"], Value::Null);
}

/// Publishes a component that misbehaves on large cases, and lets it answer everything.
async fn serving(site: &Site, fault: Fault) -> Gateway {
    let gateway = site.start().await;
    site.publish("m1", Behaviour::Faulty(fault, When::ValuesOver(SMALL_VALUES)));
    let answer = gateway.notify("m1").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    gateway.set_weight(100).await;
    until_ltr_answers(&gateway).await;
    gateway
}

/// The component behaves on small cases, so sooner or later one of them finds it free and in time.
async fn until_ltr_answers(gateway: &Gateway) {
    let start = Instant::now();
    loop {
        let answer = gateway.rank(&case("small", SMALL)).await;
        if answer.text("source") == Some("ltr") {
            return assert_ltr(&answer, "m1");
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "the component is never asked again: {answer:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_model_legacy_answers_and_says_so() {
    let site = Site::new();
    let gateway = site.start().await;
    for _ in 0..3 {
        let answer = gateway.rank(&case("large", LARGE)).await;
        assert_legacy(&answer, "no_model", None);
        assert_eq!(answer.body["ranking"].as_array().unwrap().len(), LARGE);
    }
    assert_eq!(gateway.fallbacks("no_model").await, 3);
}

/// One bit of the component is not as it was signed.
fn corrupt(site: &Site, version: &str) {
    let path = site.publish(version, Behaviour::Honest).join(runtime::artefact::SCORER);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

async fn assert_refused(client: &Client, version: &str, code: &str) {
    let answer = client.notify(version).await;
    let error = &answer.body["error"];
    assert_eq!(answer.status, 422, "{version}: {answer:?}");
    assert_eq!(error["code"], code, "{version}: {answer:?}");
    assert_eq!(error["value"], version);
    let models = client.json("/models").await;
    let refused = models["refused"].as_array().unwrap();
    assert!(
        refused.iter().any(|r| r["version"] == version && r["code"] == code),
        "{models:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupt_first_model_is_refused_and_legacy_answers() {
    let site = Site::new();
    let gateway = site.start().await;
    let legacy = gateway.rank(&case("large", LARGE)).await.body["ranking"].take();
    corrupt(&site, "m1");
    assert_refused(&gateway, "m1", "hash_mismatch").await;
    assert_legacy(
        &gateway.rank(&case("large", LARGE)).await,
        "model_refused",
        Some(&legacy),
    );
    assert_eq!(gateway.fallbacks("model_refused").await, 1);
    gateway.kill();

    let gateway = site.start().await;
    assert_legacy(
        &gateway.rank(&case("large", LARGE)).await,
        "model_refused",
        Some(&legacy),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_is_refused_leaves_the_old_one_serving() {
    let site = Site::patient();
    site.publish("m1", Behaviour::Honest);
    let gateway = site.start().await;
    gateway.set_weight(100).await;
    let before = gateway.rank(&case("large", LARGE)).await;
    assert_ltr(&before, "m1");

    corrupt(&site, "m2");
    site.publish("m3", Behaviour::TrapInDescribe);
    site.publish("m4", Behaviour::SpinInDescribe);
    site.publish("m5", Behaviour::Faulty(Fault::TooFew, When::Always));
    let refusals = [
        ("m2", "hash_mismatch"),
        ("m3", "trap"),
        ("m4", "timeout"),
        ("m5", "bad_output"),
        ("m6", "not_found"),
    ];
    for (version, code) in refusals {
        assert_refused(&gateway, version, code).await;
        let answer = gateway.rank(&case("large", LARGE)).await;
        assert_ltr(&answer, "m1");
        assert_eq!(answer.body["ranking"], before.body["ranking"]);
    }
    gateway.kill();

    let gateway = site.start().await;
    assert_ltr(&gateway.rank(&case("large", LARGE)).await, "m1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_spins_is_answered_for_by_legacy_and_asked_again_after_a_pause() {
    let (site, reason) = (Site::new(), "timeout");
    let gateway = site.start().await;
    let legacy = gateway.rank(&case("large", LARGE)).await.body["ranking"].take();
    gateway.kill();

    let gateway = serving(&site, Fault::Spin).await;
    let before = gateway.fallbacks(reason).await;
    for _ in 0..REPEATS {
        assert_legacy(&gateway.rank(&case("large", LARGE)).await, reason, Some(&legacy));
    }
    assert_eq!(gateway.fallbacks(reason).await, before + REPEATS as u64);
    // What it did to those cases is no matter once it behaves: after a pause it is asked again.
    until_ltr_answers(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spinning_component_in_shadow_leaves_the_answer_and_the_log_whole() {
    let site = Site::new();
    site.publish("m1", Behaviour::Faulty(Fault::Spin, When::ValuesOver(SMALL_VALUES)));
    let gateway = site.start().await;
    let answer = gateway
        .post(
            "/rank",
            &[("x-shadow-ltr", "1")],
            case("large", LARGE).to_string().into(),
        )
        .await;
    assert_eq!((answer.status, answer.text("source")), (200, Some("legacy")));
    assert_eq!(answer.body["fallback"], Value::Null, "legacy was meant to answer");
    assert!(answer.took < LIVELY, "answered after {:?}", answer.took);
    let kept = "SELECT count(*) FROM ltr_shadow_log JOIN ltr_shadow_request USING (request_id)
                WHERE outcome = 'timeout' AND rank_ltr IS NULL";
    let start = Instant::now();
    while site.number(kept).await != LARGE as i64 {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "the comparison that failed is not in the log"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_component_spins_other_requests_are_answered() {
    let site = Site::new();
    let gateway = serving(&site, Fault::Spin).await;
    let until = Instant::now() + Duration::from_secs(2);
    let spinning: Vec<_> = (0..4)
        .map(|_| {
            let client = gateway.client.clone();
            tokio::spawn(async move {
                while Instant::now() < until {
                    let answer = client.rank(&case("large", LARGE)).await;
                    let reason = answer.text("fallback").unwrap_or_default().to_owned();
                    assert!(["timeout", "busy"].contains(&reason.as_str()), "{answer:?}");
                    assert_legacy(&answer, &reason, None);
                }
            })
        })
        .collect();
    let mut answered = 0;
    while Instant::now() < until {
        let start = Instant::now();
        let (status, body) = gateway.get("/healthz").await;
        assert_eq!((status.as_u16(), body.as_str()), (200, "ok\n"));
        assert!(
            start.elapsed() < LIVELY,
            "/healthz answered after {:?}",
            start.elapsed()
        );
        let answer = gateway.rank(&case("small", SMALL)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(
            answer.took < LIVELY,
            "a small case was answered after {:?}",
            answer.took
        );
        answered += 1;
    }
    for client in spinning {
        client.await.unwrap();
    }
    assert!(answered >= 2, "{answered} small cases in two seconds");
    assert_eq!(gateway.json("/models").await["loaded"][0]["version"], json!("m1"));
}

//! Which model's turn it is: a night's model in the place of last night's, and models that wait for each other.

use evil::Behaviour;
use ranking::features::DEFAULT_FEATURES;
use serde_json::{Value, json};

use crate::trials::{began, evaluated, promoted, status, undecided};
use crate::watch::phase;
use crate::{Running, Site, VERSION, big_case};

const NEXT: &str = "20261002T021500Z";

/// A live model of the pipeline. Every request is compared.
async fn live() -> (Site, Running) {
    promoted(|settings| {
        settings.shadow.fraction = 1.0;
        settings.rollout.hold_out = 0.0;
        settings.rollout.replacement.min_requests = 20;
    })
    .await
}

/// Publishes the next night's model, which the gate compared with `champion`, and ranks some cases.
async fn night(site: &mut Site, running: &Running, champion: &str, passed: bool, features: &[&str]) -> Value {
    site.publisher.gate = json!({ "champion": { "version": champion, "passed": passed, "criteria": [] } });
    site.publish_named(NEXT, features, Behaviour::Honest);
    running.gateway.release.find_publications().await;
    for id in 0..25 {
        assert_eq!(running.rank(&[], &big_case(id)).await.ok()["model_version"], VERSION);
    }
    evaluated(running, 21).await
}

fn failing(rollout: &Value) -> Vec<&str> {
    let guards = rollout["replacement"]
        .as_array()
        .expect("guards are shown while a model is live");
    let failing = guards.iter().filter(|guard| guard["passed"] == false);
    failing.map(|guard| guard["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_nights_model_that_ranks_alike_and_is_no_worse_takes_the_place_of_last_nights() {
    let (mut site, running) = live().await;
    let before = status(&running).await;
    let rollout = night(&mut site, &running, VERSION, true, &DEFAULT_FEATURES).await;
    assert_eq!(phase(&rollout), ("live", 100), "{rollout:#}");
    assert_eq!(
        (&rollout["champion"], &rollout["challenger"]),
        (&json!(NEXT), &Value::Null)
    );
    let grounds = &rollout["state"]["champion"]["grounds"];
    assert_eq!(
        (&grounds["by"], &grounds["of"]),
        (&json!("replacement"), &json!(VERSION))
    );
    let entry = &rollout["history"][0];
    assert_eq!(
        (&entry["action"], &entry["detail"]["of"]),
        (&json!("replace"), &json!(VERSION))
    );
    assert_eq!(rollout["state"]["since"], before["state"]["since"], "the watch goes on");
    assert_eq!(running.rank(&[], &big_case(99)).await.ok()["model_version"], NEXT);
}

#[tokio::test]
async fn a_nights_model_that_ranks_otherwise_replaces_nothing() {
    let (mut site, running) = live().await;
    let mut others = DEFAULT_FEATURES;
    others.reverse();
    let rollout = night(&mut site, &running, VERSION, true, &others).await;
    assert_eq!(failing(&rollout), ["top3", "scores"], "{rollout:#}");
    assert_eq!(
        (&rollout["champion"], &rollout["challenger"]),
        (&json!(VERSION), &json!(NEXT))
    );
}

#[tokio::test]
async fn a_nights_model_that_the_gate_did_not_find_as_good_replaces_nothing() {
    for (champion, passed) in [(VERSION, false), ("20260901T021500Z", true)] {
        let (mut site, running) = live().await;
        let rollout = night(&mut site, &running, champion, passed, &DEFAULT_FEATURES).await;
        assert_eq!(failing(&rollout), ["gate"], "{rollout:#}");
        assert_eq!(rollout["champion"], VERSION);
    }
}

#[tokio::test]
async fn a_client_who_chooses_what_is_compared_decides_nothing() {
    let (mut site, running) = promoted(|settings| {
        settings.shadow.fraction = 0.0;
        settings.rollout.hold_out = 0.0;
        settings.rollout.replacement.min_requests = 20;
    })
    .await;
    site.publisher.gate = json!({ "champion": { "version": VERSION, "passed": true, "criteria": [] } });
    site.publish(NEXT, Behaviour::Honest);
    running.gateway.release.find_publications().await;
    for id in 0..25 {
        running.rank(&[("x-ltr-shadow", "1")], &big_case(id)).await.ok();
    }
    let rollout = evaluated(&running, 21).await;
    assert_eq!(
        failing(&rollout),
        ["top3", "scores", "latency", "fallbacks"],
        "{rollout:#}"
    );
}

#[tokio::test]
async fn models_that_are_judged_one_by_one_wait_and_each_gets_its_turn() {
    let (site, running) = undecided(Behaviour::Honest, |settings| {
        settings.rollout.unit = settings::Unit::Model;
        // Nothing but shadow figures decides, and they are against it.
        settings.rollout.trial.share = 0.0;
    })
    .await;
    site.publish(NEXT, Behaviour::Honest);
    running.gateway.release.find_publications().await;
    let waiting = status(&running).await;
    assert_eq!(
        (&waiting["challenger"], &waiting["state"]["next"]["version"]),
        (&json!(VERSION), &json!(NEXT)),
        "{waiting:#}"
    );
    running.evaluated(began()).await;
    let rejected = status(&running).await;
    assert_eq!(phase(&rejected), ("shadow", 0));
    assert_eq!(
        (&rejected["challenger"], &rejected["state"]["next"]),
        (&json!(NEXT), &Value::Null),
        "{rejected:#}"
    );
    assert_eq!(rejected["state"]["barred"], json!([VERSION]));
    let entry = &rejected["history"][1];
    assert_eq!(entry["action"], "reject", "{entry:#}");
    assert!(entry["reason"].as_str().unwrap().contains("hit3"), "{entry:#}");
    let cases = &rejected["evidence"]["cases"];
    assert_eq!(
        cases.as_u64().unwrap_or(0),
        0,
        "it is judged by its own comparisons: {rejected:#}"
    );
    // The one that waited is loaded again, and compared.
    running.gateway.release.find_publications().await;
    let models = running.get("/models").await.ok();
    assert_eq!(models["loaded"][0]["version"], NEXT, "{models:#}");
}

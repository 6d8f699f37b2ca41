//! Models come in under traffic, and only good ones.

use evil::{Behaviour, Fault, When};
use serde_json::json;

use crate::{Running, Site, VERSION, case};

const NEWER: &str = "20261002T021500Z";

async fn notify(running: &Running, version: &str) -> crate::Answer {
    running
        .post("/models/notify?wait=1", &json!({"version": version}))
        .await
}

#[tokio::test]
async fn a_published_model_becomes_the_challenger_and_outlives_a_restart() {
    let site = Site::new();
    let running = site.start().await;
    assert_eq!(running.get("/models").await.ok(), json!({"loaded": [], "refused": []}));
    site.publish(VERSION, Behaviour::Honest);
    notify(&running, VERSION).await.ok();
    let check = async |running: &Running| {
        let loaded = running.get("/models").await.ok()["loaded"].clone();
        assert_eq!(loaded.as_array().unwrap().len(), 1);
        assert_eq!(
            (&loaded[0]["version"], &loaded[0]["role"]),
            (&json!(VERSION), &json!("challenger"))
        );
        assert_eq!(loaded[0]["sha256"].as_str().unwrap().len(), 64);
        assert_eq!(running.get("/rollout").await.ok()["challenger"], VERSION);
    };
    check(&running).await;
    running.stop().await;
    check(&site.start().await).await;
}

#[tokio::test]
async fn the_newest_model_on_disk_is_the_challenger_of_a_new_gateway() {
    let site = Site::new();
    site.publish(NEWER, Behaviour::Honest);
    site.publish(VERSION, Behaviour::Honest);
    let running = site.start().await;
    assert_eq!(running.get("/models").await.ok()["loaded"][0]["version"], NEWER);
}

#[tokio::test]
async fn without_waiting_the_answer_comes_at_once_and_the_model_later() {
    let site = Site::new();
    let running = site.start().await;
    site.publish(VERSION, Behaviour::Honest);
    let answer = running.post("/models/notify", &json!({"version": VERSION})).await;
    assert_eq!(answer.status, 202);
    for _ in 0..1_000 {
        if running.get("/models").await.ok()["loaded"][0]["version"] == VERSION {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the model was not loaded");
}

#[tokio::test]
async fn a_model_that_fails_a_check_is_refused_by_name_and_the_old_one_serves_on() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    let spoil = |version: &str, file: &str, bytes: &[u8]| {
        std::fs::write(site.settings.models.dir.join("ltr").join(version).join(file), bytes).unwrap();
    };
    let always = |fault| Behaviour::Faulty(fault, When::Always);
    let publish = |version: &str, behaviour| site.publish(version, behaviour);

    publish("v-golden", always(Fault::NanScores));
    publish("v-few", always(Fault::TooFew));
    publish("v-trap", always(Fault::Trap));
    publish("v-imports", Behaviour::WithImport);
    publish("v-world", Behaviour::WrongWorld);
    publish("v-contract", Behaviour::WrongContract);
    publish("v-describe", Behaviour::TrapInDescribe);
    site.publish_named("v-features", &["area_match", "charm"], Behaviour::Honest);
    publish("v-hash", Behaviour::Honest);
    spoil("v-hash", "scorer.wasm", b"\0asm");
    publish("v-signature", Behaviour::Honest);
    spoil("v-signature", "manifest.sig", "00".repeat(64).as_bytes());
    publish("v-unsigned", Behaviour::Honest);
    std::fs::remove_file(site.settings.models.dir.join("ltr/v-unsigned/manifest.sig")).unwrap();
    let refused = [
        ("v-golden", "golden_mismatch"),
        ("v-few", "bad_output"),
        ("v-trap", "trap"),
        ("v-imports", "has_imports"),
        ("v-world", "wrong_world"),
        ("v-contract", "wrong_contract"),
        ("v-describe", "trap"),
        ("v-features", "feature_mismatch"),
        ("v-hash", "hash_mismatch"),
        ("v-signature", "bad_signature"),
        ("v-unsigned", "unsigned"),
        ("v-nowhere", "not_found"),
        ("../v-hash", "bad_version"),
    ];
    for (version, code) in refused {
        let error = notify(&running, version).await.refused(422);
        assert_eq!(error["code"], code, "{version}: {error}");
        assert_eq!(
            running.rank(&[], &case(1)).await.ok()["model_version"],
            VERSION,
            "{version}"
        );
    }
    let models = running.get("/models").await.ok();
    assert_eq!(models["loaded"].as_array().unwrap().len(), 1);
    let listed: Vec<_> = models["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["version"].clone(), entry["code"].clone()))
        .collect();
    assert_eq!(listed, refused.map(|(version, code)| (json!(version), json!(code))));
    assert_eq!(running.get("/rollout").await.ok()["challenger"], VERSION);
}

#[tokio::test]
async fn a_model_may_read_some_of_the_features_in_an_order_of_its_own() {
    let site = Site::new();
    // Its first feature is what it scores by.
    site.publish_named(VERSION, &["maturity", "geo"], Behaviour::Honest);
    let running = site.start().await;
    running.ltr_serves().await;
    let mut body = case(1);
    for (index, maturity) in [0.2, 0.9, 0.5].into_iter().enumerate() {
        body["lawyers"][index]["features"]["maturity"] = json!(maturity);
    }
    let answer = running.rank(&[], &body).await.ok();
    assert_eq!(
        (crate::ids(&answer), &answer["source"]),
        (vec!["adv_1", "adv_3", "adv_2"], &json!("ltr"))
    );
}

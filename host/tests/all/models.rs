//! Models come in under traffic, and only good ones.

use evil::{Behaviour, Fault, When};
use ltr_host::gateway::Gateway;
use ltr_host::models::watch;
use serde_json::{Value, json};

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
    assert_eq!(
        running.get("/models").await.ok(),
        json!({"loaded": [], "loads": [], "refused": []})
    );
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
    // What is no name of a version is not remembered.
    let named = refused[..refused.len() - 1].iter();
    let named: Vec<_> = named.map(|(version, code)| (json!(version), json!(code))).collect();
    assert_eq!(listed, named);
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

/// The last load that `GET /models` tells of.
async fn last_load(running: &Running) -> Value {
    let loads = running.get("/models").await.ok()["loads"].take();
    loads.as_array().unwrap().last().cloned().unwrap_or_default()
}

fn stages(load: &Value) -> Vec<&str> {
    let stages = load["stages"].as_array().unwrap().iter();
    stages.map(|stage| stage["stage"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_load_is_told_with_who_asked_for_it_how_long_each_stage_took_and_how_it_ended() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let told = last_load(&running).await;
    assert_eq!(
        (&told["version"], &told["trigger"], &told["outcome"], &told["reason"]),
        (&json!(VERSION), &json!("start"), &json!("loaded"), &json!(null))
    );
    assert_eq!(stages(&told), ["fetch", "verify", "compile", "golden_rows", "warm"]);
    assert!(told["stages"][2]["ms"].as_f64().unwrap() > 0.0);

    site.publish(NEWER, Behaviour::Faulty(Fault::NanScores, When::Always));
    notify(&running, NEWER).await.refused(422);
    let told = last_load(&running).await;
    assert_eq!(
        (&told["trigger"], &told["outcome"], &told["reason"]["code"]),
        (&json!("notify"), &json!("refused"), &json!("golden_mismatch"))
    );
    assert_eq!(
        stages(&told).last(),
        Some(&"golden_rows"),
        "it ends with the stage that it failed in"
    );
    let counted = running.metric("ltr_model_load_seconds_count{stage=\"fetch\"}").await;
    assert!(counted >= 2.0, "{counted}");
}

#[tokio::test]
async fn a_model_serves_with_as_many_warm_instances_as_are_set() {
    let mut site = Site::new();
    site.settings.models.warm_instances = 4;
    let running = site.start_with(Behaviour::Honest).await;
    let instances = running.get("/models").await.ok()["loaded"][0]["instances"].clone();
    assert_eq!(instances, json!({"idle": 4, "busy": 0, "dropped": 0}));
}

#[tokio::test]
async fn a_newer_model_is_found_without_notice_and_one_that_was_refused_is_tried_again_when_it_changes() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let newest = async || {
        watch::look(&running.gateway).await;
        running.get("/models").await.ok()["loaded"][0]["version"].clone()
    };
    assert_eq!(newest().await, VERSION, "it is loaded already");
    assert_eq!(last_load(&running).await["trigger"], "start");

    // As a slow copy would be met: without its signature, which comes last.
    site.publish(NEWER, Behaviour::Honest);
    let signature = site.settings.models.dir.join("ltr").join(NEWER).join("manifest.sig");
    let hidden = signature.with_extension("hidden");
    std::fs::rename(&signature, &hidden).unwrap();
    assert_eq!(newest().await, VERSION);
    assert_eq!(last_load(&running).await["reason"]["code"], "unsigned");
    newest().await;
    let loads = running.get("/models").await.ok()["loads"].as_array().unwrap().len();
    assert_eq!(loads, 2, "nothing has changed, so it is not tried again");
    std::fs::rename(&hidden, &signature).unwrap();
    assert_eq!(newest().await, NEWER);
    let told = last_load(&running).await;
    assert_eq!(
        (&told["trigger"], &told["outcome"]),
        (&json!("watch"), &json!("loaded"))
    );
    assert_eq!(running.get("/rollout").await.ok()["challenger"], NEWER);
}

#[tokio::test]
async fn an_older_model_is_taken_on_notice_and_not_replaced_by_the_watch() {
    let site = Site::new();
    let running = site.start().await;
    for version in [VERSION, NEWER] {
        site.publish(version, Behaviour::Honest);
    }
    notify(&running, NEWER).await.ok();
    notify(&running, VERSION).await.ok();
    watch::look(&running.gateway).await;
    assert_eq!(running.get("/models").await.ok()["loaded"][0]["version"], VERSION);
}

#[tokio::test]
async fn an_operator_does_not_wait_for_a_load() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    // Takes two seconds to be refused.
    site.publish(NEWER, Behaviour::SpinInDescribe);
    let loading = notify(&running, NEWER);
    let operating = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        running.ltr_serves().await;
        running.rank(&[], &case(1)).await.ok()["source"].clone()
    };
    tokio::pin!(loading, operating);
    tokio::select! {
        biased;
        source = &mut operating => assert_eq!(source, "ltr"),
        answer = &mut loading => panic!("the load was over first: {}", answer.status),
    }
    assert_eq!(loading.await.refused(422)["code"], "timeout");
}

#[tokio::test]
async fn a_restart_takes_the_machine_code_that_the_last_one_left() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    assert_eq!(last_load(&running).await["code"], "compiled");
    running.stop().await;
    let running = site.start().await;
    assert_eq!(last_load(&running).await["code"], "cached");
    assert_eq!(running.rank(&[], &case(1)).await.ok()["fallback"], json!(null));
    running.stop().await;

    // One bit, in the middle of the code.
    let entries = std::fs::read_dir(&site.settings.models.code_cache_dir).unwrap();
    let entry = entries
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "code"))
        .unwrap();
    let mut bytes = std::fs::read(&entry).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&entry, bytes).unwrap();
    let running = site.start().await;
    let told = last_load(&running).await;
    assert_eq!(
        (&told["code"], &told["outcome"]),
        (&json!("recompiled"), &json!("loaded"))
    );
    assert!(running.metric("ltr_model_code_total{origin=\"recompiled\"}").await >= 1.0);
}

#[tokio::test]
async fn without_a_directory_for_it_no_machine_code_is_kept() {
    let mut site = Site::new();
    let dir = std::mem::take(&mut site.settings.models.code_cache_dir);
    site.start_with(Behaviour::Honest).await.stop().await;
    assert_eq!(last_load(&site.start().await).await["code"], "compiled");
    assert!(!dir.exists());
}

#[tokio::test]
async fn a_cache_that_others_can_read_keeps_the_gateway_from_starting() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    let dir = &site.settings.models.code_cache_dir;
    std::fs::create_dir(dir).unwrap();
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = Gateway::open(site.settings.clone()).await.err().unwrap();
    let line = format!("{error:#}");
    assert!(line.starts_with("models.code_cache_dir: "), "{line}");
    assert!(
        line.contains("mode 755") && line.contains("allowed: a directory of mode 700"),
        "{line}"
    );
}

#[tokio::test]
async fn a_champion_that_was_missing_at_the_start_gets_its_place_back_when_it_is_there() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let state = store::RolloutState {
        weight: 100,
        champion: Some(NEWER.into()),
        challenger: Some(VERSION.into()),
    };
    let entry = running.gateway.entry("promote", "admin", json!({}));
    running.gateway.store.save_rollout(&state, &entry).await.unwrap();
    running.stop().await;

    let running = site.start().await;
    assert_eq!(running.rank(&[], &case(1)).await.ok()["fallback"], "model_refused");
    site.publish(NEWER, Behaviour::Honest);
    watch::look(&running.gateway).await;
    let answer = running.rank(&[], &case(2)).await.ok();
    assert_eq!(
        (&answer["source"], &answer["model_version"]),
        (&json!("ltr"), &json!(NEWER))
    );
    let models = running.get("/models").await.ok();
    let slots: Vec<_> = models["loaded"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["version"])
        .collect();
    assert_eq!(slots, [NEWER, VERSION], "the challenger keeps its own");
    assert_eq!(running.get("/rollout").await.ok()["challenger"], VERSION);
}

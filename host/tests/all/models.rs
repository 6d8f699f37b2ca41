//! Models come in under traffic, and only good ones.

use std::ffi::OsStr;

use evil::entries::{Entry, odd_names};
use evil::{Behaviour, Fault, When};
use ltr_host::server::bootstrap;
use serde_json::{Value, json};

use crate::{Running, Site, VERSION, case};

const NEWER: &str = "20261002T021500Z";
const NEWEST: &str = "20261003T021500Z";

async fn notify(running: &Running, version: &str) -> crate::Answer {
    running
        .post("/models/notify?wait=1", &json!({"version": version}))
        .await
}

#[tokio::test]
async fn a_published_model_becomes_the_challenger_and_outlives_a_restart() {
    let site = Site::new();
    let running = site.start().await;
    let mut models = running.get("/models").await.ok();
    assert_eq!(models["keys"].take()["faults"], json!([]));
    let nothing = json!({"entries": [], "more": 0});
    assert_eq!(
        models,
        json!({"loaded": [], "loads": [], "refused": [], "skipped": nothing, "keys": null})
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
    assert_eq!(running.get("/rollout").await.ok()["champion"], VERSION);
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
        running.gateway.release.find_publications().await;
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
    running.gateway.release.find_publications().await;
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
    let error = bootstrap::open(site.settings.clone()).await.err().unwrap();
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
    site.publish(VERSION, Behaviour::Honest);
    site.left_on_record(100, Some(NEWER), Some(VERSION)).await;
    let running = site.start().await;
    assert_eq!(running.rank(&[], &case(1)).await.ok()["fallback"], "model_refused");
    site.publish(NEWER, Behaviour::Honest);
    running.gateway.release.find_publications().await;
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

/// The version in the first slot after the watch has looked.
async fn found(running: &Running) -> Value {
    running.gateway.release.find_publications().await;
    running.get("/models").await.ok()["loaded"][0]["version"].clone()
}

/// Why a name was passed over by the last search.
async fn skipped(running: &Running, name: &str) -> String {
    let skipped = running.get("/models").await.ok()["skipped"]["entries"].take();
    let entry = skipped.as_array().unwrap().iter().find(|entry| entry["name"] == name);
    entry.map_or("untold".to_owned(), |entry| {
        entry["reason"].as_str().unwrap().to_owned()
    })
}

#[tokio::test]
async fn stray_folders_above_every_date_hide_no_newer_model_and_are_told() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let models = site.settings.models.dir.join("ltr");
    for name in ["old", "zz", "20261015T000000Z"] {
        std::fs::create_dir(models.join(name)).unwrap();
    }
    std::fs::write(models.join("notes"), "x").unwrap();
    assert_eq!(found(&running).await, VERSION);
    // A bad one on the way down, in every form: refused once, and looked past.
    site.publish(NEWEST, Behaviour::Faulty(Fault::NanScores, When::Always));
    site.publish(NEWER, Behaviour::Honest);
    assert_eq!(found(&running).await, NEWER);
    for _ in 0..3 {
        found(&running).await;
    }
    assert_eq!(running.get("/models").await.ok()["loads"].as_array().unwrap().len(), 3);
    assert!(skipped(&running, "old").await.contains("not named by its time"));
    assert!(skipped(&running, "20261015T000000Z").await.contains("no manifest.json"));
    assert!(skipped(&running, NEWEST).await.contains("unchanged"));
    assert_eq!(skipped(&running, "notes").await, "not a folder");
    // What is published later is still found, and so is the bad one once it is mended.
    std::fs::remove_dir_all(models.join(NEWEST)).unwrap();
    site.publish(NEWEST, Behaviour::Honest);
    assert_eq!(found(&running).await, NEWEST);
    site.publish("20261004T021500Z", Behaviour::Honest);
    assert_eq!(found(&running).await, "20261004T021500Z");
}

#[tokio::test]
async fn a_model_of_the_future_is_replaced_by_one_of_today_and_loaded_by_nobody_but_its_name() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let future = "29991231T235959Z";
    site.publish(future, Behaviour::Honest);
    assert_eq!(found(&running).await, VERSION);
    assert!(skipped(&running, future).await.contains("in the future"));
    notify(&running, future).await.ok();
    site.publish(NEWER, Behaviour::Honest);
    assert_eq!(found(&running).await, NEWER);
}

#[tokio::test]
async fn a_start_walks_down_to_the_newest_good_model() {
    let site = Site::new();
    let models = site.settings.models.dir.join("ltr");
    for at in 1..=5 {
        site.publish(
            &format!("20261101T00000{at}Z"),
            Behaviour::Faulty(Fault::NanScores, When::Always),
        );
    }
    for name in ["old", "20261102T000000Z"] {
        std::fs::create_dir(models.join(name)).unwrap();
    }
    site.publish(NEWER, Behaviour::Honest);
    site.publish(VERSION, Behaviour::Honest);
    let running = site.start().await;
    assert_eq!(running.get("/models").await.ok()["loaded"][0]["version"], NEWER);
    assert!(skipped(&running, "20261102T000000Z").await.contains("no manifest.json"));
    // The watch has nothing to add.
    let loads = running.get("/models").await.ok()["loads"].as_array().unwrap().len();
    found(&running).await;
    assert_eq!(
        running.get("/models").await.ok()["loads"].as_array().unwrap().len(),
        loads
    );
}

#[tokio::test]
async fn a_refused_model_is_tried_again_when_any_of_its_files_or_a_key_changes() {
    let site = Site::new();
    let running = site.start().await;
    let files: &[(&str, &[u8])] = &[("ltr_model.txt", b"tree")];
    site.publish_files(VERSION, &ranking::features::DEFAULT_FEATURES, files, Behaviour::Honest);
    let beside = site.settings.models.dir.join("ltr").join(VERSION).join("ltr_model.txt");
    let key = site.settings.models.trusted_keys.join("publish.pub");
    let sound = std::fs::read_to_string(&key).unwrap();
    std::fs::write(&beside, "tre").unwrap();
    std::fs::write(&key, &sound[1..]).unwrap();
    for code in ["unknown_key", "hash_mismatch"] {
        for _ in 0..2 {
            assert_eq!(found(&running).await, Value::Null);
            assert_eq!(last_load(&running).await["reason"]["code"], code);
        }
        // In place, so that the directory stays as it is.
        std::fs::write(&key, &sound).unwrap();
    }
    assert_eq!(running.get("/models").await.ok()["loads"].as_array().unwrap().len(), 2);
    std::fs::write(&beside, "tree").unwrap();
    assert_eq!(found(&running).await, VERSION);
}

#[tokio::test]
async fn more_bad_models_than_one_look_tries_only_put_the_good_one_off() {
    let site = Site::new();
    let running = site.start().await;
    site.publish(VERSION, Behaviour::Honest);
    let good = site.settings.models.dir.join("ltr").join(VERSION);
    for at in 10..50 {
        // Refused for the version in its manifest, long before anything is compiled.
        let bad = good.with_file_name(format!("20261101T0000{at}Z"));
        std::fs::create_dir(&bad).unwrap();
        for file in std::fs::read_dir(&good).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), bad.join(file.file_name())).unwrap();
        }
    }
    let mut looks = 0;
    while found(&running).await != VERSION {
        looks += 1;
        assert!(looks < 5, "40 bad models at 16 a look");
    }
    assert!(looks > 1, "a look ends, however many there are");
}

#[tokio::test]
async fn whatever_lies_about_a_good_model_is_loaded_and_a_start_does_not_wait() {
    for (round, entry) in Entry::ALL.into_iter().enumerate() {
        let site = Site::new();
        site.publish(VERSION, Behaviour::Honest);
        let models = site.settings.models.dir.join("ltr");
        // Every name has its turn with every kind as the rounds go on.
        let names = odd_names();
        let put = |folder: &std::path::Path, step: usize| {
            for (at, name) in names.iter().enumerate().skip(round % 3).step_by(3) {
                let entry = Entry::ALL[(round + at * step) % Entry::ALL.len()];
                let name: &OsStr = name;
                entry.make(&folder.join(name));
            }
        };
        put(&models, 1);
        put(&models.join(VERSION), 2);
        put(&site.settings.models.trusted_keys, 3);
        entry.make(&site.settings.models.trusted_keys.join("stray.pub"));
        entry.make(&models.join("20261102T000000Z"));
        let running = site.start().await;
        assert_eq!(
            running.get("/models").await.ok()["loaded"][0]["version"],
            VERSION,
            "{entry:?}"
        );
        site.publish(NEWER, Behaviour::Honest);
        assert_eq!(found(&running).await, NEWER, "{entry:?}");
    }
}

#[tokio::test]
async fn a_configured_file_that_is_none_stops_a_start_with_its_key_and_at_once() {
    let entries = [
        Entry::Fifo,
        Entry::Folder,
        Entry::SparseGiant,
        Entry::LinkToDevice,
        Entry::DanglingLink,
    ];
    for entry in entries {
        let site = Site::new();
        entry.make(&site.settings.privacy.salt_file);
        let opening = tokio::time::timeout(
            std::time::Duration::from_secs(20),
            bootstrap::open(site.settings.clone()),
        );
        let error = opening.await.expect("it does not wait").err().unwrap();
        assert!(
            format!("{error:#}").starts_with("privacy.salt_file: "),
            "{entry:?}: {error:#}"
        );

        let site = Site::new();
        drop(site.start().await);
        entry.make(&site.settings.models.code_cache_dir.join("secret"));
        let opening = tokio::time::timeout(
            std::time::Duration::from_secs(20),
            bootstrap::open(site.settings.clone()),
        );
        let error = opening.await.expect("it does not wait").err().unwrap();
        assert!(
            format!("{error:#}").starts_with("models.code_cache_dir: "),
            "{entry:?}: {error:#}"
        );
    }
}

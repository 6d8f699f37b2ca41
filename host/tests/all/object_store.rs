//! Models that are published in an object store: found, fetched within limits, and served when it is away.

use std::path::Path;
use std::time::{Duration, Instant};

use evil::entries::{Entry, odd_names};
use evil::{Behaviour, Fault, When};
use runtime::artefact;
use serde_json::{Value, json};
use servers::S3;

use crate::running::Program;
use crate::{Running, Site, VERSION, case};

const NEWER: &str = "20261002T021500Z";
const NEWEST: &str = "20261003T021500Z";

/// A gateway's site, and one whose models are what is uploaded.
fn sites() -> (Site, Site) {
    (Site::new(), Site::new())
}

fn published(site: &Site, version: &str) -> std::path::PathBuf {
    site.settings.models.dir.join("ltr").join(version)
}

/// Publishes a model, and uploads it.
fn upload(store: &S3, from: &Site, version: &str, behaviour: Behaviour) {
    from.publish(version, behaviour);
    store.put_folder(&format!("prod/ltr/{version}"), &published(from, version));
}

fn start(site: &Site, store: &S3) -> Program {
    let mut settings = vec![
        ("LTR_MODELS__SOURCE", format!("s3://{}/prod", S3::BUCKET)),
        ("LTR_MODELS__POLL_SECONDS", "1".to_owned()),
        ("LTR_MODELS__MAX_DOWNLOAD_MB", "1".to_owned()),
        ("LTR_MODELS__DOWNLOAD_SECONDS", "5".to_owned()),
    ];
    settings.extend(store.environment());
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, Path::new(value))).collect();
    Program::start(site, &settings)
}

/// `GET /models`, once it is as `expected` says.
async fn models(program: &Program, expected: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let models = program.call("/models", None).await.1;
        if expected(&models) {
            return models;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{models:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The newest loaded version.
fn loaded(models: &Value) -> &str {
    let loaded = models["loaded"].as_array().map_or(&[][..], Vec::as_slice);
    let versions = loaded.iter().filter_map(|model| model["version"].as_str());
    versions.max().unwrap_or("none")
}

/// Why a version was refused, if it was.
fn refused<'a>(models: &'a Value, version: &str) -> Option<&'a Value> {
    let mut refused = models["refused"].as_array().unwrap().iter();
    refused.find(|refusal| refusal["version"] == version)
}

async fn metric(program: &Program, name: &str) -> String {
    let page = testkit_gateway::http()
        .build()
        .unwrap()
        .get(format!("http://{}/metrics", program.address));
    let page = page.send().await.unwrap().text().await.unwrap();
    let found = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or("absent").to_owned()
}

#[tokio::test]
async fn what_is_uploaded_becomes_the_challenger_and_serves_on_while_the_store_is_away() {
    let mut store = S3::start();
    let (site, trainer) = sites();
    upload(&store, &trainer, VERSION, Behaviour::Honest);
    let program = start(&site, &store);
    let told = models(&program, |models| loaded(models) == VERSION).await;
    assert_eq!(
        (&told["loads"][0]["trigger"], &told["loads"][0]["outcome"]),
        (&json!("watch"), &json!("loaded"))
    );
    upload(&store, &trainer, NEWER, Behaviour::Honest);
    models(&program, |models| loaded(models) == NEWER).await;
    assert_eq!(metric(&program, "ltr_model_source_up").await, "1");

    store.crash();
    while metric(&program, "ltr_model_source_up").await != "0" {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    program.newest_serves().await;
    assert_eq!(program.source().await, "ltr");
    // So does one that starts meanwhile: what was downloaded is here.
    drop(program);
    let program = start(&site, &store);
    models(&program, |models| loaded(models) == NEWER).await;
    assert_eq!(program.source().await, "ltr");

    store.go_on();
    upload(&store, &trainer, NEWEST, Behaviour::Honest);
    models(&program, |models| loaded(models) == NEWEST).await;
    assert_eq!(metric(&program, "ltr_model_source_up").await, "1");
}

#[tokio::test]
async fn a_store_that_hangs_is_given_up_in_time_and_the_version_is_fetched_when_it_answers() {
    let store = S3::start();
    let (site, trainer) = sites();
    upload(&store, &trainer, VERSION, Behaviour::Honest);
    let program = start(&site, &store);
    models(&program, |models| loaded(models) == VERSION).await;
    program.newest_serves().await;
    upload(&store, &trainer, "another", Behaviour::Honest);
    store.pause();
    let begun = Instant::now();
    let (status, answer) = program.notify("another").await;
    assert_eq!((status, &answer["error"]["code"]), (422, &json!("download_timeout")));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(program.source().await, "ltr");
    store.resume();
    assert_eq!(program.notify("another").await.0, 200);
}

#[tokio::test]
async fn what_is_too_large_or_not_all_there_is_refused_by_name_and_taken_when_it_is_mended() {
    let store = S3::start();
    let (site, trainer) = sites();
    upload(&store, &trainer, VERSION, Behaviour::Honest);
    let program = start(&site, &store);
    models(&program, |models| loaded(models) == VERSION).await;

    let files: &[(&str, &[u8])] = &[(artefact::MODEL, &vec![0; 2 << 20])];
    trainer.publish_files(NEWER, &ranking::features::DEFAULT_FEATURES, files, Behaviour::Honest);
    store.put_folder(&format!("prod/ltr/{NEWER}"), &published(&trainer, NEWER));
    let told = models(&program, |models| refused(models, NEWER).is_some()).await;
    let refusal = refused(&told, NEWER).unwrap();
    assert_eq!(refusal["code"], "too_large");
    assert!(
        refusal["message"].as_str().unwrap().contains("models.max_download_mb"),
        "{refusal}"
    );

    // Before its signature, which an upload brings last.
    trainer.publish(NEWEST, Behaviour::Honest);
    let signature = std::fs::read(published(&trainer, NEWEST).join(artefact::SIGNATURE)).unwrap();
    std::fs::remove_file(published(&trainer, NEWEST).join(artefact::SIGNATURE)).unwrap();
    store.put_folder(&format!("prod/ltr/{NEWEST}"), &published(&trainer, NEWEST));
    let told = models(&program, |models| refused(models, NEWEST).is_some()).await;
    assert_eq!(refused(&told, NEWEST).unwrap()["code"], "unsigned");
    assert_eq!(loaded(&told), VERSION);
    store.put(&format!("prod/ltr/{NEWEST}/{}", artefact::SIGNATURE), &signature);
    models(&program, |models| loaded(models) == NEWEST).await;

    let (status, answer) = program.notify("nowhere").await;
    assert_eq!((status, &answer["error"]["code"]), (422, &json!("not_found")));
    let (status, answer) = program.notify("../ltr").await;
    assert_eq!((status, &answer["error"]["code"]), (422, &json!("bad_version")));
    assert_eq!(program.call("/rank", Some(&case(1))).await.0, 200);
}

/// A gateway in this process whose source is `from`'s directory.
async fn beside(site: &mut Site, from: &Site) -> Running {
    site.settings.models.source = format!("file://{}", from.settings.models.dir.display());
    site.start().await
}

async fn look(running: &Running) -> Value {
    running.gateway.release.find_publications().await;
    running.get("/models").await.ok()
}

#[tokio::test]
async fn a_version_is_kept_here_only_once_it_is_verified_and_nothing_else_is_left() {
    let (mut site, trainer) = sites();
    let running = beside(&mut site, &trainer).await;
    let here = || {
        let entries = std::fs::read_dir(site.settings.models.dir.join("ltr"))
            .into_iter()
            .flatten();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect::<Vec<_>>()
    };
    let files: &[(&str, &[u8])] = &[(artefact::MODEL, b"tree")];
    trainer.publish_files(VERSION, &ranking::features::DEFAULT_FEATURES, files, Behaviour::Honest);
    let model = published(&trainer, VERSION).join(artefact::MODEL);
    std::fs::remove_file(&model).unwrap();
    let told = look(&running).await;
    let refusal = refused(&told, VERSION).unwrap();
    assert_eq!(refusal["code"], "io");
    assert!(
        refusal["message"].as_str().unwrap().contains(artefact::MODEL),
        "{refusal}"
    );
    assert!(here().is_empty(), "{:?}", here());
    look(&running).await;
    assert_eq!(
        look(&running).await["loads"].as_array().unwrap().len(),
        1,
        "nothing changed, so it is not tried again"
    );

    std::fs::write(&model, "tree").unwrap();
    assert_eq!(loaded(&look(&running).await), VERSION);
    assert_eq!(here(), [VERSION]);
    // From now on it needs the source no more.
    std::fs::remove_dir_all(published(&trainer, VERSION)).unwrap();
    running.stop().await;
    let running = site.start().await;
    assert_eq!(loaded(&running.get("/models").await.ok()), VERSION);
}

#[tokio::test]
async fn a_promoted_model_comes_back_from_the_source_to_a_host_that_lost_its_disk() {
    let (mut site, trainer) = sites();
    trainer.publish(VERSION, Behaviour::Honest);
    let running = beside(&mut site, &trainer).await;
    look(&running).await;
    running.ltr_serves().await;
    running.stop().await;
    std::fs::remove_dir_all(&site.settings.models.dir).unwrap();
    let running = site.start().await;
    let answer = running.rank(&[], &case(1)).await.ok();
    assert_eq!(
        (&answer["source"], &answer["model_version"]),
        (&json!("ltr"), &json!(VERSION))
    );
}

#[tokio::test]
async fn a_verified_model_that_cannot_serve_is_tried_once() {
    let (mut site, trainer) = sites();
    trainer.publish(VERSION, Behaviour::Faulty(Fault::NanScores, When::Always));
    let running = beside(&mut site, &trainer).await;
    for _ in 0..3 {
        let told = look(&running).await;
        assert_eq!(refused(&told, VERSION).unwrap()["code"], "golden_mismatch");
        assert_eq!(told["loads"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn whatever_else_is_in_the_bucket_a_good_version_is_found_and_fetched() {
    let store = S3::start();
    let (site, trainer) = sites();
    for key in [
        "zz/x",
        "old/manifest.json",
        "20991231T235959Z/manifest.json",
        "a-file",
        "20261101T000000Z",
        "/x",
        "./x",
        "%20/x",
        "%E2%80%AE/x",
        "20261102T000000Z//x",
        "20261103T000000Z/./x",
    ] {
        store.put(&format!("prod/ltr/{key}"), b"x");
    }
    // More than one answer of the store has.
    for at in 0..1_050 {
        store.put(&format!("prod/ltr/x{at}/x"), b"");
    }
    upload(&store, &trainer, VERSION, Behaviour::Honest);
    // The mark of a folder, and what tools leave beside the files.
    for key in ["", "_SUCCESS", "a%20b", "/x", "sub/x"] {
        store.put(&format!("prod/ltr/{VERSION}/{key}"), b"");
    }
    let program = start(&site, &store);
    let told = models(&program, |models| loaded(models) == VERSION).await;
    let skipped = told["skipped"]["entries"].as_array().unwrap();
    for (name, reason) in [("a-file", "not a folder"), ("/", "not a name that a version can have")] {
        let entry = skipped.iter().find(|entry| entry["name"] == name);
        let found = entry.map_or(&Value::Null, |entry| &entry["reason"]);
        assert_eq!(found, reason, "{name} in {skipped:#?}");
    }
    upload(&store, &trainer, NEWER, Behaviour::Honest);
    models(&program, |models| loaded(models) == NEWER).await;
    assert_eq!(metric(&program, "ltr_model_source_up").await, "1");
}

#[tokio::test]
async fn a_version_that_is_not_whole_here_is_taken_from_the_source() {
    let (mut site, trainer) = sites();
    let running = beside(&mut site, &trainer).await;
    trainer.publish(VERSION, Behaviour::Honest);
    for entry in Entry::ALL {
        let here = published(&site, VERSION);
        std::fs::create_dir_all(here.parent().unwrap()).unwrap();
        entry.make(&here);
        let answer = running
            .post("/models/notify?wait=1", &json!({"version": VERSION}))
            .await;
        assert_eq!(answer.status, 200, "{entry:?}: {}", answer.json());
        assert_eq!(loaded(&running.get("/models").await.ok()), VERSION);
        // The next one has to load it again.
        trainer.publish(NEWER, Behaviour::Honest);
        running
            .post("/models/notify?wait=1", &json!({"version": NEWER}))
            .await
            .ok();
        std::fs::remove_dir_all(published(&trainer, NEWER)).unwrap();
        std::fs::remove_dir_all(published(&site, NEWER)).unwrap();
    }
}

#[tokio::test]
async fn strange_entries_in_a_folder_of_versions_stop_no_good_one() {
    let (mut site, trainer) = sites();
    trainer.publish(VERSION, Behaviour::Honest);
    let ltr = published(&trainer, VERSION).parent().unwrap().to_owned();
    for (at, name) in odd_names().into_iter().enumerate() {
        Entry::ALL[at % Entry::ALL.len()].make(&ltr.join(name));
        Entry::ALL[(at + 5) % Entry::ALL.len()].make(&ltr.join(VERSION).join(name));
    }
    let running = beside(&mut site, &trainer).await;
    assert_eq!(loaded(&look(&running).await), VERSION);
    // A file of it that is no file is named, and waited for by nobody.
    for entry in [Entry::Fifo, Entry::SparseGiant, Entry::LinkToDevice] {
        trainer.publish(NEWER, Behaviour::Honest);
        entry.make(&published(&trainer, NEWER).join(artefact::SCORER));
        let told = look(&running).await;
        assert_eq!(loaded(&told), VERSION);
        let code = &refused(&told, NEWER).unwrap()["code"];
        assert!(
            ["not_an_artefact", "too_large"].contains(&code.as_str().unwrap()),
            "{entry:?}: {code}"
        );
        std::fs::remove_dir_all(published(&trainer, NEWER)).unwrap();
    }
}

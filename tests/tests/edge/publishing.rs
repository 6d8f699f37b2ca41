//! From events to a model that scores at the edge, with the programs and nothing by hand.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ranking::features::DEFAULT_FEATURES;
use runtime::{Engine, Limits, Output};
use serde_json::{Map, Value, json};
use servers::Envoy;

use crate::client::{Connection, Protocol, post};
use crate::configuration::{Configuration, discover, discovered_filter, discovery, score, to};
use crate::gateway::{Gateway, Site, TOKEN, TOKEN_SHA256};
use crate::model::{WIDTH, rows, write_filter};
use crate::{PATIENCE, reloaded};

/// Runs the program of this name at the site, and waits until it has done its work.
fn run(site: &Site, gateway: &Gateway, program: &str, arguments: &[&str], edge: &Path) {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().parent().unwrap().join(program);
    let done = Command::new(&program)
        .args(arguments)
        .current_dir(site.path())
        .env_clear()
        .env("LTR_CLIENT__TOKEN", TOKEN)
        .env(
            "LTR_PUBLISH__NOTIFY_URL",
            format!("http://{}/models/notify?wait=1", gateway.address()),
        )
        .env("LTR_PUBLISH__EDGE_DIR", edge)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{} is built by `make build`: {e}", program.display()));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "{arguments:?}: {said}{}",
        String::from_utf8_lossy(&done.stdout)
    );
}

fn body() -> String {
    let named = |row: &[Option<f64>; WIDTH]| {
        let fields = DEFAULT_FEATURES.iter().zip(row);
        Value::Object(
            fields
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect::<Map<_, _>>(),
        )
    };
    json!({ "rows": rows(50).iter().map(named).collect::<Vec<_>>() }).to_string()
}

/// What the component of a published model scores.
fn component_scores(site: &Site, version: &str) -> Vec<f64> {
    let artefact = site.path().join("var/models/ltr").join(version);
    let scorer = Engine::new(Limits::default()).unwrap();
    let scorer = scorer
        .load(&std::fs::read(artefact.join("scorer.wasm")).unwrap())
        .unwrap();
    let values: Vec<f64> = rows(50).iter().flatten().map(|x| x.unwrap_or(f64::NAN)).collect();
    scorer.score(&values, Output::Converted, PATIENCE).unwrap()
}

/// Asks for scores, over and over, on one connection; every answer must be scores.
fn watch(envoy: &Envoy, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<Vec<f64>>> {
    let (address, stop) = (envoy.listener("edge"), stop.clone());
    tokio::spawn(async move {
        let mut connection = Connection::open(address, Protocol::Http1).await;
        let token = format!("Bearer {TOKEN}");
        // As often as they changed.
        let mut told: Vec<Vec<f64>> = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let request = post("/ltr/score", &[("authorization", token.as_bytes())], body());
            let answer = connection.send(request).await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            let scores: Value = serde_json::from_slice(&answer.body).unwrap();
            let scores: Vec<f64> = serde_json::from_value(scores["scores"].clone()).unwrap();
            if told.last() != Some(&scores) {
                told.push(scores);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        told
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_model_scores_in_a_running_envoy_and_no_request_fails() {
    const FIRST: &str = "20261001T021500Z";
    let site = Site::patient().with("LTR_HOST__CLOCK", "header");
    let gateway = site.start().await;
    // The operator's part: a first filter, and the template of what Envoy is told.
    let edge = tempfile::tempdir().unwrap();
    let first = write_filter(edge.path(), "0");
    let own = score(TOKEN_SHA256);
    discover(edge.path(), "0", &first, &own);
    let template = discovery("template", &edge.path().join("any.wasm"), &own).to_string();
    std::fs::write(edge.path().join("ecds.template.json"), template).unwrap();
    let configuration = Configuration::new()
        .listener("edge", &[discovered_filter(edge.path())], to("gateway"))
        .cluster("gateway", gateway.address());
    let envoy = Envoy::start(&configuration.to_json());
    reloaded(&envoy, 1).await;

    let stop = Arc::new(AtomicBool::new(false));
    let watching = watch(&envoy, &stop);
    let run = |program: &str, arguments: &[&str]| run(&site, &gateway, program, arguments, edge.path());
    let url = format!("http://{}", gateway.address());
    run("ltr-trainer", &["keygen", "--name", "trainer"]);
    run(
        "ltr-trainer",
        &[
            "simulate",
            "--url",
            &url,
            "--from",
            "2026-09-01T00:00:00Z",
            "--days",
            "30",
            "--cases-per-day",
            "60",
        ],
    );
    run("ltr-trainer", &["train-daily", "--as-of", "2026-10-01T02:15:00Z"]);
    reloaded(&envoy, 2).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.store(true, Ordering::Relaxed);
    let told = watching.await.unwrap();

    let expected = component_scores(&site, FIRST);
    let bits = |scores: &[f64]| scores.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(told.len(), 2, "first the scores of one model, then those of the other");
    assert_eq!(bits(&told[1]), bits(&expected));
    assert_eq!(
        envoy.stat("ltr_edge_score_passed_total"),
        Some(0),
        "none of them came from the gateway"
    );
}

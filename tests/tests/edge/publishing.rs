//! Envoys score with the champion, while it serves, and not with what was published.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use evil::Behaviour;
use ranking::features::DEFAULT_FEATURES;
use runtime::artefact::{EDGE_FILTER, Golden};
use runtime::{Engine, Limits, Output};
use serde_json::{Map, Value, json};
use servers::{Envoy, Redis};

use crate::client::{self, Answer, Connection, Protocol, post};
use crate::configuration::{Configuration, discover, discovered_filter, discovery, score, to};
use crate::gateway::{Gateway, Site, TOKEN, TOKEN_SHA256};
use crate::model::{WIDTH, component, rows, write_filter};
use crate::{PATIENCE, reloaded};

const FIRST: &str = "20261001T021500Z";
const SECOND: &str = "20261002T021500Z";
const SCORED: &str = "ltr_edge_scored_total";
const PASSED: &str = "ltr_edge_score_passed_total";
/// For changes of the rollout, at a gateway whose clock is the caller's.
const NOW: (&str, &str) = ("x-ltr-time", "2026-10-03T00:00:00Z");

/// Runs the program of this name at the site, and waits until it has done its work.
fn run(site: &Site, gateway: &Gateway, program: &str, arguments: &[&str]) {
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

/// A month of events, and the model that a nightly run makes of them.
fn train(site: &Site, gateway: &Gateway) {
    let url = format!("http://{}", gateway.address());
    let month = [
        "--from",
        "2026-09-01T00:00:00Z",
        "--days",
        "30",
        "--cases-per-day",
        "60",
    ];
    run(site, gateway, "ltr-trainer", &["keygen", "--name", "trainer"]);
    run(
        site,
        gateway,
        "ltr-trainer",
        &[&["simulate", "--url", url.as_str()][..], &month].concat(),
    );
    run(
        site,
        gateway,
        "ltr-trainer",
        &["train-daily", "--as-of", "2026-10-01T02:15:00Z"],
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

/// The scores of the rows of [`body`].
fn scores_of(component: &[u8]) -> Vec<f64> {
    let scorer = Engine::new(Limits::default()).unwrap().load(component).unwrap();
    let values: Vec<f64> = rows(50).iter().flatten().map(|x| x.unwrap_or(f64::NAN)).collect();
    scorer.score(&values, Output::Converted, PATIENCE).unwrap()
}

/// What an operator prepares: the template, and a first filter of the operator's own, which scores.
fn prepared() -> tempfile::TempDir {
    let edge = tempfile::tempdir().unwrap();
    let own = score(TOKEN_SHA256);
    let template = discovery("template", &edge.path().join("any.wasm"), &own).to_string();
    std::fs::write(edge.path().join("ecds.template.json"), template).unwrap();
    let first = write_filter(edge.path(), "0");
    discover(edge.path(), "0", &first, &own);
    edge
}

/// An Envoy that follows the directory, in front of the gateway.
async fn envoy(edge: &Path, gateway: &Gateway) -> Envoy {
    let configuration = Configuration::new()
        .listener("edge", &[discovered_filter(edge)], to("gateway"))
        .cluster("gateway", gateway.address());
    let envoy = Envoy::start(&configuration.to_json());
    reloaded(&envoy, 1).await;
    envoy
}

/// The version of the offer in the directory.
fn offered(edge: &Path) -> String {
    let discovery: Value = serde_json::from_slice(&std::fs::read(edge.join("ecds.json")).unwrap()).unwrap();
    discovery["version_info"].as_str().unwrap().to_owned()
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn count(envoy: &Envoy, name: &str) -> u64 {
    envoy.stat(name).unwrap_or(0)
}

/// Until twenty more requests have been answered so.
async fn until_more(envoy: &Envoy, name: &str) {
    let enough = count(envoy, name) + 20;
    until(name, || count(envoy, name) >= enough).await;
}

/// Until every worker of Envoy leaves requests to score to the gateway.
async fn until_nothing_is_scored(envoy: &Envoy) {
    let start = Instant::now();
    loop {
        let before = count(envoy, SCORED);
        until_more(envoy, PASSED).await;
        if count(envoy, SCORED) == before {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "Envoy goes on scoring");
    }
}

async fn ask(envoy: &Envoy) -> Answer {
    let token = format!("Bearer {TOKEN}");
    let request = post("/ltr/score", &[("authorization", token.as_bytes())], body());
    client::send(envoy.listener("edge"), Protocol::Http1, request).await
}

/// Model and scores of an answer.
fn read(answer: &Answer) -> (String, Vec<u64>) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    let scores: Vec<f64> = serde_json::from_value(told["scores"].clone()).unwrap();
    let version = told["model_version"].as_str().unwrap();
    assert_eq!(answer.header("x-ltr-model"), Some(version.as_bytes()));
    (version.to_owned(), bits(&scores))
}

fn bits(scores: &[f64]) -> Vec<u64> {
    scores.iter().map(|x| x.to_bits()).collect()
}

/// Asks for scores, over and over, on one connection; every answer must be scores. Gives what was
/// answered, as often as it changed.
fn watch(envoy: &Envoy, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<(String, Vec<u64>)>> {
    let (address, stop) = (envoy.listener("edge"), stop.clone());
    tokio::spawn(async move {
        let mut connection = Connection::open(address, Protocol::Http1).await;
        let token = format!("Bearer {TOKEN}");
        let mut told = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let request = post("/ltr/score", &[("authorization", token.as_bytes())], body());
            let answer = read(&connection.send(request).await.unwrap());
            if told.last() != Some(&answer) {
                told.push(answer);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        told
    })
}

/// From events to a champion, with the programs and nothing by hand.
#[tokio::test(flavor = "multi_thread")]
async fn envoy_scores_with_the_champion_while_it_serves_and_no_request_fails() {
    let edge = prepared();
    let site = Site::patient()
        .with("LTR_HOST__CLOCK", "header")
        .with("LTR_ROLLOUT__EDGE_DIR", edge.path().to_str().unwrap());
    let gateway = site.start().await;
    until("without a champion, nothing is to be scored", || {
        offered(edge.path()).ends_with("-off")
    })
    .await;
    let envoy = envoy(edge.path(), &gateway).await;
    train(&site, &gateway);

    // From here on there is a model to answer, in Envoy or behind it.
    let stop = Arc::new(AtomicBool::new(false));
    let watching = watch(&envoy, &stop);
    until_more(&envoy, PASSED).await;
    assert_eq!(count(&envoy, SCORED), 0, "what is only published does not score");

    let change = async |path: &str, body: Value| {
        let answer = gateway.post(path, &[NOW], body.to_string().into()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    change("/rollout/weight", json!({ "weight": 100, "version": FIRST })).await;
    until_more(&envoy, SCORED).await;
    assert!(offered(edge.path()).ends_with(FIRST), "{}", offered(edge.path()));

    site.publish(SECOND, Behaviour::Honest);
    assert_eq!(gateway.notify(SECOND).await.status, 200);
    until_more(&envoy, SCORED).await;
    assert_eq!(read(&ask(&envoy).await).0, FIRST, "the challenger does not score");

    change("/rollout/rollback", json!({})).await;
    until_nothing_is_scored(&envoy).await;
    assert!(offered(edge.path()).ends_with("-off"), "{}", offered(edge.path()));

    stop.store(true, Ordering::Relaxed);
    let told = watching.await.unwrap();
    let scorer = site.path().join("var/models/ltr").join(FIRST).join("scorer.wasm");
    let expected = (FIRST.to_owned(), bits(&scores_of(&std::fs::read(scorer).unwrap())));
    assert_eq!(told[0], expected, "the same from the gateway and from Envoy");
    // After the rollback the gateway may answer with the challenger (`host.score_challenger`).
    let versions: Vec<&str> = told.iter().map(|(version, _)| version.as_str()).collect();
    assert!(matches!(versions[..], [FIRST] | [FIRST, SECOND]), "{versions:?}");
}

/// A gateway whose champion is [`FIRST`], with these settings.
async fn with_champion(site: &Site) -> Gateway {
    let component = component(FIRST);
    let folder = tempfile::tempdir().unwrap();
    let filter = std::fs::read(write_filter(folder.path(), FIRST)).unwrap();
    let golden = Golden {
        scores: scores_of(&component),
        rows: rows(50).iter().map(|row| row.to_vec()).collect(),
    };
    site.publish_files(FIRST, &component, &[(EDGE_FILTER, &filter)], golden);
    site.promoted(FIRST).await;
    site.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kill_switch_reaches_envoy_and_so_does_its_end() {
    let (edge, redis) = (prepared(), Redis::start());
    let site = Site::patient()
        .with("LTR_ROLLOUT__EDGE_DIR", edge.path().to_str().unwrap())
        .with("LTR_FLAGS__REDIS_URL", &redis.url())
        .with("LTR_FLAGS__POLL_MS", "50");
    let gateway = with_champion(&site).await;
    until("the champion is offered", || offered(edge.path()).ends_with(FIRST)).await;
    let envoy = envoy(edge.path(), &gateway).await;
    let expected = (FIRST.to_owned(), bits(&scores_of(&component(FIRST))));
    assert_eq!(read(&ask(&envoy).await), expected);
    assert_eq!((count(&envoy, SCORED), count(&envoy, PASSED)), (1, 0));

    // A change that has arrived in both workers is seen by their answers: 503 comes from the gateway.
    let settles = async |status: u16| {
        let (start, mut alike) = (Instant::now(), 0);
        while alike < 20 {
            let answer = ask(&envoy).await;
            assert!([200, 503].contains(&answer.status), "{answer:?}");
            alike = if answer.status == status { alike + 1 } else { 0 };
            assert!(start.elapsed() < PATIENCE, "{status} does not last: {answer:?}");
        }
    };
    redis.set("ltr:kill_switch", "on");
    settles(503).await;
    let scored = count(&envoy, SCORED);
    let refused: Value = serde_json::from_slice(&ask(&envoy).await.body).unwrap();
    assert_eq!(refused["error"]["code"], "kill_switch");
    assert_eq!(count(&envoy, SCORED), scored);
    assert!(offered(edge.path()).ends_with("-off"), "{}", offered(edge.path()));

    redis.set("ltr:kill_switch", "off");
    until("the champion is offered again", || {
        offered(edge.path()).ends_with(FIRST)
    })
    .await;
    reloaded(&envoy, 3).await;
    settles(200).await;
    let before = count(&envoy, SCORED);
    assert_eq!(read(&ask(&envoy).await), expected);
    assert_eq!(count(&envoy, SCORED), before + 1);
}

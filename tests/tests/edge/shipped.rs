//! The configurations in `deploy/` are taken by the servers that they are for, and do what they say.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use evil::Behaviour;
use proxy_filter::{Config, INTERNAL_HEADERS};
use serde_json::Value;
use servers::{Envoy, Nginx};

use crate::PATIENCE;
use crate::client::{self, Answer, Connection, Protocol, post};
use crate::configuration::{NOBODY, SALT};
use crate::gateway::{Gateway, SMALL, Site, TOKEN, case};
use crate::model::{WIDTH, mark_file, write_filter};
use crate::origin::Origin;
use crate::settled;

/// Enough that a tenth is not nobody: it is with a probability of 10^-14.
const REQUESTS: usize = 300;

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file)
}

/// What stands in a file of `deploy/`, with other addresses and folders.
fn shipped(file: &str, changes: &[(&str, String)]) -> String {
    let path = deploy(file);
    let mut text = std::fs::read_to_string(&path).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{}: no {from:?} in it", path.display());
        text = text.replace(from, to);
    }
    text
}

/// An Envoy's configuration on free ports, in front of these servers.
fn envoy(file: &str, folder: &Path, app: SocketAddr, gateway: SocketAddr) -> String {
    let at = |address: SocketAddr| format!("address: {}, port_value: {}", address.ip(), address.port());
    let mut changes = vec![
        ("address: 127.0.0.1, port_value: 9901", at(([127, 0, 0, 1], 0).into())),
        ("address: 0.0.0.0, port_value: 8080", at(([127, 0, 0, 1], 0).into())),
        ("address: ltr-gateway, port_value: 8080", at(gateway)),
        ("address: otel-collector, port_value: 4317", at(NOBODY.into())),
    ];
    if file != "envoy/mark.yaml" {
        changes.push(("address: 127.0.0.1, port_value: 8000", at(app)));
    }
    if file != "envoy/native-mirroring.yaml" {
        changes.push(("/etc/envoy/ltr", folder.display().to_string()));
    }
    shipped(file, &changes)
}

fn nginx(file: &str, listen: SocketAddr, app: SocketAddr, gateway: SocketAddr) -> String {
    let mut changes = vec![
        ("listen 8080;", format!("listen {listen};")),
        ("server 127.0.0.1:8000;", format!("server {app};")),
    ];
    if file == "nginx/mirror.conf" {
        changes.push(("server 127.0.0.1:8081;", format!("server {gateway};")));
    }
    shipped(file, &changes)
}

/// A folder as Envoy sees it at `/etc/envoy/ltr`: the filter, and the file that says so.
fn edge_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let filter = write_filter(folder.path(), "1");
    std::fs::rename(filter, folder.path().join("edge-filter.wasm")).unwrap();
    std::fs::copy(mark_file(), folder.path().join("edge-mark.wasm")).unwrap();
    let here = [("/etc/envoy/ltr", folder.path().display().to_string())];
    std::fs::write(
        folder.path().join("ecds.json"),
        shipped("envoy/ecds.template.json", &here),
    )
    .unwrap();
    folder
}

async fn comparing() -> (Site, Gateway) {
    let site = Site::patient().with("LTR_SHADOW__FRACTION", "0");
    let gateway = site.start().await;
    site.publish("honest", Behaviour::Honest);
    assert_eq!(gateway.notify("honest").await.status, 200);
    (site, gateway)
}

/// Asks for so many rankings, one after the other.
async fn rank(address: SocketAddr, path: &str, requests: usize) -> Vec<Answer> {
    let mut connection = Connection::open(address, Protocol::Http1).await;
    let (token, case) = (format!("Bearer {TOKEN}"), case("at the edge", SMALL).to_string());
    let mut answers = Vec::new();
    for _ in 0..requests {
        let headers: [(&str, &[u8]); 2] = [
            ("authorization", token.as_bytes()),
            ("content-type", b"application/json"),
        ];
        let answer = connection.send(post(path, &headers, case.clone())).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answers.push(answer);
    }
    answers
}

async fn compared(site: &Site) -> usize {
    site.number("SELECT count(*) FROM ltr_shadow_request").await as usize
}

#[test]
fn every_configuration_is_valid() {
    let folder = edge_folder();
    for file in [
        "envoy/static.yaml",
        "envoy/ecds.yaml",
        "envoy/mark.yaml",
        "envoy/native-mirroring.yaml",
    ] {
        let path = folder.path().join("envoy.yaml");
        std::fs::write(&path, envoy(file, folder.path(), NOBODY.into(), NOBODY.into())).unwrap();
        let said = Envoy::validate(&path, &[("LTR_PRIVACY_SALT", SALT)]);
        let text = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "{file}: {text}");
        assert!(!text.contains("deprecated"), "{file}: {text}");
    }
    for file in ["nginx/mark.conf", "nginx/mirror.conf"] {
        let said = Nginx::validate(&nginx(file, NOBODY.into(), NOBODY.into(), NOBODY.into()));
        let text = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() && !text.contains("[warn]"), "{file}: {text}");
    }
}

/// The condition in each file is the one that the filter's configuration gives.
#[test]
fn what_goes_past_the_filter_is_what_edge_bypass_prints() {
    let template: Value = serde_json::from_str(&shipped("envoy/ecds.template.json", &[])).unwrap();
    let own = template.pointer("/resources/0/typed_config/config/configuration/value");
    let discovered: Value = serde_json::from_str(own.unwrap().as_str().unwrap()).unwrap();
    assert_eq!(
        own_of("envoy/static.yaml"),
        discovered,
        "one configuration in both files"
    );

    let read = |own: &Value| Config::read(own.to_string().as_bytes(), |_| Some(SALT.to_owned())).unwrap();
    for (file, own) in [
        ("envoy/static.yaml", &discovered),
        ("envoy/ecds.yaml", &discovered),
        ("envoy/mark.yaml", &own_of("envoy/mark.yaml")),
    ] {
        let predicate = format!("predicate:{}", read(own).bypass().unwrap());
        let text: String = shipped(file, &[]).split_whitespace().collect();
        assert!(
            text.contains(&predicate),
            "{file}: `ltr-trainer edge-bypass` prints {predicate}"
        );
        for name in INTERNAL_HEADERS {
            let inline = format!("-{{inline_header_name:{name},inline_header_type:REQUEST_HEADER}}");
            assert!(text.contains(&inline), "{file}: no {inline}");
        }
    }
}

/// The filter's own configuration, in Envoy's.
fn own_of(file: &str) -> Value {
    let yaml = shipped(file, &[]);
    let (_, own) = yaml.split_once("value: |").unwrap();
    let own = serde_json::Deserializer::from_str(own).into_iter().next();
    own.unwrap().unwrap()
}

/// The gateway compares each request that the filter marks, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_only_marks_has_a_tenth_compared() {
    let ((site, gateway), folder) = (comparing().await, edge_folder());
    let configuration = envoy("envoy/mark.yaml", folder.path(), NOBODY.into(), gateway.address());
    let envoy = Envoy::start(&configuration);
    let answers = rank(envoy.listener("edge"), "/rank", REQUESTS).await;
    let sampler = ranking::Sampler::new("ltr-shadow-v1", 0.10).unwrap();
    let ids = answers.iter().map(|answer| answer.header("x-request-id").unwrap());
    let chosen = ids.filter(|id| sampler.selects(uuid::Uuid::try_parse_ascii(id).unwrap()));
    let chosen = chosen.count();
    let start = std::time::Instant::now();
    while compared(&site).await < chosen {
        assert!(start.elapsed() < PATIENCE, "{}", envoy.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(compared(&site).await, chosen);
    assert_eq!(envoy.stat("ltr_edge_marked_total"), Some(chosen as u64));
    assert_eq!(envoy.stat("ltr_edge_not_chosen_total"), Some(0));
}

#[test]
fn a_configuration_that_is_wrong_is_refused_before_it_serves() {
    let folder = edge_folder();
    let wrong = envoy("envoy/static.yaml", folder.path(), NOBODY.into(), NOBODY.into());
    let wrong = wrong.replace("\"fraction\": 0.10, \"bypass_above\": 0.10", "\"fraction\": 10");
    let path = folder.path().join("envoy.yaml");
    std::fs::write(&path, wrong).unwrap();
    let said = Envoy::validate(&path, &[("LTR_PRIVACY_SALT", SALT)]);
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(!said.status.success(), "{text}");
    assert!(text.contains("sampling.fraction is 10; allowed: 0 to 1"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_filter_a_tenth_is_compared_by_the_gateway_and_scores_come_from_the_edge() {
    for file in ["envoy/static.yaml", "envoy/ecds.yaml"] {
        let ((site, gateway), app, folder) = (comparing().await, Origin::start().await, edge_folder());
        let configuration = envoy(file, folder.path(), app.address(), gateway.address());
        let envoy = Envoy::start_with(&configuration, &[("LTR_PRIVACY_SALT", SALT)]);
        let address = envoy.listener("edge");
        let answers = rank(address, "/rank", REQUESTS).await;
        let seen = app.take();
        assert_eq!(seen.len(), REQUESTS);
        for (answer, seen) in answers.iter().zip(&seen) {
            assert_eq!(
                answer.header("x-request-id"),
                seen.header("x-request-id"),
                "the client is told the id"
            );
        }
        settled(&envoy).await;
        assert_eq!(
            envoy.stat("ltr_edge_not_chosen_total"),
            Some(0),
            "{file}: what is not chosen goes past the filter"
        );
        let copies = envoy.stat("ltr_edge_mirror_answered_total").unwrap() as usize;
        assert!(copies > 0, "{file}: {}", envoy.admin("/stats?filter=ltr_edge"));
        assert_eq!(compared(&site).await, copies, "{file}");
        assert_eq!(site.number("SELECT count(*) FROM match_events").await, 0, "{file}");

        let row: serde_json::Map<String, serde_json::Value> = ranking::features::DEFAULT_FEATURES
            .iter()
            .map(|name| ((*name).to_owned(), serde_json::json!(0.5)))
            .collect();
        assert_eq!(row.len(), WIDTH);
        let body = serde_json::json!({ "features": row }).to_string();
        let answer = client::send(address, Protocol::Http1, post("/ltr/score", &[], body)).await;
        assert_eq!(answer.status, 200, "{file}: {answer:?}");
        assert_eq!(envoy.stat("ltr_edge_scored_total"), Some(1), "{file}");
    }
}

/// What the page says of native mirroring: a tenth is copied, and neither id nor header tells the copy from a request.
#[tokio::test(flavor = "multi_thread")]
async fn native_mirroring_copies_a_tenth_and_does_not_say_so() {
    let (app, shadow, folder) = (Origin::start().await, Origin::start().await, edge_folder());
    let configuration = envoy(
        "envoy/native-mirroring.yaml",
        folder.path(),
        app.address(),
        shadow.address(),
    );
    let envoy = Envoy::start(&configuration);
    rank(envoy.listener("edge"), "/rank", REQUESTS).await;
    let copies = shadow.wait_for(1).await;
    assert!(copies.len() < REQUESTS / 2, "{} copies", copies.len());
    assert!(copies.iter().all(|copy| copy.header("x-ltr-edge-copy").is_none()));
    assert!(copies.iter().all(|copy| copy.header("authorization").is_some()));
    assert!(
        copies
            .iter()
            .all(|copy| copy.header("host").unwrap().ends_with(b"-shadow"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_marks_a_tenth_for_the_gateway_and_lets_no_client_do_so() {
    let (site, gateway) = comparing().await;
    let nobody = SocketAddr::from(NOBODY);
    let server = Nginx::start(|listen| nginx("nginx/mark.conf", listen, gateway.address(), nobody));
    rank(server.address(), "/rank", REQUESTS).await;
    let marked = compared(&site).await;
    assert!((1..REQUESTS / 2).contains(&marked), "{marked} of {REQUESTS}");
    assert_eq!(
        site.number("SELECT count(*) FROM match_events").await as usize,
        REQUESTS
    );

    let app = Origin::start().await;
    let server = Nginx::start(|listen| nginx("nginx/mark.conf", listen, app.address(), nobody));
    let own: [(&str, &[u8]); 3] = [
        ("x-shadow-ltr", b"1"),
        ("x-ltr-edge-copy", b"1"),
        ("x-request-id", b"mine"),
    ];
    for _ in 0..REQUESTS {
        let opted_out = [own[0], own[1], own[2], ("x-ltr-opt-out", b"1" as &[u8])];
        client::send(server.address(), Protocol::Http1, post("/rank", &opted_out, "{}")).await;
    }
    for seen in app.take() {
        assert_eq!(
            (seen.header("x-shadow-ltr"), seen.header("x-ltr-edge-copy")),
            (None, None),
            "{seen:?}"
        );
        assert_ne!(seen.header("x-request-id"), Some(&b"mine"[..]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_copies_a_tenth_which_the_gateway_takes_for_copies() {
    let ((site, gateway), app) = (comparing().await, Origin::start().await);
    let server = Nginx::start(|listen| nginx("nginx/mirror.conf", listen, app.address(), gateway.address()));
    rank(server.address(), "/rank", REQUESTS).await;
    let seen = app.take();
    assert_eq!(seen.len(), REQUESTS);
    let start = std::time::Instant::now();
    while compared(&site).await == 0 {
        assert!(start.elapsed() < PATIENCE, "{}", server.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let copies = compared(&site).await;
    assert!(copies < REQUESTS / 2, "{copies} of {REQUESTS}");
    assert_eq!(site.number("SELECT count(*) FROM match_events").await, 0);
}

/// And if no shadow is there, nobody but the copy notices.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_serves_without_a_shadow() {
    let app = Origin::start().await;
    let server = Nginx::start(|listen| nginx("nginx/mirror.conf", listen, app.address(), NOBODY.into()));
    rank(server.address(), "/rank", REQUESTS).await;
    assert_eq!(app.take().len(), REQUESTS);
}

use std::os::unix::fs::symlink;

use proxy_filter::Config;
use tempfile::TempDir;

use super::*;

const SALT: &str = "0123456789abcdef0123456789abcdef";
const A: &str = "20261001T021500Z";
const B: &str = "20261002T021500Z";
const C: &str = "20261003T021500Z";

/// The configuration of a filter that marks and scores.
fn own() -> Value {
    json!({
        "sampling": {"salt": "ltr-shadow-v1", "fraction": 0.1},
        "routes": [
            {"path_prefix": "/ltr/score", "method": "POST", "modes": ["score"]},
            {"path_prefix": "/", "method": "POST", "modes": ["mark"]},
        ],
        "score": {"max_body_bytes": 262_144, "max_rows": 1_000, "max_json_depth": 32, "tokens_sha256": []},
    })
}

fn template(own: &str) -> Value {
    json!({"version_info": "template", "resources": [{
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": "ltr",
        "typed_config": {"config": {
            "vm_config": {"code": {"local": {"filename": "/etc/envoy/ltr/any.wasm"}}},
            "configuration": {"value": own},
        }},
    }]})
}

/// A directory as an operator prepares it; Envoys see it under another path.
fn watched() -> (TempDir, EdgeDir) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(TEMPLATE), template(&own().to_string()).to_string()).unwrap();
    let edge = EdgeDir::open(dir.path()).unwrap();
    (dir, edge)
}

fn filter(version: &str) -> EdgeFilter {
    EdgeFilter {
        version: version.to_owned(),
        wasm: format!("filter of {version}").into_bytes(),
    }
}

fn model(state_version: u64, version: &str) -> Offer {
    Offer {
        state_version,
        turn: Turn::InOrder,
        what: Offered::Model(filter(version)),
    }
}

fn nothing(state_version: u64) -> Offer {
    nothing_with(state_version, None)
}

fn nothing_with(state_version: u64, spare: Option<&str>) -> Offer {
    let spare = spare.map(filter);
    Offer {
        state_version,
        turn: Turn::InOrder,
        what: Offered::Nothing { spare },
    }
}

fn by(turn: Turn, offer: Offer) -> Offer {
    Offer { turn, ..offer }
}

fn discovery(dir: &TempDir) -> Value {
    serde_json::from_slice(&fs::read(dir.path().join(DISCOVERY)).unwrap()).unwrap()
}

/// What Envoys are told: the version, and the filter's file as they see it.
fn told(dir: &TempDir) -> (String, String) {
    let discovery = discovery(dir);
    let filename = text_at(&discovery, FILENAME).unwrap();
    (discovery["version_info"].as_str().unwrap().into(), filename.into())
}

fn seen(version: &str) -> String {
    format!("/etc/envoy/ltr/edge-filter-{version}.wasm")
}

/// The filter's own configuration as it is offered.
fn offered_configuration(dir: &TempDir) -> Value {
    let discovery = discovery(dir);
    let own = text_at(&discovery, CONFIGURATION).unwrap();
    Config::read(own.as_bytes(), |_| Some(SALT.to_owned())).unwrap();
    serde_json::from_str(own).unwrap()
}

fn scores(dir: &TempDir) -> bool {
    offered_configuration(dir)["score"]["tokens_sha256"] == json!([])
}

fn filters(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".wasm")).collect();
    names.sort();
    names
}

#[test]
fn a_filter_is_offered_after_its_file_is_written_and_the_one_before_stays() {
    let (dir, edge) = watched();
    for (state, version) in [(3, A), (4, B), (7, C)] {
        assert_eq!(edge.offer(&model(state, version)).unwrap(), Outcome::Written(state));
        assert_eq!(told(&dir), (format!("{state}.1-{version}"), seen(version)));
        let file = dir.path().join(format!("edge-filter-{version}.wasm"));
        assert_eq!(fs::read(file).unwrap(), filter(version).wasm);
        assert_eq!(offered_configuration(&dir), own(), "the rest is the operator's");
    }
    let expected = [B, C].map(|version| format!("edge-filter-{version}.wasm"));
    assert_eq!(filters(&dir), expected, "this one, and the one before");
}

#[test]
fn what_is_offered_already_is_not_written_again_and_a_new_state_is_put_on_record() {
    let (dir, edge) = watched();
    assert_eq!(edge.offer(&model(3, A)).unwrap(), Outcome::Written(3));
    let before = fs::metadata(dir.path().join(DISCOVERY)).unwrap().modified().unwrap();
    assert_eq!(edge.offer(&model(3, A)).unwrap(), Outcome::Same);
    let after = fs::metadata(dir.path().join(DISCOVERY)).unwrap().modified().unwrap();
    assert_eq!(before, after);
    // Another weight, the same champion.
    let resources = discovery(&dir)["resources"].clone();
    assert_eq!(edge.offer(&model(4, A)).unwrap(), Outcome::Written(4));
    assert_eq!(told(&dir).0, format!("4.1-{A}"));
    assert_eq!(discovery(&dir)["resources"], resources, "nothing to load for Envoy");
    // A damaged file is put right, and Envoy is told to look again.
    fs::write(dir.path().join(format!("edge-filter-{A}.wasm")), "filter").unwrap();
    assert_eq!(edge.offer(&model(4, A)).unwrap(), Outcome::Written(4));
    assert_eq!(told(&dir).0, format!("4.2-{A}"));
    // The operator has changed the template, and the gateway was started again.
    let changed = template(&own().to_string().replace("0.1", "0.2")).to_string();
    fs::write(dir.path().join(TEMPLATE), changed).unwrap();
    assert_eq!(
        EdgeDir::open(dir.path()).unwrap().offer(&model(4, A)).unwrap(),
        Outcome::Written(4)
    );
    assert_eq!(offered_configuration(&dir)["sampling"]["fraction"], 0.2);
}

#[test]
fn a_gateway_that_lags_replaces_nothing_and_within_a_state_the_latest_offer_counts() {
    let (dir, edge) = watched();
    assert_eq!(edge.offer(&model(9, A)).unwrap(), Outcome::Written(9));
    for late in [model(8, B), nothing(8), model(0, A)] {
        assert_eq!(edge.offer(&late).unwrap(), Outcome::Later(9));
    }
    assert_eq!(told(&dir), (format!("9.1-{A}"), seen(A)));
    assert_eq!(filters(&dir).len(), 1, "nothing of a late offer is written");
    // The kill switch, on and off and on.
    assert_eq!(edge.offer(&nothing(9)).unwrap(), Outcome::Written(9));
    assert_eq!((told(&dir).0.as_str(), scores(&dir)), ("9.2-off", false));
    assert_eq!(edge.offer(&nothing(9)).unwrap(), Outcome::Same);
    assert_eq!(edge.offer(&model(9, A)).unwrap(), Outcome::Written(9));
    assert_eq!((told(&dir).0, scores(&dir)), (format!("9.3-{A}"), true));
    assert_eq!(edge.offer(&nothing(9)).unwrap(), Outcome::Written(9));
    assert_eq!(told(&dir).0, "9.4-off");
    // A later state beats every count. State 10 follows 9, although "10" does not follow "9".
    assert_eq!(edge.offer(&model(10, B)).unwrap(), Outcome::Written(10));
    assert_eq!(told(&dir), (format!("10.1-{B}"), seen(B)));
}

#[test]
fn the_kill_switch_of_a_gateway_that_lags_goes_first_and_is_taken_back_by_the_same_state() {
    let (dir, edge) = watched();
    let off = by(Turn::First, nothing(2));
    edge.offer(&model(9, A)).unwrap();
    assert_eq!(edge.offer(&off).unwrap(), Outcome::Written(9));
    assert_eq!((told(&dir).0.as_str(), scores(&dir)), ("9.2-off", false));
    assert_eq!(edge.offer(&off).unwrap(), Outcome::Same);
    assert_eq!(edge.offer(&model(9, A)).unwrap(), Outcome::Written(9));
    assert!(scores(&dir));
}

#[test]
fn a_rollback_that_is_not_on_record_is_not_taken_back_by_what_others_serve_meanwhile() {
    let (dir, edge) = watched();
    let off = |of| by(Turn::Ahead { of }, nothing(2));
    edge.offer(&model(9, A)).unwrap();
    assert_eq!(edge.offer(&off(None)).unwrap(), Outcome::Written(10));
    assert_eq!(edge.offer(&off(Some(10))).unwrap(), Outcome::Same);
    // Two gateways that both have one do not outbid each other.
    assert_eq!(edge.offer(&off(None)).unwrap(), Outcome::Written(11));
    assert_eq!(edge.offer(&off(Some(10))).unwrap(), Outcome::Same);
    assert_eq!(edge.offer(&off(Some(11))).unwrap(), Outcome::Same);
    edge.offer(&by(Turn::Anew, nothing(9))).unwrap();
    assert_eq!(edge.offer(&off(None)).unwrap(), Outcome::Written(10));
    assert_eq!(edge.offer(&model(9, A)).unwrap(), Outcome::Later(10));
    assert!(!scores(&dir));
    // On record it is state 10, or a later one.
    assert_eq!(edge.offer(&nothing(10)).unwrap(), Outcome::Same);
    assert_eq!(edge.offer(&model(11, A)).unwrap(), Outcome::Written(11));
    // Somebody else's "off" may be taken back by them, so it is not this one.
    edge.offer(&by(Turn::First, nothing(2))).unwrap();
    assert_eq!(edge.offer(&off(None)).unwrap(), Outcome::Written(12));
    assert_eq!(edge.offer(&model(11, A)).unwrap(), Outcome::Later(12));
    // The first offer of all.
    let (dir, edge) = watched();
    let first = by(Turn::Ahead { of: None }, nothing_with(0, Some(A)));
    assert_eq!(edge.offer(&first).unwrap(), Outcome::Written(1));
    assert_eq!(told(&dir).0, "1.1-off");
}

#[test]
fn after_the_record_was_replaced_the_order_begins_anew() {
    let (dir, edge) = watched();
    let off = by(Turn::Anew, nothing(4));
    edge.offer(&model(9, A)).unwrap();
    edge.offer(&nothing(9)).unwrap();
    // The same is offered, of another state.
    assert_eq!(edge.offer(&off).unwrap(), Outcome::Written(4));
    assert_eq!(told(&dir).0, "4.3-off");
    assert_eq!(edge.offer(&off).unwrap(), Outcome::Same);
    assert_eq!(edge.offer(&model(3, A)).unwrap(), Outcome::Later(4));
    assert_eq!(edge.offer(&model(5, B)).unwrap(), Outcome::Written(5));
    assert!(scores(&dir));
}

#[test]
fn scoring_nothing_leaves_filter_and_routes_and_accepts_no_token() {
    let (dir, edge) = watched();
    edge.offer(&model(1, A)).unwrap();
    edge.offer(&nothing(2)).unwrap();
    assert_eq!(told(&dir), ("2.1-off".into(), seen(A)));
    let mut expected = own();
    expected["score"]["tokens_sha256"] = json!([NOBODYS_TOKEN]);
    assert_eq!(offered_configuration(&dir), expected);
}

#[test]
fn every_configuration_can_be_changed_to_score_nothing() {
    let shipped = include_str!("../../../../deploy/envoy/ecds.template.json");
    let shipped: Value = serde_json::from_str(shipped).unwrap();
    let mut only_scores = own();
    only_scores["routes"].as_array_mut().unwrap().pop();
    let only_marks = json!({
        "sampling": {"salt": "s", "fraction": 1},
        "routes": [{"path_prefix": "/", "method": "GET", "modes": ["mark"]}],
    });
    for own in [
        text_at(&shipped, CONFIGURATION).unwrap().to_owned(),
        only_scores.to_string(),
        only_marks.to_string(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(TEMPLATE), template(&own).to_string()).unwrap();
        let edge = EdgeDir::open(dir.path()).unwrap();
        edge.offer(&nothing_with(1, Some(A))).unwrap();
        // Reads it as the filter would.
        let before: Value = serde_json::from_str(&own).unwrap();
        assert_eq!(offered_configuration(&dir)["routes"], before["routes"]);
    }
}

#[test]
fn without_any_filter_the_directory_is_left_alone() {
    let (dir, edge) = watched();
    assert!(!edge.has_filter());
    assert_eq!(edge.offer(&nothing(5)).unwrap(), Outcome::Same);
    assert!(!dir.path().join(DISCOVERY).exists());
    // The first model is published, and not yet promoted.
    assert_eq!(edge.offer(&nothing_with(6, Some(A))).unwrap(), Outcome::Written(6));
    assert_eq!((told(&dir), scores(&dir)), (("6.1-off".into(), seen(A)), false));
    assert!(edge.has_filter());
    // The offered filter stays.
    assert_eq!(edge.offer(&nothing_with(7, Some(B))).unwrap(), Outcome::Written(7));
    assert_eq!(told(&dir), ("7.1-off".into(), seen(A)));
}

#[test]
fn an_operators_own_filter_stops_scoring_too() {
    let (dir, edge) = watched();
    fs::write(dir.path().join("first.wasm"), "first").unwrap();
    let mut own = template(&own().to_string());
    *own.pointer_mut(FILENAME).unwrap() = "/etc/envoy/ltr/first.wasm".into();
    own["version_info"] = A.into();
    fs::write(dir.path().join(DISCOVERY), own.to_string()).unwrap();
    assert_eq!(edge.offer(&nothing(0)).unwrap(), Outcome::Written(0));
    assert_eq!(told(&dir), ("0.1-off".into(), "/etc/envoy/ltr/first.wasm".into()));
    assert!(!scores(&dir));
}

#[test]
fn if_nobody_can_read_which_filter_envoys_have_the_newest_one_stops_scoring() {
    let (dir, edge) = watched();
    edge.offer(&model(1, B)).unwrap();
    edge.offer(&model(2, A)).unwrap();
    fs::remove_file(dir.path().join(DISCOVERY)).unwrap();
    assert_eq!(edge.offer(&nothing(0)).unwrap(), Outcome::Written(0));
    assert_eq!((told(&dir).1, scores(&dir)), (seen(A), false));
    // Envoys have a filter, and there is none to put in its place.
    for name in filters(&dir) {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let error = format!("{:#}", edge.offer(&nothing(3)).unwrap_err());
    assert!(
        error.contains("rollout.edge_dir") && error.contains(DISCOVERY),
        "{error}"
    );
}

#[test]
fn whatever_is_in_the_place_of_the_discovery_response_the_next_offer_replaces_it() {
    let deep = "[".repeat(100_000);
    let foreign = |version: Value| {
        let mut discovery = template("{}");
        discovery["version_info"] = version;
        discovery.to_string()
    };
    let garbled: [String; 12] = [
        String::new(),
        "\0".into(),
        "{".into(),
        "[1]".into(),
        "7".into(),
        "\"text\"".into(),
        deep,
        json!({"version_info": "9.9-x", "resources": 3})
            .to_string()
            .replace("9.9", "-9.9"),
        foreign(json!(99)),
        foreign(json!("99999999999999999999999.1-x")),
        foreign(json!("99-x")),
        foreign(json!("20261001T021500Z")),
    ];
    for text in garbled {
        let (dir, edge) = watched();
        fs::write(dir.path().join(DISCOVERY), &text).unwrap();
        assert_eq!(edge.offer(&model(1, A)).unwrap(), Outcome::Written(1), "{text:.40}");
        assert_eq!(told(&dir), (format!("1.1-{A}"), seen(A)), "{text:.40}");
    }
    let (dir, edge) = watched();
    let at = |name: &str| dir.path().join(name);
    let made = std::process::Command::new("mkfifo").arg(at(DISCOVERY)).status();
    assert!(made.unwrap().success());
    assert_eq!(edge.offer(&model(1, A)).unwrap(), Outcome::Written(1));
    fs::remove_file(at(DISCOVERY)).unwrap();
    symlink("/dev/zero", at(DISCOVERY)).unwrap();
    assert_eq!(edge.offer(&model(1, B)).unwrap(), Outcome::Written(1));
    assert_eq!(told(&dir).1, seen(B));
    fs::File::create(at(DISCOVERY)).unwrap().set_len(20 << 30).unwrap();
    assert_eq!(edge.offer(&model(1, C)).unwrap(), Outcome::Written(1));
    assert_eq!(told(&dir).1, seen(C));
}

#[test]
fn a_name_leads_nowhere_else() {
    let (dir, edge) = watched();
    for version in ["../outside", "", "a/b", ".hidden"] {
        let error = format!("{:#}", edge.offer(&model(1, version)).unwrap_err());
        assert!(error.contains("is not an artefact version"), "{error}");
    }
    // A link in the place of the filter is replaced, and what it leads to stays.
    let outside = tempfile::NamedTempFile::new().unwrap();
    symlink(outside.path(), dir.path().join(format!("edge-filter-{A}.wasm"))).unwrap();
    edge.offer(&model(1, A)).unwrap();
    assert_eq!(fs::read(outside.path()).unwrap(), b"");
    assert_eq!(
        fs::read(dir.path().join(format!("edge-filter-{A}.wasm"))).unwrap(),
        filter(A).wasm
    );
}

#[test]
fn gateways_that_share_the_directory_take_turns() {
    let (dir, _) = watched();
    let offers = |from: u64| {
        let edge = EdgeDir::open(dir.path()).unwrap();
        move || {
            for state in (from..40).step_by(4) {
                edge.offer(&model(state, A)).unwrap();
            }
        }
    };
    let gateways: Vec<_> = (0..4).map(|from| std::thread::spawn(offers(from))).collect();
    for gateway in gateways {
        gateway.join().unwrap();
    }
    assert_eq!(
        told(&dir).0,
        format!("39.1-{A}"),
        "whoever was last, the latest state counts"
    );
}

#[test]
fn a_directory_without_a_usable_template_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = || format!("{:#}", EdgeDir::open(dir.path()).err().unwrap());
    assert!(refused().contains(TEMPLATE), "{}", refused());
    let with_own = |own: &str| template(own).to_string();
    let mut structured = template("");
    *structured.pointer_mut(CONFIGURATION).unwrap() = own();
    for (wrong, expected) in [
        ("no JSON".to_owned(), TEMPLATE),
        ("{\"resources\": []}".to_owned(), FILENAME),
        ("{\"resources\": [{}]}".to_owned(), FILENAME),
        ("[]".to_owned(), FILENAME),
        (structured.to_string(), CONFIGURATION),
        (with_own("no JSON"), CONFIGURATION),
        (with_own("[]"), "allowed: an object"),
        (with_own("{\"score\": true}"), "score is true; allowed: an object"),
    ] {
        fs::write(dir.path().join(TEMPLATE), &wrong).unwrap();
        let text = refused();
        assert!(
            text.contains("rollout.edge_dir") && text.contains(expected),
            "{wrong}: {text}"
        );
    }
}

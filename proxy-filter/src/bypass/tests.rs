use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;
use uuid::Uuid;
use xxhash_rust::xxh64::xxh64;

use super::*;
use crate::exchange::{Exchange, Filter};
use crate::proxy::{Counter, Next};
use crate::testing::Fake;

#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Id,
    User,
}

/// Samples `fraction` of the requests; above the share `bypass_above` they skip the filter.
fn config(by: By, [fraction, bypass_above]: [f64; 2]) -> Config {
    let mut json = json!({
        "sampling": {
            "salt": "ltr-shadow-v1", "fraction": fraction, "bypass_above": bypass_above,
        },
        "trusted": { "cidrs": ["127.0.0.0/8"] },
        "routes": [
            { "path_prefix": "/ltr/score", "method": "POST", "modes": ["score"] },
            { "path_prefix": "/rank/both", "method": "POST", "modes": ["mark", "mirror"] },
            { "path_prefix": "/rank", "method": "POST", "modes": ["mark"] },
            { "path_prefix": "/", "method": "POST", "modes": ["mirror"] },
        ],
        "mirror": {
            "cluster": "shadow", "headers": [], "max_body_bytes": 1000, "max_in_flight": 2, "timeout_ms": 1000,
            "personal": {},
        },
        "score": { "max_body_bytes": 1000, "max_rows": 3, "max_json_depth": 32, "tokens_sha256": [] },
    });
    if by == By::User {
        json["sampling"]["key_header"] = json!("x-user-id");
    }
    Config::read(json.to_string().as_bytes(), |_| None).unwrap()
}

/// Evaluates a predicate as Envoy's documentation describes it.
fn holds(predicate: &Value, headers: &BTreeMap<String, Vec<u8>>) -> bool {
    let (kind, what) = predicate.as_object().unwrap().iter().next().unwrap();
    match kind.as_str() {
        "and_matcher" => what["predicate"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| holds(one, headers)),
        "not_matcher" => !holds(what, headers),
        "single_predicate" => {
            let name = what["input"]["typed_config"]["header_name"].as_str().unwrap();
            headers.get(name).is_some_and(|value| matches(what, value))
        }
        other => panic!("{other}"),
    }
}

fn matches(single: &Value, value: &[u8]) -> bool {
    let hash = &single["custom_match"]["typed_config"];
    if let Some(threshold) = hash["threshold"].as_u64() {
        let seed = hash["seed"].as_str().unwrap().parse().unwrap();
        return xxh64(value, seed) % hash["modulo"].as_u64().unwrap() >= threshold;
    }
    if let Some(prefix) = single["value_match"]["prefix"].as_str() {
        return value.starts_with(prefix.as_bytes());
    }
    match single["value_match"]["safe_regex"]["regex"].as_str().unwrap() {
        PLAIN_ID => {
            let groups: Vec<&[u8]> = value.split(|byte| *byte == b'-').collect();
            let hexadecimal = |group: &&[u8]| group.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            groups.len() > 2 && groups.iter().all(hexadecimal) && groups[2].starts_with(b"4")
        }
        PLAIN_KEY => !value.is_empty() && !value.contains(&b',') && std::str::from_utf8(value).is_ok(),
        ANYTHING => true,
        other => panic!("{other}"),
    }
}

/// Whether the filter does more with a request than count that it is not sampled.
fn does_something(config: Config, proxy: &Fake) -> bool {
    let before = proxy.headers.borrow().clone();
    let mut exchange = Exchange::new(Rc::new(Filter::new(config, None)));
    let next = exchange.headers(proxy, true);
    let counted = proxy.counts.borrow();
    let silent = [Counter::NotChosen, Counter::OptedOut, Counter::NoKey].map(Counter::name);
    next != Next::Continue || *proxy.headers.borrow() != before || counted.keys().any(|name| !silent.contains(name))
}

/// Ids in every form that clients send, and values that are not ids.
fn id() -> impl Strategy<Value = Vec<u8>> {
    let form = |(bits, form, character): (u128, u8, char)| {
        let id = Uuid::from_u128(bits);
        let mut text = id.to_string();
        text.replace_range(14..15, &character.to_string());
        match form {
            0 => text.to_uppercase(),
            1 => text.replace('-', ""),
            2 => format!("{{{text}}}"),
            3 => format!("urn:uuid:{text}"),
            4 => format!("{text},{text}"),
            5 => text.replacen('-', "0-", 1),
            _ => text,
        }
        .into_bytes()
    };
    let ids = (
        any::<u128>(),
        0u8..12,
        prop::sample::select(vec!['4', '4', '4', '9', 'a', 'b', '1']),
    )
        .prop_map(form);
    prop_oneof![9 => ids, 1 => any::<Vec<u8>>()]
}

fn requests() -> impl Strategy<Value = Fake> {
    let path = prop::sample::select(vec![
        "/",
        "/rank",
        "/rank?x=1",
        "/rank/other",
        "/ranking",
        "/rank/both",
        "/rank/both/x",
        "/rank/bothx",
        "/ltr/score",
        "/ltr/score?x",
        "/ltr/scores",
    ]);
    let method = prop_oneof![9 => Just("POST"), 1 => Just("GET")];
    let others = [SHADOW, EDGE_COPY, FRACTION, "x-ltr-opt-out"].map(|name| {
        let value = prop_oneof![Just(b"1".to_vec()), Just(Vec::new()), any::<Vec<u8>>()];
        prop::option::weighted(0.1, value).prop_map(move |value| (name, value))
    });
    let user = prop::option::weighted(0.9, "[a-c,]{0,3}");
    let id = prop::option::weighted(0.9, id());
    (method, path, id, user, others).prop_map(|(method, path, id, user, others)| {
        let mut proxy = Fake::post(path).with(":method", method).without("x-request-id");
        let headers = [("x-request-id", id), ("x-user-id", user.map(String::into_bytes))];
        for (name, value) in headers.into_iter().chain(others) {
            if let Some(value) = value {
                proxy = proxy.with(name, value);
            }
        }
        proxy
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn the_filter_would_not_change_what_skips_it(
        proxy in requests(), by in prop::sample::select(vec![By::Id, By::User]),
        mut shares in prop::array::uniform2(0.0f64..=1.0)
    ) {
        shares.sort_by(f64::total_cmp);
        let config = config(by, shares);
        let skips = holds(&config.bypass().unwrap(), &proxy.headers.borrow());
        prop_assert!(!skips || !does_something(config, &proxy));
    }
}

#[test]
fn nine_requests_in_ten_skip_the_filter() {
    let predicate = config(By::Id, [0.1, 0.1]).bypass().unwrap();
    let request = |at: u128| {
        let spread = (at + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        let id = uuid::Builder::from_random_bytes(spread.to_be_bytes()).into_uuid();
        Fake::post("/rank").with("x-request-id", id.to_string())
    };
    let skipping = (0..10_000).filter(|at| holds(&predicate, &request(*at).headers.borrow()));
    // Five standard deviations of a binomial.
    assert!((8850..=9150).contains(&skipping.count()));
}

#[test]
fn without_sampling_only_scores_go_through_the_filter() {
    let routes = json!([{ "path_prefix": "/ltr/score", "method": "POST", "modes": ["score"] }]);
    let score = json!({ "max_body_bytes": 1, "max_rows": 1, "max_json_depth": 4, "tokens_sha256": [] });
    let json = json!({ "routes": routes, "score": score });
    let predicate = Config::read(json.to_string().as_bytes(), |_| None)
        .unwrap()
        .bypass()
        .unwrap();
    let skips = |proxy: Fake| holds(&predicate, &proxy.headers.borrow());
    assert!(skips(Fake::post("/rank")) && !skips(Fake::post("/ltr/score?x")));
    assert!(!skips(Fake::post("/rank").with(SHADOW, b"\xff")));
}

#[test]
fn a_configuration_that_samples_needs_bypass_above() {
    let json = json!({
        "sampling": { "salt": "s", "fraction": 0.1 },
        "routes": [{ "path_prefix": "/", "method": "GET", "modes": ["mark"] }],
    });
    let config = Config::read(json.to_string().as_bytes(), |_| None).unwrap();
    let sentence = config.bypass().unwrap_err().to_string();
    assert!(
        sentence.starts_with("sampling.bypass_above is absent; allowed: "),
        "{sentence}"
    );
}

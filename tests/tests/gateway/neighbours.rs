//! Swaps of neighbours, from the coin in a request to what the rollout says of position bias.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use evil::Behaviour;
use serde_json::{Value, json};
use testkit::PATIENCE;
use uuid::Uuid;

use crate::harness::{Gateway, Site, case, click, id, lawyer};

const CASES: usize = 300;

/// A case of a user of its own, with two lawyers who differ in the legacy score alone, and a busy one far behind.
fn close(name: &str) -> Value {
    let mut body = case(name, 3);
    body["case"]["user_id"] = json!(id(&format!("user of {name}")));
    for (at, (value, cases)) in [(0.90, 3), (0.89, 3), (0.10, 29)].into_iter().enumerate() {
        let mut lawyer = lawyer(at);
        let features = lawyer["features"].as_object_mut().unwrap();
        features.values_mut().for_each(|feature| *feature = json!(value));
        lawyer["cases_30d"] = json!(cases);
        lawyer["groups"] = json!({ "gender": "F" });
        body["lawyers"][at] = lawyer;
    }
    body
}

async fn shown(gateway: &Gateway, name: &str, request: Uuid) -> Vec<String> {
    let body = close(name).to_string().into();
    let answer = gateway
        .post("/rank", &[("x-request-id", &request.to_string())], body)
        .await;
    assert_eq!((answer.status, &*answer.logged), (200, "committed"), "{answer:?}");
    let ranking = answer.body["ranking"].as_array().unwrap();
    ranking
        .iter()
        .map(|place| place["lawyer_id"].as_str().unwrap().to_owned())
        .collect()
}

/// The nightly counts, at a time when every window is closed.
fn etl(site: &Site) {
    let program = site.command().get_program().to_owned();
    let program = std::path::Path::new(&program).with_file_name("ltr-trainer");
    let as_of = (Utc::now() + TimeDelta::days(30)).to_rfc3339();
    let done = Command::new(&program)
        .args(["etl", "--as-of", &as_of])
        .current_dir(site.path())
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{} is built by `make build`: {error}", program.display()));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
}

#[tokio::test]
async fn a_fair_coin_swaps_the_first_two_and_the_rollout_learns_how_attention_falls() {
    let site = Site::patient().with("LTR_SWAPS__SHARE", "1");
    site.publish("20261001T021500Z", Behaviour::Honest);
    let gateway = site.start().await;
    let (mut swapped, mut orders) = (0, BTreeSet::new());
    for number in 0..CASES {
        let (name, request) = (number.to_string(), id(&format!("request {number}")));
        let order = shown(&gateway, &name, request).await;
        assert_eq!(
            order,
            shown(&gateway, &name, request).await,
            "a retry gets the same list"
        );
        swapped += usize::from(order[0] == "adv_1");
        // Clients look at the first place twice as often as at the second, whoever stands there.
        let place = 1 + usize::from(number % 3 == 2);
        let clicked = click(
            id(&format!("click {number}")),
            &close(&name),
            &json!(order[place - 1]),
            place as u64,
        );
        let answer = gateway.post("/events", &[], clicked.to_string().into()).await;
        assert_eq!((answer.status, &answer.body["unbound"]), (200, &json!(0)), "{answer:?}");
        orders.insert(order);
    }
    // Half of 300, within five standard deviations.
    assert!((107..=193).contains(&swapped), "{swapped}");
    let [plain, other] = [["adv_0", "adv_1", "adv_2"], ["adv_1", "adv_0", "adv_2"]];
    let expected = [plain, other].map(|order| order.map(str::to_owned).to_vec());
    assert_eq!(orders, BTreeSet::from(expected));
    etl(&site);
    let start = Instant::now();
    let known = loop {
        let known = gateway.json("/rollout").await["propensities"].take();
        if known["swaps"] == CASES {
            break known;
        }
        assert!(start.elapsed() < PATIENCE, "{known:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(
        known["pairs"],
        json!([{ "pair": [1, 2], "tosses": CASES, "clicks": [200, 100] }])
    );
    assert!(
        (known["eta"]["estimate"].as_f64().unwrap() - 1.0).abs() < 1e-9,
        "{known:#}"
    );
    assert_eq!(known["identified"], true, "{known:#}");
}

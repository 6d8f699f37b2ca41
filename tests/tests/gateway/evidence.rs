//! What stands beside the verdict, end to end: cases are ranked and clicked, a night closes their day, and the gateway shows
//! what it says.

use std::process::{Command, Output};
use std::time::Instant;

use chrono::{DateTime, Duration, Utc};
use evil::Behaviour;
use serde_json::{Value, json};
use sqlx::SqlSafeStr;
use testkit::PATIENCE;

use crate::harness::{Client, Gateway, LARGE, Site, TOKEN, case, click, id};

const MODEL: &str = "20261001T021500Z";
const CASES: usize = 24;
/// Places of each list.
const PLACES: usize = 5;

/// A program that lies beside the tests, in the site's directory.
fn program(site: &Site, name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().parent().unwrap().join(name);
    assert!(
        program.exists(),
        "{} is missing; build it with `make build`",
        program.display()
    );
    let mut command = Command::new(program);
    command.current_dir(site.path()).env_clear();
    command
}

fn done(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn night(site: &Site, as_of: DateTime<Utc>) {
    let mut etl = program(site, "ltr-trainer");
    done(etl.args(["etl", "--as-of", &as_of.to_rfc3339()]).output().unwrap());
}

/// A case of a user of its own, whose lawyers have agreed to the use of their groups.
fn own_case(number: usize) -> Value {
    let mut case = case(&format!("of evidence {number}"), LARGE);
    case["case"]["user_id"] = json!(id(&format!("user {number}")));
    case["top_n"] = json!(PLACES);
    for lawyer in case["lawyers"].as_array_mut().unwrap() {
        lawyer["groups_consented_at"] = json!("2026-01-05T09:00:00Z");
    }
    case
}

/// Ranks the cases. Every second client clicks on the first lawyer; the first one signs with somebody who was not shown.
async fn clients(client: &Client) {
    let mut actions = Vec::new();
    for number in 0..CASES {
        let case = own_case(number);
        let answer = client.rank(&case).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let first = &answer.body["ranking"][0]["lawyer_id"];
        if number % 2 == 0 {
            actions.push(click(id(&format!("click {number}")), &case, first, 1));
        }
        if number == 0 {
            let mut other = click(id("contract"), &case, &json!("adv_of_another_market"), 1);
            other["event"] = json!("contract_signed");
            actions.push(other);
        }
    }
    let answer = client.post("/events", &[], json!(actions).to_string().into()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Waits until a closed day is shown.
async fn shown(client: &Client) -> Value {
    let start = Instant::now();
    loop {
        let evidence = client.json("/rollout/evidence").await;
        if evidence["closed"]["days"] == 1 {
            return evidence;
        }
        assert!(start.elapsed() < PATIENCE, "{evidence:#}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn counts(site: &Site) -> Vec<String> {
    site.texts("SELECT counts FROM ltr_outcome_day").await
}

/// People read the same.
fn page_says_it(site: &Site, gateway: &Gateway) {
    let mut command = program(site, "ltr-host");
    let page = done(
        command
            .args(["rollout", "evidence", "--token", TOKEN, "--url"])
            .arg(format!("http://{}", gateway.address()))
            .output()
            .unwrap(),
    );
    for said in [
        MODEL,
        "all models",
        "known bias: clicks only",
        "gender F",
        "of them on lawyers never displayed",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
}

#[tokio::test]
async fn a_night_closes_the_day_once_and_the_gateway_shows_what_it_says() {
    let site = Site::patient()
        .with("LTR_SHADOW__FRACTION", "1")
        .with("LTR_HOST__SCORE_CHALLENGER", "false");
    site.publish(MODEL, Behaviour::Honest);
    let gateway = site.start().await;
    assert_eq!(gateway.notify(MODEL).await.status, 200);
    // A test that runs over midnight has two days.
    while Utc::now().date_naive() != (Utc::now() + Duration::minutes(1)).date_naive() {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    clients(&gateway).await;
    let as_of = Utc::now() + Duration::days(40);
    night(&site, as_of);

    let evidence = shown(&gateway).await;
    let [of_model, of_all] = &evidence["models"].as_array().unwrap()[..] else {
        panic!("{evidence:#}")
    };
    assert_eq!(
        (&of_model["version"], &of_all["version"]),
        (&json!(MODEL), &Value::Null)
    );
    let values = &of_model["values"];
    assert_eq!(
        (&values["users"], &values["clicks"]),
        (&json!(CASES), &json!(CASES / 2)),
        "{evidence:#}"
    );
    assert_eq!(values["ips"], Value::Null);
    assert!(values["bounds"]["worst"].as_f64().unwrap() < values["bounds"]["best"].as_f64().unwrap());
    assert!(values["reason"].as_str().unwrap().contains("no coin"), "{values:#}");
    let groups = of_model["exposure"].as_array().unwrap();
    let women = groups
        .iter()
        .find(|group| group["group"] == "F" && group["ranking"] == "legacy")
        .unwrap();
    assert_eq!(women["candidates"], json!(CASES * LARGE / 2));
    let of_cases = json!({
        "cases": CASES, "compared": CASES, "actions": CASES / 2 + 1, "actions_unbound": 1, "actions_never_displayed": 1,
        "actions_without_impression": 0, "waiting": { "as_of": as_of, "cases": 0 },
    });
    assert_eq!(evidence["coverage"], of_cases);

    page_says_it(&site, &gateway);

    // What comes later changes nothing, and counting again from the log gives the same.
    let first = counts(&site).await;
    night(&site, as_of + Duration::days(1));
    assert_eq!(counts(&site).await, first);
    std::fs::remove_dir_all(site.path().join("var/lake")).unwrap();
    let mut database = site.database().await;
    let forget = "DELETE FROM ltr_outcome_day".into_sql_str();
    sqlx::query(forget).execute(&mut database).await.unwrap();
    night(&site, as_of);
    assert_eq!(counts(&site).await, first);
}

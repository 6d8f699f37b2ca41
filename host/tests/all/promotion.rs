//! A challenger takes the traffic when the evidence says so, and not before.

use bytes::Bytes;
use chrono::{DateTime, Duration, Utc};
use evil::Behaviour;
use hyper::Method;
use ranking::ShadowRow;
use serde_json::{Value, json};
use store::{Record, ShadowRecord};
use uuid::Uuid;

use crate::{Running, Site, VERSION, case};

pub(crate) const CASES: u128 = 60;

/// Cases in which the client signed with the lawyer whom the challenger had first and legacy had fifth.
pub(crate) async fn good_evidence(running: &Running, at: DateTime<Utc>) {
    evidence(running, at, "adv_5").await;
}

/// Cases up to this time, on five days, in which the client signed with this lawyer, `adv_1` to `adv_5`: legacy ranked them
/// in this order, and the challenger in the opposite one.
pub(crate) async fn evidence(running: &Running, at: DateTime<Utc>, signed: &str) {
    evidence_of(running, |id| at - Duration::days(id as i64 % 5), signed).await;
}

async fn evidence_of(running: &Running, at: impl Fn(u128) -> DateTime<Utc>, signed: &str) {
    let row = |lawyer: u16| ShadowRow {
        lawyer_id: format!("adv_{lawyer}"),
        rank_legacy: lawyer,
        rank_ltr: Some(6 - lawyer),
        label: None,
        fair_legacy: 0.5,
        fair_ltr: Some(0.5),
        groups: Default::default(),
    };
    let record = |id: u128| ShadowRecord {
        trigger: None,
        salt_id: None,
        unknown: Default::default(),
        request_id: Uuid::from_u128(id),
        ts_utc: at(id),
        case_id: Uuid::from_u128(id),
        user_pseudonym: Uuid::from_u128(id),
        model_version: VERSION.into(),
        outcome: ranking::ShadowOutcome::Scored,
        score_us: Some(300),
        rows: (1..=5).map(row).collect(),
    };
    let records: Vec<Record> = (0..CASES).map(|id| Record::Shadow(record(id))).collect();
    running.gateway.store.append(&records).await.unwrap();
    let labels: Vec<_> = (0..CASES)
        .map(|id| (Uuid::from_u128(id), signed.to_owned(), 1.0))
        .collect();
    let cases: Vec<Uuid> = (0..CASES).map(Uuid::from_u128).collect();
    running.gateway.store.label_cases(&cases, &labels).await.unwrap();
}

async fn site_with_challenger() -> (Site, Running) {
    let mut site = Site::new();
    site.settings.rollout.criteria.min_cases = CASES as u64;
    let running = site.start_with(Behaviour::Honest).await;
    (site, running)
}

fn criteria(verdict: &Value) -> Vec<(&str, bool)> {
    let criteria = verdict["criteria"].as_array().unwrap();
    criteria
        .iter()
        .map(|c| (c["name"].as_str().unwrap(), c["passed"].as_bool().unwrap()))
        .collect()
}

#[tokio::test]
async fn without_evidence_a_promotion_is_refused_criterion_by_criterion_and_nothing_changes() {
    let (_site, running) = site_with_challenger().await;
    let answer = running.post("/rollout/promote", &json!({})).await;
    let error = answer.refused(409);
    assert_eq!(error["code"], "verdict");
    let body = answer.json();
    let names: Vec<_> = criteria(&body["verdict"]).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["duration", "users", "hit3", "mrr_gap", "fair_gap", "latency"]);
    assert!(criteria(&body["verdict"]).contains(&("duration", false)));
    assert!(body["verdict"]["criteria"][0]["reason"].is_string());
    let state = running.get("/rollout").await.ok();
    assert_eq!(
        (&state["weight"], &state["champion"], &state["challenger"]),
        (&json!(0), &json!(null), &json!(VERSION))
    );
    assert_eq!(running.rank(&[], &case(1)).await.ok()["source"], "legacy");
}

#[tokio::test]
async fn good_evidence_promotes_the_challenger_and_a_rollback_ends_it_at_once() {
    let (site, running) = site_with_challenger().await;
    good_evidence(&running, Utc::now() - Duration::days(20)).await;
    running.evaluated(Utc::now()).await;
    let status = running.get("/rollout").await.ok();
    assert_eq!(status["evidence"]["cases"], json!(CASES as u64));
    assert_eq!(
        (&status["evidence"]["hit3_legacy"], &status["evidence"]["hit3_ltr"]),
        (&json!(0.0), &json!(1.0))
    );
    assert_eq!(status["verdict"]["promote"], true, "{status:#}");
    running.post("/rollout/promote", &json!({})).await.ok();

    let check = async |running: &Running| {
        running.gateway.release.refresh_snapshot().await.unwrap();
        let state = running.get("/rollout").await.ok();
        assert_eq!(
            (&state["weight"], &state["champion"], &state["challenger"]),
            (&json!(100), &json!(VERSION), &json!(null))
        );
        assert_eq!(state["history"][0]["action"], "promote");
        let answer = running.rank(&[], &case(1)).await.ok();
        assert_eq!(
            (&answer["source"], &answer["model_version"]),
            (&json!("ltr"), &json!(VERSION))
        );
        assert_eq!(running.metric("ltr_rollout_weight").await, 100.0);
    };
    check(&running).await;
    running.stop().await;
    let running = site.start().await;
    check(&running).await;

    // The next model is a challenger beside the champion, and does not serve.
    site.publish("20261102T021500Z", Behaviour::Honest);
    running
        .post("/models/notify?wait=1", &json!({"version": "20261102T021500Z"}))
        .await
        .ok();
    assert_eq!(running.rank(&[], &case(2)).await.ok()["model_version"], VERSION);

    running.post("/rollout/rollback", &json!({})).await.ok();
    assert_eq!(running.rank(&[], &case(3)).await.ok()["source"], "legacy");
    running.gateway.release.refresh_snapshot().await.unwrap();
    let state = running.get("/rollout").await.ok();
    assert_eq!(
        (&state["weight"], &state["history"][0]["action"]),
        (&json!(0), &json!("rollback"))
    );
}

#[tokio::test]
async fn a_case_is_evidence_only_after_its_longest_window_has_closed() {
    let mut site = Site::new();
    site.settings.host.clock = settings::Clock::Header;
    site.settings.rollout.evaluate_seconds = 1;
    let running = site.start_with(Behaviour::Honest).await;
    let shown = "2026-10-01T00:00:00Z".parse().unwrap();
    evidence_of(&running, |_| shown, "adv_5").await;
    for (now, cases) in [("2026-10-07T23:59:59Z", 0), ("2026-10-08T00:00:00Z", CASES as u64)] {
        let at = now.parse().unwrap();
        running.gateway.release.saw(at);
        running.evaluated(at).await;
        let status = running
            .send(Method::GET, "/rollout", &[("x-ltr-time", now)], Bytes::new())
            .await
            .ok();
        assert_eq!(status["evidence"]["cases"], json!(cases), "at {now}");
    }
}

#[tokio::test]
async fn a_weight_is_a_whole_per_cent() {
    let (_site, running) = site_with_challenger().await;
    for weight in [json!(101), json!(-1), json!(2.5), json!("50"), json!(null)] {
        let error = running
            .post("/rollout/weight", &json!({"weight": weight}))
            .await
            .refused(422);
        assert_eq!(error["field"], "weight", "{weight}");
        assert!(error["allowed"].as_str().unwrap().contains("100"), "{error}");
    }
    running.post("/rollout/weight", &json!({})).await.refused(422);
    running
        .post("/rollout/weight", &json!({"weight": 1, "force": true}))
        .await
        .refused(422);
    assert_eq!(running.get("/rollout").await.ok()["weight"], 0);
}

#[tokio::test]
async fn with_no_challenger_there_is_nothing_to_promote() {
    let site = Site::new();
    let running = site.start().await;
    assert_eq!(
        running.post("/rollout/promote", &json!({})).await.refused(409)["code"],
        "no_challenger"
    );
}

/// Each night has a new model, and none is compared for long.
#[tokio::test]
async fn the_pipeline_is_judged_by_all_of_its_models_and_where_each_is_judged_alone_the_next_waits() {
    const TONIGHT: &str = "20261102T021500Z";
    for (unit, waits) in [(settings::Unit::Pipeline, false), (settings::Unit::Model, true)] {
        let mut site = Site::new();
        site.settings.rollout.criteria.min_cases = CASES as u64;
        site.settings.rollout.unit = unit;
        site.settings.rollout.automatic = false;
        let running = site.start_with(Behaviour::Honest).await;
        good_evidence(&running, Utc::now() - Duration::days(20)).await;
        site.publish(TONIGHT, Behaviour::Honest);
        let notice = running
            .post("/models/notify?wait=1", &json!({ "version": TONIGHT }))
            .await;
        notice.ok();
        running.evaluated(Utc::now()).await;
        let status = running.get("/rollout").await.ok();
        let (challenger, next) = if waits {
            (VERSION, json!(TONIGHT))
        } else {
            (TONIGHT, Value::Null)
        };
        assert_eq!(status["challenger"], challenger, "{status:#}");
        assert_eq!(status["state"]["next"]["version"], next, "{status:#}");
        assert_eq!(status["evidence"]["cases"], CASES as u64, "{status:#}");
        assert_eq!(status["verdict"]["promote"], true, "{status:#}");
    }
}

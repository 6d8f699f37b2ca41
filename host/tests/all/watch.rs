//! What the controller does by itself: it promotes, climbs, and rolls back on the fleet's figures.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use evil::{Behaviour, Fault, When};
use serde_json::{Value, json};
use servers::Postgres;

use crate::promotion::{CASES, good_evidence};
use crate::{BIG, Running, Site, VERSION, big_case, case};

const NEWER: &str = "20261002T021500Z";

/// Gateways on one database, with one folder of models. The first one holds the lease.
struct Fleet {
    sites: Vec<Site>,
    gateways: Vec<Running>,
}

impl Fleet {
    async fn serving(server: &Postgres, gateways: usize, behaviour: Behaviour) -> Fleet {
        let url = server.database();
        let first = Site::new();
        let mut sites = vec![first];
        for _ in 1..gateways {
            let mut site = Site::new();
            let shared = &sites[0].settings;
            site.settings.models.dir = shared.models.dir.clone();
            site.settings.models.trusted_keys = shared.models.trusted_keys.clone();
            site.settings.privacy.salt_file = shared.privacy.salt_file.clone();
            sites.push(site);
        }
        for site in &mut sites {
            site.settings.database.url = url.clone().into();
            site.settings.rollout.watch.min_requests = 60;
            site.settings.rollout.watch.arrival_seconds = 0;
        }
        sites[0].publish(VERSION, behaviour);
        let mut fleet = Fleet {
            gateways: Vec::new(),
            sites,
        };
        for site in &fleet.sites {
            fleet.gateways.push(site.start().await);
        }
        fleet.gateways[0].evaluated(Utc::now()).await;
        fleet.gateways[0].ltr_serves().await;
        for gateway in &fleet.gateways {
            gateway.gateway.release.look().await.unwrap();
            assert_eq!(gateway.rank(&[], &case(1)).await.ok()["source"], "ltr");
        }
        fleet
    }

    /// One evaluation: all report, and the holder of the lease decides. Returns what it left.
    async fn evaluated(&self) -> Value {
        for gateway in &self.gateways[1..] {
            let release = &gateway.gateway.release;
            assert!(!release.evaluate(Utc::now()).await.unwrap(), "the first has the lease");
        }
        self.gateways[0].evaluated(Utc::now()).await;
        self.gateways[0].get("/rollout").await.ok()
    }

    async fn rank(&self, gateway: usize, cases: u128, body: fn(u128) -> Value) {
        for id in 0..cases {
            assert_eq!(self.gateways[gateway].rank(&[], &body(id)).await.status, 200);
        }
    }

    /// All have rolled back, for this reason.
    async fn rolled_back(&self, rollout: &Value, reason: &str) {
        assert_eq!(rollout["state"]["phase"]["name"], "rolled_back", "{rollout:#}");
        let entry = &rollout["history"][0];
        assert_eq!(
            (&entry["action"], &entry["actor"]),
            (&json!("rollback"), &json!("controller"))
        );
        assert!(entry["reason"].as_str().unwrap().contains(reason), "{entry}");
        for gateway in &self.gateways {
            gateway.gateway.release.look().await.unwrap();
            assert_eq!(gateway.rank(&[], &case(9)).await.ok()["source"], "legacy");
            assert_eq!(gateway.get("/rollout").await.ok()["following"]["serves"], "legacy");
        }
    }
}

#[tokio::test]
async fn a_model_that_is_slow_on_one_gateway_of_three_is_rolled_back_on_all_at_the_next_evaluation() {
    let server = Postgres::shared();
    let fleet = Fleet::serving(&server, 3, Behaviour::Honest).await;
    for gateway in 0..3 {
        fleet.rank(gateway, 30, case).await;
    }
    let before = fleet.evaluated().await;
    assert_eq!(before["state"]["phase"]["name"], "manual", "{before:#}");
    assert_eq!(before["fleet"]["health"]["requests"], 93, "pooled: {before:#}");
    fleet.gateways[2]
        .gateway
        .models()
        .set_drill(Duration::from_millis(40), false);
    fleet.rank(2, 30, case).await;
    fleet.rolled_back(&fleet.evaluated().await, "latency").await;
}

#[tokio::test]
async fn a_model_that_is_slow_on_all_gateways_is_rolled_back_on_all() {
    let server = Postgres::shared();
    let fleet = Fleet::serving(&server, 3, Behaviour::Honest).await;
    for gateway in 0..3 {
        let models = fleet.gateways[gateway].gateway.models();
        models.set_drill(Duration::from_millis(40), false);
        fleet.rank(gateway, 30, case).await;
    }
    fleet.rolled_back(&fleet.evaluated().await, "latency").await;
}

#[tokio::test]
async fn a_gateway_that_starts_before_its_model_has_arrived_rolls_nobody_back() {
    let server = Postgres::shared();
    let mut fleet = Fleet::serving(&server, 2, Behaviour::Honest).await;
    let mut site = Site::new();
    site.settings.database.url = fleet.sites[0].settings.database.url.clone();
    site.settings.privacy.salt_file = fleet.sites[0].settings.privacy.salt_file.clone();
    site.settings.rollout.watch.arrival_seconds = 600;
    let late = site.start().await;
    late.gateway.release.find_publications().await;
    // It answers with legacy, says why, and blames nobody for it.
    for id in 0..100 {
        assert_eq!(late.rank(&[], &case(id)).await.ok()["source"], "legacy");
    }
    fleet.sites.push(site);
    fleet.gateways.push(late);
    let rollout = fleet.evaluated().await;
    assert_eq!(rollout["state"]["phase"]["name"], "manual", "{rollout:#}");
    let shown = fleet.gateways[2].get("/rollout").await.ok();
    assert_eq!(shown["following"]["condition"], "loading", "{shown:#}");
    let here = rollout["fleet"]["gateways"].as_array().unwrap();
    let missing = |gateway: &&Value| {
        gateway["champion"]
            .as_str()
            .is_some_and(|said| said.starts_with("missing"))
    };
    assert_eq!(here.iter().filter(missing).count(), 1, "{here:#?}");
}

#[tokio::test]
async fn a_model_that_fails_on_one_gateway_of_three_is_rolled_back_and_a_single_failure_decides_nothing() {
    let server = Postgres::shared();
    let fails = Behaviour::Faulty(Fault::Trap, When::ValuesOver(BIG));
    let fleet = Fleet::serving(&server, 3, fails).await;
    fleet.rank(1, 1, big_case).await;
    let after_one = fleet.evaluated().await;
    assert_eq!(after_one["state"]["phase"]["name"], "manual", "{after_one:#}");
    for gateway in 0..3 {
        fleet.rank(gateway, 40, case).await;
    }
    let diluted = fleet.evaluated().await;
    assert_eq!(diluted["state"]["phase"]["name"], "manual", "{diluted:#}");
    fleet.rank(1, 4, big_case).await;
    fleet.rolled_back(&fleet.evaluated().await, "fallbacks").await;
}

#[tokio::test]
async fn a_model_that_a_gateway_cannot_load_any_more_is_rolled_back_without_any_request() {
    let server = Postgres::shared();
    let mut fleet = Fleet::serving(&server, 2, Behaviour::Honest).await;
    let scorer = fleet.sites[0]
        .settings
        .models
        .dir
        .join("ltr")
        .join(VERSION)
        .join("scorer.wasm");
    std::fs::write(scorer, b"other bytes").unwrap();
    fleet.gateways.pop().unwrap().stop().await;
    fleet.gateways.push(fleet.sites[1].start().await);
    let lost = fleet.gateways[1].get("/rollout").await.ok();
    assert_eq!(
        (&lost["following"]["serves"], &lost["following"]["condition"]),
        (&json!("legacy"), &json!("lost")),
        "{lost:#}"
    );
    fleet.rolled_back(&fleet.evaluated().await, "model").await;
}

async fn automatic(settings: impl FnOnce(&mut settings::Settings)) -> (Site, Running) {
    let mut site = Site::new();
    site.settings.rollout.automatic = true;
    site.settings.rollout.criteria.min_cases = CASES as u64;
    settings(&mut site.settings);
    let running = site.start_with(Behaviour::Honest).await;
    (site, running)
}

pub(crate) fn phase(rollout: &Value) -> (&str, u64) {
    (
        rollout["state"]["phase"]["name"].as_str().unwrap(),
        rollout["weight"].as_u64().unwrap(),
    )
}

#[tokio::test]
async fn a_verdict_promotes_by_itself_all_but_the_hold_out_and_only_once() {
    let (_site, running) = automatic(|settings| settings.rollout.hold_out = 0.05).await;
    let now = Utc::now();
    running.evaluated(now).await;
    assert_eq!(phase(&running.get("/rollout").await.ok()), ("shadow", 0));
    good_evidence(&running, now - TimeDelta::days(20)).await;
    for _ in 0..3 {
        running.evaluated(now).await;
    }
    let rollout = running.get("/rollout").await.ok();
    assert_eq!(phase(&rollout), ("live", 95));
    assert_eq!(rollout["champion"], VERSION);
    let promotions = rollout["history"].as_array().unwrap().iter();
    assert_eq!(promotions.filter(|entry| entry["action"] == "promote").count(), 1);
    let mut held_out = 0;
    for id in 0..400 {
        held_out += u32::from(running.rank(&[], &case(id)).await.ok()["source"] == "legacy");
    }
    assert!((3..=45).contains(&held_out), "{held_out} of 400 users are held out");
}

#[tokio::test]
async fn the_ladder_is_climbed_in_its_time_and_a_user_who_was_in_stays_in() {
    let rung = |share, min_hours| ranking::release::Rung {
        share,
        display: Default::default(),
        min_hours,
        criteria: vec!["latency".to_owned()],
    };
    let (_site, running) = automatic(|settings| {
        settings.rollout.ladder = vec![rung(0.1, 24.0), rung(0.5, 48.0)];
        settings.rollout.watch.min_requests = 20;
    })
    .await;
    let start = Utc::now();
    good_evidence(&running, start - TimeDelta::days(20)).await;
    let by_ltr = async || {
        let mut users = Vec::new();
        for id in 0..300 {
            if running.rank(&[], &case(id)).await.ok()["source"] == "ltr" {
                users.push(id);
            }
        }
        users
    };
    let mut before: Vec<u128> = Vec::new();
    for (hours, expected) in [
        (0, ("rung", 10)),
        (23, ("rung", 10)),
        (24, ("rung", 50)),
        (71, ("rung", 50)),
        (72, ("live", 100)),
    ] {
        running.evaluated(start + TimeDelta::hours(hours)).await;
        let rollout = running.get("/rollout").await.ok();
        assert_eq!(phase(&rollout), expected, "after {hours} hours");
        let users = by_ltr().await;
        assert!(before.iter().all(|user| users.contains(user)), "after {hours} hours");
        before = users;
    }
    assert_eq!(before.len(), 300);
}

#[tokio::test]
async fn what_was_rolled_back_does_not_come_back_by_the_same_evidence_and_a_newer_model_may() {
    let (site, running) = automatic(|_| {}).await;
    let start = Utc::now();
    good_evidence(&running, start - TimeDelta::days(20)).await;
    running.evaluated(start).await;
    assert_eq!(phase(&running.get("/rollout").await.ok()), ("live", 100));
    running
        .post("/rollout/rollback", &json!({ "reason": "complaints" }))
        .await
        .ok();
    for hours in [1, 23, 25, 100] {
        running.evaluated(start + TimeDelta::hours(hours)).await;
        assert_eq!(running.get("/rollout").await.ok()["weight"], 0, "after {hours} hours");
    }
    site.publish(NEWER, Behaviour::Honest);
    running.gateway.release.find_publications().await;
    running.evaluated(start + TimeDelta::hours(101)).await;
    let rollout = running.get("/rollout").await.ok();
    assert_eq!(
        (phase(&rollout), &rollout["challenger"]),
        (("shadow", 0), &json!(NEWER))
    );
}

#[tokio::test]
async fn a_clock_that_is_set_back_undoes_and_repeats_nothing() {
    let (_site, running) = automatic(|_| {}).await;
    let start = Utc::now();
    good_evidence(&running, start - TimeDelta::days(20)).await;
    running.evaluated(start).await;
    let promoted = running.get("/rollout").await.ok();
    for back in [1, 24, 24 * 60] {
        running.evaluated(start - TimeDelta::hours(back)).await;
        let rollout = running.get("/rollout").await.ok();
        assert_eq!(rollout["state"], promoted["state"], "{back} hours back");
    }
    running.post("/rollout/rollback", &json!({})).await.ok();
    running.evaluated(start - TimeDelta::days(60)).await;
    assert_eq!(
        running.get("/rollout").await.ok()["state"]["phase"]["name"],
        "rolled_back"
    );
}

#[tokio::test]
async fn the_version_before_may_roll_back_and_may_do_nothing_else() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    let write = async |weight: u8, champion: &str| {
        let state = store::RolloutState {
            weight,
            champion: Some(champion.to_owned()),
            challenger: None,
        };
        let entry = crate::history_entry("weight", "admin");
        running.gateway.store.save_rollout(&state, &entry).await.unwrap();
        running.gateway.release.look().await.unwrap();
        running.get("/rollout").await.ok()
    };
    let promoted = write(100, "20250101T000000Z").await;
    assert_eq!(
        (&promoted["weight"], &promoted["champion"]),
        (&json!(100), &json!(VERSION))
    );
    let back = write(0, VERSION).await;
    assert_eq!(phase(&back), ("rolled_back", 0), "{back:#}");
    let again = write(100, VERSION).await;
    assert_eq!(phase(&again), ("rolled_back", 0), "{again:#}");
}

#[tokio::test]
async fn a_folder_that_was_replaced_does_not_serve_under_the_name_of_what_was_judged() {
    let mut site = Site::new();
    site.settings.rollout.watch.arrival_seconds = 0;
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    running.stop().await;
    std::fs::remove_dir_all(site.settings.models.dir.join("ltr").join(VERSION)).unwrap();
    site.publish(VERSION, Behaviour::Slow(1));
    let running = site.start().await;
    let answer = running.rank(&[], &case(1)).await.ok();
    assert_eq!(
        (&answer["source"], &answer["fallback"]),
        (&json!("legacy"), &json!("model_refused"))
    );
    let refused = running.get("/models").await.ok()["refused"].clone();
    assert_eq!(refused[0]["code"], "other_content", "{refused:#}");
    let rollout = running.get("/rollout").await.ok();
    assert_eq!(rollout["following"]["condition"], "lost");
}

#[tokio::test]
async fn an_order_that_is_sent_again_counts_once_and_two_operators_both_count() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let key = uuid::Uuid::from_u128(5).to_string();
    let hold = json!({ "on": true, "reason": "campaign" }).to_string();
    let mut versions = Vec::new();
    for _ in 0..3 {
        let headers = [("idempotency-key", &*key)];
        let answer = running.send(hyper::Method::POST, "/rollout/hold", &headers, hold.clone());
        versions.push(answer.await.ok()["state"]["version"].as_u64().unwrap());
    }
    assert!(versions.iter().all(|version| *version == versions[0]), "{versions:?}");
    let bodies: Vec<Value> = (0..8).map(|number| json!({ "on": number % 2 == 0 })).collect();
    let orders = bodies.iter().map(|body| running.post("/rollout/hold", body));
    for answer in futures_util::future::join_all(orders).await {
        answer.ok();
    }
    assert_eq!(running.get("/rollout").await.ok()["state"]["version"], versions[0] + 8);
    running.gateway.release.refresh_snapshot().await.unwrap();
    let reasons = running.get("/rollout").await.ok()["history"].clone();
    let campaign = reasons
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["reason"] == "campaign");
    assert_eq!(campaign.count(), 1);
    let wrong = running.send(
        hyper::Method::POST,
        "/rollout/hold",
        &[("idempotency-key", "seven")],
        hold,
    );
    assert_eq!(wrong.await.refused(400)["code"], "bad_idempotency_key");
}

#[tokio::test]
async fn a_promotion_that_is_asked_for_again_is_answered_as_done_and_not_refused() {
    let (_site, running) = automatic(|settings| settings.rollout.automatic = false).await;
    good_evidence(&running, Utc::now() - TimeDelta::days(20)).await;
    let key = uuid::Uuid::from_u128(8).to_string();
    let headers = [("idempotency-key", &*key)];
    let mut versions = Vec::new();
    for _ in 0..2 {
        let answer = running.send(hyper::Method::POST, "/rollout/promote", &headers, "{}");
        let answer = answer.await.ok();
        assert_eq!((&answer["champion"], &answer["weight"]), (&json!(VERSION), &json!(100)));
        versions.push(answer["state"]["version"].clone());
    }
    assert_eq!(versions[0], versions[1]);
    let another = running.post("/rollout/promote", &json!({})).await;
    assert_eq!(another.refused(409)["code"], "no_challenger");
}

#[tokio::test]
async fn a_rollback_acts_under_whatever_key() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let key = uuid::Uuid::from_u128(6).to_string();
    let keyed = async |path: &str, body: Value| {
        let headers = [("idempotency-key", &*key)];
        running
            .send(hyper::Method::POST, path, &headers, body.to_string())
            .await
            .ok()
    };
    keyed("/rollout/hold", json!({ "on": true })).await;
    for _ in 0..2 {
        running.ltr_serves().await;
        let back = keyed("/rollout/rollback", json!({ "reason": "again" })).await;
        assert_eq!((&back["phase"], &back["weight"]), (&json!("rolled_back"), &json!(0)));
        assert_eq!(running.rank(&[], &case(1)).await.ok()["source"], "legacy");
    }
    running.ltr_serves().await;
    keyed("/rollout/weight", json!({ "weight": 50 })).await;
    assert_eq!(keyed("/rollout/weight", json!({ "weight": 0 })).await["weight"], 0);
}

#[tokio::test]
async fn an_order_that_did_not_know_of_a_rollback_does_not_undo_it() {
    let server = Postgres::shared();
    let fleet = Fleet::serving(&server, 2, Behaviour::Honest).await;
    let [one, other] = &fleet.gateways[..] else {
        unreachable!()
    };
    for (path, body) in [
        ("/rollout/weight", json!({ "weight": 80 })),
        ("/rollout/pin", json!({ "version": VERSION })),
    ] {
        // The other has not looked since.
        one.post("/rollout/rollback", &json!({})).await.ok();
        assert_eq!(other.post(path, &body).await.refused(409)["code"], "changed", "{path}");
        assert_eq!(one.get("/rollout").await.ok()["weight"], 0);
    }
    // Who knows of it may.
    other.gateway.release.look().await.unwrap();
    other.post("/rollout/weight", &json!({ "weight": 80 })).await.ok();
}

#[tokio::test]
async fn evidence_is_gathered_once_for_the_same_labels() {
    let (_site, running) = automatic(|settings| settings.rollout.automatic = false).await;
    let now: DateTime<Utc> = Utc::now();
    good_evidence(&running, now - TimeDelta::days(20)).await;
    running.evaluated(now).await;
    let first = running.get("/rollout").await.ok()["as_of"].clone();
    running.evaluated(now + TimeDelta::minutes(5)).await;
    assert_eq!(running.get("/rollout").await.ok()["as_of"], first);
    let case = uuid::Uuid::from_u128(0);
    let store = &running.gateway.store;
    store
        .label_cases(&[case], &[(case, "adv_1".to_owned(), 0.3)])
        .await
        .unwrap();
    running.evaluated(now + TimeDelta::minutes(6)).await;
    assert_ne!(running.get("/rollout").await.ok()["as_of"], first);
}

#[tokio::test]
async fn one_wrong_time_does_not_stop_the_injected_clock() {
    let mut site = Site::new();
    site.settings.host.clock = settings::Clock::Header;
    let running = site.start_with(Behaviour::Honest).await;
    let release = &running.gateway.release;
    release.saw("9999-12-31T23:59:59Z".parse().unwrap());
    let now: DateTime<Utc> = "2026-10-01T00:00:00Z".parse().unwrap();
    release.saw(now);
    assert_eq!(release.now(), now);
    release.saw(now - TimeDelta::hours(1));
    assert_eq!(release.now(), now, "requests of one replay are a little out of order");
}

//! Clients decide between both rankings: a model on trial, and one whose outcomes fell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use evil::{Behaviour, Fault, When};
use ltr_host::release::{EdgeDir, tasks};
use ranking::evidence::{ClosedDay, EvidenceDay, Sampled};
use ranking::outcomes::{Arm, ArmCounts, Credit, Displayed, OutcomeDay};
use ranking::{Body, Impression, Policy, Source};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::promotion::{CASES, evidence};
use crate::watch::phase;
use crate::{BIG, Running, Site, VERSION, big_case, case, ids, lawyer, request_id};

const LEGACY_FIRST: &str = "adv_1";

/// A gateway that decides by itself, at a time when its challenger's shadow figures are worse than legacy's: the trial
/// begins with the next evaluation.
pub(crate) async fn undecided(behaviour: Behaviour, settings: impl FnOnce(&mut settings::Settings)) -> (Site, Running) {
    let mut site = Site::new();
    site.settings.rollout.automatic = true;
    site.settings.rollout.criteria.min_cases = CASES as u64;
    site.settings.rollout.watch.min_requests = 100_000;
    settings(&mut site.settings);
    site.publish_files(
        VERSION,
        &ranking::features::DEFAULT_FEATURES,
        &[("edge-filter.wasm", b"a filter")],
        behaviour,
    );
    let running = site.start().await;
    evidence(&running, began() - TimeDelta::days(20), LEGACY_FIRST).await;
    (site, running)
}

/// When the trials of these tests begin: after their models were published, at noon.
pub(crate) fn began() -> DateTime<Utc> {
    static BEGAN: LazyLock<DateTime<Utc>> = LazyLock::new(|| {
        let tomorrow = Utc::now().date_naive() + Days::new(1);
        tomorrow.and_hms_opt(12, 0, 0).unwrap().and_utc()
    });
    *BEGAN
}

pub(crate) async fn on_trial(behaviour: Behaviour, settings: impl FnOnce(&mut settings::Settings)) -> (Site, Running) {
    let (site, running) = undecided(behaviour, settings).await;
    running.evaluated(began()).await;
    assert_eq!(status(&running).await["state"]["phase"]["name"], "trial");
    (site, running)
}

pub(crate) async fn status(running: &Running) -> Value {
    running.get("/rollout").await.ok()
}

/// The day that many days after the trial began.
fn date(day: u64) -> NaiveDate {
    began().date_naive() + Days::new(day)
}

/// Saves a day as the nightly run does: see [`counted`].
async fn save(running: &Running, day: u64, prefer: (u64, u64), live: (u64, u64)) {
    save_day(running, counted(day, prefer, live), None).await;
}

/// What a day came to. `prefer`: how many of the interleaved users signed with LTR's and with legacy's
/// lawyers. `live`: users whom LTR answered alone, and those who signed.
fn counted(day: u64, prefer: (u64, u64), live: (u64, u64)) -> OutcomeDay {
    let counts = |users, contracts| ArmCounts {
        users,
        contracts,
        tenths: 10 * contracts,
    };
    let credit = Credit {
        ltr: prefer.0,
        neither: 80,
        legacy: prefer.1,
    };
    OutcomeDay {
        arms: BTreeMap::from([
            (Arm::Ltr, counts(live.0, live.1)),
            (Arm::Legacy, counts(100, 50)),
            (Arm::Interleaved, counts(100, 50)),
        ]),
        credit: BTreeMap::from([(VERSION.to_owned(), credit)]),
        blocks: vec![
            (true, true, 25),
            (true, false, 25),
            (false, true, 25),
            (false, false, 25),
        ],
        ..OutcomeDay::new(date(day))
    }
}

async fn save_day(running: &Running, outcomes: OutcomeDay, evidence: Option<EvidenceDay>) {
    let date = outcomes.date;
    let text = serde_json::to_string(&ClosedDay { outcomes, evidence }).unwrap();
    assert!(running.gateway.store.save_outcome_day(date, &text).await.unwrap());
}

pub(crate) async fn evaluated(running: &Running, day: u64) -> Value {
    running
        .evaluated(date(day).and_hms_opt(6, 0, 0).unwrap().and_utc())
        .await;
    status(running).await
}

#[tokio::test]
async fn a_model_that_clients_prefer_is_promoted_whatever_raw_shadow_figures_say() {
    let (_site, running) = on_trial(Behaviour::Honest, |_| {}).await;
    assert_eq!(phase(&status(&running).await), ("trial", 50));
    // The day on which it began was displayed in part only.
    save(&running, 0, (1_000, 0), (0, 0)).await;
    for day in 1..=2 {
        save(&running, day, (12, 6), (0, 0)).await;
    }
    let early = evaluated(&running, 14).await;
    assert_eq!(phase(&early), ("trial", 50), "{early:#}");
    let numbers = &early["trial"]["numbers"];
    assert_eq!(
        (&numbers["users"], &numbers["decided"], &numbers["verdict"]),
        (&json!(2 * 98), &json!(2 * 18), &json!("undecided"))
    );
    assert_eq!(early["trial"]["closed"]["until"], json!(date(2)));
    assert!((running.metric("ltr_trial_credit").await - 1.0 / 3.0).abs() < 1e-9);
    for day in 3..=20 {
        save(&running, day, (12, 6), (0, 0)).await;
    }
    let live = evaluated(&running, 30).await;
    assert_eq!(phase(&live), ("live", 100), "{live:#}");
    let entry = &live["history"][0];
    assert_eq!(
        (&entry["action"], &entry["actor"]),
        (&json!("promote"), &json!("controller"))
    );
    assert!(
        entry["reason"].as_str().unwrap().contains("interleaving decided"),
        "{entry}"
    );
    assert_eq!(entry["detail"]["numbers"]["decided"], json!(20 * 18));
    assert_eq!(running.rank(&[], &case(1)).await.ok()["source"], "ltr");
    assert!(live["trial"].is_null() && live["relevance"].is_object(), "{live:#}");
}

#[tokio::test]
async fn a_model_that_clients_like_less_is_rejected_and_the_next_one_gets_its_turn() {
    let (site, running) = on_trial(Behaviour::Honest, |_| {}).await;
    let next = "20261002T021500Z";
    site.publish(next, Behaviour::Honest);
    running.gateway.release.find_publications().await;
    let waiting = evaluated(&running, 1).await;
    assert_eq!((phase(&waiting).0, &waiting["challenger"]), ("trial", &json!(next)));
    for day in 1..=20 {
        save(&running, day, (5, 13), (0, 0)).await;
    }
    let rejected = evaluated(&running, 30).await;
    assert_eq!(phase(&rejected), ("shadow", 0), "{rejected:#}");
    assert_eq!(rejected["history"][0]["action"], "reject");
    assert_eq!(rejected["challenger"], json!(next));
    for id in 0..20 {
        assert_eq!(running.rank(&[], &case(id)).await.ok()["source"], "legacy");
    }
    // It does not come back by the same evidence.
    assert_eq!(phase(&evaluated(&running, 31).await), ("shadow", 0));
}

#[tokio::test]
async fn a_trial_that_stays_undecided_ends() {
    let (_site, running) = on_trial(Behaviour::Honest, |settings| settings.rollout.trial.patience_days = 5).await;
    save(&running, 1, (9, 9), (0, 0)).await;
    assert_eq!(phase(&evaluated(&running, 5).await).0, "trial");
    let ended = evaluated(&running, 6).await;
    assert_eq!(phase(&ended), ("shadow", 0), "{ended:#}");
    assert!(ended["history"][0]["reason"].as_str().unwrap().contains("5 days"));
}

#[tokio::test]
async fn without_a_share_nothing_is_tried() {
    let (_site, running) = undecided(Behaviour::Honest, |settings| settings.rollout.trial.share = 0.0).await;
    running.evaluated(began()).await;
    assert_eq!(phase(&status(&running).await), ("shadow", 0));
}

#[tokio::test]
async fn a_trial_whose_sampler_is_broken_promotes_nobody_and_says_so() {
    let (_site, running) = on_trial(Behaviour::Honest, |_| {}).await;
    // Half of the users were to see both rankings, and three of five do.
    let sampled = Sampled {
        shown: vec![
            (Policy::Rung, Source::Legacy, 80),
            (Policy::Interleaved, Source::Interleaved, 120),
        ],
        drafts: [60, 60],
        ..Sampled::default()
    };
    for day in 1..=20 {
        let evidence = EvidenceDay {
            sampled: sampled.clone(),
            ..EvidenceDay::default()
        };
        save_day(&running, counted(day, (12, 6), (0, 0)), Some(evidence)).await;
    }
    let rollout = evaluated(&running, 30).await;
    assert_eq!(phase(&rollout), ("trial", 50), "{rollout:#}");
    assert_eq!(rollout["trial"]["numbers"]["verdict"], "better");
    assert_eq!(rollout["trial"]["broken_samplers"], json!(["ladder"]));
    let samplers = &running.get("/rollout/evidence").await.ok()["samplers"];
    let of_ladder = &samplers["tests"][0];
    assert_eq!(
        (&samplers["days"], &of_ladder["sampler"]),
        (&json!(20), &json!("ladder"))
    );
    assert_eq!(
        (&of_ladder["observed"], &of_ladder["is_broken"]),
        (&json!(0.6), &json!(true))
    );
    let mismatch = async |sampler| {
        let series = format!("ltr_sample_ratio_mismatch{{sampler=\"{sampler}\"}}");
        running.metric(&series).await
    };
    assert_eq!((mismatch("ladder").await, mismatch("drafts").await), (1.0, 0.0));
}

/// A model that was promoted by its clients on the twentieth day.
pub(crate) async fn promoted(settings: impl FnOnce(&mut settings::Settings)) -> (Site, Running) {
    let (site, running) = on_trial(Behaviour::Honest, settings).await;
    for day in 1..=20 {
        save(&running, day, (12, 6), (0, 0)).await;
    }
    assert_eq!(phase(&evaluated(&running, 20).await).0, "live");
    (site, running)
}

/// The same, and then ten good days.
async fn live() -> (Site, Running) {
    let (site, running) = promoted(|settings| settings.rollout.hold_out = 0.05).await;
    for day in 21..=30 {
        save(&running, day, (0, 0), (300, 210)).await;
    }
    let rollout = evaluated(&running, 30).await;
    assert_eq!(phase(&rollout), ("live", 95), "{rollout:#}");
    let numbers = &rollout["relevance"]["numbers"];
    assert_eq!(
        (&numbers["baseline_users"], &numbers["users"]),
        (&json!(900), &json!(2_100))
    );
    (site, running)
}

/// Its contracts fall, and it is suspected.
async fn suspected() -> (Site, Running) {
    let (site, running) = live().await;
    for day in 31..=36 {
        save(&running, day, (0, 0), (300, 180)).await;
    }
    let rollout = evaluated(&running, 36).await;
    assert_eq!(phase(&rollout).0, "suspected", "{rollout:#}");
    let exposure = &rollout["state"]["exposure"];
    assert_eq!(
        (&exposure["display"], &exposure["share"]),
        (&json!("interleaved"), &json!(0.9))
    );
    let entry = &rollout["history"][0];
    assert_eq!(entry["action"], "suspect");
    assert_eq!(entry["detail"]["numbers"]["is_raised"], true, "{entry:#}");
    (site, running)
}

#[tokio::test]
async fn a_model_whose_outcomes_fell_and_that_clients_like_less_is_rolled_back() {
    let (_site, running) = suspected().await;
    for day in 37..=42 {
        save(&running, day, (8, 24), (0, 0)).await;
    }
    let rollout = evaluated(&running, 42).await;
    assert_eq!(phase(&rollout), ("rolled_back", 0), "{rollout:#}");
    assert_eq!(rollout["state"]["barred"], json!([VERSION]));
    let entry = &rollout["history"][0];
    assert!(entry["reason"].as_str().unwrap().contains("confirmed"), "{entry:#}");
    assert!(entry["detail"]["numbers"]["credit"]["estimate"].as_f64().unwrap() < 0.0);
}

#[tokio::test]
async fn a_dip_of_the_whole_market_is_cleared_without_a_rollback() {
    let (_site, running) = suspected().await;
    for day in 37..=42 {
        save(&running, day, (24, 8), (0, 0)).await;
    }
    let rollout = evaluated(&running, 42).await;
    assert_eq!(phase(&rollout), ("live", 95), "{rollout:#}");
    assert_eq!(rollout["history"][0]["action"], "clear");
    // The market's new rate is the usual one from now on.
    assert_eq!(rollout["relevance"]["numbers"]["baseline_users"], 0, "{rollout:#}");
    for day in 43..=52 {
        save(&running, day, (0, 0), (300, 180)).await;
    }
    assert_eq!(phase(&evaluated(&running, 52).await), ("live", 95));
}

/// The impression of a case.
pub(crate) async fn impression(running: &Running, id: u128) -> Impression {
    let later = Utc::now() + TimeDelta::days(1);
    let events = running
        .gateway
        .store
        .events_between(DateTime::UNIX_EPOCH, later)
        .await
        .unwrap();
    let of_case = events.records.into_iter().filter(|event| event.case_id.as_u128() == id);
    let mut impressions = of_case.filter_map(|event| match event.body {
        Body::Impression(impression) => Some(impression),
        Body::Action(_) => None,
    });
    let found = impressions.next().unwrap();
    assert!(impressions.next().is_none(), "one impression a case");
    found
}

/// What an impression is evidence of.
pub(crate) fn arm(impression: &Impression) -> Option<Arm> {
    let displayed = Displayed {
        case_id: Uuid::nil(),
        user: Uuid::nil(),
        ts_utc: began(),
        policy: impression.policy.unwrap(),
        source: impression.source,
        model_version: impression.model_version.clone(),
        drafted_by: impression.drafted_by.clone().unwrap_or_default(),
        coin: impression.coin,
        acted: Vec::new(),
        came_before: false,
    };
    displayed.arm()
}

#[tokio::test]
async fn an_interleaved_ranking_is_logged_as_it_was_shown() {
    let (_site, running) = on_trial(Behaviour::Honest, |_| {}).await;
    let mut shown = BTreeSet::new();
    let mut interleaved = 0;
    for id in 0..60 {
        let headers = [("x-request-id", &*request_id(id))];
        let answer = running.rank(&headers, &case(id)).await.ok();
        // The same request gets the same ranking.
        assert_eq!(ids(&running.rank(&headers, &case(id)).await.ok()), ids(&answer));
        let logged = impression(&running, id).await;
        assert_eq!(logged.lawyer_ids, ids(&answer));
        assert_eq!(answer["source"], logged.source.name());
        if logged.source == Source::Legacy {
            assert_eq!((logged.policy, arm(&logged)), (Some(Policy::Rung), Some(Arm::Legacy)));
            assert_eq!((&logged.drafted_by, &logged.order_before), (&None, &None));
            assert!(answer["model_version"].is_null() && answer["fallback"].is_null());
            continue;
        }
        interleaved += 1;
        assert_eq!(answer["model_version"], VERSION);
        assert_eq!(logged.model_version.as_deref(), Some(VERSION));
        assert_eq!(
            (logged.policy, arm(&logged)),
            (Some(Policy::Interleaved), Some(Arm::Interleaved))
        );
        assert_eq!(logged.order_before.unwrap(), ["adv_1", "adv_2", "adv_3"], "legacy's");
        let ranks: Vec<u32> = ids(&answer)
            .iter()
            .map(|id| 4 - id[4..].parse::<u32>().unwrap())
            .collect();
        assert_eq!(logged.ltr_ranks.unwrap(), ranks, "the model says the opposite");
        let brought = |id: &&str| match *id {
            "adv_1" => Source::Legacy,
            "adv_3" => Source::Ltr,
            _ => Source::Interleaved,
        };
        let expected: Vec<Source> = ids(&answer).iter().map(brought).collect();
        assert_eq!(logged.drafted_by.unwrap(), expected);
        shown.insert(logged.lawyer_ids);
    }
    // Half of 60 users, within five standard deviations.
    assert!((11..=49).contains(&interleaved), "{interleaved}");
    let both = [["adv_1", "adv_3", "adv_2"], ["adv_3", "adv_1", "adv_2"]];
    assert_eq!(
        shown,
        BTreeSet::from(both.map(|order| order.map(str::to_owned).to_vec())),
        "by coins"
    );
}

/// An answer to a user of the share that is shown both rankings.
async fn in_the_share(running: &Running, body: impl Fn(u128) -> Value) -> (Value, Impression) {
    for id in 0..60 {
        let body = body(id);
        let answer = running.rank(&[], &body).await.ok();
        let logged = impression(running, id).await;
        if logged.policy != Some(Policy::Rung) {
            return (answer, logged);
        }
    }
    panic!("no user is in the share");
}

#[tokio::test]
async fn only_the_places_that_are_shown_are_drafted_and_logged() {
    let (_site, running) = on_trial(Behaviour::Honest, |_| {}).await;
    let one = |id| {
        let mut body = case(id);
        body["top_n"] = json!(1);
        body
    };
    let (answer, logged) = in_the_share(&running, one).await;
    assert_eq!((ids(&answer).len(), &answer["source"]), (1, &json!("interleaved")));
    assert_eq!(
        (logged.drafted_by.unwrap().len(), logged.order_before.unwrap().len()),
        (1, 1)
    );
}

#[tokio::test]
async fn where_ltr_fails_the_user_sees_legacy_and_is_not_evidence_of_its_arm() {
    let (_site, running) = on_trial(Behaviour::Faulty(Fault::Trap, When::ValuesOver(BIG)), |_| {}).await;
    let (answer, logged) = in_the_share(&running, big_case).await;
    assert_eq!(
        (&answer["source"], &answer["fallback"]),
        (&json!("legacy"), &json!("trap"))
    );
    assert_eq!((logged.source, &logged.drafted_by), (Source::Legacy, &None));
    assert_eq!(arm(&logged), Some(Arm::Interleaved), "as it was intended");
}

#[tokio::test]
async fn where_a_draft_could_take_a_group_from_the_top_legacy_is_shown_as_to_everybody() {
    let (_site, running) = on_trial(Behaviour::Honest, |_| {}).await;
    // Both rankings have an F at the third place; drafted in turn, the first F would stand at the fifth.
    let contested = |id| {
        let mut body = case(id);
        let lawyers = [
            ("m1", 0.9, 0.1, "M"),
            ("m2", 0.75, 0.08, "M"),
            ("f1", 0.6, 0.05, "F"),
            ("m3", 0.1, 0.9, "M"),
            ("m4", 0.05, 0.7, "M"),
            ("f2", 0.02, 0.5, "F"),
        ];
        body["lawyers"] = lawyers
            .into_iter()
            .map(|(id, legacy, ltr, group)| {
                let mut lawyer = lawyer(id, legacy, ltr);
                lawyer["groups"] = json!({ "gender": group });
                lawyer
            })
            .collect();
        body
    };
    let (answer, logged) = in_the_share(&running, contested).await;
    assert_eq!(
        (&answer["source"], &answer["fallback"]),
        (&json!("legacy"), &Value::Null)
    );
    assert_eq!(ids(&answer)[..3], ["m1", "m2", "f1"]);
    assert_eq!(
        (logged.policy, arm(&logged)),
        (Some(Policy::None), Some(Arm::Everybody))
    );
}

#[tokio::test]
async fn a_copy_from_the_edge_gets_no_draft_and_leaves_no_impression() {
    let (_site, running) = on_trial(Behaviour::Honest, |_| {}).await;
    for id in 0..20 {
        let answer = running.rank(&[("x-ltr-edge-copy", "1")], &case(id)).await.ok();
        assert_eq!(answer["source"], "legacy");
    }
    let later = Utc::now() + TimeDelta::days(1);
    let events = running
        .gateway
        .store
        .events_between(DateTime::UNIX_EPOCH, later)
        .await
        .unwrap();
    assert!(events.records.is_empty());
}

/// The tokens with which Envoys' filter is told to score, once it is offered this.
async fn offered(dir: &std::path::Path, file: &str, tokens: &Value) {
    let mut last = Value::Null;
    for _ in 0..1_200 {
        if let Ok(text) = std::fs::read_to_string(dir.join("ecds.json")) {
            last = serde_json::from_str(&text).unwrap();
            let config = &last["resources"][0]["typed_config"]["config"];
            let named = config["vm_config"]["code"]["local"]["filename"].as_str().unwrap();
            let own: Value = serde_json::from_str(config["configuration"]["value"].as_str().unwrap()).unwrap();
            if named.ends_with(file) && own["score"]["tokens_sha256"] == *tokens {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{file} with the tokens {tokens} is not offered; last: {last:#}");
}

#[tokio::test]
async fn envoys_score_nothing_while_rankings_are_interleaved() {
    let edge = tempfile::tempdir().unwrap();
    let own = json!({
        "sampling": {"salt": "ltr-shadow-v1", "fraction": 0.1},
        "routes": [{"path_prefix": "/ltr/score", "method": "POST", "modes": ["score"]}],
        "score": {"max_body_bytes": 262_144, "max_rows": 1_000, "max_json_depth": 32, "tokens_sha256": []},
    });
    let template = json!({"version_info": "template", "resources": [{
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": "ltr",
        "typed_config": {"config": {
            "vm_config": {"code": {"local": {"filename": "/etc/envoy/ltr/any.wasm"}}},
            "configuration": {"value": own.to_string()},
        }},
    }]});
    std::fs::write(edge.path().join("ecds.template.json"), template.to_string()).unwrap();
    let (_site, running) = on_trial(Behaviour::Honest, |settings| settings.rollout.evaluate_seconds = 3_600).await;
    let dir = EdgeDir::open(edge.path()).unwrap();
    tasks::start(&running.gateway.release, Duration::from_millis(100), None);
    tasks::start_offering(&running.gateway.release, dir, || false);
    let file = format!("edge-filter-{VERSION}.wasm");
    let nobodys = json!(["0".repeat(64)]);
    offered(edge.path(), &file, &nobodys).await;
    for day in 1..=20 {
        save(&running, day, (12, 6), (0, 0)).await;
    }
    assert_eq!(phase(&evaluated(&running, 20).await).0, "live");
    offered(edge.path(), &file, &json!([])).await;
}

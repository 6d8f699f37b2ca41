//! LTR fails in every way it can, and the client gets a ranking with the reason.

use std::time::Duration;

use evil::{Behaviour, Fault, When};
use serde_json::json;

use crate::{BIG, Running, Site, VERSION, big_case, case, ids};

#[tokio::test]
async fn without_a_model_legacy_answers_and_says_no_model() {
    let site = Site::new();
    let running = site.start().await;
    let before = running.metric("ltr_fallback_total{reason=\"no_model\"}").await;
    let answer = running.rank(&[], &case(1)).await.ok();
    assert_eq!(
        (&answer["source"], &answer["fallback"]),
        (&json!("legacy"), &json!("no_model"))
    );
    assert_eq!(ids(&answer), ["adv_1", "adv_2", "adv_3"]);
    assert!(running.metric("ltr_fallback_total{reason=\"no_model\"}").await >= before + 1.0);
}

#[tokio::test]
async fn with_nothing_but_a_corrupt_model_legacy_answers_and_says_model_refused() {
    let site = Site::new();
    site.publish(VERSION, Behaviour::Honest);
    let scorer = site.settings.models.dir.join("ltr").join(VERSION).join("scorer.wasm");
    let mut bytes = std::fs::read(&scorer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&scorer, bytes).unwrap();
    let running = site.start().await;
    let answer = running.rank(&[], &case(1)).await.ok();
    assert_eq!(
        (&answer["source"], &answer["fallback"]),
        (&json!("legacy"), &json!("model_refused"))
    );
    let models = running.get("/models").await.ok();
    assert_eq!(
        (&models["loaded"], &models["refused"][0]["code"]),
        (&json!([]), &json!("hash_mismatch"))
    );
    assert_eq!(
        running.get("/readyz").await.status,
        200,
        "a refused model does not keep the gateway from serving"
    );
}

/// A gateway at full weight whose model turns on big cases.
async fn at_full_weight(site: &mut Site, fault: Fault) -> Running {
    // Long enough for an honest call on a busy machine, short enough to wait for a component that spins.
    site.settings.host.ltr_budget_ms = 1_000;
    let running = site.start_with(Behaviour::Faulty(fault, When::ValuesOver(BIG))).await;
    running.ltr_serves().await;
    running
}

#[tokio::test]
async fn each_way_to_fail_has_its_reason_and_the_legacy_ranking() {
    let faults = [
        (Fault::Trap, "trap"),
        (Fault::StackOverflow, "trap"),
        (Fault::AllocateForever, "trap"),
        (Fault::Spin, "timeout"),
        (Fault::TooFew, "bad_output"),
        (Fault::TooMany, "bad_output"),
        (Fault::LieAboutLengths, "bad_output"),
        (Fault::NanScores, "bad_output"),
        (Fault::Refuse, "refused"),
    ];
    for (fault, reason) in faults {
        let mut site = Site::new();
        let running = at_full_weight(&mut site, fault).await;
        assert_eq!(
            running.rank(&[], &case(1)).await.ok()["source"],
            "ltr",
            "{fault:?}: it behaves on small cases"
        );
        let series = format!("ltr_fallback_total{{reason=\"{reason}\"}}");
        let before = running.metric(&series).await;
        let answer = running.rank(&[], &big_case(2)).await.ok();
        assert_eq!(
            (&answer["source"], &answer["fallback"]),
            (&json!("legacy"), &json!(reason)),
            "{fault:?}"
        );
        assert_eq!(answer["model_version"], json!(null), "{fault:?}");
        assert_eq!(ids(&answer)[0], "adv_7", "{fault:?}: the legacy order");
        assert!(running.metric(&series).await >= before + 1.0, "{fault:?}");
        assert_eq!(
            running.rank(&[], &case(3)).await.ok()["source"],
            "ltr",
            "{fault:?}: one failure costs one answer"
        );
    }
}

#[tokio::test]
async fn a_component_that_only_fails_is_not_asked_any_more_until_a_probe_succeeds() {
    let mut site = Site::new();
    let running = at_full_weight(&mut site, Fault::Trap).await;
    for _ in 0..5 {
        assert_eq!(running.rank(&[], &big_case(1)).await.ok()["fallback"], "trap");
    }
    // It would score a small case well: the reason that is given shows that it was not asked.
    assert_eq!(running.rank(&[], &case(2)).await.ok()["fallback"], "trap");
    let mut tries = 0;
    while running.rank(&[], &case(3)).await.ok()["source"] == "legacy" {
        tries += 1;
        assert!(tries < 1_000, "no probe was let through");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        running.rank(&[], &case(4)).await.ok()["fallback"],
        json!(null),
        "closed again"
    );
}

#[tokio::test]
async fn a_component_that_spins_holds_up_nobody_else() {
    let mut site = Site::new();
    // Ten honest answers take a fraction of this, on a busy machine too.
    site.settings.host.ltr_budget_ms = 4_000;
    let running = site
        .start_with(Behaviour::Faulty(Fault::Spin, When::ValuesOver(BIG)))
        .await;
    let forced = [("x-shadow-ltr", "1")];
    let spinning = async {
        let body = big_case(1);
        let (a, b, c) = tokio::join!(
            running.rank(&forced, &body),
            running.rank(&forced, &body),
            running.rank(&forced, &body)
        );
        for answer in [a, b, c] {
            assert_eq!(ids(&answer.ok())[0], "adv_7");
        }
    };
    let others = async {
        for id in 2..12 {
            let answer = running.rank(&[], &case(id)).await.ok();
            assert_eq!(
                (&answer["source"], &answer["fallback"]),
                (&json!("legacy"), &json!(null))
            );
        }
    };
    // Polled first, the spinning ones are under way when the others begin; those must not have to wait for them.
    tokio::pin!(spinning, others);
    let first = tokio::select! {
        biased;
        () = &mut spinning => "the spinning ones",
        () = &mut others => "the others",
    };
    assert_eq!(first, "the others");
    spinning.await;
}

#[tokio::test]
async fn after_a_restart_a_refused_champion_is_not_replaced_by_a_challenger_that_did_not_earn_it() {
    let site = Site::new();
    site.publish(VERSION, Behaviour::Honest);
    site.left_on_record(100, Some("20260901T021500Z"), Some(VERSION)).await;
    let running = site.start().await;
    let answer = running.rank(&[], &case(1)).await.ok();
    assert_eq!(
        (&answer["source"], &answer["fallback"]),
        (&json!("legacy"), &json!("model_refused"))
    );
}

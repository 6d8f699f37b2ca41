//! What an honest gateway answers.

use evil::Behaviour;
use hyper::Method;
use serde_json::json;

use crate::{Site, VERSION, case, ids, lawyer, request_id};

#[tokio::test]
async fn legacy_answers_while_nothing_was_promoted_and_ltr_answers_at_full_weight() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let legacy = running.rank(&[("x-request-id", &request_id(1))], &case(1)).await.ok();
    assert_eq!(ids(&legacy), ["adv_1", "adv_2", "adv_3"]);
    assert_eq!(
        (&legacy["source"], &legacy["model_version"], &legacy["fallback"]),
        (&json!("legacy"), &json!(null), &json!(null))
    );
    assert_eq!(legacy["request_id"], request_id(1));
    assert_eq!(legacy["case_id"], case(1)["case"]["case_id"]);

    running.ltr_serves().await;
    let ltr = running.rank(&[], &case(2)).await.ok();
    assert_eq!(ids(&ltr), ["adv_3", "adv_2", "adv_1"]);
    assert_eq!(
        (&ltr["source"], &ltr["model_version"], &ltr["fallback"]),
        (&json!("ltr"), &json!(VERSION), &json!(null))
    );
    let places: Vec<_> = ltr["ranking"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| place["rank_pos"].clone())
        .collect();
    assert_eq!(places, [1, 2, 3]);
    // Scores are min-max scaled within the case.
    assert_eq!(
        (&ltr["ranking"][0]["score"], &ltr["ranking"][2]["score"]),
        (&json!(1.0), &json!(0.0))
    );

    let back = running.post("/rollout/rollback", &json!({})).await.ok();
    assert_eq!(back["weight"], 0);
    assert_eq!(running.rank(&[], &case(3)).await.ok()["source"], "legacy");
}

#[tokio::test]
async fn a_weight_serves_its_share_of_the_users_and_a_user_stays_in_an_arm() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    running.newest_serves(25).await;
    let mut by_ltr = 0;
    for id in 0..400 {
        let first = running.rank(&[], &case(id)).await.ok()["source"].clone();
        let mut other = case(1_000 + id);
        other["case"]["user_id"] = case(id)["case"]["user_id"].clone();
        assert_eq!(
            running.rank(&[], &other).await.ok()["source"],
            first,
            "another case of the user"
        );
        by_ltr += u32::from(first == "ltr");
    }
    // 25 % of 400, and five standard deviations around it: the salt of the pseudonyms is drawn anew.
    assert!((57..=143).contains(&by_ltr), "{by_ltr} of 400");
}

#[tokio::test]
async fn top_n_shows_the_best_and_more_than_there_are_shows_all() {
    let site = Site::new();
    let running = site.start().await;
    for (top_n, shown) in [(json!(1), 1), (json!(2), 2), (json!(99), 3), (json!(null), 3)] {
        let mut body = case(1);
        body["top_n"] = top_n;
        assert_eq!(
            running.rank(&[], &body).await.ok()["ranking"].as_array().unwrap().len(),
            shown
        );
    }
}

#[tokio::test]
async fn another_preset_ranks_by_its_own_weights() {
    let site = Site::new();
    let running = site.start().await;
    // One with a perfect area, one with everything that `expert` prefers.
    let mut specialist = lawyer("specialist", 0.0, 1.0);
    let mut scholar = lawyer("scholar", 0.0, 0.0);
    specialist["features"]["geo"] = json!(1.0);
    scholar["features"]["similarity"] = json!(1.0);
    scholar["features"]["qualification"] = json!(1.0);
    let body = |preset: &str| {
        let mut body = case(1);
        body["lawyers"] = json!([specialist, scholar]);
        body["preset"] = json!(preset);
        body
    };
    assert_eq!(
        ids(&running.rank(&[], &body("fast")).await.ok()),
        ["specialist", "scholar"]
    );
    assert_eq!(
        ids(&running.rank(&[], &body("expert")).await.ok()),
        ["scholar", "specialist"]
    );
}

#[tokio::test]
async fn a_lawyer_without_capacity_or_with_missing_features_is_ranked_all_the_same() {
    let site = Site::new();
    let running = site.start().await;
    let mut body = case(1);
    body["lawyers"][0]["monthly_capacity"] = json!(0);
    body["lawyers"][0]["cases_30d"] = json!(0);
    for value in body["lawyers"][1]["features"].as_object_mut().unwrap().values_mut() {
        *value = json!(null);
    }
    let answer = running.rank(&[], &body).await.ok();
    assert_eq!(ids(&answer).len(), 3);
    assert!(
        answer["ranking"]
            .as_array()
            .unwrap()
            .iter()
            .all(|place| place["fair"].is_number())
    );
}

#[tokio::test]
async fn with_the_header_clock_a_request_without_a_time_is_refused_and_one_with_it_is_dated_by_it() {
    let mut site = Site::new();
    site.settings.host.clock = settings::Clock::Header;
    let running = site.start_with(Behaviour::Honest).await;
    for (method, path) in [
        (Method::POST, "/rank"),
        (Method::POST, "/events"),
        (Method::GET, "/rollout"),
        (Method::GET, "/rollout/evidence"),
    ] {
        for headers in [&[][..], &[("x-ltr-time", "yesterday")]] {
            let error = running
                .send(method.clone(), path, headers, case(1).to_string())
                .await
                .refused(400);
            assert_eq!(
                (&error["code"], &error["field"]),
                (&json!("missing_time"), &json!("X-LTR-Time"))
            );
        }
    }
    for path in ["/metrics", "/healthz", "/readyz", "/models"] {
        assert_eq!(running.get(path).await.status, 200, "{path}");
    }
    let time = "2026-10-05T12:00:00Z".parse().unwrap();
    running
        .rank(&[("x-ltr-time", "2026-10-05T12:00:00Z")], &case(1))
        .await
        .ok();
    let kept = running
        .gateway
        .store
        .events_between(time, time + chrono::Duration::nanoseconds(1))
        .await
        .unwrap();
    assert_eq!(kept.records.len(), 1);
}

#[tokio::test]
async fn what_is_measured_has_the_names_that_alerts_read() {
    // Without a model, and then with one.
    Site::new().start().await.rank(&[], &case(1)).await.ok();
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    running.rank(&[("x-shadow-ltr", "1")], &case(1)).await.ok();
    running.rank(&[], &case(2)).await.ok();
    running.evaluated(chrono::Utc::now()).await;
    let page = String::from_utf8(running.get("/metrics").await.body).unwrap();
    for series in [
        "api_requests_total ",
        "ltr_fallback_total{reason=\"no_model\"}",
        "ltr_rank_seconds_bucket{shadow=\"yes\",le=\"0.02\"}",
        "ltr_rank_seconds_bucket{shadow=\"no\",le=\"0.02\"}",
        "ltr_score_seconds_bucket{le=\"0.015\"}",
        "ltr_shadow_total{outcome=\"ok\"}",
        "ltr_model_info{version=\"20261001T021500Z\",role=\"challenger\"} 1",
        "ltr_rollout_weight ",
        "ltr_hit3{arm=\"legacy\"}",
        "ltr_hit3{arm=\"ltr\"}",
        "ltr_mrr_gap ",
        "ltr_trial_credit ",
        "ltr_relevance_log_evidence ",
        "ltr_fair_gap{arm=\"legacy\"}",
        "ltr_fair_gap{arm=\"ltr\"}",
    ] {
        assert!(page.contains(series), "{series} is not in\n{page}");
    }
    for bound in ["0.003", "0.005", "0.01", "0.015", "0.02", "0.025", "0.05", "0.2"] {
        let labels = format!("path=\"/rank\",method=\"POST\",status=\"200\",le=\"{bound}\"");
        let bucket = format!("http_request_duration_seconds_bucket{{{labels}}}");
        assert!(page.contains(&bucket), "{bucket} is not in\n{page}");
    }
}

//! A comparison is one joined record that the client never notices.

use std::collections::BTreeSet;

use evil::{Behaviour, Fault, When};
use hyper::Method;
use ranking::{Body, Origin, Policy, pseudonym};
use serde_json::json;
use store::Store;
use uuid::Uuid;

use crate::{BIG, Running, Site, VERSION, big_case, case, comparisons, ids, request_id};

/// All comparisons, whoever asked for them.
async fn compared(running: &Running) -> Vec<store::ShadowRecord> {
    comparisons(&running.gateway.store).await
}

async fn impressions(store: &Store) -> usize {
    let later = chrono::Utc::now() + chrono::Duration::days(1);
    store
        .events_between(chrono::DateTime::UNIX_EPOCH, later)
        .await
        .unwrap()
        .records
        .len()
}

#[tokio::test]
async fn the_time_of_rankings_is_told_apart_by_whether_they_were_compared() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    for (forced, label) in [("1", "yes"), ("0", "no")] {
        let series = format!("ltr_rank_seconds_count{{shadow=\"{label}\"}}");
        let before = running.metric(&series).await;
        running.rank(&[("x-shadow-ltr", forced)], &case(1)).await.ok();
        assert!(running.metric(&series).await >= before + 1.0, "{series}");
    }
}

#[tokio::test]
async fn a_forced_comparison_is_kept_with_both_ranks_and_the_user_sees_legacy() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let before = running.metric("ltr_shadow_total{outcome=\"ok\"}").await;
    let mut body = case(1);
    body["top_n"] = json!(1);
    let answer = running
        .rank(&[("x-shadow-ltr", "1"), ("x-request-id", &request_id(1))], &body)
        .await;
    assert_eq!(answer.header("x-ltr-logged"), "committed");
    assert_eq!(
        (ids(&answer.ok()), &answer.json()["source"]),
        (vec!["adv_1"], &json!("legacy"))
    );
    assert!(running.metric("ltr_shadow_total{outcome=\"ok\"}").await >= before + 1.0);

    let kept = compared(&running).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (kept[0].request_id.to_string(), kept[0].outcome.as_str()),
        (request_id(1), "ok")
    );
    assert!(kept[0].score_us.is_some());
    let ranks: Vec<_> = kept[0]
        .rows
        .iter()
        .map(|row| (row.lawyer_id.as_str(), row.rank_legacy, row.rank_ltr))
        .collect();
    assert_eq!(
        ranks,
        [("adv_1", 1, Some(3)), ("adv_2", 2, Some(2)), ("adv_3", 3, Some(1))],
        "every candidate, shown or not"
    );
}

#[tokio::test]
async fn the_shadow_log_holds_a_pseudonym_and_never_the_user() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    running.rank(&[("x-shadow-ltr", "1")], &case(1)).await.ok();
    let user: Uuid = case(1)["case"]["user_id"].as_str().unwrap().parse().unwrap();
    let users = shadow_users(&site).await;
    assert_eq!(
        users,
        BTreeSet::from([pseudonym(&running.gateway.pseudonyms.salt, user).to_string()])
    );
    assert!(!users.contains(&user.to_string()));
    let url = site.settings.database.url.expose();
    let pool = sqlx::SqlitePool::connect(url).await.unwrap();
    let salts = sqlx::query_scalar("SELECT salt_id FROM ltr_shadow_request");
    let salts: Vec<Option<String>> = salts.fetch_all(&pool).await.unwrap();
    assert_eq!(salts, [Some(running.gateway.pseudonyms.salt_id.to_string())]);
}

/// Everyone in the shadow log.
async fn shadow_users(site: &Site) -> BTreeSet<String> {
    let url = site.settings.database.url.expose();
    let pool = sqlx::SqlitePool::connect(url).await.unwrap();
    let users = sqlx::query_scalar("SELECT DISTINCT user_id FROM ltr_shadow_log");
    users.fetch_all(&pool).await.unwrap().into_iter().collect()
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_kept_once() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let headers = [("x-shadow-ltr", "1"), ("x-request-id", &*request_id(1))];
    for _ in 0..3 {
        let answer = running.rank(&headers, &case(1)).await;
        assert_eq!(answer.header("x-ltr-logged"), "committed");
    }
    assert_eq!(impressions(&running.gateway.store).await, 1);
    assert_eq!(compared(&running).await.len(), 1);
}

#[tokio::test]
async fn a_copy_from_the_edge_leaves_nothing_but_the_comparison() {
    let site = Site::new();
    site.publish("20260901T021500Z", Behaviour::Honest);
    let running = site.start().await;
    running.ltr_serves().await;
    site.publish(VERSION, Behaviour::Honest);
    running.gateway.release.find_publications().await;
    let answer = running.rank(&[("x-ltr-edge-copy", "1")], &case(1)).await.ok();
    assert_eq!(answer["source"], "legacy", "no rollout for a copy");
    assert_eq!(impressions(&running.gateway.store).await, 0);
    assert_eq!(compared(&running).await.len(), 1);
}

/// Why each comparison was made, by the log.
async fn triggers(site: &Site) -> BTreeSet<(String, String)> {
    let url = site.settings.database.url.expose();
    let pool = sqlx::SqlitePool::connect(url).await.unwrap();
    let triggers = sqlx::query_as("SELECT request_id, \"trigger\" FROM ltr_shadow_log");
    triggers.fetch_all(&pool).await.unwrap().into_iter().collect()
}

#[tokio::test]
async fn a_comparison_says_why_it_was_made_and_a_strangers_is_told_from_an_edges() {
    for (edges, mark, copy) in [
        (vec![], "forced", "forced"),
        (vec!["tests".to_owned()], "edge_mark", "edge_copy"),
        (vec!["10.0.0.0/8".to_owned()], "forced", "forced"),
    ] {
        let mut site = Site::new();
        site.settings.access.edges = edges;
        let running = site.start_with(Behaviour::Honest).await;
        let marked = [("x-shadow-ltr", "1"), ("x-request-id", &*request_id(1))];
        running.rank(&marked, &case(1)).await.ok();
        let copied = [("x-ltr-edge-copy", "1"), ("x-request-id", &*request_id(2))];
        running.rank(&copied, &case(2)).await.ok();
        let expected = [(request_id(1), mark.to_owned()), (request_id(2), copy.to_owned())];
        assert_eq!(triggers(&site).await, BTreeSet::from(expected));
        running.stop().await;

        site.settings.shadow.fraction = 1.0;
        let running = site.start().await;
        running.rank(&[("x-request-id", &request_id(3))], &case(3)).await.ok();
        assert!(triggers(&site).await.contains(&(request_id(3), "sampled".to_owned())));
    }
}

#[tokio::test]
async fn groups_are_kept_of_those_who_agreed_or_where_it_is_configured() {
    for (configured, kept_without) in [(false, 0), (true, 1)] {
        let mut site = Site::new();
        site.settings.privacy.groups_without_consent = configured;
        let running = site.start_with(Behaviour::Honest).await;
        let mut body = case(1);
        body["lawyers"][0]["groups_consented_at"] = json!("2026-09-01T00:00:00Z");
        running.rank(&[("x-shadow-ltr", "1")], &body).await.ok();
        for row in &compared(&running).await[0].rows {
            let expected = if row.lawyer_id == "adv_2" { 1 } else { kept_without };
            assert_eq!(row.groups.len(), expected, "{}", row.lawyer_id);
        }
        let later = chrono::Utc::now() + chrono::Duration::days(1);
        let events = running
            .gateway
            .store
            .events_between(chrono::DateTime::UNIX_EPOCH, later);
        let Body::Impression(shown) = &events.await.unwrap().records[0].body else {
            panic!()
        };
        let groups: Vec<usize> = shown
            .groups
            .as_ref()
            .unwrap()
            .iter()
            .map(|groups| groups.len())
            .collect();
        assert_eq!(groups, [kept_without, 1, kept_without], "adv_1, adv_2, adv_3");
        assert!(shown.groups_consented_at.as_ref().unwrap()[1].is_some());
    }
}

#[tokio::test]
async fn an_impression_says_how_it_came_about() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    running.rank(&[("x-shadow-ltr", "1")], &case(1)).await.ok();
    let later = chrono::Utc::now() + chrono::Duration::days(1);
    let events = running
        .gateway
        .store
        .events_between(chrono::DateTime::UNIX_EPOCH, later);
    let event = events.await.unwrap().records.remove(0);
    let Body::Impression(shown) = &event.body else { panic!() };
    assert_eq!(event.schema_version, ranking::events::SCHEMA_VERSION);
    assert_eq!(
        (shown.origin, shown.policy),
        (Some(Origin::Gateway), Some(Policy::None))
    );
    assert_eq!(shown.fairness.as_ref(), Some(&site.settings.ranking.fairness));
    // Legacy was shown, and LTR, which says the opposite, was computed.
    assert_eq!(shown.ltr_version.as_deref(), Some(VERSION));
    assert_eq!(shown.ltr_ranks, Some(vec![3, 2, 1]));
    assert_eq!(shown.ltr_scores, Some(vec![0.1, 0.5, 0.8]));

    running.newest_serves(50).await;
    running.rank(&[], &case(2)).await.ok();
    let events = running
        .gateway
        .store
        .events_between(chrono::DateTime::UNIX_EPOCH, later);
    let events = events.await.unwrap().records;
    let policies = events.iter().filter_map(|event| match &event.body {
        Body::Impression(shown) => Some(shown.policy),
        Body::Action(_) => None,
    });
    assert_eq!(policies.collect::<Vec<_>>(), [Some(Policy::None), Some(Policy::Rung)]);
}

/// A copy of case 1 as the Envoy filter makes it: called as its original, whatever proxies did to `x-request-id`.
fn copy_headers<'a>(original: &'a str, rewritten: &'a str) -> [(&'a str, &'a str); 3] {
    [
        ("x-ltr-edge-copy", "1"),
        ("x-ltr-request-id", original),
        ("x-request-id", rewritten),
    ]
}

#[tokio::test]
async fn copies_and_their_original_are_one_comparison_under_the_originals_id() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let original = "6f1b1a34-3c1e-4c5a-9e0d-2f5b8c7d9e10".to_owned();
    // As Envoys say it that trace.
    for traced in ["9", "a", "b"] {
        let mut same = original.clone();
        same.replace_range(14..15, traced);
        running.rank(&copy_headers(&same, &same), &case(1)).await.ok();
    }
    for rewritten in [request_id(2), request_id(3)] {
        let answer = running.rank(&copy_headers(&original, &rewritten), &case(1)).await;
        assert_eq!(answer.header("x-request-id"), original);
    }
    let marked = [("x-shadow-ltr", "1"), ("x-request-id", &*original)];
    running.rank(&marked, &case(1)).await.ok();
    assert_eq!(compared(&running).await.len(), 1);
    assert_eq!(impressions(&running.gateway.store).await, 1, "the original's");
    // Only of copies is the other header believed.
    let stranger = [("x-ltr-request-id", &*original), ("x-request-id", &*request_id(4))];
    assert_eq!(
        running.rank(&stranger, &case(1)).await.header("x-request-id"),
        request_id(4)
    );
}

#[tokio::test]
async fn the_user_of_a_copy_has_one_pseudonym_wherever_it_was_made() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let user: Uuid = case(1)["case"]["user_id"].as_str().unwrap().parse().unwrap();
    let salt = running.gateway.pseudonyms.salt.clone();
    let (ours, others) = (pseudonym(&salt, user), pseudonym(b"another salt", user));
    let under = |salt: &[u8]| ranking::salt_id(salt).to_string();
    // What the copy has as its user, what it says of it, and what is kept.
    let cases = [
        (user, None, ours),
        (user, Some("yes".to_owned()), ours),
        (ours, Some(under(&salt)), ours),
        (others, Some(under(b"another salt")), pseudonym(&salt, others)),
        (ours, None, pseudonym(&salt, ours)),
    ];
    let mut kept_so_far = BTreeSet::new();
    for (at, (sent, under, kept)) in cases.into_iter().enumerate() {
        let id = request_id(at as u128);
        let mut headers = copy_headers(&id, &id).to_vec();
        headers.extend(under.as_deref().map(|salt| ("x-ltr-user-pseudonym", salt)));
        let mut body = case(1);
        body["case"]["user_id"] = json!(sent);
        running.rank(&headers, &body).await.ok();
        kept_so_far.insert(kept.to_string());
        assert_eq!(shadow_users(&site).await, kept_so_far, "case {at}");
    }
}

#[tokio::test]
async fn a_copy_changes_nothing_anywhere() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    for path in [
        "/events",
        "/rollout/weight",
        "/rollout/rollback",
        "/models/notify",
        "/elsewhere",
    ] {
        let answer = running
            .send(Method::POST, path, &[("x-ltr-edge-copy", "1")], "{}")
            .await;
        assert_eq!(answer.refused(403)["code"], "edge_copy", "{path}");
    }
}

#[tokio::test]
async fn who_opts_out_is_not_compared() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let headers = [("x-ltr-opt-out", "1"), ("x-shadow-ltr", "1")];
    running.rank(&headers, &case(1)).await.ok();
    assert_eq!(compared(&running).await.len(), 0);
    assert_eq!(impressions(&running.gateway.store).await, 1);
}

#[tokio::test]
async fn a_challenger_that_fails_is_kept_as_such_and_the_client_never_hears_of_it() {
    let mut site = Site::new();
    site.settings.host.ltr_budget_ms = 1_000;
    let running = site
        .start_with(Behaviour::Faulty(Fault::Trap, When::ValuesOver(BIG)))
        .await;
    let before = running.metric("ltr_shadow_total{outcome=\"trap\"}").await;
    let answer = running.rank(&[("x-shadow-ltr", "1")], &big_case(1)).await.ok();
    assert_eq!(
        (&answer["source"], &answer["fallback"]),
        (&json!("legacy"), &json!(null))
    );
    assert!(running.metric("ltr_shadow_total{outcome=\"trap\"}").await >= before + 1.0);
    let kept = compared(&running).await;
    assert_eq!((kept[0].outcome.as_str(), kept[0].score_us), ("trap", None));
    assert!(
        kept[0]
            .rows
            .iter()
            .all(|row| row.rank_ltr.is_none() && row.fair_ltr.is_none())
    );
    assert_eq!(kept[0].rows.len(), 8);
}

#[tokio::test]
async fn the_sampled_share_is_compared_without_being_asked_for() {
    let mut site = Site::new();
    site.settings.shadow.fraction = 0.10;
    let running = site.start_with(Behaviour::Honest).await;
    for id in 0..400_u32 {
        let id = Uuid::new_v5(&Uuid::nil(), &id.to_be_bytes()).to_string();
        running.rank(&[("x-request-id", &id)], &case(1)).await.ok();
    }
    let compared = compared(&running).await.len();
    // 10 % of 400, and four standard deviations around it; the ids are fixed.
    assert!((16..=64).contains(&compared), "{compared} of 400");
}

//! Neighbours that a coin swaps: for whom, and where nobody is.

use chrono::{NaiveDate, Utc};
use evil::Behaviour;
use ranking::outcomes::{Arm, OutcomeDay};
use ranking::{Coin, Policy, Source};
use serde_json::{Value, json};

use crate::trials::{arm, impression, on_trial};
use crate::{Running, Site, VERSION, case, ids, lawyer, request_id};

/// A case whose first two may change places in both rankings: legacy says adv_1, adv_2, adv_3, the model adv_2, adv_1,
/// adv_3.
fn close(id: u128) -> Value {
    let mut body = case(id);
    body["lawyers"] = json!([
        lawyer("adv_1", 0.9, 0.49),
        lawyer("adv_2", 0.85, 0.5),
        lawyer("adv_3", 0.05, 0.0)
    ]);
    body
}

/// A gateway that swaps for all users.
async fn swapping(change: impl FnOnce(&mut settings::Settings)) -> (Site, Running) {
    let mut site = Site::new();
    site.settings.swaps.share = 1.0;
    change(&mut site.settings);
    let running = site.start_with(Behaviour::Honest).await;
    (site, running)
}

/// Ranks 60 cases, all of whose coins must be tossed. Gives how many were swapped.
async fn swapped(running: &Running, cases: std::ops::Range<u128>, source: Source, whole: [&str; 3]) -> usize {
    let mut swapped = 0;
    for id in cases {
        let headers = [("x-request-id", &*request_id(id))];
        let answer = running.rank(&headers, &close(id)).await.ok();
        assert_eq!(
            ids(&running.rank(&headers, &close(id)).await.ok()),
            ids(&answer),
            "a retry"
        );
        let logged = impression(running, id).await;
        assert_eq!(logged.lawyer_ids, ids(&answer));
        assert_eq!(
            (answer["source"].as_str(), logged.source),
            (Some(source.name()), source)
        );
        assert_eq!((logged.policy, arm(&logged)), (Some(Policy::Swap), None));
        let coin = logged.coin.expect("a coin was tossed");
        assert_eq!((coin.pair, coin.probability), ([1, 2], 0.5));
        assert_eq!(logged.order_before.unwrap(), whole);
        assert_eq!(coin.applied(&whole), logged.lawyer_ids);
        if source == Source::Ltr {
            assert_eq!(logged.ltr_ranks.unwrap(), coin.applied(&[1, 2, 3]));
            assert_eq!(logged.model_version.as_deref(), Some(VERSION));
        }
        swapped += usize::from(coin.swapped);
    }
    swapped
}

#[tokio::test]
async fn half_of_the_rankings_are_swapped_whoever_made_them_and_logged_as_they_were_shown() {
    let (_site, running) = swapping(|_| {}).await;
    let of_legacy = swapped(&running, 0..60, Source::Legacy, ["adv_1", "adv_2", "adv_3"]).await;
    running.ltr_serves().await;
    let of_ltr = swapped(&running, 60..120, Source::Ltr, ["adv_2", "adv_1", "adv_3"]).await;
    // Half of 60, within five standard deviations.
    assert!(
        (11..=49).contains(&of_legacy) && (11..=49).contains(&of_ltr),
        "{of_legacy} {of_ltr}"
    );
}

#[tokio::test]
async fn nobody_is_swapped_unless_a_share_is_configured() {
    let (_site, running) = swapping(|settings| settings.swaps = settings::Swaps::default()).await;
    for id in 0..20 {
        assert_eq!(
            ids(&running.rank(&[], &close(id)).await.ok()),
            ["adv_1", "adv_2", "adv_3"]
        );
        let logged = impression(&running, id).await;
        assert_eq!(
            (logged.policy, logged.coin, logged.order_before),
            (Some(Policy::None), None, None)
        );
    }
}

#[tokio::test]
async fn held_out_users_and_drafts_are_left_as_they_are() {
    let settings = |settings: &mut settings::Settings| {
        settings.rollout.hold_out = 0.3;
        settings.swaps.share = 1.0;
    };
    let (_site, running) = on_trial(Behaviour::Honest, settings).await;
    let mut seen = [0; 3];
    for id in 0..80 {
        let answer = running.rank(&[], &close(id)).await.ok();
        let logged = impression(&running, id).await;
        let (of, coin) = (logged.policy.unwrap(), logged.coin.is_some());
        match of {
            Policy::HoldOut => {
                seen[0] += 1;
                assert_eq!(ids(&answer), ["adv_1", "adv_2", "adv_3"]);
                assert_eq!((coin, arm(&logged)), (false, Some(Arm::HoldOut)));
            }
            Policy::Interleaved => {
                seen[1] += 1;
                assert_eq!((coin, arm(&logged)), (false, Some(Arm::Interleaved)));
            }
            _ => {
                seen[2] += 1;
                assert_eq!((of, logged.source, coin), (Policy::Swap, Source::Legacy, true));
            }
        }
    }
    assert!(seen.iter().all(|seen| *seen >= 5), "{seen:?}");
}

#[tokio::test]
async fn copies_and_forced_comparisons_are_left_as_they_are() {
    let (_site, running) = swapping(|_| {}).await;
    for id in 0..20 {
        let copy = running.rank(&[("x-ltr-edge-copy", "1")], &close(id)).await.ok();
        assert_eq!(ids(&copy), ["adv_1", "adv_2", "adv_3"]);
        let forced = running.rank(&[("x-shadow-ltr", "1")], &close(id)).await.ok();
        assert_eq!(ids(&forced), ["adv_1", "adv_2", "adv_3"]);
        let logged = impression(&running, id).await;
        assert_eq!((logged.policy, logged.coin), (Some(Policy::None), None));
    }
}

#[tokio::test]
async fn the_kill_switch_ends_swaps_too() {
    let (_site, running) = swapping(|settings| settings.flags.kill_switch = true).await;
    for id in 0..20 {
        assert_eq!(
            ids(&running.rank(&[], &close(id)).await.ok()),
            ["adv_1", "adv_2", "adv_3"]
        );
        assert_eq!(impression(&running, id).await.coin, None);
    }
}

/// The case must be shown as it is ranked, without a coin, and be evidence of no arm.
async fn left_alone(running: &Running, id: u128, body: &Value, order: [&str; 2]) {
    let answer = running.rank(&[], body).await.ok();
    assert_eq!(ids(&answer)[..order.len()], order);
    let logged = impression(running, id).await;
    assert_eq!((logged.coin, logged.order_before.is_none()), (None, true));
    // Other cases of one ranking than of another would be missing from its arm.
    assert_eq!((logged.policy, arm(&logged)), (Some(Policy::Swap), None));
}

#[tokio::test]
async fn where_fairness_put_a_lawyer_first_nothing_is_tossed() {
    let (_site, running) = swapping(|_| {}).await;
    for id in 0..20 {
        let mut free = close(id);
        free["lawyers"][1]["cases_30d"] = json!(0);
        free["lawyers"][0]["cases_30d"] = json!(25);
        left_alone(&running, id, &free, ["adv_2", "adv_1"]).await;
        // Only the first two places are swapped.
        let mut alone = close(1_000 + id);
        alone["top_n"] = json!(1);
        let answer = running.rank(&[], &alone).await.ok();
        assert_eq!(ids(&answer), ["adv_1"]);
        assert_eq!(impression(&running, 1_000 + id).await.coin, None);
        // The second is far behind: outside the elite.
        left_alone(&running, 2_000 + id, &case(2_000 + id), ["adv_1", "adv_2"]).await;
    }
}

/// A closed day with so many tosses over the first two places, clicked so often at each.
fn day(date: NaiveDate, clicks: [u64; 2], tosses: u64) -> OutcomeDay {
    let mut day = OutcomeDay::new(date);
    let coin = Coin {
        pair: [1, 2],
        swapped: true,
        probability: 0.5,
    };
    for toss in 0..tosses {
        day.swaps.add(&coin, |place| toss < clicks[place as usize - 1]).unwrap();
    }
    day
}

async fn propensities(running: &Running, days: &[OutcomeDay]) -> Value {
    for day in days {
        let text = serde_json::to_string(day).unwrap();
        assert!(running.gateway.store.save_outcome_day(day.date, &text).await.unwrap());
    }
    running.gateway.release.refresh_snapshot().await.unwrap();
    running.get("/rollout").await.ok()["propensities"].take()
}

#[tokio::test]
async fn the_rollout_says_what_is_known_of_position_bias_and_when_it_will_be() {
    let (_site, running) = swapping(|settings| settings.swaps.share = 0.25).await;
    let nothing = propensities(&running, &[]).await;
    assert_eq!(
        (&nothing["reason"], &nothing["share"]),
        (&json!("no day is closed yet"), &json!(0.25))
    );
    assert_eq!(
        (&nothing["identified"], &nothing["eta"], &nothing["known_on"]),
        (&json!(false), &Value::Null, &Value::Null)
    );
    let date = |ago: u64| Utc::now().date_naive() - chrono::Days::new(ago);
    // Of a day long ago, when the page may have looked otherwise, nothing counts.
    let old = day(date(400), [90, 1], 100);
    let early = propensities(&running, &[old, day(date(12), [20, 10], 60)]).await;
    assert_eq!((&early["swaps"], &early["identified"]), (&json!(60), &json!(false)));
    assert!(
        (early["eta"]["estimate"].as_f64().unwrap() - 1.0).abs() < 1e-9,
        "{early:#}"
    );
    let known_on: NaiveDate = serde_json::from_value(early["known_on"].clone()).unwrap();
    assert!(
        known_on > date(0) && known_on < date(0) + chrono::Days::new(30),
        "{early:#}"
    );
    let days: Vec<OutcomeDay> = (2..12).map(|ago| day(date(ago), [20, 10], 60)).collect();
    let known = propensities(&running, &days).await;
    assert_eq!((&known["swaps"], &known["identified"]), (&json!(660), &json!(true)));
    assert_eq!(
        known["pairs"],
        json!([{ "pair": [1, 2], "tosses": 660, "clicks": [220, 110] }])
    );
    assert_eq!(known["closed"]["days"], 11);
    assert!(known["known_on"].is_null(), "{known:#}");
    let eta = &known["eta"];
    assert!(
        eta["low"].as_f64().unwrap() < 1.0 && 1.0 < eta["high"].as_f64().unwrap(),
        "{eta}"
    );
}

//! Which cases have both rankings, and what the log does not cover.

use ranking::evidence::{ComparedCase, Coverage, RankedLawyer, count_day};
use ranking::interleaving::tosses;
use ranking::{Coin, Policy, ShadowOutcome, ShadowRow, Source, Trigger};
use store::ShadowRecord;

use super::*;

const MODEL: &str = "20261001T021500Z";

fn request(number: u128) -> Uuid {
    Uuid::from_u128(number << 64 | 0x4000_0000_0000_0000_0000)
}

/// What the gateway displayed for a request.
fn displayed(number: u128, lawyers: &[&str], more: impl FnOnce(&mut Impression)) -> Event {
    let mut impression = Impression {
        request_id: request(number),
        policy: Some(Policy::Rung),
        ..impression(lawyers, Origin::Gateway)
    };
    more(&mut impression);
    event(number, number, start(), Body::Impression(impression))
}

/// The comparison of that request: lawyers in legacy's order, each with LTR's rank.
fn compared(number: u128, trigger: Trigger, lawyers: &[(&str, Option<u16>)]) -> Record {
    let rows = (1..).zip(lawyers).map(|(rank, (id, ltr))| ShadowRow {
        lawyer_id: (*id).to_owned(),
        rank_legacy: rank,
        rank_ltr: *ltr,
        label: None,
        fair_legacy: 0.5,
        fair_ltr: Some(0.5),
        groups: std::collections::BTreeMap::from([("gender".to_owned(), "F".to_owned())]),
    });
    Record::Shadow(ShadowRecord {
        request_id: request(number),
        ts_utc: start(),
        case_id: Uuid::from_u128(number),
        user_pseudonym: Uuid::from_u128(9),
        model_version: MODEL.to_owned(),
        outcome: ShadowOutcome::Scored,
        score_us: Some(9),
        trigger: Some(trigger.name().to_owned()),
        salt_id: None,
        rows: rows.collect(),
        unknown: Default::default(),
    })
}

/// Of a lawyer: displayed at, by legacy, by LTR, and whether clicked.
type Places = (Option<u32>, Option<u32>, Option<u32>, bool);

fn places(case: &ComparedCase) -> Vec<Places> {
    let of = |l: &RankedLawyer| (l.displayed, l.legacy, l.ltr, l.is_clicked);
    case.lawyers.iter().map(of).collect()
}

async fn made(place: &Place) -> lake::Refreshed {
    place.sink().await;
    place.etl(later(24 * 8)).await.make(start().date_naive()).await.unwrap()
}

#[tokio::test]
async fn a_compared_case_has_both_ranks_of_all_and_the_places_of_those_who_were_displayed() {
    let place = Place::new().await;
    let coin = Coin {
        pair: [1, 2],
        swapped: true,
        probability: 0.5,
    };
    // Envoy has written into the id of the first request since it was compared.
    let traced: Uuid = request(1).to_string().replacen("-4", "-9", 1).parse().unwrap();
    let all = [("a", Some(3)), ("b", Some(1)), ("c", Some(2))];
    place
        .log([
            displayed(1, &["b", "a"], |shown| {
                (shown.request_id, shown.policy, shown.coin) = (traced, Some(Policy::Swap), Some(coin));
            }),
            event(11, 1, later(1), act(ActionKind::ClickProfile, "a", 2)),
            displayed(2, &["a", "b"], |_| {}),
            displayed(3, &["a", "b"], |_| {}),
            displayed(4, &["a", "b"], |_| {}),
        ])
        .await;
    let failed = [("a", None), ("b", None)];
    // Of the first case, in a request whose ranking nobody was shown.
    let mut other = compared(1, Trigger::Sampled, &[("a", Some(1)), ("b", Some(2))]);
    if let Record::Shadow(other) = &mut other {
        other.request_id = request(6);
    }
    let comparisons = [
        compared(1, Trigger::EdgeMark, &all),
        compared(2, Trigger::Forced, &all),
        compared(3, Trigger::Sampled, &failed),
        // Of a case that nobody was shown.
        compared(5, Trigger::Sampled, &all),
        other,
    ];
    place.store.append(&comparisons).await.unwrap();
    let made = made(&place).await;
    let [first, third] = &made.compared[..] else {
        panic!("{:?}", made.compared)
    };
    assert_eq!(
        places(first),
        [
            (Some(2), Some(1), Some(3), true),
            (Some(1), Some(2), Some(1), false),
            (None, Some(3), Some(2), false),
        ]
    );
    assert_eq!(
        (&first.coins[..], first.policy, first.arm),
        (&[coin][..], Policy::Swap, None)
    );
    assert_eq!((&*first.model_version, first.has_all), (MODEL, true));
    assert_eq!(first.lawyers[2].groups["gender"], "F");
    // Where the model failed, legacy's ranking would have been shown.
    assert_eq!(third.case_id, Uuid::from_u128(3));
    assert_eq!(
        places(third),
        [(Some(1), Some(1), Some(1), false), (Some(2), Some(2), Some(2), false)]
    );
}

#[tokio::test]
async fn a_draft_says_who_both_rankings_would_have_displayed() {
    let place = Place::new().await;
    let drafted_by = vec![Source::Ltr, Source::Legacy, Source::Interleaved];
    let drafted = displayed(1, &["x", "a", "b"], |shown| {
        (shown.policy, shown.source) = (Some(Policy::Interleaved), Source::Interleaved);
        shown.model_version = Some(MODEL.to_owned());
        shown.ltr_version = Some(MODEL.to_owned());
        shown.drafted_by = Some(drafted_by.clone());
        // Legacy's third was not shown, nor LTR's second.
        shown.order_before = Some(["a", "b", "c"].map(str::to_owned).to_vec());
        shown.ltr_ranks = Some(vec![1, 9, 3]);
        shown.ltr_scores = Some(vec![0.9, 0.1, 0.5]);
    });
    place
        .log([drafted, event(11, 1, later(1), act(ActionKind::ContactMade, "x", 1))])
        .await;
    let made = made(&place).await;
    let [case] = &made.compared[..] else {
        panic!("{:?}", made.compared)
    };
    assert_eq!(
        places(case),
        [
            (Some(1), None, Some(1), true),
            (Some(2), Some(1), Some(9), false),
            (Some(3), Some(2), Some(3), false),
            (None, Some(3), None, false),
            (None, None, Some(2), false),
        ]
    );
    assert_eq!((&case.coins, case.has_all), (&tosses(&drafted_by), false));
    let day = count_day(&made.displayed.unwrap(), &made.compared, made.coverage);
    assert_eq!((day.coverage.compared, day.models.len()), (0, 1), "no sampler chose it");
}

#[tokio::test]
async fn actions_that_no_displayed_ranking_accounts_for_are_counted() {
    let place = Place::new().await;
    place
        .log([
            displayed(1, &["a", "b"], |_| {}),
            event(11, 1, later(1), act(ActionKind::ClickProfile, "a", 1)),
            // Shown, but not there.
            event(12, 1, later(1), act(ActionKind::ClickProfile, "b", 7)),
            // Shown to nobody.
            event(13, 1, later(2), act(ActionKind::ContractSigned, "z", 1)),
            // Of a case that nobody ranked.
            event(14, 99, later(3), act(ActionKind::ClickProfile, "a", 1)),
        ])
        .await;
    let expected = Coverage {
        cases: 0,
        compared: 0,
        actions: 3,
        actions_unbound: 2,
        actions_never_displayed: 1,
        actions_without_impression: 1,
    };
    assert_eq!(made(&place).await.coverage, expected);
}

#[tokio::test]
async fn counting_a_day_again_gives_the_same() {
    let place = Place::new().await;
    for number in 1..40 {
        let all = [("a", Some(2)), ("b", Some(1)), ("c", Some(3))];
        let mut shown = displayed(number, &["a", "b"], |_| {});
        shown.user_id = Uuid::from_u128(number);
        place.log([shown]).await;
        place
            .store
            .append(&[compared(number, Trigger::Sampled, &all)])
            .await
            .unwrap();
    }
    let day = |made: lake::Refreshed| {
        let day = count_day(&made.displayed.unwrap(), &made.compared, made.coverage);
        serde_json::to_value(day).unwrap()
    };
    let first = day(made(&place).await);
    assert_eq!(first["coverage"]["compared"], 39);
    // Other files, the same records.
    lake::compact(&place.lake, start().date_naive(), later(24 * 9))
        .await
        .unwrap();
    assert_eq!(day(made(&place).await), first);
}

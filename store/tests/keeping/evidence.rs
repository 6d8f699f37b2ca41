//! Comparisons, their labels, and the rollout.

use std::sync::atomic::{AtomicBool, Ordering};

use ranking::ShadowCase;
use serde_json::json;
use store::{Appended, HistoryEntry, Limits, Record, RolloutState, SetAside, Store, StoreError};
use uuid::Uuid;

use crate::database::*;
use crate::label_all;

pub(crate) async fn labels(store: &Store) -> Vec<(Uuid, Vec<Option<f32>>)> {
    let cases = store.shadow_cases(VERSION, day(1000)).await.unwrap();
    cases
        .records
        .into_iter()
        .map(|case| (case.case_id, case.rows.iter().map(|row| row.label).collect()))
        .collect()
}

pub(crate) async fn two_cases_under_one_request_are_two_comparisons(database: Database) {
    let store = database.open().await;
    let records = [shadow(1, 5, day(0)), shadow(1, 6, day(0)), shadow(1, 5, day(0))];
    use Appended::{Duplicate, Stored};
    assert_eq!(
        store.append(&records.map(Record::Shadow)).await.unwrap(),
        [Stored, Stored, Duplicate]
    );
    let given = [(Uuid::from_u128(6), "adv_2".to_owned(), 1.0)];
    assert_eq!(label_all(&store, &given, day(1)).await.unwrap(), 4);
    let cases = store.shadow_cases(VERSION, day(1)).await.unwrap().records;
    let found = cases.iter().map(|case| (case.case_id.as_u128(), case.rows[1].label));
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|(case, _)| *case);
    assert_eq!(found, [(5, Some(0.0)), (6, Some(1.0))]);
    assert!(cases.iter().all(|case| case.rows.len() == 2));
}

pub(crate) async fn only_closed_and_labelled_cases_are_evidence(database: Database) {
    let store = database.open().await;
    let records = [
        shadow(1, 1, day(0)),
        shadow(2, 2, day(5)),
        shadow(3, 3, day(0)),
        shadow(4, 3, day(5)),
    ];
    store.append(&records.map(Record::Shadow)).await.unwrap();
    assert_eq!(
        store.shadow_cases(VERSION, day(9)).await.unwrap().records,
        [],
        "nothing is labelled yet"
    );

    let given = [1, 2, 3].map(|case| (Uuid::from_u128(case), "adv_2".to_owned(), 1.0));
    assert_eq!(label_all(&store, &given[..1], day(-1)).await.unwrap(), 2);
    assert_eq!(labels(&store).await, [(Uuid::from_u128(1), vec![Some(0.0), Some(1.0)])]);

    // Case 3 was compared twice: its outcome is that of both.
    assert_eq!(label_all(&store, &given, day(-1)).await.unwrap(), 6);
    assert_eq!(labels(&store).await.len(), 4);
    let closed = store.shadow_cases(VERSION, day(3)).await.unwrap().records;
    assert_eq!(
        closed.iter().map(|case| case.request_id.as_u128()).collect::<Vec<_>>(),
        [1, 3]
    );
}

pub(crate) async fn every_comparison_of_a_model_comes_once_and_others_get_a_turn_between(database: Database) {
    let limits = Limits {
        // One for all who read.
        max_connections: 3,
        ..Limits::default()
    };
    let store = Store::open_with(&database.url, limits).await.unwrap();
    // More than two pages, at four times; of a request in five, another model has a comparison as well.
    let mut records: Vec<Record> = (0..1_201)
        .map(|id| Record::Shadow(shadow(id % 700, id, day(id as i64 % 4))))
        .collect();
    for id in (0..700).step_by(5) {
        let mut other = shadow(id, 10_000 + id, day(id as i64 % 4));
        other.model_version = "another".into();
        records.push(Record::Shadow(other));
    }
    store.append(&records).await.unwrap();
    label_all(&store, &[], day(9)).await.unwrap();
    let unlabelled = (2_000..2_007).map(|id| Record::Shadow(shadow(id, id, day(1))));
    store.append(&unlabelled.collect::<Vec<_>>()).await.unwrap();
    let mut no_lawyer = shadow(3_000, 3_000, day(1));
    no_lawyer.rows.clear();
    store.append(&[Record::Shadow(no_lawyer)]).await.unwrap();

    let another_call = AtomicBool::new(false);
    let (mut found, mut called_meanwhile) = (Vec::new(), false);
    let mut take = |case: ShadowCase| {
        called_meanwhile |= another_call.load(Ordering::Relaxed);
        let ranks: Vec<u16> = case.rows.iter().map(|row| row.rank_legacy).collect();
        assert_eq!(ranks, [1, 2]);
        found.push((case.case_id.as_u128(), case.request_id.as_u128()));
    };
    let reading = store.each_shadow_case(VERSION, day(9), &mut take);
    let calling = async {
        store.events_between(day(0), day(1)).await.unwrap();
        another_call.store(true, Ordering::Relaxed);
    };
    let (set_aside, ()) = tokio::join!(reading, calling);
    let nothing_but_open = SetAside {
        unlabelled_from: Some(day(1)),
        ..SetAside::default()
    };
    assert_eq!(set_aside.unwrap(), nothing_but_open);
    assert!(called_meanwhile, "the other call waited for the last page");
    found.sort_unstable();
    let expected: Vec<(u128, u128)> = (0..1_201).map(|id| (id, id % 700)).collect();
    assert_eq!(found, expected);
}

pub(crate) async fn comparisons_that_cannot_be_read_are_counted_and_the_first_are_listed(database: Database) {
    let store = database.open().await;
    let records = (0..150).map(|id| Record::Shadow(shadow(id, id, day(0))));
    store.append(&records.collect::<Vec<_>>()).await.unwrap();
    label_all(&store, &[], day(9)).await.unwrap();
    let (table, open) = if database.url.starts_with("sqlite") {
        ("ltr_shadow_row", "request <= 10")
    } else {
        ("ltr_shadow_log", "case_id < '00000000-0000-0000-0000-00000000000a'")
    };
    let bad = format!("UPDATE {table} SET \"groups\" = '[7]' WHERE lawyer_id = 'adv_2'");
    database.execute(bad).await;
    // Without its labels a comparison is no evidence, whether it can be read or not.
    database
        .execute(format!(
            "UPDATE {table} SET label = NULL WHERE {open} AND lawyer_id = 'adv_1'"
        ))
        .await;
    let mut none = |case: ShadowCase| panic!("{case:?}");
    let set_aside = store.each_shadow_case(VERSION, day(9), &mut none).await.unwrap();
    assert_eq!((set_aside.count, set_aside.first.len()), (140, SetAside::MOST_LISTED));
    assert!(set_aside.first.iter().all(|unreadable| !unreadable.reason.is_empty()));
}

pub(crate) async fn the_same_outcome_gives_the_same_labels_whatever_was_known_before(database: Database) {
    let store = database.open().await;
    store.append(&[Record::Shadow(shadow(1, 1, day(0)))]).await.unwrap();
    let case = Uuid::from_u128(1);
    let run = async |outcome: &[(Uuid, String, f32)]| store.label_cases(&[case], outcome).await.unwrap();
    assert_eq!(run(&[(case, "adv_1".into(), 0.3)]).await, 2);
    assert_eq!(labels(&store).await, [(case, vec![Some(0.3), Some(0.0)])]);
    // An event came late, the windows became shorter.
    assert_eq!(run(&[(case, "adv_1".into(), 0.6)]).await, 1);
    assert_eq!(labels(&store).await, [(case, vec![Some(0.6), Some(0.0)])]);
    assert_eq!(run(&[]).await, 1);
    assert_eq!(labels(&store).await, [(case, vec![Some(0.0), Some(0.0)])]);
    assert_eq!(run(&[]).await, 0);
}

/// What no night labels by a case's outcome.
pub(crate) async fn the_rest_is_labelled_like_its_case_or_has_come_to_nothing(database: Database) {
    let store = database.open().await;
    let records = [
        // Case 1 is compared again after it was closed, case 2 was shown to nobody here, case 3 was shown and is not
        // labelled yet.
        Record::Shadow(shadow(1, 1, day(0))),
        Record::Shadow(shadow(2, 2, day(0))),
        Record::Shadow(shadow(3, 3, day(0))),
        Record::Event(impression(30, 3, day(0), &["adv_1", "adv_2"])),
    ];
    store.append(&records).await.unwrap();
    let case = Uuid::from_u128(1);
    store
        .label_cases(&[case], &[(case, "adv_2".into(), 1.0)])
        .await
        .unwrap();
    store.append(&[Record::Shadow(shadow(11, 1, day(5)))]).await.unwrap();
    let long_ago = day(-100);
    assert_eq!(store.label_rest(day(-1), long_ago).await.unwrap(), 0);
    assert_eq!(store.label_rest(day(9), long_ago).await.unwrap(), 4);
    let mut found = labels(&store).await;
    found.sort_by_key(|(case, _)| *case);
    let expected = [(1, 1.0), (1, 1.0), (2, 0.0)];
    assert_eq!(
        found,
        expected.map(|(case, label)| (Uuid::from_u128(case), vec![Some(0.0), Some(label)]))
    );
    // Until there is no use in waiting.
    assert_eq!(store.label_rest(day(9), day(9)).await.unwrap(), 2);
    assert_eq!(store.label_rest(day(9), day(9)).await.unwrap(), 0);
}

pub(crate) async fn a_label_out_of_range_is_refused(database: Database) {
    let store = database.open().await;
    let case = Uuid::from_u128(1);
    let wrong = label_all(&store, &[(case, "adv_1".into(), 1.5)], day(2))
        .await
        .unwrap_err();
    assert!(
        wrong.to_string().contains("1.5") && wrong.to_string().contains("0 to 1"),
        "{wrong}"
    );
}

pub(crate) async fn the_rollout_starts_at_nothing_and_remembers_every_change(database: Database) {
    let store = database.open().await;
    assert_eq!(store.rollout().await.unwrap(), RolloutState::default());
    for weight in [10, 0] {
        let state = RolloutState {
            weight,
            champion: Some(VERSION.into()),
            challenger: None,
        };
        let detail = json!({"weight": weight});
        let entry = HistoryEntry {
            ts_utc: day(0),
            action: "weight".into(),
            actor: "admin".into(),
            detail,
        };
        store.save_rollout(&state, &entry).await.unwrap();
        assert_eq!(store.rollout().await.unwrap(), state);
    }
    let weights: Vec<_> = store
        .history(10)
        .await
        .unwrap()
        .iter()
        .map(|entry| entry.detail["weight"].clone())
        .collect();
    assert_eq!(weights, [json!(0), json!(10)], "newest first");
    let entry = store.history(1).await.unwrap().remove(0);
    let too_much = RolloutState {
        weight: 101,
        ..RolloutState::default()
    };
    assert!(matches!(
        store.save_rollout(&too_much, &entry).await,
        Err(StoreError::Value { .. })
    ));
    assert_eq!(store.history(10).await.unwrap().len(), 2);
}

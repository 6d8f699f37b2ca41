//! What is kept is read back equal, and what cannot be read stops nothing else.

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use ranking::events::Event;
use serde_json::{Value, json};
use store::{Appended, Record, Spool};
use uuid::Uuid;

use crate::database::*;
use crate::label_all;
use crate::shown::was_shown;

pub(crate) fn always() -> std::ops::Range<DateTime<Utc>> {
    DateTime::<Utc>::MIN_UTC..DateTime::<Utc>::MAX_UTC
}

pub(crate) fn any_text() -> impl Strategy<Value = String> {
    let text = proptest::string::string_regex("\\PC{1,40}").unwrap();
    const ODD: [&str; 11] = [
        "\u{feff}",
        "\u{2028}",
        "\u{1F600}",
        "\\",
        "\"",
        "'",
        " ",
        "é",
        "\u{ffff}",
        "NULL",
        "{}",
    ];
    prop_oneof![text, proptest::sample::select(ODD.as_slice()).prop_map(str::to_owned)]
        .prop_filter("of the grammar", |text| grammar::is_text(text))
}

pub(crate) fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        -1e100..=1e100f64,
        Just(-0.0),
        proptest::num::f64::SUBNORMAL,
        0.0..=1.0f64,
        Just(1e100)
    ]
}

pub(crate) fn any_time() -> impl Strategy<Value = String> {
    (-62_135_596_800i64..253_402_300_800, 0u32..1_000_000_000).prop_map(|(seconds, nanos)| {
        let at = DateTime::from_timestamp(seconds, nanos).unwrap();
        at.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
    })
}

/// An event as a client may send it.
pub(crate) fn any_event() -> impl Strategy<Value = Value> {
    let lawyer = (
        any_text(),
        [any_number(), any_number()],
        any_number(),
        any_text(),
        any_text(),
        any::<u32>(),
        proptest::option::of(any_time()),
    );
    let lawyers = proptest::collection::vec(lawyer, 1..4);
    let ids = [any::<u128>(), any::<u128>(), any::<u128>(), any::<u128>()];
    (any::<bool>(), ids, any_time(), lawyers, 1u32..=10_000).prop_map(|(shown, ids, ts, mut lawyers, rank)| {
        let [event_id, case_id, user_id, request_id] = ids.map(Uuid::from_u128);
        let mut seen = std::collections::HashSet::new();
        lawyers.retain(|lawyer| seen.insert(lawyer.0.clone()));
        let each = |field: fn(&Lawyer) -> Value| lawyers.iter().map(field).collect::<Vec<_>>();
        if !shown {
            json!({"event": "contract_signed", "event_id": event_id, "ts_utc": ts, "case_id": case_id,
        "user_id": user_id, "lawyer_id": lawyers[0].0, "rank_pos": rank, "request_id": request_id})
        } else {
            json!({"event": "impression", "event_id": event_id, "ts_utc": ts, "case_id": case_id,
        "user_id": user_id, "request_id": request_id, "source": "ltr", "model_version": lawyers[0].3,
        "weights_used": {"geo": lawyers[0].2.abs()},
        "lawyer_ids": each(|l| json!(l.0)), "features": each(|l| json!([l.1[0], l.1[1], null])),
        "legacy_scores": each(|l| json!(l.2)), "groups": each(|l| json!({l.3.as_str(): l.4})),
        "cases_30d": each(|l| json!(l.5)), "monthly_capacity": each(|l| json!(u32::MAX - l.5)),
        "last_offered_at": each(|l| json!(l.6)), "groups_consented_at": each(|l| json!(l.6)),
        "ltr_scores": each(|l| json!(l.2))})
        }
    })
}

type Lawyer = (String, [f64; 2], f64, String, String, u32, Option<String>);

pub(crate) async fn whatever_the_grammar_takes_is_read_back_equal_also_through_the_spool(database: Database) {
    let store = database.open().await;
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), 1 << 30).unwrap();
    let schema = ranking::Schema::new(["geo", "review", "maturity"]).unwrap();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut sent = std::collections::BTreeMap::new();
    for n in 0..200 {
        let json = any_event().new_tree(&mut runner).unwrap().current();
        let event = Event::from_json(&json, &schema).unwrap_or_else(|error| panic!("{error}: {json}"));
        let record = Record::Event(event.clone());
        match n % 2 {
            0 => drop(store.append(&[record]).await.unwrap()),
            _ => spool.append(&[record]).unwrap(),
        }
        sent.insert(event.event_id, event);
    }
    while let Some(batch) = spool.oldest() {
        assert!(batch.refused.is_empty(), "{:?}", batch.refused);
        store.append(&batch.records).await.unwrap();
        spool.done_with_oldest();
    }
    let found = store.events_between(always().start, always().end).await.unwrap();
    assert_eq!(found.unreadable, []);
    let found = found.records.into_iter().map(|event| (event.event_id, event));
    assert_eq!(found.collect::<std::collections::BTreeMap<_, _>>(), sent);
}

pub(crate) async fn rows_that_cannot_be_read_are_set_aside_and_stop_no_other(database: Database) {
    let store = database.open().await;
    let good = impression(1, 5, day(0), &["adv_1"]);
    store.append(&[Record::Event(good.clone())]).await.unwrap();
    let mut unknown = good.to_json();
    unknown["source"] = json!("oracle");
    let mut far = good.to_json();
    far["features"] = json!([[1.7e308, null, 0]]);
    let mut bad = vec![
        "{}".to_owned(),
        "[]".into(),
        "null".into(),
        unknown.to_string(),
        far.to_string(),
    ];
    bad.push(format!("{}{}", "[".repeat(500), "]".repeat(500)));
    if database.url.starts_with("sqlite") {
        bad.extend(["".to_owned(), "no JSON".into(), "{\"event\": ".into()]);
    }
    for (id, payload) in (100..).zip(&bad) {
        database.insert_raw(Uuid::from_u128(id), day(0), payload).await;
    }
    if database.url.starts_with("sqlite") {
        // A column of text that holds bytes.
        let id = Uuid::from_u128(100 + bad.len() as u128);
        database.insert_raw(id, day(0), "").await;
        let bytes = format!("UPDATE match_events SET payload = X'7bff' WHERE event_id = '{id}'");
        database.execute(bytes).await;
        bad.push("bytes that are no UTF-8".into());
    }
    let found = store.events_between(day(0), day(1)).await.unwrap();
    assert_eq!(found.records, [good]);
    assert_eq!(found.unreadable.len(), bad.len());
    for (id, unreadable) in (100..).zip(&found.unreadable) {
        assert_eq!(
            (unreadable.table, &unreadable.key),
            ("match_events", &Uuid::from_u128(id).to_string())
        );
        assert!(!unreadable.reason.is_empty());
    }
    // Nor do they keep an action from being told apart.
    let shown = was_shown(&store, 5, [USER; 2], &[("adv_1", 1), ("adv_2", 1)]).await;
    assert_eq!(shown, [Some(true), Some(false)]);
}

pub(crate) async fn a_comparison_that_cannot_be_read_is_set_aside_and_stops_no_other(database: Database) {
    let store = database.open().await;
    let records = [1, 2, 3].map(|id| Record::Shadow(shadow(id, id, day(0))));
    store.append(&records).await.unwrap();
    label_all(&store, &[], day(1000)).await.unwrap();
    let second = Uuid::from_u128(2);
    let of_second = if database.url.starts_with("sqlite") {
        format!("ltr_shadow_row SET \"groups\" = '[7]' WHERE request = 2 AND lawyer_id = 'adv_2' -- {second}")
    } else {
        format!("ltr_shadow_log SET \"groups\" = '[7]' WHERE case_id = '{second}' AND lawyer_id = 'adv_2'")
    };
    database.execute(format!("UPDATE {of_second}")).await;
    let found = store.shadow_cases(VERSION, day(1000)).await.unwrap();
    let cases = found.records.iter().map(|case| case.case_id.as_u128());
    assert_eq!(cases.collect::<Vec<_>>(), [1, 3]);
    assert_eq!(found.unreadable.len(), 1);
    assert!(!found.unreadable[0].reason.is_empty());
}

pub(crate) async fn what_a_newer_program_says_of_a_comparison_is_kept(database: Database) {
    let store = database.open().await;
    let mut comparison = shadow(1, 1, day(0));
    comparison.unknown.insert("mood".into(), json!(["calm", 7]));
    store.append(&[Record::Shadow(comparison)]).await.unwrap();
    let said: String = database
        .read("SELECT CAST(details AS TEXT) FROM ltr_shadow_request")
        .await;
    assert_eq!(
        serde_json::from_str::<Value>(&said).unwrap(),
        json!({"mood": ["calm", 7]})
    );
}

pub(crate) async fn what_the_version_before_writes_beside_this_one_is_evidence_as_well(database: Database) {
    let store = database.open().await;
    store.append(&[Record::Shadow(shadow(1, 1, day(0)))]).await.unwrap();
    let (request, case, ts) = (Uuid::from_u128(2), Uuid::from_u128(2), "2024-10-04T00:00:00.000000000Z");
    let common = format!("'{request}', '{ts}', '{case}', '{VERSION}', 'ok', 250");
    let columns = "request_id, ts_utc, case_id, model_version, outcome, score_us";
    if database.url.starts_with("sqlite") {
        let insert = format!("INSERT INTO ltr_shadow_request ({columns}, user_id) VALUES ({common}, '{USER}')");
        database.execute(insert).await;
        let columns = "request, rank_legacy, rank_ltr, lawyer_id, fair_legacy, fair_ltr, \"groups\"";
        let rows = "(2, 1, 2, 'adv_1', 0.5, 0.25, '{}'), (2, 2, 1, 'adv_2', 0.25, 0.5, '{}')";
        database
            .execute(format!("INSERT INTO ltr_shadow_row ({columns}) VALUES {rows}"))
            .await;
    } else {
        let insert = format!("INSERT INTO ltr_shadow_request ({columns}) VALUES ({common})");
        database.execute(insert).await;
        let columns = "shadow_id, ts_utc, case_id, user_id, lawyer_id, rank_legacy, rank_ltr, request_id, \
                       model_version, fair_legacy, fair_ltr, \"groups\"";
        let row = |rank: u128| {
            let id = Uuid::from_u128(rank);
            let (lawyer, other) = (format!("adv_{rank}"), 3 - rank);
            format!(
                "('{id}', '{ts}', '{case}', '{USER}', '{lawyer}', {rank}, {other}, '{request}', '{VERSION}', 0.5, 0.5, '{{}}')"
            )
        };
        let insert = format!("INSERT INTO ltr_shadow_log ({columns}) VALUES {}, {}", row(1), row(2));
        database.execute(insert).await;
    }
    // The same comparison by this version, from a client who sent it again.
    let again = shadow(2, 2, day(0));
    assert_eq!(
        store.append(&[Record::Shadow(again)]).await.unwrap(),
        [Appended::Duplicate]
    );
    label_all(&store, &[(case, "adv_2".into(), 1.0)], day(1000))
        .await
        .unwrap();
    let cases = store.shadow_cases(VERSION, day(1000)).await.unwrap().records;
    let found = cases
        .iter()
        .map(|case| (case.case_id.as_u128(), case.rows.len(), case.rows[1].label));
    assert_eq!(found.collect::<Vec<_>>(), [(1, 2, Some(0.0)), (2, 2, Some(1.0))]);
}

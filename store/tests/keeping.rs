//! What the gateway and the nightly run rely on: nothing kept twice, nothing kept by half, nothing lost.

use std::any::Any;
use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use ranking::events::{Action, ActionKind, Body, Event, Impression};
use ranking::verdict::ShadowRow;
use serde_json::{Value, json};
use servers::Postgres;
use sqlx::{Connection, Executor};
use store::{Acted, Appended, HistoryEntry, Record, RolloutState, ShadowRecord, Spool, Store, StoreError};
use uuid::Uuid;

const USER: Uuid = Uuid::from_u128(9);
const VERSION: &str = "20261001T021500Z";

fn day(day: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + Duration::days(20_000 + day)
}

/// A new database, and what it lives in.
struct Database {
    url: String,
    _home: Box<dyn Any>,
}

impl Database {
    fn sqlite() -> Database {
        let folder = tempfile::tempdir().unwrap();
        Database {
            url: format!("sqlite://{}/new/ltr.db", folder.path().display()),
            _home: Box::new(folder),
        }
    }

    fn postgres() -> Database {
        let server = Postgres::shared();
        Database {
            url: server.database(),
            _home: Box::new(server),
        }
    }

    async fn open(&self) -> Store {
        Store::open(&self.url).await.unwrap()
    }

    async fn execute(&self, statement: String) {
        match self.url.starts_with("sqlite") {
            true => {
                let mut connection = sqlx::SqliteConnection::connect(&self.url).await.unwrap();
                connection.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
            }
            false => {
                let mut connection = sqlx::PgConnection::connect(&self.url).await.unwrap();
                connection.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
            }
        }
    }

    /// Puts an impression in case 5 there that no program of ours would write.
    async fn insert_raw(&self, event_id: Uuid, ts: DateTime<Utc>, payload: &str) {
        let (case_id, ts) = (
            Uuid::from_u128(5),
            ts.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true),
        );
        let columns = "INSERT INTO match_events (event_id, ts_utc, event, case_id, user_id, payload) VALUES";
        let payload = payload.replace('\'', "''");
        let row = format!("('{event_id}', '{ts}', 'impression', '{case_id}', '{USER}', '{payload}')");
        self.execute(format!("{columns} {row}")).await;
    }
}

/// Each of these must hold on every back end.
macro_rules! on_every_back_end {
    ($($test:ident,)*) => {
        mod sqlite {
            $(#[tokio::test] async fn $test() { super::$test(super::Database::sqlite()).await })*
        }
        mod postgres {
            $(#[tokio::test] async fn $test() { super::$test(super::Database::postgres()).await })*
        }
    };
}

on_every_back_end! {
    a_record_that_comes_again_changes_nothing,
    a_batch_that_fails_half_way_leaves_nothing,
    what_was_kept_is_there_after_reopening,
    events_come_in_time_order_and_the_end_is_outside,
    an_action_is_on_what_was_shown_to_its_user_at_its_place_and_on_nothing_else,
    a_case_that_was_ranked_very_often_is_looked_through_in_part,
    two_cases_under_one_request_are_two_comparisons,
    a_program_with_another_salt_is_refused,
    whatever_the_grammar_takes_is_read_back_equal_also_through_the_spool,
    rows_that_cannot_be_read_are_set_aside_and_stop_no_other,
    what_the_version_before_writes_beside_this_one_is_evidence_as_well,
    only_closed_and_labelled_cases_are_evidence,
    a_later_run_raises_labels_and_never_wipes_them,
    the_rollout_starts_at_nothing_and_remembers_every_change,
    two_programs_share_the_database,
    what_two_programs_send_at_once_is_kept_once,
    a_large_batch_is_kept_whole,
}

fn event(id: u128, case: u128, ts: DateTime<Utc>, body: Body) -> Event {
    Event::new(Uuid::from_u128(id), ts, Uuid::from_u128(case), USER, body)
}

fn impression(id: u128, case: u128, ts: DateTime<Utc>, lawyers: &[&str]) -> Event {
    let impression = Impression {
        weights_used: BTreeMap::from([("geo".into(), 0.25), ("similarity".into(), 0.75)]),
        legacy_scores: Some(vec![Some(0.1); lawyers.len()]),
        ..Impression::new(
            Uuid::from_u128(id),
            lawyers.iter().map(|lawyer| lawyer.to_string()).collect(),
            lawyers.iter().map(|_| vec![Some(0.1), None, Some(0.3)]).collect(),
        )
    };
    event(id, case, ts, Body::Impression(impression))
}

fn click(id: u128, case: u128, ts: DateTime<Utc>, lawyer: &str) -> Event {
    let click = Action::new(ActionKind::ClickProfile, lawyer, 1);
    event(id, case, ts, Body::Action(click))
}

/// Whether these lawyers at these places were shown in the case, to either of the users.
async fn was_shown(store: &Store, case: u128, users: [Uuid; 2], places: &[(&str, u32)]) -> Vec<Option<bool>> {
    let actions: Vec<Action> = places
        .iter()
        .map(|(lawyer, rank)| Action::new(ActionKind::ClickProfile, *lawyer, *rank))
        .collect();
    let acted = actions.iter().map(|action| Acted {
        case_id: Uuid::from_u128(case),
        users,
        action,
    });
    store.was_shown(&acted.collect::<Vec<_>>()).await.unwrap()
}

fn shadow(request: u128, case: u128, ts: DateTime<Utc>) -> ShadowRecord {
    let row = |lawyer: &str, rank| ShadowRow {
        lawyer_id: lawyer.into(),
        rank_legacy: rank,
        rank_ltr: Some(3 - rank),
        label: None,
        fair_legacy: 0.1 + 0.2,
        fair_ltr: Some(0.7),
        groups: BTreeMap::from([("gender".into(), "F".into())]),
    };
    ShadowRecord {
        request_id: Uuid::from_u128(request),
        ts_utc: ts,
        case_id: Uuid::from_u128(case),
        user_pseudonym: Uuid::from_u128(77),
        model_version: VERSION.into(),
        outcome: "ok".into(),
        score_us: Some(250),
        trigger: Some("sampled".into()),
        salt_id: Some(Uuid::from_u128(3)),
        rows: vec![row("adv_1", 1), row("adv_2", 2)],
        unknown: Default::default(),
    }
}

async fn labels(store: &Store) -> Vec<(Uuid, Vec<Option<f32>>)> {
    let cases = store.shadow_cases(VERSION, day(1000)).await.unwrap();
    cases
        .records
        .into_iter()
        .map(|case| (case.case_id, case.rows.iter().map(|row| row.label).collect()))
        .collect()
}

async fn a_record_that_comes_again_changes_nothing(database: Database) {
    let store = database.open().await;
    let event = Record::Event(impression(1, 5, day(0), &["adv_1", "adv_2"]));
    let record = Record::Shadow(shadow(1, 5, day(0)));
    let stored = store.append(&[event.clone(), record.clone()]).await.unwrap();
    assert_eq!(stored, [Appended::Stored, Appended::Stored]);

    let mut changed = shadow(1, 5, day(0));
    changed.model_version = "another".into();
    let other = Record::Event(click(2, 5, day(0), "adv_1"));
    let again = store
        .append(&[event, record, Record::Shadow(changed), other.clone(), other])
        .await
        .unwrap();
    use Appended::{Duplicate, Stored};
    assert_eq!(again, [Duplicate, Duplicate, Duplicate, Stored, Duplicate]);
    assert_eq!(store.events_between(day(0), day(1)).await.unwrap().records.len(), 2);
    store.label_shadow(&[], day(1)).await.unwrap();
    assert_eq!(store.shadow_cases(VERSION, day(1)).await.unwrap().records.len(), 1);
    assert_eq!(store.shadow_cases("another", day(1)).await.unwrap().records, []);
}

async fn a_batch_that_fails_half_way_leaves_nothing(database: Database) {
    let store = database.open().await;
    let mut broken = shadow(1, 5, day(0));
    broken.rows[1].rank_legacy = 0;
    let batch = [
        Record::Event(impression(1, 5, day(0), &["adv_1"])),
        Record::Shadow(broken),
    ];
    assert!(matches!(store.append(&batch).await, Err(StoreError::Refused(_))));
    assert_eq!(store.events_between(day(0), day(1)).await.unwrap().records, []);
    store.label_shadow(&[], day(1)).await.unwrap();
    assert_eq!(store.shadow_cases(VERSION, day(1)).await.unwrap().records, []);
    // And the store goes on.
    assert_eq!(store.append(&batch[..1]).await.unwrap(), [Appended::Stored]);
}

async fn what_was_kept_is_there_after_reopening(database: Database) {
    let store = database.open().await;
    let events = [
        impression(1, 5, day(0), &["adv_1", "adv_2"]),
        click(2, 5, day(0) + Duration::nanoseconds(1), "adv_2"),
    ];
    store.append(&events.clone().map(Record::Event)).await.unwrap();
    store.append(&[Record::Shadow(shadow(1, 5, day(0)))]).await.unwrap();
    let state = RolloutState {
        weight: 25,
        champion: None,
        challenger: Some(VERSION.into()),
    };
    let entry = HistoryEntry {
        ts_utc: day(1),
        action: "weight".into(),
        actor: "admin".into(),
        detail: json!({"to": 25}),
    };
    store.save_rollout(&state, &entry).await.unwrap();
    drop(store);

    let store = database.open().await;
    assert_eq!(store.events_between(day(0), day(1)).await.unwrap().records, events);
    assert_eq!(store.rollout().await.unwrap(), state);
    assert_eq!(store.history(10).await.unwrap(), [entry]);
    store
        .label_shadow(&[(Uuid::from_u128(5), "adv_2".into(), 0.3)], day(1))
        .await
        .unwrap();
    let found = &store.shadow_cases(VERSION, day(1)).await.unwrap().records[0];
    let mut expected = shadow(1, 5, day(0)).rows;
    expected[0].label = Some(0.0);
    expected[1].label = Some(0.3);
    assert_eq!(found.rows, expected, "bit for bit, in legacy order");
    assert_eq!(
        (found.score_us, found.outcome.as_str(), found.ts_utc),
        (Some(250), "ok", day(0))
    );
}

async fn events_come_in_time_order_and_the_end_is_outside(database: Database) {
    let store = database.open().await;
    let late = click(1, 5, day(2), "adv_1");
    let early = [
        click(3, 5, day(1), "adv_1"),
        click(2, 5, day(1), "adv_1"),
        click(4, 5, day(3), "adv_1"),
    ];
    store
        .append(&[late].into_iter().chain(early).map(Record::Event).collect::<Vec<_>>())
        .await
        .unwrap();
    let found = store.events_between(day(1), day(3)).await.unwrap().records;
    assert_eq!(
        found.iter().map(|event| event.event_id.as_u128()).collect::<Vec<_>>(),
        [2, 3, 1]
    );
}

async fn an_action_is_on_what_was_shown_to_its_user_at_its_place_and_on_nothing_else(database: Database) {
    let store = database.open().await;
    let events = [
        impression(1, 5, day(0), &["adv_1", "adv_2"]),
        impression(2, 5, day(1), &["adv_3"]),
        impression(3, 6, day(1), &["adv_4"]),
        click(4, 5, day(1), "adv_5"),
    ];
    store.append(&events.map(Record::Event)).await.unwrap();
    let (nobody, pseudonym) = (Uuid::from_u128(8), USER);
    for (case, lawyer, rank, shown) in [
        (5, "adv_1", 1, true),
        (5, "adv_2", 2, true),
        (5, "adv_3", 1, true),
        (5, "adv_1", 2, false),
        (5, "adv_2", 4_294_967_295, false),
        (5, "adv_4", 1, false),
        (5, "adv_5", 1, false),
        (7, "adv_1", 1, false),
    ] {
        let found = was_shown(&store, case, [nobody, pseudonym], &[(lawyer, rank)]).await;
        assert_eq!(found, [Some(shown)], "{case} {lawyer} {rank}");
    }
    assert_eq!(was_shown(&store, 5, [nobody; 2], &[("adv_1", 1)]).await, [Some(false)]);
    assert_eq!(was_shown(&store, 5, [USER; 2], &[]).await, []);

    let mut action = Action::new(ActionKind::ClickProfile, "adv_1", 1);
    for (request, shown) in [(1, true), (2, false)] {
        action.request_id = Some(Uuid::from_u128(request));
        let acted = Acted {
            case_id: Uuid::from_u128(5),
            users: [USER; 2],
            action: &action,
        };
        assert_eq!(store.was_shown(&[acted]).await.unwrap(), [Some(shown)], "{request}");
    }
}

async fn a_case_that_was_ranked_very_often_is_looked_through_in_part(database: Database) {
    let store = database.open().await;
    let mut records: Vec<Record> = (0..1_000)
        .map(|id| Record::Event(impression(id, 5, day(0), &["adv_1"])))
        .collect();
    records.push(Record::Event(impression(1_000, 6, day(0), &["adv_2"])));
    store.append(&records).await.unwrap();
    let found = was_shown(&store, 5, [USER; 2], &[("adv_1", 1), ("adv_2", 1)]).await;
    assert_eq!(found, [Some(true), None]);
    let found = was_shown(&store, 6, [USER; 2], &[("adv_2", 1), ("adv_1", 1)]).await;
    assert_eq!(found, [Some(true), Some(false)], "another case is not touched by it");
    // Nor is another user's look at the same case.
    let found = was_shown(&store, 5, [Uuid::from_u128(8); 2], &[("adv_2", 1)]).await;
    assert_eq!(found, [Some(false)]);
}

async fn two_cases_under_one_request_are_two_comparisons(database: Database) {
    let store = database.open().await;
    let records = [shadow(1, 5, day(0)), shadow(1, 6, day(0)), shadow(1, 5, day(0))];
    use Appended::{Duplicate, Stored};
    assert_eq!(
        store.append(&records.map(Record::Shadow)).await.unwrap(),
        [Stored, Stored, Duplicate]
    );
    let given = [(Uuid::from_u128(6), "adv_2".to_owned(), 1.0)];
    assert_eq!(store.label_shadow(&given, day(1)).await.unwrap(), 4);
    let cases = store.shadow_cases(VERSION, day(1)).await.unwrap().records;
    let found = cases.iter().map(|case| (case.case_id.as_u128(), case.rows[1].label));
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|(case, _)| *case);
    assert_eq!(found, [(5, Some(0.0)), (6, Some(1.0))]);
    assert!(cases.iter().all(|case| case.rows.len() == 2));
}

async fn a_program_with_another_salt_is_refused(database: Database) {
    let store = database.open().await;
    let (ours, theirs) = (Uuid::from_u128(1), Uuid::from_u128(2));
    store.hold_to_salt(ours).await.unwrap();
    store.hold_to_salt(ours).await.unwrap();
    let refused = database.open().await.hold_to_salt(theirs).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::OtherSalt { .. }) && !refused.is_unavailable(),
        "{refused}"
    );
    assert!(refused.to_string().contains("privacy.salt_file"), "{refused}");

    // Nothing is written under it, either.
    let other = database.open().await;
    other.hold_to_salt(theirs).await.unwrap_err();
    let refused = other
        .append(&[Record::Event(click(1, 5, day(0), "adv_1"))])
        .await
        .unwrap_err();
    assert!(matches!(refused, StoreError::OtherSalt { .. }) && !refused.blames_the_record());
    assert_eq!(store.events_between(day(0), day(1)).await.unwrap().records, []);
    // A program that only compares puts none on record.
    assert!(other.check_salt(theirs).await.is_err() && other.check_salt(ours).await.is_ok());
}

async fn only_closed_and_labelled_cases_are_evidence(database: Database) {
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

    // Case 2 is open, and so is case 3, which came back on day 5.
    let given = [1, 2, 3].map(|case| (Uuid::from_u128(case), "adv_2".to_owned(), 1.0));
    assert_eq!(store.label_shadow(&given, day(3)).await.unwrap(), 2);
    assert_eq!(labels(&store).await, [(Uuid::from_u128(1), vec![Some(0.0), Some(1.0)])]);

    assert_eq!(store.label_shadow(&given, day(9)).await.unwrap(), 6);
    assert_eq!(labels(&store).await.len(), 4);
    let closed = store.shadow_cases(VERSION, day(3)).await.unwrap().records;
    assert_eq!(
        closed.iter().map(|case| case.request_id.as_u128()).collect::<Vec<_>>(),
        [1, 3]
    );
}

async fn a_later_run_raises_labels_and_never_wipes_them(database: Database) {
    let store = database.open().await;
    store.append(&[Record::Shadow(shadow(1, 1, day(0)))]).await.unwrap();
    let case = Uuid::from_u128(1);
    store
        .label_shadow(&[(case, "adv_1".into(), 0.3)], day(1))
        .await
        .unwrap();
    assert_eq!(store.label_shadow(&[], day(2)).await.unwrap(), 0);
    assert_eq!(labels(&store).await, [(case, vec![Some(0.3), Some(0.0)])]);
    assert_eq!(
        store
            .label_shadow(&[(case, "adv_1".into(), 0.6)], day(2))
            .await
            .unwrap(),
        1
    );
    assert_eq!(labels(&store).await, [(case, vec![Some(0.6), Some(0.0)])]);

    let wrong = store
        .label_shadow(&[(case, "adv_1".into(), 1.5)], day(2))
        .await
        .unwrap_err();
    assert!(
        wrong.to_string().contains("1.5") && wrong.to_string().contains("0 to 1"),
        "{wrong}"
    );
}

async fn the_rollout_starts_at_nothing_and_remembers_every_change(database: Database) {
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

async fn two_programs_share_the_database(database: Database) {
    let (gateway, nightly) = tokio::join!(database.open(), database.open());
    gateway.append(&[Record::Shadow(shadow(1, 1, day(0)))]).await.unwrap();
    let writing = async {
        for id in 0..50 {
            gateway
                .append(&[Record::Event(impression(id, 1, day(0), &["adv_1"]))])
                .await
                .unwrap();
        }
    };
    let labelling = async {
        for round in 0..50 {
            let label = if round % 2 == 0 { 0.3 } else { 0.6 };
            nightly
                .label_shadow(&[(Uuid::from_u128(1), "adv_1".into(), label)], day(1))
                .await
                .unwrap();
        }
    };
    tokio::join!(writing, labelling);
    assert_eq!(nightly.events_between(day(0), day(1)).await.unwrap().records.len(), 50);
    assert_eq!(labels(&gateway).await[0].1, [Some(0.6), Some(0.0)]);
}

async fn what_two_programs_send_at_once_is_kept_once(database: Database) {
    let (one, other) = tokio::join!(database.open(), database.open());
    let records: Vec<Record> = (0..40)
        .map(|id| match id % 2 {
            0 => Record::Event(impression(id, id, day(0), &["adv_1"])),
            _ => Record::Shadow(shadow(id, id, day(0))),
        })
        .collect();
    let send = async |store: &Store| {
        let mut stored = 0;
        for records in records.chunks(3) {
            let outcomes = store.append(records).await.unwrap();
            stored += outcomes.iter().filter(|outcome| **outcome == Appended::Stored).count();
        }
        stored
    };
    let (by_one, by_other) = tokio::join!(send(&one), send(&other));
    assert_eq!(by_one + by_other, records.len());
}

async fn a_large_batch_is_kept_whole(database: Database) {
    let store = database.open().await;
    let lawyers: Vec<String> = (0..10_000).map(|lawyer| format!("adv_{lawyer}")).collect();
    let names: Vec<&str> = lawyers.iter().map(String::as_str).collect();
    let mut records: Vec<Record> = (0..6)
        .map(|id| Record::Event(impression(id, id, day(0), &names)))
        .collect();
    for id in 0..3 {
        let mut wide = shadow(id, id, day(0));
        wide.rows = (1..)
            .zip(&lawyers)
            .map(|(rank, lawyer)| ShadowRow {
                lawyer_id: lawyer.clone(),
                rank_legacy: rank,
                ..wide.rows[0].clone()
            })
            .collect();
        records.push(Record::Shadow(wide));
    }
    assert_eq!(store.append(&records).await.unwrap(), [Appended::Stored; 9]);
    assert_eq!(store.append(&records).await.unwrap(), [Appended::Duplicate; 9]);
    let shown = was_shown(&store, 5, [USER; 2], &[("adv_9999", 10_000), ("adv_9999", 9_999)]).await;
    assert_eq!(shown, [Some(true), Some(false)]);
    assert_eq!(store.label_shadow(&[], day(1)).await.unwrap(), 30_000);
    let cases = store.shadow_cases(VERSION, day(1)).await.unwrap().records;
    let ranks = cases[2].rows.iter().map(|row| row.rank_legacy);
    assert!(cases.len() == 3 && ranks.eq(1..=10_000));
}

#[tokio::test]
async fn a_url_of_another_kind_is_refused_with_the_kinds_there_are() {
    for (url, problem) in [
        ("mysql://u:hidden@localhost/ltr", "another kind"),
        ("sqlite::memory:", "no URL"),
        ("sqlite://", "not the path of a file"),
        ("sqlite://:memory:", "not the path of a file"),
        ("sqlite://ltr.db?mode=ro", "not the path of a file"),
        ("var/ltr.db", "no URL"),
        ("postgres://localhost/ltr", "no user"),
        ("postgres://:hidden@localhost/ltr", "no user"),
        ("postgres://u:hidden@/ltr", "no server"),
        ("postgres://u:hidden@:5432/ltr", "no server"),
        ("postgres://u:hidden@localhost", "no database"),
        ("postgresql://u:hidden@localhost/", "no database"),
        ("postgres://u:hidden@localhost:port/ltr", "port"),
        ("postgres://u:hi#den@localhost/ltr", "parameters"),
        ("postgres://u:hidden@localhost/ltr?password=hidden", "parameters"),
    ] {
        let error = Store::open(url).await.unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(
            said.contains("database.url")
                && said.contains("sqlite://PATH or postgres://USER")
                && said.contains(problem),
            "{url}: {said}"
        );
        assert!(!said.contains("hidden") && !said.contains("hi#den"), "{said}");
    }
}

fn always() -> std::ops::Range<DateTime<Utc>> {
    DateTime::<Utc>::MIN_UTC..DateTime::<Utc>::MAX_UTC
}

fn any_text() -> impl Strategy<Value = String> {
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

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        -1e100..=1e100f64,
        Just(-0.0),
        proptest::num::f64::SUBNORMAL,
        0.0..=1.0f64,
        Just(1e100)
    ]
}

fn any_time() -> impl Strategy<Value = String> {
    (-62_135_596_800i64..253_402_300_800, 0u32..1_000_000_000).prop_map(|(seconds, nanos)| {
        let at = DateTime::from_timestamp(seconds, nanos).unwrap();
        at.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
    })
}

/// An event as a client may send it.
fn any_event() -> impl Strategy<Value = Value> {
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
        match shown {
            false => json!({"event": "contract_signed", "event_id": event_id, "ts_utc": ts, "case_id": case_id,
                "user_id": user_id, "lawyer_id": lawyers[0].0, "rank_pos": rank, "request_id": request_id}),
            true => json!({"event": "impression", "event_id": event_id, "ts_utc": ts, "case_id": case_id,
                "user_id": user_id, "request_id": request_id, "source": "ltr", "model_version": lawyers[0].3,
                "weights_used": {"geo": lawyers[0].2.abs()},
                "lawyer_ids": each(|l| json!(l.0)), "features": each(|l| json!([l.1[0], l.1[1], null])),
                "legacy_scores": each(|l| json!(l.2)), "groups": each(|l| json!({l.3.as_str(): l.4})),
                "cases_30d": each(|l| json!(l.5)), "monthly_capacity": each(|l| json!(u32::MAX - l.5)),
                "last_offered_at": each(|l| json!(l.6)), "groups_consented_at": each(|l| json!(l.6)),
                "ltr_scores": each(|l| json!(l.2))}),
        }
    })
}

type Lawyer = (String, [f64; 2], f64, String, String, u32, Option<String>);

async fn whatever_the_grammar_takes_is_read_back_equal_also_through_the_spool(database: Database) {
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

async fn rows_that_cannot_be_read_are_set_aside_and_stop_no_other(database: Database) {
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

async fn what_the_version_before_writes_beside_this_one_is_evidence_as_well(database: Database) {
    let store = database.open().await;
    store.append(&[Record::Shadow(shadow(1, 1, day(0)))]).await.unwrap();
    let (request, case, ts) = (Uuid::from_u128(2), Uuid::from_u128(2), "2024-10-04T00:00:00.000000000Z");
    let common = format!("'{request}', '{ts}', '{case}', '{VERSION}', 'ok', 250");
    let columns = "request_id, ts_utc, case_id, model_version, outcome, score_us";
    match database.url.starts_with("sqlite") {
        true => {
            let insert = format!("INSERT INTO ltr_shadow_request ({columns}, user_id) VALUES ({common}, '{USER}')");
            database.execute(insert).await;
            let columns = "request, rank_legacy, rank_ltr, lawyer_id, fair_legacy, fair_ltr, \"groups\"";
            let rows = "(2, 1, 2, 'adv_1', 0.5, 0.25, '{}'), (2, 2, 1, 'adv_2', 0.25, 0.5, '{}')";
            database
                .execute(format!("INSERT INTO ltr_shadow_row ({columns}) VALUES {rows}"))
                .await;
        }
        false => {
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
    }
    // The same comparison by this version, from a client who sent it again.
    let again = shadow(2, 2, day(0));
    assert_eq!(
        store.append(&[Record::Shadow(again)]).await.unwrap(),
        [Appended::Duplicate]
    );
    store
        .label_shadow(&[(case, "adv_2".into(), 1.0)], day(1000))
        .await
        .unwrap();
    let cases = store.shadow_cases(VERSION, day(1000)).await.unwrap().records;
    let found = cases
        .iter()
        .map(|case| (case.case_id.as_u128(), case.rows.len(), case.rows[1].label));
    assert_eq!(found.collect::<Vec<_>>(), [(1, 2, Some(0.0)), (2, 2, Some(1.0))]);
}

//! What the gateway and the nightly run rely on: nothing kept twice, nothing kept by half, nothing lost.

mod database;
mod evidence;
mod fleet;
mod metrics;
mod reading;
mod release;
mod shown;

use chrono::{DateTime, Duration, Utc};
use ranking::events::{Action, ActionKind, Body, Event};
use ranking::verdict::ShadowRow;
use serde_json::json;
use store::{Appended, HistoryEntry, Record, RolloutState, Spool, Store, StoreError};
use uuid::Uuid;

use self::database::*;
use self::evidence::*;
use self::fleet::*;
use self::metrics::*;
use self::reading::*;
use self::release::*;
use self::shown::*;

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
    an_event_under_an_id_that_another_has_is_kept_beside_it,
    an_event_is_kept_whatever_ids_others_took_before,
    a_row_that_somebody_elses_index_or_trigger_keeps_out_is_no_repetition,
    an_impression_of_a_newer_form_goes_the_same_way_through_the_spool,
    a_batch_that_fails_half_way_leaves_nothing,
    what_was_kept_is_there_after_reopening,
    events_come_in_time_order_and_the_end_is_outside,
    the_events_of_each_day_are_counted_and_found_by_their_keys,
    an_action_is_on_what_was_shown_to_its_user_at_its_place_and_on_nothing_else,
    a_case_that_was_ranked_very_often_is_looked_through_in_part,
    two_cases_under_one_request_are_two_comparisons,
    a_program_with_another_salt_is_refused,
    whatever_the_grammar_takes_is_read_back_equal_also_through_the_spool,
    rows_that_cannot_be_read_are_set_aside_and_stop_no_other,
    a_comparison_that_cannot_be_read_is_set_aside_and_stops_no_other,
    what_a_newer_program_says_of_a_comparison_is_kept,
    what_the_version_before_writes_beside_this_one_is_evidence_as_well,
    only_closed_and_labelled_cases_are_evidence,
    every_comparison_of_a_model_comes_once_and_others_get_a_turn_between,
    comparisons_that_cannot_be_read_are_counted_and_the_first_are_listed,
    the_same_outcome_gives_the_same_labels_whatever_was_known_before,
    the_rest_is_labelled_like_its_case_or_has_come_to_nothing,
    a_label_out_of_range_is_refused,
    the_rollout_starts_at_nothing_and_remembers_every_change,
    two_programs_share_the_database,
    what_two_programs_send_at_once_is_kept_once,
    a_large_batch_is_kept_whole,
    what_is_released_comes_back_byte_for_byte,
    of_two_commits_on_one_version_one_is_done,
    a_command_is_carried_out_once,
    nobody_commits_with_a_lease_that_was_lost,
    a_commit_that_fails_half_way_leaves_nothing,
    a_commit_that_is_refused_leaves_nothing,
    many_committers_leave_no_gap,
    the_ledger_is_never_changed,
    a_lease_has_one_holder_at_a_time,
    a_lease_ends_when_the_clock_is_set_back,
    each_destination_gets_its_effects_in_order,
    the_outbox_knows_its_age,
    gateways_are_known_by_their_latest_report,
    saved_evidence_is_counted,
    an_outcome_day_is_kept_as_it_was_first_counted,
    labels_that_change_begin_a_generation,
    labelling_a_night_keeps_no_event_waiting,
    what_the_version_before_says_of_the_rollout_is_seen,
    the_views_say_what_the_verdict_computes,
    forced_and_open_comparisons_are_in_no_view,
    groups_that_are_no_object_hide_no_other,
    the_log_of_the_version_before_is_in_the_views,
}

/// Labels the cases that have a label here, and all other comparisons up to a time.
async fn label_all(store: &Store, labels: &[(Uuid, String, f32)], closed: DateTime<Utc>) -> Result<u64, StoreError> {
    let mut cases: Vec<Uuid> = labels.iter().map(|(case, ..)| *case).collect();
    cases.dedup();
    Ok(store.label_cases(&cases, labels).await? + store.label_rest(closed, closed).await?)
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
    label_all(&store, &[], day(1)).await.unwrap();
    assert_eq!(store.shadow_cases(VERSION, day(1)).await.unwrap().records.len(), 1);
    assert_eq!(store.shadow_cases("another", day(1)).await.unwrap().records, []);
}

async fn an_event_under_an_id_that_another_has_is_kept_beside_it(database: Database) {
    let store = database.open().await;
    let first = click(1, 5, day(0), "adv_1");
    let of_another_user = Event {
        user_id: Uuid::from_u128(8),
        ..first.clone()
    };
    let another_kind = Event {
        body: Body::Action(Action::new(ActionKind::ContactMade, "adv_1", 1)),
        ..first.clone()
    };
    let at_another_place = Event {
        body: Body::Action(Action::new(ActionKind::ClickProfile, "adv_1", 2)),
        ..first.clone()
    };
    let others = [
        at_another_place,
        click(1, 5, day(0) - Duration::hours(1), "adv_1"),
        click(1, 6, day(0), "adv_1"),
        click(1, 5, day(0), "adv_2"),
        of_another_user,
        another_kind,
        impression(1, 5, day(0), &["adv_1"]),
    ];
    // One of them comes before any other is kept, in the same call, the rest after.
    let records: Vec<Record> = [first.clone(), others[0].clone()].map(Record::Event).into();
    assert_eq!(store.append(&records).await.unwrap(), [Appended::Stored; 2]);
    let records: Vec<Record> = others[1..].iter().cloned().map(Record::Event).collect();
    assert_eq!(store.append(&records).await.unwrap(), [Appended::Stored; 6]);

    // Repetitions are still told from them.
    let again: Vec<Record> = others.iter().chain([&first]).cloned().map(Record::Event).collect();
    assert_eq!(store.append(&again).await.unwrap(), [Appended::Duplicate; 8]);

    let kept = store.events_between(day(-1), day(1)).await.unwrap();
    assert_eq!(kept.unreadable, []);
    assert_eq!(kept.records.len(), 8);
    for event in others.iter().chain([&first]) {
        assert!(kept.records.contains(event), "{event:?}");
    }
}

/// However many of the keys that follow from an event were given to others before.
async fn an_event_is_kept_whatever_ids_others_took_before(database: Database) {
    let true_click = Record::Event(click(1, 5, day(0), "adv_1"));
    let mut taken = vec![Uuid::from_u128(1)];
    let take = |taken: &[Uuid]| -> Vec<Record> {
        let others = taken.iter().map(|id| Event {
            event_id: *id,
            ..click(0, 6, day(0), "adv_9")
        });
        others.map(Record::Event).collect()
    };
    for _ in 0..10 {
        // In a database of their own, somebody finds out which key the event gets next.
        let scout = Database::sqlite();
        let store = scout.open().await;
        store.append(&take(&taken)).await.unwrap();
        assert_eq!(
            store.append(std::slice::from_ref(&true_click)).await.unwrap(),
            [Appended::Stored]
        );
        let keys = scout.event_ids().await;
        taken.extend(keys.into_iter().filter(|key| !taken.contains(key)).collect::<Vec<_>>());
    }
    assert_eq!(taken.len(), 11);
    let store = database.open().await;
    store.append(&take(&taken)).await.unwrap();
    assert_eq!(store.append(&[true_click]).await.unwrap(), [Appended::Stored]);
}

/// A trigger or an index of somebody else's is no reason to lose an event: it waits until they are gone.
async fn a_row_that_somebody_elses_index_or_trigger_keeps_out_is_no_repetition(database: Database) {
    let store = database.open().await;
    store
        .append(&[Record::Event(click(1, 5, day(0), "adv_1"))])
        .await
        .unwrap();
    let index = "CREATE UNIQUE INDEX once ON match_events (case_id, lawyer_id, event)";
    let (trigger, drop_trigger) = if database.url.starts_with("sqlite") {
        (
            "CREATE TRIGGER swallows BEFORE INSERT ON match_events BEGIN SELECT RAISE(IGNORE); END",
            "DROP TRIGGER swallows",
        )
    } else {
        (
            "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
         CREATE TRIGGER swallows BEFORE INSERT ON match_events FOR EACH ROW EXECUTE FUNCTION swallow()",
            "DROP TRIGGER swallows ON match_events",
        )
    };
    for (id, fault, mend) in [(2, index, "DROP INDEX once"), (3, trigger, drop_trigger)] {
        database.execute(fault.to_owned()).await;
        let click = Record::Event(click(id, 5, day(0), "adv_1"));
        let error = store.append(std::slice::from_ref(&click)).await.unwrap_err();
        assert!(error.is_unavailable() && !error.blames_the_record(), "{fault}: {error}");
        // So that others are tried without it.
        assert!(error.was_answered(), "{fault}: {error}");
        database.execute(mend.to_owned()).await;
        assert_eq!(store.append(&[click]).await.unwrap(), [Appended::Stored], "{fault}");
    }
}

async fn an_impression_of_a_newer_form_goes_the_same_way_through_the_spool(database: Database) {
    let store = database.open().await;
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), 1 << 20).unwrap();
    let strange = [
        ("rank_pos", json!(0)),
        ("rank_pos", json!("x")),
        ("lawyer_id", json!(5)),
        ("lawyer_id", json!("x")),
    ];
    for (id, (name, value)) in (1..).zip(strange) {
        let mut event = impression(id, 5, day(0), &["adv_1"]);
        event.schema_version = 3;
        event.unknown.insert(name.to_owned(), value);
        spool.append(&[Record::Event(event.clone())]).unwrap();
        let batch = spool.oldest().unwrap();
        assert!(batch.refused.is_empty(), "{name}");
        assert_eq!(
            store.append(&batch.records).await.unwrap(),
            [Appended::Stored],
            "{name}"
        );
        spool.done_with_oldest();
        // The other way makes the same row.
        assert_eq!(
            store.append(&[Record::Event(event.clone())]).await.unwrap(),
            [Appended::Duplicate],
            "{name}"
        );
        assert!(
            store
                .events_between(day(0), day(1))
                .await
                .unwrap()
                .records
                .contains(&event)
        );
    }
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
    label_all(&store, &[], day(1)).await.unwrap();
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
    label_all(&store, &[(Uuid::from_u128(5), "adv_2".into(), 0.3)], day(1))
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

async fn the_events_of_each_day_are_counted_and_found_by_their_keys(database: Database) {
    let store = database.open().await;
    let midnight = "2026-10-02T00:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let times = [-1_i64, 0, 86_399_999, 86_400_000].map(|millis| midnight + Duration::milliseconds(millis));
    let event = |(number, at): (usize, &chrono::DateTime<chrono::Utc>)| {
        let body = Body::Action(Action::new(ActionKind::ClickProfile, "adv_1", 1));
        Event::new(Uuid::from_u128(number as u128), *at, Uuid::nil(), Uuid::nil(), body)
    };
    let events: Vec<Event> = times.iter().enumerate().map(event).collect();
    let records: Vec<Record> = events.iter().cloned().map(Record::Event).collect();
    store.append(&records).await.unwrap();
    let mut days = store.event_days().await.unwrap();
    days.sort_by_key(|day| day.day);
    let day = |text: &str| Some(text.parse().unwrap());
    let expected = [("2026-10-01", 1), ("2026-10-02", 2), ("2026-10-03", 1)];
    let expected = expected.map(|(text, events)| store::EventDay { day: day(text), events });
    assert_eq!(days, expected);
    let keys = store.event_keys(day("2026-10-02")).await.unwrap();
    assert_eq!(keys, [1, 2].map(|number| Uuid::from_u128(number).to_string()));
    assert_eq!(store.event_keys(None).await.unwrap(), [""; 0]);
    let asked = [keys, vec!["nobody".to_owned(), Uuid::max().to_string()]].concat();
    let mut rows = store.stored_events(&asked).await.unwrap();
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    let read: Vec<Event> = rows
        .iter()
        .map(|row| Event::from_stored(serde_json::from_str(&row.payload).unwrap()).unwrap())
        .collect();
    assert_eq!(read, events[1..3]);
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
            label_all(&nightly, &[(Uuid::from_u128(1), "adv_1".into(), label)], day(1))
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
    assert_eq!(label_all(&store, &[], day(1)).await.unwrap(), 30_000);
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

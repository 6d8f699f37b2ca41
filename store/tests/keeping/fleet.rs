//! What a fleet's controller needs beside the state: the outbox, the gateways' reports, evidence, and being woken.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use store::{Changes, Commit, Committed, Effect, GatewayReport, Owed, Record, RolloutState, Store};
use tokio::time::timeout;
use uuid::Uuid;

use crate::database::*;
use crate::label_all;
use crate::release::{HOUR, on};

const SECOND: Duration = Duration::from_secs(1);

async fn commit(store: &Store, expected: u64, outbox: &[(&str, &str)]) {
    let outbox: Vec<Effect<'_>> = outbox
        .iter()
        .map(|(destination, body)| Effect { destination, body })
        .collect();
    let commit = Commit {
        outbox: &outbox,
        ..on(expected)
    };
    assert_eq!(store.commit_release(&commit).await.unwrap(), Committed::Done);
}

async fn due(store: &Store) -> Vec<Owed> {
    store.outbox_due(10).await.unwrap()
}

fn bodies(owed: &[Owed]) -> Vec<&str> {
    owed.iter().map(|owed| &*owed.body).collect()
}

pub(crate) async fn each_destination_gets_its_effects_in_order(database: Database) {
    let store = database.open().await;
    assert_eq!(due(&store).await, []);
    commit(&store, 0, &[("hook", "1"), ("mesh", "2"), ("hook", "3")]).await;
    commit(&store, 1, &[("hook", "4"), ("mail", "5")]).await;
    let first = due(&store).await;
    assert_eq!(bodies(&first), ["1", "2", "5"]);
    let [hook, mesh, mail] = [0, 1, 2].map(|n| first[n].clone());
    assert_eq!(
        (hook.seq, &*hook.destination, hook.attempts, &hook.last_error),
        (1, "hook", 0, &None)
    );
    assert_eq!((mesh.seq, &*mail.destination, mail.seq), (1, "mail", 2));
    assert!(hook.age < HOUR);
    assert_eq!(bodies(&store.outbox_due(2).await.unwrap()), ["1", "2"]);

    // Who fails waits, and keeps its later effects waiting; no other destination does.
    store.outbox_failed(hook.id, "no route\0 to host", HOUR).await.unwrap();
    assert_eq!(bodies(&due(&store).await), ["2", "5"]);
    store.outbox_sent(mesh.id).await.unwrap();
    assert_eq!(bodies(&due(&store).await), ["5"]);
    store
        .outbox_failed(mail.id, &"e".repeat(100_000), Duration::ZERO)
        .await
        .unwrap();
    store.outbox_failed(mail.id, "again", Duration::ZERO).await.unwrap();
    let failed = due(&store).await;
    assert_eq!(bodies(&failed), ["5"]);
    assert_eq!(
        (failed[0].attempts, failed[0].last_error.as_deref()),
        (2, Some("again"))
    );
    let facts = store.outbox_facts().await.unwrap();
    assert_eq!((facts.owed, facts.last_error.as_deref()), (4, Some("again")));
    store.outbox_sent(mail.id).await.unwrap();
    let facts = store.outbox_facts().await.unwrap();
    assert_eq!(
        (facts.owed, facts.last_error.as_deref()),
        (3, Some("no route  to host"))
    );

    // A retry is due after its time, and the next effect after it.
    let start = Instant::now();
    store
        .outbox_failed(hook.id, "busy", Duration::from_millis(100))
        .await
        .unwrap();
    while due(&store).await.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(10), "it is never due");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(start.elapsed() > Duration::from_millis(90), "it was due too early");
    let retried = due(&store).await;
    assert_eq!((bodies(&retried), retried[0].attempts), (vec!["1"], 2));
    for next in [["3"], ["4"]] {
        store.outbox_sent(due(&store).await[0].id).await.unwrap();
        assert_eq!(bodies(&due(&store).await), next);
    }
    store.outbox_sent(due(&store).await[0].id).await.unwrap();
    assert_eq!(due(&store).await, []);
    assert_eq!(store.outbox_facts().await.unwrap(), Default::default());
}

pub(crate) async fn the_outbox_knows_its_age(database: Database) {
    let store = database.open().await;
    commit(&store, 0, &[("hook", "1")]).await;
    database.shift("ltr_outbox", "made_at", -1000).await;
    commit(&store, 1, &[("mesh", "2")]).await;
    let about = |age: Duration| (1000..1060).contains(&age.as_secs());
    assert!(about(store.outbox_facts().await.unwrap().oldest.unwrap()));
    let owed = due(&store).await;
    assert!(about(owed[0].age) && owed[1].age < Duration::from_secs(60), "{owed:?}");
    // A clock that was set back keeps no effect waiting.
    store.outbox_failed(owed[0].id, "busy", SECOND).await.unwrap();
    assert_eq!(bodies(&due(&store).await), ["2"]);
    for column in ["made_at", "tried_at", "due_at"] {
        database.shift("ltr_outbox", column, 10_000).await;
    }
    let owed = due(&store).await;
    assert_eq!(
        (bodies(&owed), owed[0].age, owed[1].age),
        (vec!["1", "2"], Duration::ZERO, Duration::ZERO)
    );
    assert_eq!(store.outbox_facts().await.unwrap().oldest, Some(Duration::ZERO));
}

pub(crate) async fn gateways_are_known_by_their_latest_report(database: Database) {
    let store = database.open().await;
    let report = async |id: u128, name: &str, report: &str| {
        let id = Uuid::from_u128(id);
        store.report_gateway(&GatewayReport { id, name, report }).await.unwrap();
    };
    let seen = async |within: Duration| {
        let seen = store.gateways(within).await.unwrap();
        seen.into_iter()
            .map(|seen| (seen.id.as_u128(), seen.name, seen.report))
            .collect::<Vec<_>>()
    };
    let row = |id: u128, name: &str, report: &str| (id, name.to_owned(), report.to_owned());
    assert_eq!(seen(HOUR).await, []);
    report(3, "b", "{}").await;
    report(2, "b", "{}").await;
    report(1, "c", "{ }").await;
    report(4, "B", "{}").await;
    assert_eq!(
        seen(HOUR).await,
        [
            row(4, "B", "{}"),
            row(2, "b", "{}"),
            row(3, "b", "{}"),
            row(1, "c", "{ }")
        ]
    );

    database.shift("ltr_gateway", "seen_at", -1000).await;
    report(1, "a", "[]").await;
    report(2, "d", "[]").await;
    let recent = [row(1, "a", "[]"), row(2, "d", "[]")];
    assert_eq!(seen(Duration::from_secs(500)).await, recent);
    assert_eq!(seen(Duration::MAX).await.len(), 4);
    let ages: Vec<u64> = store
        .gateways(HOUR)
        .await
        .unwrap()
        .iter()
        .map(|seen| seen.age.as_secs())
        .collect();
    assert!((1000..1060).contains(&ages[0]) && ages[1] < 60, "{ages:?}");

    store.forget_gateway(Uuid::from_u128(4)).await.unwrap();
    store.forget_gateway(Uuid::from_u128(4)).await.unwrap();
    assert_eq!(store.prune_gateways(HOUR).await.unwrap(), 0);
    assert_eq!(store.prune_gateways(Duration::from_secs(500)).await.unwrap(), 1);
    assert_eq!(seen(Duration::MAX).await, recent);
    // A clock that was set back makes no age negative.
    database.shift("ltr_gateway", "seen_at", 10_000).await;
    assert_eq!(store.gateways(HOUR).await.unwrap()[0].age, Duration::ZERO);
}

pub(crate) async fn saved_evidence_is_counted(database: Database) {
    let (store, other) = tokio::join!(database.open(), database.open());
    assert_eq!(store.evidence(VERSION).await.unwrap(), None);
    assert_eq!(store.pulse().await.unwrap().evidence, 0);
    store.save_evidence(VERSION, "{ }").await.unwrap();
    store.save_evidence("another", "[]").await.unwrap();
    assert_eq!(other.evidence(VERSION).await.unwrap().as_deref(), Some("{ }"));
    assert_eq!(other.pulse().await.unwrap().evidence, 2);
    store.save_evidence(VERSION, "{}").await.unwrap();
    assert_eq!(other.evidence(VERSION).await.unwrap().as_deref(), Some("{}"));
    assert_eq!(other.pulse().await.unwrap().evidence, 3);
    assert_eq!(store.label_generation().await.unwrap(), 0);
}

pub(crate) async fn labels_that_change_begin_a_generation(database: Database) {
    let store = database.open().await;
    store.append(&[Record::Shadow(shadow(1, 1, day(0)))]).await.unwrap();
    let label = async |label, changes: u64| {
        let labels = [(Uuid::from_u128(1), "adv_1".to_owned(), label)];
        assert_eq!(label_all(&store, &labels, day(1)).await.unwrap(), changes);
        store.label_generation().await.unwrap()
    };
    assert_eq!(store.label_generation().await.unwrap(), 0);
    let first = label(0.3, 2).await;
    assert!(first > 0);
    assert_eq!(label(0.3, 0).await, first, "nothing changed");
    let second = label(0.6, 1).await;
    assert!(second > first);
    store.append(&[Record::Shadow(shadow(2, 2, day(0)))]).await.unwrap();
    assert_eq!(label_all(&store, &[], day(-1)).await.unwrap(), 0);
    assert_eq!(store.label_generation().await.unwrap(), second);
    assert_eq!(label_all(&store, &[], day(1)).await.unwrap(), 2);
    assert!(store.label_generation().await.unwrap() > second);
    assert_eq!(store.pulse().await.unwrap().evidence, 0);
}

/// However many labels a night has: events are written meanwhile.
pub(crate) async fn labelling_a_night_keeps_no_event_waiting(database: Database) {
    const CASES: u128 = 500;
    let store = database.open().await;
    let records: Vec<Record> = (0..CASES).map(|n| Record::Shadow(shadow(n, n, day(0)))).collect();
    store.append(&records).await.unwrap();
    let labels: Vec<_> = (0..CASES)
        .map(|case| (Uuid::from_u128(case), "adv_1".to_owned(), 0.3))
        .collect();
    let labelling = tokio::spawn({
        let store = store.clone();
        async move { label_all(&store, &labels, day(1)).await.unwrap() }
    });
    // PostgreSQL has a lane for each kind of call, and labels wait for events there.
    let mut written = 0;
    while !labelling.is_finished() {
        let event = Record::Event(click(written, 5, day(0), "adv_1"));
        store.append(&[event]).await.unwrap();
        written += 1;
    }
    // Each transaction that changes labels begins a generation.
    let generations = store.label_generation().await.unwrap();
    let in_turns = generations > 2 && written > 3;
    assert!(
        database.is_postgres() || in_turns,
        "{written} events, {generations} generations"
    );
    assert_eq!(labelling.await.unwrap(), 1000);
    let cases = store.shadow_cases(VERSION, day(1)).await.unwrap().records;
    assert_eq!(cases.len() as u128, CASES);
    for case in cases {
        let labels: Vec<_> = case.rows.iter().map(|row| row.label).collect();
        assert_eq!(labels, [Some(0.3), Some(0.0)]);
    }
}

pub(crate) async fn what_the_version_before_says_of_the_rollout_is_seen(database: Database) {
    let store = database.open().await;
    commit(&store, 0, &[]).await;
    // Its statements, word for word.
    let save = "UPDATE ltr_rollout SET weight = 40, champion = 'v1', challenger = NULL WHERE id = 1";
    let entry = "INSERT INTO ltr_rollout_history (ts_utc, action, actor, detail) \
                 VALUES ('2026-10-01T00:00:00.000000000Z', 'weight', 'admin', '{}')";
    database.execute(format!("BEGIN; {save}; {entry}; COMMIT")).await;
    let pulse = store.pulse().await.unwrap();
    let expected = RolloutState {
        weight: 40,
        champion: Some("v1".into()),
        challenger: None,
    };
    assert_eq!((pulse.version, pulse.mirror.as_ref()), (1, Some(&expected)));
    assert_eq!(store.history(10).await.unwrap().len(), 1);
    // The next commit is no conflict: the mirror is not what is compared.
    commit(&store, 1, &[]).await;
    assert_eq!(store.pulse().await.unwrap().mirror, Some(RolloutState::default()));
}

async fn wakes(changes: &mut Changes, start: Instant) {
    timeout(SECOND, changes.next())
        .await
        .expect("nobody was woken")
        .unwrap();
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

async fn sleeps(changes: &mut Changes) -> bool {
    timeout(Duration::from_millis(50), changes.next()).await.is_err()
}

#[tokio::test]
async fn a_commit_wakes_who_listens() {
    let database = Database::postgres();
    let (one, other) = tokio::join!(database.open(), database.open());
    let mut changes = one.changes().await.unwrap();
    assert!(sleeps(&mut changes).await);
    for expected in 0..5 {
        let start = Instant::now();
        commit(&other, expected, &[]).await;
        wakes(&mut changes, start).await;
    }
    assert_eq!(other.commit_release(&on(0)).await.unwrap(), Committed::Conflict);
    assert!(sleeps(&mut changes).await, "nothing was committed");
    let start = Instant::now();
    other.save_evidence(VERSION, "{}").await.unwrap();
    wakes(&mut changes, start).await;
    // What comes while nobody waits is not missed.
    commit(&one, 5, &[]).await;
    wakes(&mut changes, Instant::now()).await;
    one.close().await;
    assert!(
        timeout(SECOND, changes.next())
            .await
            .unwrap()
            .unwrap_err()
            .is_unavailable()
    );
}

#[tokio::test]
async fn a_connection_that_broke_is_an_error_and_can_be_opened_again() {
    let database = Database::postgres();
    let store = database.open().await;
    let mut changes = store.changes().await.unwrap();
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    let ended = sqlx::query(end).fetch_all(&mut other).await.unwrap();
    assert_eq!(ended.len(), 1);
    for _ in 0..2 {
        let error = timeout(SECOND, changes.next()).await.unwrap().unwrap_err();
        assert!(error.is_unavailable(), "{error}");
    }
    let mut changes = store.changes().await.unwrap();
    let start = Instant::now();
    commit(&store, 0, &[]).await;
    wakes(&mut changes, start).await;
}

#[tokio::test]
async fn sqlite_wakes_nobody() {
    let database = Database::sqlite();
    let store = database.open().await;
    let mut changes = store.changes().await.unwrap();
    commit(&store, 0, &[]).await;
    assert!(sleeps(&mut changes).await);
}

/// A slow control call keeps no other waiting, nor do data calls.
#[tokio::test]
async fn a_control_call_that_waits_for_a_lock_keeps_no_other_waiting() {
    let database = Database::postgres();
    let store = database.open().await;
    commit(&store, 0, &[]).await;
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    let lock = "BEGIN; SELECT 1 FROM ltr_release FOR UPDATE";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let committing = tokio::spawn({
        let store = store.clone();
        async move { store.commit_release(&on(1)).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let start = Instant::now();
    assert_eq!(store.pulse().await.unwrap().version, 1);
    assert!(!committing.is_finished() && start.elapsed() < SECOND);
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(committing.await.unwrap().unwrap(), Committed::Done);
}

/// A day is decided by once and for all, so its first counts are those that stay.
pub(crate) async fn an_outcome_day_is_kept_as_it_was_first_counted(database: Database) {
    let (store, other) = tokio::join!(database.open(), database.open());
    let date = |at: i64| day(at).date_naive();
    assert_eq!(store.outcome_days(date(0)).await.unwrap(), []);
    let before = store.label_generation().await.unwrap();
    assert!(store.save_outcome_day(date(9), "{\"b\": 2}").await.unwrap());
    assert!(other.save_outcome_day(date(2), "{\"a\":1}").await.unwrap());
    let counted = store.label_generation().await.unwrap();
    assert!(counted >= before + 2, "who judges by the days judges again");
    assert!(!other.save_outcome_day(date(9), "{}").await.unwrap(), "counted before");
    assert_eq!(store.label_generation().await.unwrap(), counted, "nothing changed");
    let days = [(date(2), "{\"a\":1}".to_owned()), (date(9), "{\"b\": 2}".to_owned())];
    assert_eq!(other.outcome_days(date(0)).await.unwrap(), days, "as saved, in order");
    assert_eq!(other.outcome_days(date(3)).await.unwrap(), days[1..]);
    assert_eq!(
        other.outcome_days(date(9)).await.unwrap(),
        days[1..],
        "from the day itself on"
    );
    let beyond = chrono::NaiveDate::from_ymd_opt(10_000, 1, 1).unwrap();
    let refused = store.save_outcome_day(beyond, "{}").await.unwrap_err();
    assert!(refused.to_string().contains("9999-12-31"), "{refused}");
}

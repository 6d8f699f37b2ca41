//! A PostgreSQL server that is away, does not answer, or refuses: told apart, in time, and without the password.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests make, read and time what they like"
)]

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use ranking::events::{Action, ActionKind, Body, Event};
use serde_json::json;
use servers::Postgres;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use store::{Acted, Appended, Changes, HistoryEntry, Limits, Record, RolloutState, Store, StoreError};
use uuid::Uuid;

fn click(id: u128) -> Record {
    let action = Action::new(ActionKind::ClickProfile, "adv_1", 1);
    Record::Event(Event::new(
        Uuid::from_u128(id),
        DateTime::<Utc>::UNIX_EPOCH,
        Uuid::from_u128(5),
        Uuid::from_u128(9),
        Body::Action(action),
    ))
}

/// A question about data.
async fn look(store: &Store) -> Result<Vec<Option<bool>>, StoreError> {
    let action = Action::new(ActionKind::ClickProfile, "adv_1", 1);
    let acted = Acted {
        case_id: Uuid::from_u128(5),
        users: [Uuid::from_u128(9); 2],
        action: &action,
    };
    store.was_shown(&[acted]).await
}

/// The ids of all events; where new connections have to be made first, a few attempts later.
async fn ids(store: &Store) -> Vec<u128> {
    for _ in 0..100 {
        match store.events_between(DateTime::UNIX_EPOCH, Utc::now()).await {
            Ok(events) => return events.records.iter().map(|event| event.event_id.as_u128()).collect(),
            Err(error) => assert!(error.is_unavailable(), "{error}"),
        }
    }
    panic!("the server answers and is still unavailable");
}

/// Fails as unavailable a few times at most, then answers.
async fn append_at_last(store: &Store, record: Record) -> Appended {
    for _ in 0..100 {
        match store.append(std::slice::from_ref(&record)).await {
            Ok(outcomes) => return outcomes[0],
            Err(error) => assert!(error.is_unavailable(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the database is back and still unavailable");
}

#[tokio::test]
async fn a_server_that_crashed_is_unavailable_and_has_what_was_acknowledged_when_it_is_back() {
    let mut server = Postgres::start();
    let store = Store::open(&server.database()).await.unwrap();
    assert_eq!(store.append(&[click(1)]).await.unwrap(), [Appended::Stored]);
    server.crash();
    let error = store.append(&[click(2)]).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    server.go_on();
    assert_eq!(append_at_last(&store, click(1)).await, Appended::Duplicate);
    assert_eq!(append_at_last(&store, click(2)).await, Appended::Stored);
    assert_eq!(ids(&store).await, [1, 2]);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time_and_used_again_later() {
    let server = Postgres::start();
    let limits = Limits {
        max_connections: 2,
        timeout: Duration::from_millis(500),
    };
    let store = Store::open_with(&server.database(), limits).await.unwrap();
    assert_eq!(store.append(&[click(1)]).await.unwrap(), [Appended::Stored]);
    server.pause();
    // More often than there are connections.
    for _ in 0..4 {
        let start = Instant::now();
        let error = store.append(&[click(2)]).await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert!(
            store
                .hold_to_salt(Uuid::from_u128(5))
                .await
                .unwrap_err()
                .is_unavailable()
        );
    }
    server.resume();
    append_at_last(&store, click(2)).await;
    assert_eq!(ids(&store).await, [1, 2]);
}

#[tokio::test]
async fn who_listens_hears_of_a_server_that_crashed_or_no_longer_answers() {
    let mut server = Postgres::start();
    let limits = Limits {
        timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let store = Store::open_with(&server.database(), limits).await.unwrap();
    let mut changes = store.changes().await.unwrap();
    // A server that has nothing to say is no outage.
    let quiet = tokio::time::timeout(limits.timeout * 8, changes.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    server.pause();
    let start = Instant::now();
    let error = changes.next().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(store.changes().await.unwrap_err().is_unavailable());
    server.resume();

    let mut changes = listen_at_last(&store).await;
    server.crash();
    let start = Instant::now();
    let error = changes.next().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(store.changes().await.unwrap_err().is_unavailable());
    server.go_on();
    listen_at_last(&store).await;
}

/// As [`append_at_last`].
async fn listen_at_last(store: &Store) -> Changes {
    for _ in 0..100 {
        match store.changes().await {
            Ok(changes) => return changes,
            Err(error) => assert!(error.is_unavailable(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the database is back and still unavailable");
}

#[tokio::test]
async fn a_server_that_is_not_there_or_refuses_is_named_without_the_password() {
    let mut server = Postgres::start();
    let url = server.database();
    let secret = url.split(['@', ':']).nth(2).unwrap();
    let place = url.rsplit_once('@').unwrap().1;
    let check = |error: StoreError, place: &str, reason: &str| {
        let said = format!("{error} {error:?}");
        assert!(said.contains(place) && said.contains(reason), "{said}");
        for secret in [secret, Postgres::PASSWORD, "guessed"] {
            assert!(!said.contains(secret), "{said}");
        }
    };
    let wrong = url.replace(secret, "guessed");
    check(
        Store::open(&wrong).await.unwrap_err(),
        place,
        "password authentication failed",
    );
    let absent = format!("{url}_absent");
    check(Store::open(&absent).await.unwrap_err(), "_absent", "does not exist");
    let store = Store::open(&url).await.unwrap();
    assert!(!format!("{store:?}").contains(secret));
    server.crash();
    check(Store::open(&url).await.unwrap_err(), place, "refused");
    let error = store.append(&[click(1)]).await.unwrap_err();
    check(error, "unavailable", "");
}

#[tokio::test]
async fn a_server_that_is_away_can_be_opened_later_and_nobody_waits_for_another_call_meanwhile() {
    let mut server = Postgres::start();
    let url = server.database();
    let limits = Limits {
        max_connections: 2,
        timeout: Duration::from_millis(500),
    };
    server.pause();
    let store = Store::open_later(&url, limits).await.unwrap();
    let start = Instant::now();
    let calls: Vec<_> = (0..20)
        .map(|id| {
            let store = store.clone();
            tokio::spawn(async move { store.append(&[click(id)]).await.unwrap_err() })
        })
        .collect();
    for call in calls {
        let error = call.await.unwrap();
        assert!(error.is_unavailable(), "{error}");
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    server.resume();
    append_at_last(&store, click(1)).await;

    server.crash();
    let store = Store::open_later(&url, limits).await.unwrap();
    assert!(store.rollout().await.unwrap_err().is_unavailable());
    server.go_on();
    append_at_last(&store, click(2)).await;
    assert_eq!(ids(&store).await, [1, 2]);
}

/// A new database of a user who may be refused things, the URL of that user's, and a connection of somebody who may
/// everything.
async fn tenant(server: &Postgres) -> (String, PgConnection) {
    let url = server.database();
    let mut admin = PgConnection::connect(&url).await.unwrap();
    admin
        .execute("CREATE ROLE tenant LOGIN PASSWORD 'first'")
        .await
        .unwrap();
    admin.execute("GRANT ALL ON SCHEMA public TO tenant").await.unwrap();
    let (_, place) = url.rsplit_once('@').unwrap();
    (format!("postgres://tenant:first@{place}"), admin)
}

/// Faults that do not pass by themselves and that no record is to blame for: what brings each about, and what mends it.
const FAULTS: [(&str, &str); 9] = [
    (
        "ALTER ROLE tenant PASSWORD 'second'",
        "ALTER ROLE tenant PASSWORD 'first'",
    ),
    ("ALTER ROLE tenant NOLOGIN", "ALTER ROLE tenant LOGIN"),
    (
        "REVOKE INSERT ON match_events FROM tenant",
        "GRANT INSERT ON match_events TO tenant",
    ),
    (
        "ALTER TABLE match_events RENAME TO elsewhere",
        "ALTER TABLE elsewhere RENAME TO match_events",
    ),
    (
        "ALTER TABLE match_events RENAME payload TO cargo",
        "ALTER TABLE match_events RENAME cargo TO payload",
    ),
    (
        "ALTER ROLE tenant SET default_transaction_read_only = on",
        "ALTER ROLE tenant RESET default_transaction_read_only",
    ),
    ("BEGIN; LOCK TABLE match_events", "ROLLBACK"),
    (
        "ALTER ROLE tenant CONNECTION LIMIT 0",
        "ALTER ROLE tenant CONNECTION LIMIT -1",
    ),
    (
        "CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'; \
         CREATE TRIGGER fails BEFORE INSERT ON match_events EXECUTE FUNCTION fails()",
        "DROP TRIGGER fails ON match_events",
    ),
];

#[tokio::test]
async fn whatever_does_not_blame_a_record_is_an_outage_until_it_is_mended() {
    let server = Postgres::start();
    let (url, mut admin) = tenant(&server).await;
    let limits = Limits {
        timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let store = Store::open_with(&url, limits).await.unwrap();
    let mut id = 0;
    for (fault, mend) in FAULTS {
        id += 1;
        assert_eq!(append_at_last(&store, click(id)).await, Appended::Stored, "{fault}");
        admin.execute(fault).await.unwrap();
        // What a role may not takes effect at its next connection.
        admin
            .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'tenant'")
            .await
            .unwrap();
        id += 1;
        for _ in 0..3 {
            let error = store.append(&[click(id)]).await.unwrap_err();
            assert!(error.is_unavailable() && !error.blames_the_record(), "{fault}: {error}");
        }
        admin.execute(mend).await.unwrap();
        assert_eq!(append_at_last(&store, click(id)).await, Appended::Stored, "{fault}");
    }
    assert_eq!(ids(&store).await.len() as u128, id);
}

#[tokio::test]
async fn only_data_and_constraints_blame_a_record_whatever_else_a_server_says() {
    let server = Postgres::start();
    let url = server.database();
    let store = Store::open(&url).await.unwrap();
    let mut admin = PgConnection::connect(&url).await.unwrap();
    let codes = [
        "08006", "0A000", "0B000", "20000", "21000", "22003", "22021", "22P05", "23502", "23505", "23514", "25006",
        "25P02", "26000", "28000", "28P01", "2BP01", "34000", "38000", "3D000", "3F000", "40001", "40P01", "42501",
        "42703", "42P01", "53100", "53200", "53300", "54000", "55006", "55P03", "57014", "57P01", "58030", "58P01",
        "F0000", "HV000", "P0001", "XX000", "XX001", "ZZ999",
    ];
    for (id, code) in (0..).zip(codes) {
        let fails = format!(
            "CREATE OR REPLACE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN RAISE EXCEPTION USING ERRCODE = ''{code}''; END'; \
             CREATE TRIGGER fails BEFORE INSERT ON match_events EXECUTE FUNCTION fails()"
        );
        admin.execute(AssertSqlSafe(fails)).await.unwrap();
        let error = store.append(&[click(id)]).await.unwrap_err();
        let blames = ["22003", "22007", "22008", "22021", "22032", "22P02", "22P05"].contains(&code);
        assert_eq!(
            (error.blames_the_record(), error.is_unavailable(), error.is_busy()),
            (blames, !blames, false),
            "{code}: {error}"
        );
        admin.execute("DROP TRIGGER fails ON match_events").await.unwrap();
        assert_eq!(append_at_last(&store, click(id)).await, Appended::Stored, "{code}");
    }
}

#[tokio::test]
async fn a_database_that_was_dropped_and_made_again_gets_its_tables() {
    let server = Postgres::start();
    let url = server.database();
    let store = Store::open(&url).await.unwrap();
    store.append(&[click(1)]).await.unwrap();
    let (_, name) = url.rsplit_once('/').unwrap();
    let mut admin = PgConnection::connect(&server.database()).await.unwrap();
    let dropped = format!("DROP DATABASE {name} WITH (FORCE)");
    admin.execute(AssertSqlSafe(dropped)).await.unwrap();
    for _ in 0..3 {
        let error = store.append(&[click(2)]).await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
    }
    admin
        .execute(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .await
        .unwrap();
    assert_eq!(append_at_last(&store, click(2)).await, Appended::Stored);
    assert_eq!(ids(&store).await, [2]);
}

#[tokio::test]
async fn calls_that_wait_for_each_other_are_no_outage_and_keep_no_operator_waiting() {
    let server = Postgres::start();
    let url = server.database();
    let limits = Limits {
        max_connections: 3,
        timeout: Duration::from_secs(2),
    };
    let store = Store::open_with(&url, limits).await.unwrap();
    let mut other = PgConnection::connect(&url).await.unwrap();
    other.execute("BEGIN; LOCK TABLE match_events").await.unwrap();
    let start = Instant::now();
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { look(&store).await.unwrap_err() })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(store.rollout().await.unwrap(), RolloutState::default());
    let entry = HistoryEntry {
        ts_utc: DateTime::UNIX_EPOCH,
        action: "rollback".into(),
        actor: "tests".into(),
        detail: json!({}),
    };
    store.save_rollout(&RolloutState::default(), &entry).await.unwrap();
    assert_eq!(store.history(1).await.unwrap(), [entry]);
    assert!(start.elapsed() < limits.timeout, "{:?}", start.elapsed());
    let mut busy = 0;
    for call in asking {
        let error = call.await.unwrap();
        assert!(error.is_busy() != error.is_unavailable(), "{error}");
        busy += usize::from(error.is_busy());
    }
    // Those that had the connection, and perhaps one after them, waited for the lock.
    assert!(busy >= 15, "{busy}");
    other.execute("ROLLBACK").await.unwrap();
    look(&store).await.unwrap();
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_text_is_refused_by_name() {
    let server = Postgres::start();
    let url = server.database();
    let mut admin = PgConnection::connect(&url).await.unwrap();
    admin
        .execute("CREATE DATABASE narrow TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
        .await
        .unwrap();
    let (server, _) = url.rsplit_once('/').unwrap();
    let said = Store::open_later(&format!("{server}/narrow"), Limits::default()).await;
    let said = said.unwrap_err().to_string();
    assert!(said.contains("LATIN1; allowed: UTF8"), "{said}");
}

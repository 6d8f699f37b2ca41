//! A PostgreSQL server that is away, does not answer, or refuses: told apart, in time, and without the password.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use ranking::events::{Action, ActionKind, Body, Event};
use servers::Postgres;
use store::{Appended, Limits, Record, Store, StoreError};
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

async fn ids(store: &Store) -> Vec<u128> {
    let events = store.events_between(DateTime::UNIX_EPOCH, Utc::now()).await.unwrap();
    events.records.iter().map(|event| event.event_id.as_u128()).collect()
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

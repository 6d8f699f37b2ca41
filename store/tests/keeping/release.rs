//! The state on record, its ledger and its lease: one version after the other, each written whole or not at all.

use std::time::{Duration, Instant};

use sqlx::Connection;
use store::{Commit, Committed, Effect, Lease, LedgerRow, Limits, Released, RolloutState, Store};
use uuid::Uuid;

use crate::database::*;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const ONE: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

static NOTHING: RolloutState = RolloutState {
    weight: 0,
    champion: None,
    challenger: None,
};

/// The next commit on a version.
pub(crate) fn on(expected: u64) -> Commit<'static> {
    Commit {
        expected,
        state: "{}",
        entry: "{}",
        hash: HASH,
        command: None,
        mirror: &NOTHING,
        outbox: &[],
        lease: None,
    }
}

async fn version(store: &Store) -> u64 {
    let released = store.released().await.unwrap();
    let version = released.map_or(0, |released| released.version);
    assert_eq!(store.pulse().await.unwrap().version, version);
    version
}

pub(crate) async fn what_is_released_comes_back_byte_for_byte(database: Database) {
    let store = database.open().await;
    assert_eq!(store.released().await.unwrap(), None);
    assert_eq!(store.pulse().await.unwrap().version, 0);
    let mirror = RolloutState {
        weight: 25,
        champion: Some(VERSION.into()),
        challenger: None,
    };
    let first = Commit {
        state: "{\"b\": 1,  \"a\": \"\u{e9}\"}",
        entry: "{ }",
        command: Some(ONE),
        mirror: &mirror,
        ..on(0)
    };
    assert_eq!(store.commit_release(&first).await.unwrap(), Committed::Done);
    let head = "f".repeat(64);
    let second = Commit {
        hash: &head,
        state: "[]",
        ..on(1)
    };
    assert_eq!(
        database.open().await.pulse().await.unwrap().mirror,
        Some(mirror.clone())
    );
    assert_eq!(store.rollout().await.unwrap(), mirror);
    assert_eq!(store.released().await.unwrap().unwrap().state, first.state);
    assert_eq!(store.commit_release(&second).await.unwrap(), Committed::Done);
    drop(store);

    let store = database.open().await;
    let expected = Released {
        version: 2,
        state: "[]".into(),
        head: head.clone(),
    };
    assert_eq!(store.released().await.unwrap(), Some(expected));
    let entry = |seq, entry: &str, hash: &str, command| LedgerRow {
        seq,
        entry: entry.into(),
        hash: hash.into(),
        command,
    };
    let entries = [entry(1, "{ }", HASH, Some(ONE)), entry(2, "{}", &head, None)];
    assert_eq!(store.ledger(0, 10).await.unwrap(), entries);
    assert_eq!(store.ledger(0, 1).await.unwrap(), entries[..1]);
    assert_eq!(store.ledger(1, 10).await.unwrap(), entries[1..]);
    assert_eq!(store.ledger(u64::MAX, 10).await.unwrap(), []);
    assert_eq!(
        store.ledger_tail(10).await.unwrap(),
        [entries[1].clone(), entries[0].clone()]
    );
    assert_eq!(store.ledger_tail(1).await.unwrap(), entries[1..]);
}

pub(crate) async fn of_two_commits_on_one_version_one_is_done(database: Database) {
    let (one, other) = tokio::join!(database.open(), database.open());
    for expected in 0..10 {
        let (mine, theirs) = (
            Commit {
                state: "1",
                ..on(expected)
            },
            Commit {
                state: "2",
                ..on(expected)
            },
        );
        let said = tokio::join!(one.commit_release(&mine), other.commit_release(&theirs));
        let winner = match (said.0.unwrap(), said.1.unwrap()) {
            (Committed::Done, Committed::Conflict) => "1",
            (Committed::Conflict, Committed::Done) => "2",
            said => panic!("version {expected}: {said:?}"),
        };
        let released = one.released().await.unwrap().unwrap();
        assert_eq!((released.version, &*released.state), (expected + 1, winner));
    }
    // Neither a former version nor a later one, nor none.
    for expected in [0, 9, 11, u64::MAX] {
        assert_eq!(one.commit_release(&on(expected)).await.unwrap(), Committed::Conflict);
    }
    assert_eq!(version(&one).await, 10);
    assert_eq!(one.ledger(0, 100).await.unwrap().len(), 10);
}

pub(crate) async fn a_command_is_carried_out_once(database: Database) {
    let (one, other) = tokio::join!(database.open(), database.open());
    for expected in 0..10 {
        let command = Some(Uuid::from_u128(u128::from(expected)));
        let commit = Commit {
            command,
            ..on(expected)
        };
        let said = tokio::join!(one.commit_release(&commit), other.commit_release(&commit));
        let mut said = [said.0.unwrap(), said.1.unwrap()];
        said.sort_by_key(|said| *said != Committed::Done);
        assert_eq!(said, [Committed::Done, Committed::Repeated(expected + 1)]);
    }
    // Whatever else is wrong with it.
    let lost = Lease {
        name: "controller".into(),
        holder: ONE,
        epoch: 7,
    };
    for expected in [0, 3, 10] {
        let commit = Commit {
            command: Some(Uuid::from_u128(3)),
            lease: Some(&lost),
            ..on(expected)
        };
        assert_eq!(one.commit_release(&commit).await.unwrap(), Committed::Repeated(4));
    }
    assert_eq!(version(&one).await, 10);
}

pub(crate) async fn nobody_commits_with_a_lease_that_was_lost(database: Database) {
    let store = database.open().await;
    let commit = async |expected, lease: &Lease| {
        let lease = Some(lease);
        store.commit_release(&Commit { lease, ..on(expected) }).await.unwrap()
    };
    let never = Lease {
        name: "controller".into(),
        holder: ONE,
        epoch: 1,
    };
    assert_eq!(commit(0, &never).await, Committed::LeaseLost);
    let mine = store.take_lease("controller", ONE, HOUR).await.unwrap().unwrap();
    assert_eq!(commit(0, &mine).await, Committed::Done);
    for (name, holder, epoch) in [("controller", OTHER, 1), ("controller", ONE, 2), ("other", ONE, 1)] {
        let name = name.to_owned();
        assert_eq!(commit(1, &Lease { name, holder, epoch }).await, Committed::LeaseLost);
    }
    database.expire_leases().await;
    assert_eq!(commit(1, &mine).await, Committed::LeaseLost);
    // It was never anybody else's, and yet another epoch began.
    let again = store.take_lease("controller", ONE, HOUR).await.unwrap().unwrap();
    assert_eq!(again.epoch, 2);
    assert_eq!(commit(1, &mine).await, Committed::LeaseLost);
    assert_eq!(commit(1, &again).await, Committed::Done);

    database.expire_leases().await;
    store.take_lease("controller", OTHER, HOUR).await.unwrap().unwrap();
    assert_eq!(commit(2, &again).await, Committed::LeaseLost);
    // The lease comes before the version.
    assert_eq!(commit(1, &again).await, Committed::LeaseLost);
    assert_eq!(version(&store).await, 2);
    assert_eq!(store.ledger(0, 10).await.unwrap().len(), 2);
}

/// What a commit may have written before it fails.
async fn check_unwritten(store: &Store, ledger: &[u64]) {
    let found = store.ledger(0, 10).await.unwrap();
    assert_eq!(found.iter().map(|entry| entry.seq).collect::<Vec<_>>(), ledger);
    assert_eq!(version(store).await, 0);
    assert_eq!(store.outbox_facts().await.unwrap().owed, 0);
    assert_eq!(store.pulse().await.unwrap().mirror, Some(NOTHING.clone()));
}

fn half() -> RolloutState {
    RolloutState {
        weight: 50,
        ..NOTHING.clone()
    }
}

pub(crate) async fn a_commit_that_fails_half_way_leaves_nothing(database: Database) {
    let store = database.open().await;
    let mirror = half();
    let effect = Effect {
        destination: "hook",
        body: "b",
    };
    let commit = Commit {
        command: Some(ONE),
        mirror: &mirror,
        outbox: &[effect, effect],
        ..on(0)
    };
    for (table, column) in [
        ("ltr_ledger", "hash"),
        ("ltr_outbox", "body"),
        ("ltr_rollout", "champion"),
    ] {
        let rename = |from: &str, to: &str| format!("ALTER TABLE {table} RENAME COLUMN {from} TO {to}");
        database.execute(rename(column, "elsewhere")).await;
        let error = store.commit_release(&commit).await.unwrap_err();
        assert!(error.is_unavailable() && !error.blames_the_record(), "{table}: {error}");
        database.execute(rename("elsewhere", column)).await;
        database.settled(&store).await;
        check_unwritten(&store, &[]).await;
    }
    // A constraint of these tables says nothing of any event.
    let foreign = format!("INSERT INTO ltr_ledger (seq, entry, hash) VALUES (1, '', '{HASH}')");
    database.execute(foreign).await;
    let error = store.commit_release(&commit).await.unwrap_err();
    assert!(error.is_unavailable() && !error.blames_the_record(), "{error}");
    database.settled(&store).await;
    check_unwritten(&store, &[1]).await;
}

pub(crate) async fn a_commit_that_is_refused_leaves_nothing(database: Database) {
    let store = database.open().await;
    let mirror = half();
    let effect = Effect {
        destination: "hook",
        body: "b",
    };
    let commit = Commit {
        mirror: &mirror,
        outbox: &[effect],
        ..on(0)
    };
    let conflict = Commit { expected: 1, ..commit };
    assert_eq!(store.commit_release(&conflict).await.unwrap(), Committed::Conflict);
    let lost = Lease {
        name: "controller".into(),
        holder: ONE,
        epoch: 1,
    };
    let late = Commit {
        lease: Some(&lost),
        ..commit
    };
    assert_eq!(store.commit_release(&late).await.unwrap(), Committed::LeaseLost);
    let too_much = RolloutState {
        weight: 101,
        ..NOTHING.clone()
    };
    let error = store
        .commit_release(&Commit {
            mirror: &too_much,
            ..commit
        })
        .await
        .unwrap_err();
    assert!(error.to_string().contains("101"), "{error}");
    let upper = HASH.to_uppercase();
    for hash in ["", &HASH[1..], &upper] {
        let error = store.commit_release(&Commit { hash, ..commit }).await.unwrap_err();
        assert!(error.to_string().starts_with("hash"), "{error}");
    }
    check_unwritten(&store, &[]).await;
    assert_eq!(store.commit_release(&commit).await.unwrap(), Committed::Done);
    assert_eq!(store.outbox_facts().await.unwrap().owed, 1);
    assert_eq!(store.pulse().await.unwrap().mirror, Some(mirror.clone()));
}

pub(crate) async fn many_committers_leave_no_gap(database: Database) {
    const COMMITTERS: u64 = 8;
    const EACH: u64 = 25;
    let mut committing = Vec::new();
    // Programs on one SQLite file look for its lock now and then, and some of them long in vain.
    let limits = Limits {
        timeout: Duration::from_secs(60),
        ..Limits::default()
    };
    for committer in 0..COMMITTERS {
        let store = Store::open_with(&database.url, limits).await.unwrap();
        committing.push(tokio::spawn(async move {
            let mirror = RolloutState {
                weight: committer as u8,
                ..NOTHING.clone()
            };
            for n in 0..EACH {
                let command = Uuid::from_u128(u128::from(committer * EACH + n));
                let mut expected = store.pulse().await.unwrap().version;
                loop {
                    let state = format!("{{\"by\":{committer}}}");
                    let commit = Commit {
                        state: &state,
                        entry: &state,
                        command: Some(command),
                        mirror: &mirror,
                        ..on(expected)
                    };
                    match store.commit_release(&commit).await.unwrap() {
                        Committed::Done => break,
                        Committed::Conflict => expected = store.pulse().await.unwrap().version,
                        said => panic!("{said:?}"),
                    }
                }
            }
        }));
    }
    for committing in committing {
        committing.await.unwrap();
    }
    let store = database.open().await;
    let ledger = store.ledger(0, 1000).await.unwrap();
    assert!(ledger.iter().map(|entry| entry.seq).eq(1..=COMMITTERS * EACH));
    let mut commands: Vec<u128> = ledger.iter().map(|entry| entry.command.unwrap().as_u128()).collect();
    commands.sort_unstable();
    assert!(commands.into_iter().eq(0..u128::from(COMMITTERS * EACH)));
    let released = store.released().await.unwrap().unwrap();
    assert_eq!(
        (released.version, &released.state),
        (COMMITTERS * EACH, &ledger[199].entry)
    );
    let mirror = store.pulse().await.unwrap().mirror.unwrap();
    assert_eq!(format!("{{\"by\":{}}}", mirror.weight), released.state);
}

pub(crate) async fn the_ledger_is_never_changed(database: Database) {
    let store = database.open().await;
    let commit = Commit {
        command: Some(ONE),
        ..on(0)
    };
    assert_eq!(store.commit_release(&commit).await.unwrap(), Committed::Done);
    let before = store.ledger(0, 10).await.unwrap();
    let mut statements = vec![
        "UPDATE ltr_ledger SET entry = 'other'".to_owned(),
        "UPDATE ltr_ledger SET hash = hash WHERE seq = 1".to_owned(),
        "DELETE FROM ltr_ledger WHERE seq = 1".to_owned(),
        "DELETE FROM ltr_ledger".to_owned(),
    ];
    if database.is_postgres() {
        statements.push("TRUNCATE ltr_ledger CASCADE".to_owned());
    } else {
        let other = format!("INSERT OR REPLACE INTO ltr_ledger VALUES (1, 'other', '{HASH}', NULL)");
        let taken = format!("INSERT OR REPLACE INTO ltr_ledger VALUES (2, 'other', '{HASH}', '{ONE}')");
        statements.extend([other, taken]);
    }
    for statement in statements {
        let error = database.try_execute(statement.clone()).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{statement}: {error}");
    }
    assert_eq!(store.ledger(0, 10).await.unwrap(), before);
}

pub(crate) async fn a_lease_has_one_holder_at_a_time(database: Database) {
    let (one, other) = tokio::join!(database.open(), database.open());
    assert_eq!(one.lease_holder("controller").await.unwrap(), None);
    let (mine, theirs) = tokio::join!(
        one.take_lease("controller", ONE, HOUR),
        other.take_lease("controller", OTHER, HOUR)
    );
    let [mine, theirs] = [mine.unwrap(), theirs.unwrap()];
    let (held, [holder, loser]) = match (mine, theirs) {
        (Some(held), None) => (held, [ONE, OTHER]),
        (None, Some(held)) => (held, [OTHER, ONE]),
        said => panic!("{said:?}"),
    };
    assert_eq!((held.holder, held.epoch, &*held.name), (holder, 1, "controller"));
    assert_eq!(other.lease_holder("controller").await.unwrap(), Some(holder));
    assert_eq!(one.take_lease("controller", loser, HOUR).await.unwrap(), None);
    // Another lease is another's.
    assert!(one.take_lease("sender", loser, HOUR).await.unwrap().is_some());
    // Renewing it, even for less time, keeps the epoch.
    let short = Duration::from_millis(150);
    let start = Instant::now();
    assert_eq!(
        one.take_lease("controller", holder, short).await.unwrap(),
        Some(held.clone())
    );
    let taken = loop {
        match one.take_lease("controller", loser, HOUR).await.unwrap() {
            Some(taken) => break taken,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        assert!(start.elapsed() < Duration::from_secs(10), "it never expires");
    };
    assert!(start.elapsed() > Duration::from_millis(140), "it expired too early");
    assert_eq!((taken.holder, taken.epoch), (loser, 2));

    // What was lost cannot be dropped, and what is held can.
    one.drop_lease(&held).await.unwrap();
    assert_eq!(one.lease_holder("controller").await.unwrap(), Some(loser));
    one.drop_lease(&taken).await.unwrap();
    assert_eq!(one.lease_holder("controller").await.unwrap(), None);
    let again = one.take_lease("controller", loser, HOUR).await.unwrap().unwrap();
    assert_eq!(again.epoch, 3, "who dropped it has lost it, too");
    // Durations beyond the clock's range are as good as any.
    assert!(one.take_lease("forever", ONE, Duration::MAX).await.unwrap().is_some());
    assert_eq!(one.lease_holder("forever").await.unwrap(), Some(ONE));
}

pub(crate) async fn a_lease_ends_when_the_clock_is_set_back(database: Database) {
    let store = database.open().await;
    let held = store.take_lease("controller", ONE, HOUR).await.unwrap().unwrap();
    database.set_leases_ahead().await;
    assert_eq!(store.lease_holder("controller").await.unwrap(), None);
    let commit = Commit {
        lease: Some(&held),
        ..on(0)
    };
    assert_eq!(store.commit_release(&commit).await.unwrap(), Committed::LeaseLost);
    // Its holder gets it back as it was.
    assert_eq!(
        store.take_lease("controller", ONE, HOUR).await.unwrap(),
        Some(held.clone())
    );
    assert_eq!(store.commit_release(&commit).await.unwrap(), Committed::Done);
    database.set_leases_ahead().await;
    let taken = store.take_lease("controller", OTHER, HOUR).await.unwrap().unwrap();
    assert_eq!(taken.epoch, 2);
    assert_eq!(store.take_lease("controller", ONE, HOUR).await.unwrap(), None);
}

/// A command that is on its way is known to whoever brings it again, on whatever version.
#[tokio::test]
async fn a_command_waits_for_the_one_that_is_being_carried_out() {
    let database = Database::postgres();
    let store = database.open().await;
    let committing = |expected, command| {
        let store = store.clone();
        let command = Some(Uuid::from_u128(command));
        tokio::spawn(async move {
            store
                .commit_release(&Commit {
                    command,
                    ..on(expected)
                })
                .await
        })
    };
    let mut other = sqlx::PgConnection::connect(&database.url).await.unwrap();
    for (expected, again) in [(0, 0), (1, 1), (2, 3), (3, 0)] {
        // The mirror is written last.
        let lock = "BEGIN; SELECT 1 FROM ltr_rollout FOR UPDATE";
        sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
        let first = committing(expected, u128::from(expected));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let second = committing(again, u128::from(expected));
        tokio::time::sleep(Duration::from_millis(100)).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
        assert_eq!(first.await.unwrap().unwrap(), Committed::Done);
        assert_eq!(second.await.unwrap().unwrap(), Committed::Repeated(expected + 1));
    }
}

/// While a commit relies on a lease, nobody else takes it, even if it expires meanwhile. Other calls go on.
#[tokio::test]
async fn who_takes_a_lease_waits_for_a_commit_that_relies_on_it() {
    let database = Database::postgres();
    let store = database.open().await;
    let mut other = sqlx::PgConnection::connect(&database.url).await.unwrap();
    // The mirror is written last.
    let lock = "BEGIN; SELECT 1 FROM ltr_rollout FOR UPDATE";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let held = store
        .take_lease("controller", ONE, Duration::from_millis(400))
        .await
        .unwrap()
        .unwrap();
    let committing = tokio::spawn({
        let store = store.clone();
        async move {
            let lease = Some(&held);
            store.commit_release(&Commit { lease, ..on(0) }).await
        }
    });
    while store.lease_holder("controller").await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let taking = tokio::spawn({
        let store = database.open().await;
        async move { store.take_lease("controller", OTHER, HOUR).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!taking.is_finished() && !committing.is_finished());
    assert_eq!(store.pulse().await.unwrap().version, 0, "a read waits for no commit");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(committing.await.unwrap().unwrap(), Committed::Done);
    assert_eq!(taking.await.unwrap().unwrap().unwrap().epoch, 2);
}

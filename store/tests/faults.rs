//! A SQLite file on a disk that is full, fails or turns read-only, and one that somebody deletes: nothing that was
//! acknowledged from then on is lost, and all is well again when the cause is gone, without a restart.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests make, read and time what they like"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use ranking::events::{Action, ActionKind, Body, Event};
use serde_json::json;
use servers::Tmpfs;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};
use store::{Appended, HistoryEntry, Limits, Record, RolloutState, Store};
use uuid::Uuid;

fn click(id: u128) -> Record {
    let action = Action::new(ActionKind::ClickProfile, "a".repeat(200), 1);
    Record::Event(Event::new(
        Uuid::from_u128(id),
        DateTime::UNIX_EPOCH,
        Uuid::from_u128(5),
        Uuid::from_u128(9),
        Body::Action(action),
    ))
}

/// The `n`th hundred of events.
fn hundred(n: u128) -> Vec<Record> {
    (100 * n..100 * n + 100).map(click).collect()
}

/// Fails as unavailable a few times at most, then answers.
async fn append_at_last(store: &Store, record: Record) -> Appended {
    for _ in 0..100 {
        match store.append(std::slice::from_ref(&record)).await {
            Ok(outcomes) => return outcomes[0],
            Err(error) => assert!(error.is_unavailable(), "{error}"),
        }
    }
    panic!("the file can be written and is still unavailable");
}

fn url(file: &Path) -> String {
    format!("sqlite://{}", file.display())
}

async fn ids(store: &Store) -> Vec<u128> {
    let events = store.events_between(DateTime::UNIX_EPOCH, Utc::now()).await.unwrap();
    events.records.iter().map(|event| event.event_id.as_u128()).collect()
}

fn change(weight: u8) -> (RolloutState, HistoryEntry) {
    let state = RolloutState {
        weight,
        ..RolloutState::default()
    };
    let entry = HistoryEntry {
        ts_utc: DateTime::UNIX_EPOCH,
        action: "rollback".into(),
        actor: "tests".into(),
        detail: json!({}),
    };
    (state, entry)
}

#[tokio::test]
async fn a_disk_that_was_full_is_written_again_as_soon_as_there_is_room() {
    let disk = Tmpfs::mount(4 << 20);
    disk.fill(1 << 20);
    let store = Store::open(&url(&disk.path().join("ltr.db"))).await.unwrap();
    let mut kept = 0;
    let error = loop {
        match store.append(&hundred(kept)).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_unavailable() && kept > 0, "{error}");
    // More than once, as a replay does.
    for _ in 0..3 {
        assert!(store.append(&hundred(kept)).await.unwrap_err().is_unavailable());
    }
    assert_eq!(ids(&store).await.len() as u128, 100 * kept);
    disk.make_room();
    let (state, entry) = change(0);
    store.save_rollout(&state, &entry).await.unwrap();
    assert_eq!(store.append(&hundred(kept)).await.unwrap(), [Appended::Stored; 100]);
    assert_eq!(ids(&store).await.len() as u128, 100 * (kept + 1));
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_start_keeps_no_program_from_starting() {
    let disk = Tmpfs::mount(1 << 20);
    disk.fill(usize::MAX);
    let url = url(&disk.path().join("ltr.db"));
    let store = Store::open_later(&*url, Limits::default()).await.unwrap();
    assert!(store.append(&[click(1)]).await.unwrap_err().is_unavailable());
    disk.make_room();
    assert_eq!(append_at_last(&store, click(1)).await, Appended::Stored);
}

#[tokio::test]
async fn a_disk_that_turned_read_only_is_written_again_when_it_is_not() {
    let disk = Tmpfs::mount(8 << 20);
    let file = disk.path().join("ltr.db");
    let limits = Limits {
        timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let store = Store::open_with(&url(&file), limits).await.unwrap();
    store.append(&[click(1)]).await.unwrap();
    // Only root's tools turn a disk read-only beneath an open file. A lock has the store close its own.
    let mut other = connect(&file).await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    assert!(store.append(&[click(2)]).await.unwrap_err().is_unavailable());
    other.close().await.unwrap();
    let start = Instant::now();
    while !disk.read_only(true) {
        assert!(start.elapsed() < Duration::from_secs(10), "a file is still open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..2 {
        let error = store.append(&[click(2)]).await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
    }
    assert!(disk.read_only(false));
    assert_eq!(append_at_last(&store, click(2)).await, Appended::Stored);
    assert_eq!(ids(&store).await, [1, 2]);
}

/// Everywhere, without a disk of its own.
#[tokio::test]
async fn a_transaction_that_sqlite_ended_by_itself_is_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ltr.db");
    let store = Store::open(&url(&file)).await.unwrap();
    // A trigger of somebody else's fails within the transaction as a disk does, for a reason that is not the record's.
    let mut other = connect(&file).await;
    other
        .execute("CREATE TRIGGER full BEFORE INSERT ON match_events BEGIN SELECT RAISE(ROLLBACK, 'as a full disk does'); END")
        .await
        .unwrap();
    for _ in 0..3 {
        let error = store.append(&[click(1)]).await.unwrap_err();
        assert!(error.is_unavailable() && !error.blames_the_record(), "{error}");
        let (state, entry) = change(0);
        store.save_rollout(&state, &entry).await.unwrap();
    }
    other.execute("DROP TRIGGER full").await.unwrap();
    assert_eq!(store.append(&[click(1)]).await.unwrap(), [Appended::Stored]);
}

async fn connect(file: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(file).connect().await.unwrap()
}

#[tokio::test]
async fn a_table_that_was_renamed_is_written_again_when_it_has_its_name_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ltr.db");
    let store = Store::open(&url(&file)).await.unwrap();
    let mut other = connect(&file).await;
    other
        .execute("ALTER TABLE match_events RENAME TO elsewhere")
        .await
        .unwrap();
    let error = store.append(&[click(1)]).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(
        store
            .events_between(DateTime::UNIX_EPOCH, Utc::now())
            .await
            .unwrap_err()
            .is_unavailable()
    );
    other
        .execute("ALTER TABLE elsewhere RENAME TO match_events")
        .await
        .unwrap();
    assert_eq!(store.append(&[click(1)]).await.unwrap(), [Appended::Stored]);
}

#[tokio::test]
async fn what_is_acknowledged_before_and_after_a_part_of_the_file_was_deleted_or_replaced_is_found_at_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ltr.db");
    let beside = |suffix: &str| folder.path().join(format!("ltr.db{suffix}"));
    let store = Store::open(&url(&file)).await.unwrap();
    let mut id = 0;
    let gone: [&[&str]; 3] = [&["-wal"], &["-shm"], &["-wal", "-shm"]];
    for suffixes in gone {
        let before = id;
        for _ in 0..3 {
            id += 1;
            store.append(&[click(id)]).await.unwrap();
        }
        for suffix in suffixes {
            std::fs::remove_file(beside(suffix)).unwrap();
        }
        check_kept(&store, &file, &mut id).await;
        let found = ids(&store).await;
        assert!(
            (1..=before + 3).all(|id| found.contains(&id)),
            "{suffixes:?}: {found:?}"
        );
    }
    let copy = folder.path().join("copy.db");
    drop(Store::open(&url(&copy)).await.unwrap());
    std::fs::remove_file(&file).unwrap();
    std::fs::copy(&copy, &file).unwrap();
    check_kept(&store, &file, &mut id).await;
}

#[tokio::test]
async fn a_log_that_is_deleted_under_load_takes_nothing_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ltr.db");
    let store = Store::open(&url(&file)).await.unwrap();
    let wal = folder.path().join("ltr.db-wal");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let deleting = std::thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(7));
                let _ = std::fs::remove_file(&wal);
            }
        }
    });
    let mut acknowledged = Vec::new();
    for n in 0..60 {
        match store.append(&hundred(n)).await {
            Ok(_) => acknowledged.extend(100 * n..100 * n + 100),
            Err(error) => assert!(error.is_unavailable(), "{error}"),
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    deleting.join().unwrap();
    append_at_last(&store, click(1_000_000)).await;
    let mut left = 100;
    let found = loop {
        match store.events_between(DateTime::UNIX_EPOCH, Utc::now()).await {
            Ok(found) => break found.records,
            Err(error) => assert!(error.is_unavailable() && left > 0, "{error}"),
        }
        left -= 1;
    };
    let found: std::collections::HashSet<u128> = found.iter().map(|event| event.event_id.as_u128()).collect();
    let lost = acknowledged.iter().filter(|id| !found.contains(id)).count();
    assert_eq!(lost, 0, "of {}", acknowledged.len());
}

#[tokio::test]
async fn a_file_in_its_place_that_has_another_salt_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let [file, other] = ["ltr.db", "other.db"].map(|name| folder.path().join(name));
    let store = Store::open(&url(&file)).await.unwrap();
    store.hold_to_salt(Uuid::from_u128(1)).await.unwrap();
    store.append(&[click(1)]).await.unwrap();
    let another = Store::open(&url(&other)).await.unwrap();
    another.hold_to_salt(Uuid::from_u128(2)).await.unwrap();
    another.close().await;
    for suffix in ["-wal", "-shm", ""] {
        let _ = std::fs::remove_file(folder.path().join(format!("ltr.db{suffix}")));
    }
    std::fs::rename(&other, &file).unwrap();
    for _ in 0..3 {
        assert!(store.append(&[click(2)]).await.is_err());
    }
    assert_eq!(ids(&Store::open(&url(&file)).await.unwrap()).await, []);
}

/// A new file would know neither who serves nor what came before, and hide or be hidden by the true one when that is back.
#[tokio::test]
async fn a_file_that_is_missing_is_an_outage_until_it_is_back_and_none_is_made_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nested/ltr.db");
    let store = Store::open(&url(&file)).await.unwrap();
    store.append(&[click(1)]).await.unwrap();
    let (here, away) = (file.parent().unwrap(), folder.path().join("away"));
    for empty in [false, true] {
        std::fs::rename(here, &away).unwrap();
        if empty {
            std::fs::create_dir(here).unwrap();
            std::fs::write(&file, "").unwrap();
        }
        for _ in 0..3 {
            let error = store.append(&[click(2)]).await.unwrap_err();
            assert!(
                error.is_unavailable() && error.to_string().contains("put it back"),
                "{error}"
            );
            assert!(store.rollout().await.is_err());
        }
        assert!(!file.exists() || file.metadata().unwrap().len() == 0);
        if empty {
            std::fs::remove_dir_all(here).unwrap();
        }
        std::fs::rename(&away, here).unwrap();
        append_at_last(&store, click(2)).await;
        assert_eq!(ids(&store).await, [1, 2]);
    }
    // Whoever means it starts anew.
    std::fs::remove_dir_all(here).unwrap();
    assert!(store.append(&[click(3)]).await.is_err());
    let store = Store::open(&url(&file)).await.unwrap();
    store.append(&[click(3)]).await.unwrap();
    assert_eq!(ids(&store).await, [3]);
}

#[tokio::test]
async fn a_database_that_comes_after_an_outage_is_asked_for_its_salt_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let [file, other] = ["ltr.db", "other.db"].map(|name| folder.path().join(name));
    let (ours, theirs) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let theirs_store = Store::open(&url(&other)).await.unwrap();
    theirs_store.hold_to_salt(theirs).await.unwrap();
    theirs_store.close().await;
    let store = Store::open(&url(&file)).await.unwrap();
    store.hold_to_salt(ours).await.unwrap();
    store.append(&[click(1)]).await.unwrap();
    // While nothing can be written, another database comes to the same path.
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{}{suffix}", file.display())).unwrap();
    }
    std::fs::create_dir(&file).unwrap();
    assert!(store.append(&[click(2)]).await.unwrap_err().is_unavailable());
    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&other, &file).unwrap();
    for _ in 0..3 {
        let error = store.append(&[click(2)]).await.unwrap_err();
        assert!(error.to_string().contains("privacy.salt_file"), "{error}");
    }
    assert_eq!(ids(&Store::open(&url(&file)).await.unwrap()).await, []);
}

/// What is appended now is read by whoever opens the file.
async fn check_kept(store: &Store, file: &Path, id: &mut u128) {
    let mut kept = Vec::new();
    for _ in 0..3 {
        *id += 1;
        append_at_last(store, click(*id)).await;
        kept.push(*id);
    }
    assert!(store.rollout().await.is_ok());
    for store in [store.clone(), Store::open(&url(file)).await.unwrap()] {
        let found = ids(&store).await;
        assert!(kept.iter().all(|id| found.contains(id)), "{kept:?} in {found:?}");
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_half_way_leaves_nothing_in_the_way_of_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&url(&folder.path().join("ltr.db"))).await.unwrap();
    let batch: Vec<Record> = (0..2_000).map(click).collect();
    let mut patience = Duration::from_micros(50);
    // Ever later, until it is not given up any more.
    while tokio::time::timeout(patience, store.append(&batch)).await.is_err() {
        let (state, entry) = change(0);
        store.save_rollout(&state, &entry).await.unwrap();
        patience = patience * 3 / 2;
    }
    assert_eq!(ids(&store).await.len(), batch.len());
}

#[tokio::test]
async fn what_is_no_regular_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ltr.db");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&file)
            .status()
            .unwrap()
            .success()
    );
    for file in [file.as_path(), folder.path(), Path::new("/dev/null")] {
        let url = url(file);
        let opening = tokio::time::timeout(Duration::from_secs(10), Store::open(&url));
        let said = opening.await.unwrap().unwrap_err().to_string();
        assert!(said.contains("not a regular file"), "{said}");
    }
}

#[tokio::test]
async fn its_owner_alone_reads_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ltr.db");
    let modes = || -> Vec<u32> {
        let files = std::fs::read_dir(folder.path()).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().permissions().mode() & 0o777)
            .collect()
    };
    let store = Store::open(&url(&file)).await.unwrap();
    store.append(&[click(1)]).await.unwrap();
    assert_eq!(modes(), [0o600; 3]);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        std::fs::set_permissions(entry.unwrap().path(), std::fs::Permissions::from_mode(0o664)).unwrap();
    }
    let again = Store::open(&url(&file)).await.unwrap();
    again.append(&[click(2)]).await.unwrap();
    assert_eq!(modes(), [0o600; 3]);
}

#[tokio::test]
async fn a_call_waits_for_another_programs_lock_no_longer_than_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ltr.db");
    let limits = Limits {
        timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let store = Store::open_with(&url(&file), limits).await.unwrap();
    let mut other = connect(&file).await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let start = Instant::now();
    for _ in 0..2 {
        assert!(store.append(&[click(1)]).await.unwrap_err().is_unavailable());
    }
    assert_eq!(store.rollout().await.unwrap(), RolloutState::default());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    other.execute("ROLLBACK").await.unwrap();
    assert_eq!(store.append(&[click(1)]).await.unwrap(), [Appended::Stored]);
}

#[tokio::test]
async fn a_file_that_is_moved_away_and_back_keeps_what_was_committed() {
    for in_between in [None, Some("a folder"), Some("nothing")] {
        let folder = tempfile::tempdir().unwrap();
        let (file, aside) = (folder.path().join("ltr.db"), folder.path().join("aside.db"));
        let store = Store::open(&url(&file)).await.unwrap();
        store.append(&hundred(1)).await.unwrap();
        std::fs::rename(&file, &aside).unwrap();
        if in_between == Some("a folder") {
            std::fs::create_dir(&file).unwrap();
        }
        if in_between.is_some() {
            assert!(store.append(&[click(1)]).await.unwrap_err().is_unavailable());
        }
        // Only an empty one.
        let _ = std::fs::remove_dir(&file);
        std::fs::rename(&aside, &file).unwrap();
        append_at_last(&store, click(3)).await;
        let mut expected: Vec<u128> = (100..200).chain([3]).collect();
        expected.sort_unstable();
        let mut found = ids(&store).await;
        found.sort_unstable();
        assert_eq!(found, expected, "{in_between:?}");
    }
}

//! What was spooled comes back in order, whole and once, whatever happened to the program in between.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests make, read and time what they like"
)]

use std::ffi::CString;
use std::fs::File;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use ranking::events::{Action, ActionKind, Body, Event};
use ranking::verdict::ShadowRow;
use servers::Tmpfs;
use sha2::{Digest, Sha256};
use store::{Record, ShadowRecord, Spool, SpoolError};
use uuid::Uuid;

const LARGE: u64 = 1 << 30;

fn click(id: u128) -> Record {
    let action = Action::new(ActionKind::ClickProfile, "adv \n 1".replace('\n', "ü"), 1);
    Record::Event(Event::new(
        Uuid::from_u128(id),
        DateTime::<Utc>::UNIX_EPOCH + chrono::Duration::nanoseconds(1),
        Uuid::from_u128(5),
        Uuid::from_u128(9),
        Body::Action(action),
    ))
}

fn shadow(id: u128) -> Record {
    Record::Shadow(ShadowRecord {
        request_id: Uuid::from_u128(id),
        ts_utc: DateTime::<Utc>::UNIX_EPOCH,
        case_id: Uuid::from_u128(5),
        user_pseudonym: Uuid::from_u128(77),
        model_version: "20261001T021500Z".into(),
        outcome: ranking::ShadowOutcome::Scored,
        score_us: Some(250),
        trigger: Some("sampled".into()),
        salt_id: None,
        unknown: Default::default(),
        rows: vec![ShadowRow {
            lawyer_id: "adv_1".into(),
            rank_legacy: 1,
            rank_ltr: None,
            label: None,
            fair_legacy: 0.1 + 0.2,
            fair_ltr: Some(1e-300),
            groups: [("gender".to_owned(), "F".to_owned())].into(),
        }],
    })
}

fn ids(records: &[Record]) -> Vec<u128> {
    let id = |record: &Record| match record {
        Record::Shadow(shadow) => shadow.request_id.as_u128(),
        event => event.event_id().unwrap().as_u128(),
    };
    records.iter().map(id).collect()
}

/// All that waits, in order; the spool is empty afterwards.
fn drain(spool: &mut Spool) -> Vec<u128> {
    let mut all = Vec::new();
    while let Some(batch) = spool.oldest() {
        all.extend(ids(&batch.records));
        spool.done_with_oldest();
    }
    all
}

fn fifo(path: &Path) {
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: `name` is a C string that lives until the call returns.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    paths.sort();
    paths
}

#[test]
fn records_come_back_in_order_and_to_the_last_bit_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    spool.append(&[click(3), shadow(1)]).unwrap();
    spool.append(&[click(2)]).unwrap();
    assert_eq!(spool.records(), 3);
    // What is taken out may still grow behind.
    let first = spool.oldest().unwrap().records;
    let json = |records: &[Record]| serde_json::to_value(records).unwrap();
    assert_eq!(json(&first), json(&[click(3), shadow(1), click(2)]));
    spool.append(&[click(4)]).unwrap();
    drop(spool);
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    spool.append(&[click(5)]).unwrap();
    assert_eq!(spool.records(), 5);
    assert_eq!(drain(&mut spool), [3, 1, 2, 4, 5]);
    assert_eq!((spool.records(), spool.oldest().is_none()), (0, true));
    assert!(files(dir.path(), "spool").is_empty());
    spool.append(&[click(6)]).unwrap();
    drop(spool);
    assert_eq!(drain(&mut Spool::open(dir.path(), LARGE).unwrap()), [6]);
}

#[test]
fn a_record_torn_at_any_byte_takes_nothing_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    spool.append(&[click(1), click(2)]).unwrap();
    let path = files(dir.path(), "spool").remove(0);
    let whole = std::fs::read(&path).unwrap().len();
    spool.append(&[shadow(3)]).unwrap();
    drop(spool);
    let text = std::fs::read(&path).unwrap();
    for end in (whole + 1..text.len() - 1).step_by(7) {
        // A crash may also leave a file's length without its bytes.
        for tail in [&b""[..], &[0; 40]] {
            std::fs::write(&path, [&text[..end], tail].concat()).unwrap();
            let mut spool = Spool::open(dir.path(), LARGE).unwrap();
            assert_eq!((spool.records(), spool.damaged()), (2, 1), "{end}");
            spool.append(&[click(5)]).unwrap();
            assert_eq!(drain(&mut spool), [1, 2, 5], "{end}");
        }
    }
    assert_eq!(files(dir.path(), "damaged").len(), 1, "what was torn is kept");
}

#[test]
fn a_flipped_byte_loses_the_record_it_is_in_wherever_it_is_and_whenever_it_flips() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    // Of one call and of several.
    spool.append(&[click(1), click(2), shadow(3)]).unwrap();
    spool.append(&[click(4)]).unwrap();
    let path = files(dir.path(), "spool").remove(0);
    drop(spool);
    let whole = std::fs::read(&path).unwrap();
    let frames: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] == 0x1e).collect();
    for at in (0..whole.len()).step_by(5) {
        for before_the_start in [true, false] {
            let mut text = whole.clone();
            text[at] ^= 0x14;
            let open = || Spool::open(dir.path(), LARGE).unwrap();
            let spool = if before_the_start { None } else { Some(open()) };
            std::fs::write(&path, &text).unwrap();
            let mut spool = spool.unwrap_or_else(open);
            let mut expected = vec![1, 2, 3, 4];
            if whole[at] != b'\n' {
                expected.remove(frames.iter().filter(|start| **start <= at).count() - 1);
            }
            assert_eq!(drain(&mut spool), expected, "{at}");
            assert_eq!(spool.damaged(), 1, "{at}");
            let kept = path.with_extension("damaged");
            assert_eq!(std::fs::read(&kept).unwrap(), text, "an operator has every byte of it");
            assert!(!path.exists());
            std::fs::remove_file(kept).unwrap();
            drop(spool);
            std::fs::write(&path, &whole).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_file_holds_it_stops_nothing_and_none_of_it_is_thrown_away(
        before in proptest::collection::vec(any::<u8>(), 0..2_000),
        at in any::<prop::sample::Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path(), LARGE).unwrap();
        spool.append(&[click(1)]).unwrap();
        spool.append(&[click(2)]).unwrap();
        drop(spool);
        let path = files(dir.path(), "spool").remove(0);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes.splice(at..at, before.iter().copied());
        std::fs::write(&path, &bytes).unwrap();
        let mut spool = Spool::open(dir.path(), LARGE).unwrap();
        spool.append(&[click(3)]).unwrap();
        let drained = drain(&mut spool);
        prop_assert!(drained.ends_with(&[3]) && drained.len() >= 2, "{drained:?}");
        prop_assert_eq!(spool.damaged() > 0, !before.is_empty());
        if !before.is_empty() {
            prop_assert_eq!(std::fs::read(path.with_extension("damaged")).unwrap(), bytes);
        }
    }
}

#[test]
fn what_version_0_1_left_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let line = |records: &[Record]| {
        let body = format!("{} {}", records.len(), serde_json::to_string(records).unwrap());
        let sum: String = Sha256::digest(&body)[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{sum} {body}\n")
    };
    let lines = [line(&[click(1), shadow(2)]), line(&[click(3)]), line(&[click(4)])];
    std::fs::write(dir.path().join(format!("{:020}.spool", 7)), lines.concat()).unwrap();
    let torn = [lines[0].as_str(), "0123456789abcdef 1 [{\"event\":"].concat();
    std::fs::write(dir.path().join(format!("{:020}.spool", 8)), torn).unwrap();
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    spool.append(&[click(9)]).unwrap();
    assert_eq!(spool.records(), 4 + 2 + 1);
    assert_eq!(drain(&mut spool), [1, 2, 3, 4, 1, 2, 9]);
}

#[test]
fn a_record_that_cannot_be_read_is_set_aside_and_the_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let good = serde_json::to_string(&click(1)).unwrap();
    let framed = |json: &str| {
        let sum: String = Sha256::digest(json)[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("\u{1e}{:08x} {sum} {json}\n", json.len())
    };
    let file = ["{\"event\":{}}", &good, "{\"shadow\":7}", "no JSON", "{\"later\":1}"].map(framed);
    std::fs::write(dir.path().join(format!("{:020}.spool", 0)), file.concat()).unwrap();
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    let batch = spool.oldest().unwrap();
    assert_eq!((ids(&batch.records), batch.refused.len()), (vec![1], 4));
    spool.set_aside(&batch.refused).unwrap();
    spool.set_aside(&batch.refused[..1]).unwrap();
    let refused = std::fs::read_to_string(dir.path().join("refused.ndjson")).unwrap();
    let refused: Vec<serde_json::Value> = refused
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(refused.len(), 5);
    assert_eq!(refused[2]["record"], "no JSON");
    assert!(refused.iter().all(|line| !line["reason"].as_str().unwrap().is_empty()));
    assert_eq!(spool.damaged(), 0);
}

#[test]
fn whatever_lies_in_the_folder_neither_stops_the_start_nor_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let at = |number: u64| dir.path().join(format!("{number:020}.spool"));
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    spool.append(&[click(1)]).unwrap();
    drop(spool);
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(elsewhere.path(), "precious").unwrap();
    symlink(elsewhere.path(), at(1)).unwrap();
    symlink(elsewhere.path(), dir.path().join("refused.ndjson")).unwrap();
    fifo(&at(2));
    fifo(&dir.path().join("fifo.spool"));
    std::fs::create_dir(at(3)).unwrap();
    std::fs::File::create(at(4)).unwrap().set_len(20 << 30).unwrap();
    std::fs::write(at(5), "").unwrap();
    for name in [
        "notes.txt",
        "1.spool",
        "99999999999999999999.spool",
        "00000000000000000006.spool.bak",
    ] {
        std::fs::write(dir.path().join(name), "no record").unwrap();
    }
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    assert_eq!((spool.records(), spool.damaged()), (1, 4));
    assert!(!at(5).exists(), "an empty one is of no use");
    spool.append(&[click(2)]).unwrap();
    let batch = spool.oldest().unwrap();
    let refused = [store::Refused::new(&batch.records[0], "for a test".into())];
    assert!(spool.set_aside(&refused).is_err(), "through a link nothing is written");
    // It waits behind the others.
    spool.defer_oldest();
    assert_eq!(drain(&mut spool), [2, 1]);
    drop(spool);
    std::fs::remove_file(dir.path().join("lock")).unwrap();
    symlink(elsewhere.path(), dir.path().join("lock")).unwrap();
    assert!(Spool::open(dir.path(), LARGE).unwrap_err().to_string().contains("link"));
    assert_eq!(std::fs::read_to_string(elsewhere.path()).unwrap(), "precious");
    assert!(at(4).exists() && dir.path().join("notes.txt").exists());
}

#[test]
fn the_number_of_a_damaged_file_is_never_given_again() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(format!("{:020}.damaged", 41)), "kept").unwrap();
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    spool.append(&[click(1)]).unwrap();
    assert!(dir.path().join(format!("{:020}.spool", 42)).exists());
}

#[test]
fn its_owner_alone_reads_what_is_spooled() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join(format!("{:020}.spool", 0));
    std::fs::write(&old, "").unwrap();
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    spool.append(&[click(1)]).unwrap();
    let refused = [store::Refused::new(&click(1), "for a test".into())];
    spool.set_aside(&refused).unwrap();
    drop(spool);
    let all = || {
        std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
    };
    for path in all() {
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    }
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    spool.set_aside(&refused).unwrap();
    spool.append(&[click(2)]).unwrap();
    assert_eq!(all().count(), 4);
    for path in all() {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
}

#[test]
fn a_full_spool_takes_nothing_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), 1_000).unwrap();
    let mut kept = Vec::new();
    let full = loop {
        let id = kept.len() as u128;
        match spool.append(&[click(id)]) {
            Ok(()) => kept.push(id),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, SpoolError::Full { .. }) && kept.len() >= 2, "{full}");
    assert!(std::fs::metadata(&files(dir.path(), "spool")[0]).unwrap().len() <= 1_000);
    assert_eq!(drain(&mut spool), kept);
    spool.append(&[click(99)]).unwrap();
    assert_eq!(drain(&mut spool), [99]);
}

#[test]
fn a_disk_without_room_makes_no_files_and_takes_records_again_when_there_is_room() {
    let disk = Tmpfs::mount(1 << 20);
    disk.fill(64 << 10);
    let dir = disk.path().join("spool");
    let mut spool = Spool::open(&dir, LARGE).unwrap();
    let mut kept = Vec::new();
    let full = loop {
        let id = kept.len() as u128;
        match spool.append(&[click(id)]) {
            Ok(()) => kept.push(id),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, SpoolError::Io { .. }) && kept.len() > 100, "{full}");
    disk.fill(usize::MAX);
    for _ in 0..100 {
        spool.append(&[click(0), shadow(1)]).unwrap_err();
    }
    let entries = || std::fs::read_dir(&dir).unwrap().count();
    assert!(entries() <= 3, "{} files", entries());
    disk.make_room();
    spool.append(&[click(1_000_000)]).unwrap();
    kept.push(1_000_000);
    drop(spool);
    let mut spool = Spool::open(&dir, LARGE).unwrap();
    assert_eq!(spool.damaged(), 0);
    assert_eq!(drain(&mut spool), kept);

    // Nor where not even the first record of a file finds room.
    disk.fill(usize::MAX);
    for _ in 0..100 {
        spool.append(&[click(0), shadow(1)]).unwrap_err();
    }
    assert!(entries() <= 2, "{} files", entries());
    assert_eq!(drain(&mut spool), [0; 0]);
    disk.make_room();
    spool.append(&[click(7)]).unwrap();
    assert_eq!(drain(&mut spool), [7]);
}

#[test]
fn what_is_replayed_at_once_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    let batch: Vec<Record> = (0..1_000).map(click).collect();
    for _ in 0..12 {
        spool.append(&batch).unwrap();
    }
    // A single call, too.
    spool.append(&vec![click(1); 12_000]).unwrap();
    assert!(spool.files() > 2);
    assert!(
        files(dir.path(), "spool")
            .iter()
            .all(|file| file.metadata().unwrap().len() < 3 << 20)
    );
    assert!(spool.oldest().unwrap().records.len() < 12_000);
    assert_eq!(drain(&mut spool).len(), 24_000);
}

#[test]
fn a_spool_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), LARGE).unwrap();
    let error = Spool::open(dir.path(), LARGE).unwrap_err();
    assert!(matches!(error, SpoolError::Taken { .. }), "{error}");
    assert!(error.to_string().contains("database.spool_dir"), "{error}");
    drop(spool);
    Spool::open(dir.path(), LARGE).unwrap();
}

#[test]
fn a_file_that_is_deleted_or_moved_while_it_is_written_takes_nothing_with_it() {
    type Spoil = fn(&Path);
    let spoils: [Spoil; 3] = [
        |dir| std::fs::remove_file(dir.join(format!("{:020}.spool", 0))).unwrap(),
        |dir| std::fs::rename(dir, dir.with_extension("old")).unwrap(),
        |dir| std::fs::remove_dir_all(dir).unwrap(),
    ];
    for spoil in spoils {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("spool");
        let mut spool = Spool::open(&dir, LARGE).unwrap();
        spool.append(&[click(1), shadow(2)]).unwrap();
        spoil(&dir);
        spool.append(&[click(3)]).unwrap();
        spool.append(&[click(4)]).unwrap();
        assert_eq!(spool.records(), 4);
        assert_eq!(drain(&mut spool), [1, 2, 3, 4]);
    }
}

#[test]
fn what_is_missing_of_a_file_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    spool.append(&[click(1), click(2)]).unwrap();
    let path = dir.path().join(format!("{:020}.spool", 0));
    File::options().write(true).open(path).unwrap().set_len(0).unwrap();
    assert_eq!((drain(&mut spool), spool.damaged()), (vec![], 2));
}

#[test]
fn a_file_that_cannot_be_read_for_a_while_is_replayed_when_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(format!("{:020}.spool", 0));
    let away = dir.path().join("away");
    let hide = || {
        std::fs::rename(&path, &away).unwrap();
        std::fs::create_dir(&path).unwrap();
    };
    let bring_back = || {
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&away, &path).unwrap();
    };
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    spool.append(&[click(1), click(2)]).unwrap();
    // While the program runs.
    hide();
    assert_eq!(drain(&mut spool), []);
    assert_eq!((spool.records(), spool.damaged()), (0, 1));
    assert!(!spool.take_up_others());
    spool.append(&[click(3)]).unwrap();
    bring_back();
    assert!(!spool.take_up_others(), "somebody may still be writing it");
    assert!(spool.take_up_others() && !spool.take_up_others());
    assert_eq!(spool.records(), 3);
    drop(spool);
    // And when it starts.
    hide();
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    assert_eq!(drain(&mut spool), [3]);
    bring_back();
    assert!(!spool.take_up_others() && spool.take_up_others());
    spool.append(&[click(4)]).unwrap();
    assert_eq!((drain(&mut spool), spool.damaged()), (vec![1, 2, 4], 1));
    // And one that was not in the folder when it started.
    spool.append(&[click(5)]).unwrap();
    drop(spool);
    let last = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path());
    let last = last
        .filter(|path| path.extension().is_some_and(|ending| ending == "spool"))
        .max()
        .unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::rename(&last, elsewhere.path().join("spool")).unwrap();
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    assert_eq!(spool.records(), 0);
    std::fs::rename(elsewhere.path().join("spool"), &last).unwrap();
    assert!(!spool.take_up_others() && spool.take_up_others() && !spool.take_up_others());
    assert_eq!(drain(&mut spool), [5]);
}

#[test]
fn a_file_that_is_being_copied_into_the_folder_is_left_alone_until_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let [dir, elsewhere] = ["spool", "elsewhere"].map(|name| folder.path().join(name));
    let mut other = Spool::open(&elsewhere, LARGE).unwrap();
    other.append(&[click(1), click(2)]).unwrap();
    drop(other);
    let whole = std::fs::read(elsewhere.join(format!("{:020}.spool", 0))).unwrap();
    let mut spool = Spool::open(&dir, LARGE).unwrap();
    let mut copy = File::create(dir.join(format!("{:020}.spool", 7))).unwrap();
    // Empty at first, and then with half a record.
    assert!(!spool.take_up_others());
    for part in whole.chunks(whole.len() / 3) {
        copy.write_all(part).unwrap();
        assert!(!spool.take_up_others());
    }
    assert!(spool.take_up_others());
    assert_eq!((drain(&mut spool), spool.damaged()), (vec![1, 2], 0));
}

#[test]
fn a_folder_that_was_tidied_away_while_it_was_empty_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("spool");
    let mut spool = Spool::open(&dir, LARGE).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    spool.append(&[click(1)]).unwrap();
    assert_eq!(drain(&mut spool), [1]);
}

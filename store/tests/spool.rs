//! What was spooled comes back in order, whole and once, whatever happened to the program in between.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use ranking::events::{Action, ActionKind, Body, Event};
use ranking::verdict::ShadowRow;
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
        outcome: "ok".into(),
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
    while let Some(records) = spool.oldest().unwrap() {
        all.extend(ids(&records));
        spool.remove_oldest().unwrap();
    }
    all
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
    let first = spool.oldest().unwrap().unwrap();
    assert_eq!(format!("{first:?}"), format!("{:?}", [click(3), shadow(1), click(2)]));
    spool.append(&[click(4)]).unwrap();
    drop(spool);
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    spool.append(&[click(5)]).unwrap();
    assert_eq!(spool.records(), 5);
    assert_eq!(drain(&mut spool), [3, 1, 2, 4, 5]);
    assert_eq!((spool.records(), spool.oldest().unwrap().is_none()), (0, true));
    assert!(files(dir.path(), "spool").is_empty());
    spool.append(&[click(6)]).unwrap();
    drop(spool);
    assert_eq!(drain(&mut Spool::open(dir.path(), LARGE).unwrap()), [6]);
}

#[test]
fn a_line_torn_at_any_byte_takes_nothing_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    spool.append(&[click(1), click(2)]).unwrap();
    let path = files(dir.path(), "spool").remove(0);
    let whole = std::fs::read(&path).unwrap().len();
    spool.append(&[click(3), shadow(4)]).unwrap();
    drop(spool);
    let text = std::fs::read(&path).unwrap();
    for end in (whole..text.len()).step_by(7) {
        // A crash may also leave a file's length without its bytes.
        for tail in [&b""[..], &[0; 40]] {
            std::fs::write(&path, [&text[..end], tail].concat()).unwrap();
            let mut spool = Spool::open(dir.path(), LARGE).unwrap();
            assert_eq!(spool.records(), 2, "{end}");
            spool.append(&[click(5)]).unwrap();
            assert_eq!(drain(&mut spool), [1, 2, 5], "{end}");
        }
    }
    assert_eq!(files(dir.path(), "torn").len(), 1, "what was cut off is set aside");
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
fn what_is_replayed_at_once_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), LARGE).unwrap();
    let batch: Vec<Record> = (0..1_000).map(click).collect();
    for _ in 0..12 {
        spool.append(&batch).unwrap();
    }
    assert!(spool.files() > 1);
    assert!(spool.oldest().unwrap().unwrap().len() < 12_000);
    assert_eq!(drain(&mut spool).len(), 12_000);
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

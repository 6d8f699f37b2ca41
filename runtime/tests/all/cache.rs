//! Machine code is compiled once, and only what this host compiled is ever run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use evil::Behaviour;
use runtime::{CacheError, CodeCache, CodeOrigin, Engine, Limits, Output};
use tempfile::TempDir;

use crate::{NAMES, PATIENCE, numbers, rows};

const MOST: u64 = 16 << 20;

/// A directory for a cache, inside one that goes away.
fn place() -> (TempDir, PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("code");
    (outer, dir)
}

fn engine(dir: &Path, most: u64) -> Engine {
    Engine::with_cache(Limits::default(), Some(CodeCache::open(dir, most).unwrap())).unwrap()
}

/// As a host that has just started: loads, scores, and says where the code came from.
fn load(dir: &Path, component: &[u8]) -> CodeOrigin {
    let scorer = engine(dir, MOST).load(component).unwrap();
    assert_eq!(scorer.score(&rows(3), Output::Converted, PATIENCE), Ok(numbers(3)));
    scorer.code()
}

fn honest() -> Vec<u8> {
    evil::component(NAMES, Behaviour::Honest)
}

/// The same model under another hash.
fn other(number: usize) -> Vec<u8> {
    evil::raw::padded(NAMES, 16 + number)
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|end| end == "code"))
        .collect()
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_component_is_compiled_once_and_then_found() {
    let (_outer, dir) = place();
    assert_eq!(load(&dir, &honest()), CodeOrigin::Compiled);
    assert_eq!(load(&dir, &honest()), CodeOrigin::Cached);
    assert_eq!(
        load(&dir, &other(0)),
        CodeOrigin::Compiled,
        "each component has its own"
    );
}

#[test]
fn one_bit_flipped_anywhere_is_refused_and_the_entry_replaced() {
    let (_outer, dir) = place();
    load(&dir, &honest());
    let [entry] = &entries(&dir)[..] else { panic!() };
    let length = fs::metadata(entry).unwrap().len() as usize;
    // The tag's first and last byte; the code's first ones; some of every part; the last one.
    let parts = [0, 31, 32, 33, length - 1]
        .into_iter()
        .chain((1..16).map(|part| length * part / 16));
    for (bit, at) in parts.enumerate() {
        change(entry, |bytes| bytes[at] ^= 1 << (bit % 8));
        assert_eq!(load(&dir, &honest()), CodeOrigin::Recompiled, "byte {at}");
        assert_eq!(load(&dir, &honest()), CodeOrigin::Cached, "byte {at}");
    }
}

#[test]
fn an_entry_that_was_cut_or_lengthened_is_refused() {
    let (_outer, dir) = place();
    load(&dir, &honest());
    let [entry] = &entries(&dir)[..] else { panic!() };
    for length in [0, 1, 31, 32, 33, 1_000] {
        change(entry, |bytes| bytes.truncate(length));
        assert_eq!(load(&dir, &honest()), CodeOrigin::Recompiled, "{length} bytes");
    }
    change(entry, |bytes| bytes.push(0));
    assert_eq!(load(&dir, &honest()), CodeOrigin::Recompiled);
}

#[test]
fn what_is_no_regular_file_in_the_place_of_an_entry_is_refused() {
    let (_outer, dir) = place();
    load(&dir, &honest());
    let [entry] = &entries(&dir)[..] else { panic!() };
    let moved = dir.join("moved");
    for link in ["/dev/zero", moved.to_str().unwrap()] {
        fs::rename(entry, &moved).unwrap();
        std::os::unix::fs::symlink(link, entry).unwrap();
        assert_eq!(load(&dir, &honest()), CodeOrigin::Recompiled, "{link}");
    }
}

#[test]
fn code_of_one_component_is_not_taken_for_another() {
    let (_outer, dir) = place();
    load(&dir, &honest());
    let first = entries(&dir).remove(0);
    load(&dir, &other(0));
    let second = entries(&dir).into_iter().find(|path| *path != first).unwrap();
    fs::copy(&first, &second).unwrap();
    assert_eq!(load(&dir, &other(0)), CodeOrigin::Recompiled);
}

#[test]
fn code_that_another_host_made_is_refused() {
    let (_outer, dir) = place();
    let (_other_outer, elsewhere) = place();
    load(&dir, &honest());
    load(&elsewhere, &honest());
    fs::copy(&entries(&elsewhere)[0], &entries(&dir)[0]).unwrap();
    assert_eq!(load(&dir, &honest()), CodeOrigin::Recompiled);
}

#[test]
fn the_oldest_entries_make_room_and_one_that_is_used_is_not_old() {
    let (_outer, dir) = place();
    load(&dir, &honest());
    let used = entries(&dir).remove(0);
    let size = fs::metadata(&used).unwrap().len();
    for number in 0..2 {
        load(&dir, &other(number));
    }
    let age = |path: &Path, hours: u64| {
        let then = SystemTime::now() - Duration::from_secs(3600 * hours);
        fs::File::options()
            .append(true)
            .open(path)
            .unwrap()
            .set_modified(then)
            .unwrap();
    };
    for path in entries(&dir) {
        age(&path, if path == used { 9 } else { 5 });
    }
    assert_eq!(load(&dir, &honest()), CodeOrigin::Cached);
    // Room for two and a half.
    engine(&dir, size * 5 / 2).load(&other(2)).unwrap();
    let left = entries(&dir);
    assert_eq!((left.len(), left.contains(&used)), (2, true), "{left:?}");
}

#[test]
fn code_that_is_larger_than_the_cache_is_not_kept() {
    let (_outer, dir) = place();
    engine(&dir, 1_000).load(&honest()).unwrap();
    assert!(entries(&dir).is_empty());
}

#[test]
fn directory_secret_and_entries_are_their_owners_alone() {
    let (_outer, dir) = place();
    load(&dir, &honest());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let secret = dir.join("secret");
    assert_eq!(
        [mode(&dir), mode(&secret), mode(&entries(&dir)[0])],
        [0o700, 0o600, 0o600]
    );
    for (path, loose) in [(&dir, 0o750), (&secret, 0o640)] {
        let strict = mode(path);
        fs::set_permissions(path, fs::Permissions::from_mode(loose)).unwrap();
        let refused = CodeCache::open(&dir, MOST).err().unwrap();
        assert!(
            matches!(refused, CacheError::Exposed { mode, .. } if mode == loose),
            "{refused}"
        );
        fs::set_permissions(path, fs::Permissions::from_mode(strict)).unwrap();
    }
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "nothing else stays behind");
}

#[test]
fn hosts_that_start_together_share_one_secret() {
    let (_outer, dir) = place();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| CodeCache::open(&dir, MOST).unwrap());
        }
    });
    load(&dir, &honest());
    assert_eq!(load(&dir, &honest()), CodeOrigin::Cached);
}

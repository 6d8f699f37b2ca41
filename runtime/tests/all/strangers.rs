//! Whatever lies beside a good version or a good key, the version loads and the key counts.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use evil::entries::{Entry, odd_names};
use proptest::prelude::*;
use proptest::sample::select;
use runtime::artefact::keys::{self, SigningKey};
use runtime::artefact::{self, Distrust, KeyId, KeyRing, Order, newer, open};

use crate::artefacts::{VERSION, key, published};

const OLDER: &str = "20261101T000000Z";
/// Far beyond what any of this takes, and far below what waiting for a FIFO or hashing 20 GB does.
const SOON: Duration = Duration::from_secs(10);

fn order() -> Order {
    Order::until(Some("20270101T000000Z".into()))
}

/// Any kind of entry, with any odd name.
fn strangers() -> impl Strategy<Value = Vec<(Entry, &'static OsStr)>> {
    prop::collection::vec((select(&Entry::ALL[..]), select(odd_names())), 0..12)
}

fn put(folder: &Path, strangers: &[(Entry, &OsStr)]) {
    for (entry, name) in strangers {
        entry.make(&folder.join(name));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_entry_keeps_a_good_version_from_being_found_and_opened(
        beside in strangers(),
        inside in strangers(),
        ring in strangers(),
    ) {
        let start = Instant::now();
        let dir = published();
        put(dir.path(), &beside);
        put(&dir.path().join(VERSION), &inside);
        let keys = tempfile::tempdir().unwrap();
        put(keys.path(), &ring);
        keys::write_verifying_key(&keys.path().join("publish.pub"), &key().verifying_key()).unwrap();

        let listing = newer(dir.path(), &order(), Some(OLDER)).unwrap();
        prop_assert_eq!(&listing.versions, &[VERSION]);
        // From the beginning: what else may be a version comes after it.
        let listing = newer(dir.path(), &order(), None).unwrap();
        prop_assert_eq!(&listing.versions[0], VERSION);
        open(dir.path(), VERSION, &KeyRing::read(keys.path()).unwrap()).unwrap();
        prop_assert!(start.elapsed() < SOON);
    }

    #[test]
    fn no_file_of_the_ring_hides_a_revocation(
        strangers in prop::collection::vec((select(&Entry::ALL[..]), select(vec!["a", "b", "z"]), any::<bool>()), 0..6),
        name in select(vec!["publish.revoked", "publish.REVOKED", "other.revoked", "publish.revoked.txt", ".revoked"]),
        twice in any::<bool>(),
    ) {
        let keys = tempfile::tempdir().unwrap();
        for (entry, name, revoked) in strangers {
            entry.make(&keys.path().join(format!("{name}.{}", if revoked { "revoked" } else { "pub" })));
        }
        keys::write_verifying_key(&keys.path().join("publish.pub"), &key().verifying_key()).unwrap();
        if twice {
            keys::write_verifying_key(&keys.path().join("same.pub"), &key().verifying_key()).unwrap();
        }
        keys::write_verifying_key(&keys.path().join(name), &key().verifying_key()).unwrap();
        let id = KeyId::of(&key().verifying_key());
        let distrust = KeyRing::read(keys.path()).unwrap().vouches(Some(id)).unwrap_err();
        prop_assert_eq!(distrust.code(), "revoked_key");
        prop_assert!(distrust.ends_service());
    }
}

#[test]
fn every_entry_in_place_of_a_file_of_a_version_is_refused_soon_and_by_its_name() {
    let files = [
        artefact::MANIFEST,
        artefact::SIGNATURE,
        artefact::SCORER,
        artefact::MODEL,
    ];
    let ring = KeyRing::of("publish", key().verifying_key());
    for file in files {
        for entry in Entry::ALL {
            let dir = published();
            entry.make(&dir.path().join(VERSION).join(file));
            let start = Instant::now();
            let error = open(dir.path(), VERSION, &ring).unwrap_err();
            assert!(start.elapsed() < SOON, "{entry:?} as {file}: {:?}", start.elapsed());
            assert!(error.to_string().contains(file), "{entry:?} as {file}: {error}");
        }
    }
    // A link inside, even to the right bytes: nobody publishes one.
    let dir = published();
    let scorer = dir.path().join(VERSION).join(artefact::SCORER);
    fs::rename(&scorer, dir.path().join("moved")).unwrap();
    symlink("../moved", &scorer).unwrap();
    let error = open(dir.path(), VERSION, &ring).unwrap_err().to_string();
    assert!(error.contains("symbolic link"), "{error}");
}

#[test]
fn files_beside_the_component_are_refused_by_their_size_before_one_is_hashed() {
    let dir = published();
    let model = dir.path().join(VERSION).join(artefact::MODEL);
    fs::File::options()
        .write(true)
        .open(&model)
        .unwrap()
        .set_len(20 << 30)
        .unwrap();
    let start = Instant::now();
    let error = open(dir.path(), VERSION, &KeyRing::of("publish", key().verifying_key())).unwrap_err();
    assert_eq!(error.code(), "too_large");
    assert!(error.to_string().contains(artefact::MODEL), "{error}");
    assert!(start.elapsed() < SOON);
}

#[test]
fn a_version_may_be_a_link_to_its_folder_under_its_own_name_alone() {
    let dir = published();
    let stored = dir.path().join(".stored");
    fs::rename(dir.path().join(VERSION), &stored).unwrap();
    for name in [VERSION, "ltr_current"] {
        symlink(".stored", dir.path().join(name)).unwrap();
    }
    let listing = newer(dir.path(), &order(), None).unwrap();
    assert_eq!(listing.versions, [VERSION, "ltr_current"]);
    let ring = KeyRing::of("publish", key().verifying_key());
    open(dir.path(), VERSION, &ring).unwrap();
    // Its manifest has another name: a signed model cannot be brought back under a newer one.
    assert_eq!(
        open(dir.path(), "ltr_current", &ring).unwrap_err().code(),
        "bad_manifest"
    );
}

#[test]
fn times_are_newer_than_other_names_and_a_future_one_waits_until_it_has_come() {
    let order = order();
    let mut names = [
        "zz",
        "20261101T000000Z",
        "20991231T000000Z",
        "old",
        "20261123T021500Z",
        "20261301T000000Z",
    ];
    names.sort_by(|a, b| order.key(b).cmp(&order.key(a)));
    assert_eq!(
        names,
        [
            "20261123T021500Z",
            "20261101T000000Z",
            "zz",
            "old",
            "20991231T000000Z",
            "20261301T000000Z"
        ]
    );
    assert!(order.is_newer("20261123T021500Z", Some("20991231T000000Z")));
    assert!(!order.is_newer("zz", Some("20261123T021500Z")));
    assert!(
        order.is_newer("m1", Some("m0")),
        "names of one's own still have an order"
    );
    let simulated = Order::default();
    assert!(simulated.is_newer("20991231T000000Z", Some("20261123T021500Z")));
}

#[test]
fn what_is_passed_over_is_told_with_its_reason_and_counted_beyond_that() {
    let dir = published();
    let make = |name: &str, entry: Entry| entry.make(&dir.path().join(name));
    make("old", Entry::Folder);
    make("notes", Entry::Empty);
    make("gone", Entry::DanglingLink);
    make("20991231T000000Z", Entry::Folder);
    make("20261124T000000Z", Entry::Folder);
    make("a b", Entry::Folder);
    make(".hidden", Entry::Folder);
    let listing = newer(dir.path(), &order(), Some(OLDER)).unwrap();
    assert_eq!(listing.versions, [VERSION]);
    let reason = |name: &str| {
        let entry = listing.skipped.entries.iter().find(|entry| entry.name == name);
        entry.map_or("untold", |entry| entry.reason.as_str())
    };
    for (name, told) in [
        ("old", "not named by its time"),
        ("notes", "not a folder"),
        ("gone", "a link that leads nowhere"),
        ("20991231T000000Z", "in the future"),
        ("20261124T000000Z", "no manifest.json"),
        ("a b", "not a version's name"),
        (".hidden", "untold"),
    ] {
        assert!(reason(name).contains(told), "{name}: {}", reason(name));
    }
    for at in 0..200 {
        make(&format!("stray-{at}"), Entry::Empty);
    }
    let skipped = newer(dir.path(), &order(), Some(OLDER)).unwrap().skipped;
    assert_eq!(skipped.entries.len() as u64 + skipped.more, 206);
    assert!(skipped.entries.len() <= 50);
}

#[test]
fn a_crowd_of_strangers_costs_a_listing_little_and_hides_nothing() {
    let dir = published();
    for at in 0..20_000 {
        fs::create_dir(dir.path().join(format!("20261124T{at:06}Z"))).unwrap();
        fs::write(dir.path().join(format!("zz-{at}")), "").unwrap();
    }
    let start = Instant::now();
    let listing = newer(dir.path(), &order(), Some(OLDER)).unwrap();
    assert_eq!(listing.versions, [VERSION]);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert_eq!(listing.skipped.entries.len() as u64 + listing.skipped.more, 40_000);
}

#[test]
fn a_revocation_that_cannot_be_read_revokes_the_key_of_its_name() {
    let keys = tempfile::tempdir().unwrap();
    let at = |name: &str| keys.path().join(name);
    let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
    keys::write_verifying_key(&at("publish.pub"), &key().verifying_key()).unwrap();
    keys::write_verifying_key(&at("other.pub"), &other).unwrap();
    let [id, other] = [key().verifying_key(), other].map(|key| Some(KeyId::of(&key)));
    let before = KeyRing::read(keys.path()).unwrap();
    for entry in Entry::ALL {
        entry.make(&at("publish.revoked"));
        // Beside the key it is about.
        let ring = KeyRing::read(keys.path()).unwrap();
        assert_eq!(ring.vouches(id).unwrap_err().code(), "revoked_key", "{entry:?}");
        ring.vouches(other).unwrap();
        assert_eq!(ring.facts().faults[0].file, "publish.revoked");

        // In its place: known by those who saw the key before, and by nobody else.
        fs::rename(at("publish.pub"), at(".aside")).unwrap();
        let ring = before.read_again(keys.path());
        assert_eq!(ring.vouches(id).unwrap_err().code(), "revoked_key", "{entry:?}");
        ring.vouches(other).unwrap();
        let ring = KeyRing::read(keys.path()).unwrap();
        let closed = ring.vouches(other).unwrap_err();
        assert_eq!(
            (closed.code(), closed.ends_service()),
            ("unreadable_keys", false),
            "{entry:?}"
        );
        assert!(closed.to_string().contains("publish.revoked"), "{closed}");
        fs::rename(at(".aside"), at("publish.pub")).unwrap();
    }
}

#[test]
fn a_trusted_key_that_cannot_be_read_any_more_signs_nothing_new_and_ends_nothing() {
    let keys = tempfile::tempdir().unwrap();
    let file = keys.path().join("publish.pub");
    keys::write_verifying_key(&file, &key().verifying_key()).unwrap();
    let before = KeyRing::read(keys.path()).unwrap();
    let id = Some(KeyId::of(&key().verifying_key()));
    for entry in Entry::ALL {
        entry.make(&file);
        let distrust = before.read_again(keys.path()).vouches(id).unwrap_err();
        assert!(matches!(distrust, Distrust::Unreadable { .. }), "{entry:?}: {distrust}");
        assert!(!distrust.ends_service());
    }
    fs::remove_dir_all(keys.path()).unwrap();
    fs::write(keys.path(), "no directory").unwrap();
    let distrust = before.read_again(keys.path()).vouches(id).unwrap_err();
    assert_eq!((distrust.code(), distrust.ends_service()), ("unreadable_keys", false));
    fs::remove_file(keys.path()).unwrap();
    let gone = before.read_again(keys.path()).vouches(id).unwrap_err();
    assert!(
        gone.ends_service(),
        "a key that is no longer there is not trusted: {gone}"
    );
}

#[test]
fn files_that_mean_nothing_in_the_ring_are_named_and_what_a_mount_adds_is_not() {
    let keys = tempfile::tempdir().unwrap();
    let data = keys.path().join("..2026_11_23");
    keys::write_verifying_key(&data.join("publish.pub"), &key().verifying_key()).unwrap();
    symlink("..2026_11_23", keys.path().join("..data")).unwrap();
    symlink("..data/publish.pub", keys.path().join("publish.pub")).unwrap();
    fs::write(keys.path().join("publish.PUB"), "x").unwrap();
    fs::write(keys.path().join("notes.txt"), "x").unwrap();
    fs::write(keys.path().join(".other.revoked.swp"), "x").unwrap();
    let ring = KeyRing::read(keys.path()).unwrap();
    ring.vouches(Some(KeyId::of(&key().verifying_key()))).unwrap();
    let facts = ring.facts();
    let named: Vec<_> = facts.faults.iter().map(|fault| fault.file.as_str()).collect();
    assert_eq!(named, [".other.revoked.swp", "notes.txt", "publish.PUB"]);
    assert_eq!(facts.trusted[0].file, "publish.pub");
}

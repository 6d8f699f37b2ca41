//! A model is believed when all of it checks out, and not before.

use std::fs;
use std::path::Path;

use evil::{Behaviour, Fault, When};
use runtime::artefact::keys::{self, SigningKey};
use runtime::artefact::{self, ArtefactError, Golden, KeyId, KeyRing, Manifest, admit, open, publish, versions};
use runtime::{Window, artefact::Artefact};

use crate::{NAMES, engine};

pub(crate) const VERSION: &str = "20261123T021500Z";

pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn ring() -> KeyRing {
    KeyRing::of("publish", key().verifying_key())
}

fn manifest() -> Manifest {
    Manifest {
        manifest_version: artefact::MANIFEST_VERSION,
        version: VERSION.into(),
        contract_version: "1.1.0".into(),
        feature_names: NAMES.iter().map(|name| name.to_string()).collect(),
        training_window: Window {
            start: "2026-10-01T00:00:00Z".into(),
            end: "2026-11-01T00:00:00Z".into(),
        },
        data_sha256: "00".repeat(32),
        created_at: "2026-11-23T02:15:00Z".into(),
        files: Default::default(),
        metrics: serde_json::json!({"ndcg5": 0.5}),
        gate: serde_json::json!([]),
        golden: Golden {
            rows: vec![vec![Some(0.1), None, Some(-0.0)], vec![Some(1e-310), Some(0.2), None]],
            scores: vec![0.1, 1e-310],
        },
    }
}

fn publish_into(dir: &Path, manifest: Manifest, behaviour: Behaviour) -> Result<(), ArtefactError> {
    let wasm = evil::component(NAMES, behaviour);
    let files: &[(&str, &[u8])] = &[
        (artefact::MODEL, b"tree\n"),
        (artefact::FEATURE_MAP, b"{}"),
        (artefact::SCORER, &wasm),
    ];
    publish(dir, files, manifest, &key()).map(|path| assert_eq!(path, dir.join(VERSION)))
}

pub(crate) fn published() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    publish_into(dir.path(), manifest(), Behaviour::Honest).unwrap();
    dir
}

fn open_code(dir: &Path, version: &str) -> &'static str {
    open(dir, version, &ring()).map_or_else(|e| e.code(), |_| "opened")
}

#[test]
fn what_was_published_is_opened_and_admitted_as_it_was() {
    let dir = published();
    assert_eq!(versions(dir.path()).unwrap(), [VERSION]);
    let (found, wasm) = open(dir.path(), VERSION, &ring()).unwrap();
    assert_eq!(
        Manifest {
            files: Default::default(),
            ..found.manifest.clone()
        },
        manifest()
    );
    assert_eq!(found.manifest.files.len(), 3);
    assert_eq!(wasm, evil::component(NAMES, Behaviour::Honest));
    admit(&engine(), &found, &wasm).unwrap();
}

#[test]
fn one_flipped_bit_in_any_file_is_noticed_and_the_file_is_named() {
    let dir = published();
    for name in [
        artefact::MODEL,
        artefact::FEATURE_MAP,
        artefact::SCORER,
        artefact::MANIFEST,
        artefact::SIGNATURE,
    ] {
        let path = dir.path().join(VERSION).join(name);
        let sound = fs::read(&path).unwrap();
        let bits = sound.len() * 8;
        // Every bit of the signature, of which some can be written in two ways; elsewhere from one end to the other.
        let tried = if name == artefact::SIGNATURE { bits } else { 60 };
        for bit in (0..bits).step_by(bits.div_ceil(tried)) {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            let error = open(dir.path(), VERSION, &ring()).unwrap_err();
            let expected: &[&str] = match name {
                artefact::SIGNATURE => &["bad_signature", "unknown_key"],
                artefact::MANIFEST => &["bad_signature"],
                _ => &["hash_mismatch"],
            };
            assert!(expected.contains(&error.code()), "bit {bit} of {name}: {error}");
            assert!(error.to_string().contains(name), "bit {bit} of {name}: {error}");
        }
        fs::write(&path, sound).unwrap();
    }
    assert_eq!(open_code(dir.path(), VERSION), "opened");
}

#[test]
fn a_missing_file_is_noticed() {
    for (name, code) in [
        (artefact::MODEL, "io"),
        (artefact::SIGNATURE, "unsigned"),
        (artefact::MANIFEST, "io"),
    ] {
        let dir = published();
        fs::remove_file(dir.path().join(VERSION).join(name)).unwrap();
        assert_eq!(open_code(dir.path(), VERSION), code, "{name}");
    }
}

#[test]
fn another_key_does_not_open_it_and_the_refusal_names_both() {
    let dir = published();
    let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
    let error = open(dir.path(), VERSION, &KeyRing::of("other", other)).unwrap_err();
    assert_eq!(error.code(), "unknown_key");
    for name in [KeyId::of(&key().verifying_key()), KeyId::of(&other)] {
        assert!(error.to_string().contains(&name.to_string()), "{error}");
    }
    // The id only says which key to try: with another's, the signature does not hold.
    let signature = dir.path().join(VERSION).join(artefact::SIGNATURE);
    let line = fs::read_to_string(&signature).unwrap();
    let (own, others) = (KeyId::of(&key().verifying_key()), KeyId::of(&other));
    fs::write(&signature, line.replace(&own.to_string(), &others.to_string())).unwrap();
    let error = open(dir.path(), VERSION, &KeyRing::of("other", other)).unwrap_err();
    assert_eq!(error.code(), "bad_signature");
}

#[test]
fn any_trusted_key_of_the_ring_opens_it_and_a_revoked_one_is_named() {
    let dir = published();
    let keys = dir.path().join("keys");
    let [old, new] = ["publish-2025", "publish-2026"].map(|name| keys.join(format!("{name}.pub")));
    let code = || open(dir.path(), VERSION, &KeyRing::read(&keys).unwrap()).map_or_else(|e| e.code(), |_| "opened");
    assert_eq!(code(), "unknown_key", "no directory is a ring without keys");
    keys::write_verifying_key(&new, &SigningKey::from_bytes(&[8; 32]).verifying_key()).unwrap();
    assert_eq!(code(), "unknown_key");
    keys::write_verifying_key(&old, &key().verifying_key()).unwrap();
    assert_eq!(code(), "opened");
    let found = open(dir.path(), VERSION, &KeyRing::read(&keys).unwrap()).unwrap().0;
    assert_eq!(found.signed_by, Some(KeyId::of(&key().verifying_key())));

    // Revoked is revoked, even where the file under its old name was forgotten.
    fs::copy(&old, keys.join("publish-2025.revoked")).unwrap();
    assert_eq!(code(), "revoked_key");
    fs::remove_file(&old).unwrap();
    let error = open(dir.path(), VERSION, &KeyRing::read(&keys).unwrap()).unwrap_err();
    assert_eq!(error.code(), "revoked_key");
    assert!(error.to_string().contains("publish-2025"), "{error}");
}

#[test]
fn a_revocation_counts_as_windows_writes_it_and_by_a_name_in_any_case() {
    let key = hex::encode(key().verifying_key().to_bytes());
    for (file, text) in [
        ("gone.revoked", format!("\u{feff}{key}\r\n")),
        (
            "both.revoked",
            format!(
                "{}\n{key}\n",
                hex::encode(SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes())
            ),
        ),
        ("Publish.revoked", "no key".to_owned()),
    ] {
        let dir = published();
        let keys = dir.path().join("keys");
        fs::create_dir(&keys).unwrap();
        fs::write(keys.join("publish.pub"), &key).unwrap();
        fs::write(keys.join(file), text).unwrap();
        let error = open(dir.path(), VERSION, &KeyRing::read(&keys).unwrap()).unwrap_err();
        assert_eq!(error.code(), "revoked_key", "{file}: {error}");
    }
}

#[test]
fn an_unsigned_artefact_opens_only_where_that_is_allowed() {
    let dir = published();
    fs::remove_file(dir.path().join(VERSION).join(artefact::SIGNATURE)).unwrap();
    assert_eq!(open_code(dir.path(), VERSION), "unsigned");
    let lax = KeyRing::default().allowing_unsigned(true);
    assert_eq!(open(dir.path(), VERSION, &lax).unwrap().0.signed_by, None);
    // Its files are still held to its manifest, and a signature that is there must hold.
    fs::write(dir.path().join(VERSION).join(artefact::MODEL), "other").unwrap();
    assert_eq!(open(dir.path(), VERSION, &lax).unwrap_err().code(), "hash_mismatch");
    let signed = published();
    assert_eq!(open(signed.path(), VERSION, &lax).unwrap_err().code(), "unknown_key");
}

#[test]
fn a_version_never_leads_out_of_the_models_directory() {
    let dir = published();
    let inner = dir.path().join("inner");
    fs::create_dir(&inner).unwrap();
    for version in [
        "..",
        ".",
        "",
        "../20261123T021500Z",
        "/etc",
        "a/b",
        "a\\b",
        "a\0b",
        ".hidden",
        &"x".repeat(65),
    ] {
        assert_eq!(open_code(&inner, version), "bad_version", "{version:?}");
        let refused = publish_into(
            &inner,
            Manifest {
                version: version.into(),
                ..manifest()
            },
            Behaviour::Honest,
        );
        assert_eq!(refused.unwrap_err().code(), "bad_version", "{version:?}");
    }
    assert_eq!(open_code(&inner, "20261124T021500Z"), "not_found");
}

#[test]
fn a_file_name_never_leads_out_of_the_artefact() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "../x",
        "a/b",
        "",
        ".x",
        artefact::MANIFEST,
        artefact::SIGNATURE,
        artefact::SCORER,
    ] {
        let files: &[(&str, &[u8])] = &[(artefact::SCORER, b"1"), (name, b"2")];
        let refused = publish(dir.path(), files, manifest(), &key()).unwrap_err();
        assert_eq!(refused.code(), "bad_file_name", "{name:?}");
    }
    assert!(versions(dir.path()).unwrap().is_empty());
}

#[test]
fn a_signed_artefact_under_another_name_is_refused() {
    let dir = published();
    fs::rename(dir.path().join(VERSION), dir.path().join("20991231T000000Z")).unwrap();
    assert_eq!(open_code(dir.path(), "20991231T000000Z"), "bad_manifest");
}

#[test]
fn a_pipe_or_a_link_in_place_of_a_file_is_refused_without_waiting() {
    let dir = published();
    let model = dir.path().join(VERSION).join(artefact::MODEL);
    let elsewhere = dir.path().join("elsewhere");
    fs::rename(&model, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &model).unwrap();
    assert_eq!(open_code(dir.path(), VERSION), "io");
    fs::remove_file(&model).unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&model)
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(open_code(dir.path(), VERSION), "io");
}

#[test]
fn a_published_version_is_never_replaced() {
    let dir = published();
    let again = publish_into(dir.path(), manifest(), Behaviour::Honest).unwrap_err();
    assert_eq!(again.code(), "exists");
    assert_eq!(open_code(dir.path(), VERSION), "opened");
}

#[test]
fn of_publishers_racing_for_a_version_exactly_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| publish_into(dir.path(), manifest(), Behaviour::Honest)))
            .collect();
        publishers
            .into_iter()
            .map(|publisher| publisher.join().unwrap())
            .collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(
        outcomes
            .iter()
            .flat_map(|outcome| outcome.as_ref().err())
            .all(|e| e.code() == "exists")
    );
    assert_eq!(open_code(dir.path(), VERSION), "opened");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no drafts are left over");
}

#[test]
fn a_publication_that_fails_half_way_leaves_no_version() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = evil::component(NAMES, Behaviour::Honest);
    let files: &[(&str, &[u8])] = &[(artefact::SCORER, &wasm), ("model_card.pdf", b"x")];
    // A directory in the way of the final name makes the last step fail, after everything was written.
    fs::create_dir_all(dir.path().join(VERSION).join("in-the-way")).unwrap();
    assert!(publish(dir.path(), files, manifest(), &key()).is_err());
    fs::remove_dir_all(dir.path().join(VERSION)).unwrap();
    assert!(versions(dir.path()).unwrap().is_empty());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_draft_left_by_a_crash_is_no_version_and_does_not_stop_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let draft = dir.path().join(format!(".{VERSION}.1.0.draft"));
    fs::create_dir(&draft).unwrap();
    fs::write(draft.join(artefact::SCORER), b"half").unwrap();
    assert!(versions(dir.path()).unwrap().is_empty());
    assert_eq!(open_code(dir.path(), &format!(".{VERSION}.1.0.draft")), "bad_version");
    publish_into(dir.path(), manifest(), Behaviour::Honest).unwrap();
    assert_eq!(versions(dir.path()).unwrap(), [VERSION]);
}

#[test]
fn golden_rows_that_json_cannot_carry_are_not_published() {
    let dir = tempfile::tempdir().unwrap();
    let mut nan_score = manifest();
    nan_score.golden.scores[0] = f64::NAN;
    let mut infinite_row = manifest();
    infinite_row.golden.rows[0][0] = Some(f64::INFINITY);
    for manifest in [nan_score, infinite_row] {
        let refused = publish_into(dir.path(), manifest, Behaviour::Honest).unwrap_err();
        assert_eq!(refused.code(), "bad_manifest");
    }
}

/// What `admit` says to an artefact whose manifest and component were made to disagree.
fn admit_code(change: impl FnOnce(&mut Manifest), behaviour: Behaviour) -> &'static str {
    let mut manifest = manifest();
    change(&mut manifest);
    let artefact = Artefact {
        dir: "unused".into(),
        manifest,
        signed_by: None,
    };
    admit(&engine(), &artefact, &evil::component(NAMES, behaviour)).map_or_else(|e| e.code(), |_| "admitted")
}

#[test]
fn a_component_that_disagrees_with_its_manifest_is_not_admitted() {
    let honest = Behaviour::Honest;
    assert_eq!(admit_code(|_| {}, honest), "admitted");
    assert_eq!(
        admit_code(|m| m.contract_version = "2.0.0".into(), honest),
        "wrong_contract"
    );
    assert_eq!(admit_code(|m| m.feature_names.swap(0, 1), honest), "feature_mismatch");
    assert_eq!(admit_code(|m| drop(m.feature_names.pop()), honest), "feature_mismatch");
    assert_eq!(
        admit_code(|m| m.golden.scores[1] = f64::from_bits(1e-310f64.to_bits() + 1), honest),
        "golden_mismatch"
    );
    assert_eq!(admit_code(|m| m.golden.scores.truncate(1), honest), "bad_manifest");
    assert_eq!(admit_code(|m| m.golden.rows[0].truncate(2), honest), "bad_manifest");
    assert_eq!(
        admit_code(
            |m| m.golden = Golden {
                rows: vec![],
                scores: vec![]
            },
            honest
        ),
        "bad_manifest"
    );
    assert_eq!(admit_code(|_| {}, Behaviour::WithImport), "has_imports");
    assert_eq!(
        admit_code(|_| {}, Behaviour::Faulty(Fault::TooFew, When::Always)),
        "bad_output"
    );
    assert_eq!(admit_code(|_| {}, Behaviour::Faulty(Fault::Trap, When::Always)), "trap");
    assert_eq!(
        admit_code(|_| {}, Behaviour::Faulty(Fault::NanScores, When::Always)),
        "golden_mismatch"
    );
}

#[test]
fn keys_are_written_once_read_back_and_kept_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (private, public) = (dir.path().join("keys/publish.key"), dir.path().join("keys/publish.pub"));
    let key = keys::generate_key().unwrap();
    assert_ne!(key.to_bytes(), keys::generate_key().unwrap().to_bytes());
    keys::write_signing_key(&private, &key).unwrap();
    keys::write_verifying_key(&public, &key.verifying_key()).unwrap();
    assert_eq!(keys::read_signing_key(&private).unwrap().to_bytes(), key.to_bytes());
    assert_eq!(keys::read_verifying_key(&public).unwrap(), key.verifying_key());
    assert!(
        keys::write_signing_key(&private, &key).is_err(),
        "an existing key is never overwritten"
    );

    assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&private, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(
        keys::read_signing_key(&private)
            .unwrap_err()
            .to_string()
            .contains("640")
    );
    fs::write(&public, "not a key").unwrap();
    assert!(
        keys::read_verifying_key(&public)
            .unwrap_err()
            .to_string()
            .contains("64 hexadecimal digits")
    );
}

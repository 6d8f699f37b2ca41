//! The ring of public keys whose owners may publish.
//!
//! A directory with one file a key: `{name}.pub` is trusted, `{name}.revoked` no longer is. Adding a file adds a
//! publisher, renaming it revokes one, and neither needs a restart, because the directory is read at every load.
//!
//! Revocation fails closed. Every file is read by itself, so that none which is damaged hides what another revokes.
//! Where a revocation itself cannot be read, its name says whose it is: the key that has that name in the ring, or had
//! it before, is revoked. Where nobody knows that name, any key could be meant, and no new model is believed until
//! the file is mended or gone.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ed25519_dalek::VerifyingKey;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::keys::{KeyError, io_error, read_verifying_key, read_verifying_keys};

/// The ending of a trusted key's file.
pub const TRUSTED: &str = "pub";
/// The ending of a revoked key's file.
pub const REVOKED: &str = "revoked";

/// A key's name for people and signatures: the first 8 bytes of the SHA-256 of its 32 bytes. It only says which
/// key to verify with; what is believed is what verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// Hexadecimal digits of an id as text.
    pub const DIGITS: usize = 16;

    /// The id of a public key.
    pub fn of(key: &VerifyingKey) -> KeyId {
        let digest = Sha256::digest(key.as_bytes());
        KeyId(std::array::from_fn(|i| digest[i]))
    }

    /// From its [`KeyId::DIGITS`] hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<KeyId> {
        let mut id = [0; 8];
        hex::decode_to_slice(text, &mut id).ok()?;
        Some(KeyId(id))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One key of the ring.
#[derive(Clone, Debug)]
struct Key {
    /// The file's name without its ending.
    name: String,
    id: KeyId,
    key: VerifyingKey,
}

/// A key, and the file of the ring that trusts or revokes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The key's id; as text [`KeyId::DIGITS`] lower-case hexadecimal digits.
    pub id: KeyId,
    /// The file's name, cut to 80 characters.
    pub file: String,
}

/// A file of the ring that is not what its name or its place says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its name, cut to 80 characters.
    pub file: String,
    /// What is wrong with it, in words.
    pub reason: String,
}

/// The keys, as they were when the directory was read.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    dir: PathBuf,
    keys: Vec<Key>,
    revoked: Vec<Listed>,
    /// Keys that were trusted before, and whose files cannot be read now.
    unreadable: Vec<Listed>,
    faults: Vec<Fault>,
    /// Why no new model is believed, whoever signed it.
    closed: Option<String>,
    /// Whether files may be there that were not seen.
    partial: bool,
    /// Every name that was ever read, with its keys.
    names: BTreeSet<(String, KeyId)>,
    allow_unsigned: bool,
}

/// The ring for people: what is trusted, what is not, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RingFacts {
    /// Keys that are trusted and not revoked, by the file's name, at most 100. While `closed` says
    /// why, not even they are believed.
    pub trusted: Vec<Listed>,
    /// Keys that are revoked, by the file's name, at most 100.
    pub revoked: Vec<Listed>,
    /// Files that hold no key or cannot be read, by their names, at most 100.
    pub faults: Vec<Fault>,
    /// Why no new model is believed; `null`: nothing is in the way.
    pub closed: Option<String>,
}

/// Why the ring does not vouch for a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// The ring holds a revocation of the key.
    #[error("key {id} is revoked by {}", file.display())]
    Revoked {
        /// The revoked key.
        id: KeyId,
        /// The file that revokes it, its name cut to 80 characters.
        file: PathBuf,
    },
    /// No trusted key has this id.
    #[error("key {id} is not among the trusted keys in {}, which are {known}", dir.display())]
    Unknown {
        /// The unknown key.
        id: KeyId,
        /// The ring's directory.
        dir: PathBuf,
        /// The trusted keys with their files, at most 100; `none` without any.
        known: String,
    },
    /// The key was trusted, and its file cannot be read any more.
    #[error("key {id} was trusted, and {} cannot be read now", file.display())]
    Unreadable {
        /// The key.
        id: KeyId,
        /// The file that held it, its name cut to 80 characters.
        file: PathBuf,
    },
    /// The ring is closed: a revocation or the directory cannot be read. Holds the reason.
    #[error("no new model is believed: {0}")]
    Closed(String),
    /// There is no signature, and the ring does not allow that.
    #[error("nobody signed it")]
    Unsigned,
}

impl Distrust {
    /// A short name that stays the same across versions.
    pub fn code(&self) -> &'static str {
        match self {
            Distrust::Revoked { .. } => "revoked_key",
            Distrust::Unknown { .. } => "unknown_key",
            Distrust::Unreadable { .. } | Distrust::Closed(_) => "unreadable_keys",
            Distrust::Unsigned => "unsigned",
        }
    }

    /// Whether a model that serves already has to go. What cannot be read says nothing against it.
    pub fn ends_service(&self) -> bool {
        matches!(
            self,
            Distrust::Revoked { .. } | Distrust::Unknown { .. } | Distrust::Unsigned
        )
    }
}

/// What a file of the ring is by its name.
enum Kind<'n> {
    Trusted(&'n str),
    Revoked(&'n str),
    /// Has the ending of a revocation, and something behind it.
    RevokedCopy(&'n str),
    Other,
}

impl Kind<'_> {
    /// A revocation is one in any case and with anything behind it: whoever made that file meant to revoke. Trust has
    /// one spelling.
    fn of(name: &str) -> Kind<'_> {
        // ASCII only, so that positions stay the same.
        let lower = name.to_ascii_lowercase();
        let ending = format!(".{REVOKED}");
        if let Some(at) = lower.find(&ending) {
            let whose = &name[..at];
            // As where the ending was added instead of changed.
            let whose = whose.strip_suffix(".pub").unwrap_or(whose);
            return if lower.ends_with(&ending) {
                Kind::Revoked(whose)
            } else {
                Kind::RevokedCopy(whose)
            };
        }
        match name.strip_suffix(TRUSTED).and_then(|rest| rest.strip_suffix('.')) {
            Some(name) if !name.is_empty() => Kind::Trusted(name),
            _ => Kind::Other,
        }
    }
}

impl KeyRing {
    /// Reads the directory; one that is absent is a ring without keys, which trusts nobody.
    ///
    /// # Errors
    /// A directory that cannot be read. A file that cannot be is no error: see [`KeyRing::facts`].
    pub fn read(dir: &Path) -> Result<KeyRing, KeyError> {
        KeyRing::default().read_from(dir)
    }

    /// Reads the directory anew, with what this ring knows of names. Where that fails, its keys stay as they are, and
    /// no new model is believed.
    pub fn read_again(&self, dir: &Path) -> KeyRing {
        self.read_from(dir).unwrap_or_else(|error| {
            let mut ring = self.clone();
            ring.close(error.to_string());
            ring.partial = true;
            ring
        })
    }

    fn read_from(&self, dir: &Path) -> Result<KeyRing, KeyError> {
        let mut ring = KeyRing {
            dir: dir.to_owned(),
            names: self.names.clone(),
            allow_unsigned: self.allow_unsigned,
            ..KeyRing::default()
        };
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ring),
            entries => entries.map_err(|source| io_error(dir, source))?,
        };
        let (mut unread_revocations, mut unread_keys) = (Vec::new(), Vec::new());
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    // After an error there may be no end of them.
                    ring.close(format!("{} was not read to its end: {error}", dir.display()));
                    ring.partial = true;
                    break;
                }
            };
            let file = entry.file_name();
            let shown = file.to_string_lossy();
            match Kind::of(&shown) {
                Kind::Trusted(name) => match read_present(&entry.path(), read_verifying_key) {
                    Ok(Some(key)) => ring.trust(name, key),
                    Ok(None) => {}
                    Err(error) => {
                        unread_keys.push(name.to_owned());
                        ring.fault(&file, &error);
                    }
                },
                kind @ (Kind::Revoked(name) | Kind::RevokedCopy(name)) => {
                    match read_present(&entry.path(), read_verifying_keys) {
                        Ok(Some(keys)) => keys.iter().for_each(|key| ring.revoke(name, KeyId::of(key), &shown)),
                        Ok(None) => {}
                        Err(error) => {
                            // A copy that holds no key may be anything: notes, what an editor leaves.
                            let closes = matches!(kind, Kind::Revoked(_)).then(|| error.to_string());
                            unread_revocations.push((name.to_owned(), shown.clone().into_owned(), closes));
                            ring.fault(&file, &error);
                        }
                    }
                }
                // Kubernetes keeps what it mounts under such names, and a key that is being written has
                // such a name until it is complete.
                Kind::Other if shown.starts_with("..") || (shown.starts_with('.') && shown.ends_with(".tmp")) => {}
                Kind::Other => ring.fault(&file, &format!("not a key; allowed: NAME.{TRUSTED}, NAME.{REVOKED}")),
            }
        }
        for (name, file, closes) in unread_revocations {
            ring.revoke_by_name(&name, &file, closes);
        }
        unread_keys.iter().for_each(|name| ring.note_unreadable(name));
        ring.keys.sort_by(|a, b| a.name.cmp(&b.name));
        ring.revoked.sort_by(|a, b| a.file.cmp(&b.file));
        ring.faults.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(ring)
    }

    /// Notes the keys that a file held before, which cannot be read now.
    fn note_unreadable(&mut self, name: &str) {
        let file = cut(&format!("{name}.{TRUSTED}"));
        let known = self.ids_of(name).into_iter();
        let known: Vec<Listed> = known.map(|id| Listed { id, file: file.clone() }).collect();
        self.unreadable.extend(known);
    }

    fn trust(&mut self, name: &str, key: VerifyingKey) {
        let id = KeyId::of(&key);
        self.names.insert((name.to_owned(), id));
        self.keys.push(Key {
            name: name.to_owned(),
            id,
            key,
        });
    }

    fn revoke(&mut self, name: &str, id: KeyId, file: &str) {
        self.names.insert((name.to_owned(), id));
        self.revoked.push(Listed { id, file: cut(file) });
    }

    /// `closes`: why the file says nothing but its name, where the ring is closed if nobody knows that.
    fn revoke_by_name(&mut self, name: &str, file: &str, closes: Option<String>) {
        let ids = self.ids_of(name);
        if let Some(reason) = closes.filter(|_| ids.is_empty()) {
            self.close(format!("nobody can say which key {} revokes: {reason}", cut(file)));
        }
        for id in ids {
            self.revoke(name, id, file);
        }
    }

    fn ids_of(&self, name: &str) -> Vec<KeyId> {
        let named = self.names.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, id)| *id).collect()
    }

    fn close(&mut self, reason: String) {
        self.closed.get_or_insert(reason);
    }

    fn fault(&mut self, file: &OsStr, reason: &dyn fmt::Display) {
        self.faults.push(Fault {
            file: cut(&file.to_string_lossy()),
            reason: reason.to_string(),
        });
    }

    /// The ring for people, who need not see more than the first of each.
    pub fn facts(&self) -> RingFacts {
        const MOST: usize = 100;
        let trusted = self
            .keys
            .iter()
            .filter(|key| !self.is_revoked(key.id))
            .map(|key| Listed {
                id: key.id,
                file: cut(&format!("{}.{TRUSTED}", key.name)),
            });
        RingFacts {
            trusted: trusted.take(MOST).collect(),
            revoked: self.revoked.iter().take(MOST).cloned().collect(),
            faults: self.faults.iter().take(MOST).cloned().collect(),
            closed: self.closed.clone(),
        }
    }

    /// A ring that trusts this one key.
    pub fn of(name: &str, key: VerifyingKey) -> KeyRing {
        let mut ring = KeyRing::default();
        ring.trust(name, key);
        ring
    }

    /// The same ring, which takes what nobody signed too. For development only: whoever can write to the models'
    /// directory then decides what ranks.
    pub fn allowing_unsigned(self, allow_unsigned: bool) -> KeyRing {
        KeyRing { allow_unsigned, ..self }
    }

    /// Whether what that key signed (`None`: nobody) may be used.
    ///
    /// # Errors
    /// Why not.
    pub fn vouches(&self, signed_by: Option<KeyId>) -> Result<(), Distrust> {
        match signed_by {
            Some(id) => self.trusted(id).map(drop),
            None if self.allow_unsigned => Ok(()),
            None => Err(Distrust::Unsigned),
        }
    }

    /// The key of that id, if it is trusted.
    ///
    /// # Errors
    /// Why it is not.
    pub fn trusted(&self, id: KeyId) -> Result<&VerifyingKey, Distrust> {
        let file = |listed: &Listed| self.dir.join(&listed.file);
        if let Some(listed) = self.revoked.iter().find(|listed| listed.id == id) {
            return Err(Distrust::Revoked { id, file: file(listed) });
        }
        let trusted = self.keys.iter().find(|key| key.id == id);
        match (trusted, &self.closed) {
            (Some(key), None) => Ok(&key.key),
            (Some(_), Some(reason)) => Err(Distrust::Closed(reason.clone())),
            (None, Some(reason)) if self.partial => Err(Distrust::Closed(reason.clone())),
            (None, _) => Err(match self.unreadable.iter().find(|listed| listed.id == id) {
                Some(listed) => Distrust::Unreadable { id, file: file(listed) },
                None => Distrust::Unknown {
                    id,
                    dir: self.dir.clone(),
                    known: self.known(),
                },
            }),
        }
    }

    fn is_revoked(&self, id: KeyId) -> bool {
        self.revoked.iter().any(|listed| listed.id == id)
    }

    fn known(&self) -> String {
        let trusted = self.facts().trusted;
        let names: Vec<String> = trusted.iter().map(|key| format!("{} ({})", key.id, key.file)).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    }
}

/// A key, or `None` where the file is gone again: a key that is just being renamed is there under the other name.
fn read_present<T>(path: &Path, read: impl FnOnce(&Path) -> Result<T, KeyError>) -> Result<Option<T>, KeyError> {
    match read(path) {
        Err(_) if fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) => Ok(None),
        key => key.map(Some),
    }
}

fn cut(name: &str) -> String {
    name.chars().take(80).collect()
}

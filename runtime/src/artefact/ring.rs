//! The ring of public keys whose owners may publish.
//!
//! A directory with one file a key: `{name}.pub` is trusted, `{name}.revoked` no longer is. Adding a file adds a
//! publisher, renaming it revokes one, and neither needs a restart, because the directory is read at every load.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ed25519_dalek::VerifyingKey;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::keys::{KeyError, io_error, read_verifying_key};

/// The ending of a trusted key's file.
pub const TRUSTED: &str = "pub";
/// The ending of a revoked key's file.
pub const REVOKED: &str = "revoked";

/// A key's name for people and signatures: the first 8 bytes of the SHA-256 of its 32 bytes. It only says which
/// key to verify with; what is believed is what verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// Hexadecimal digits of an id as text.
    pub const DIGITS: usize = 16;

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
    revoked: bool,
}

/// The keys, as they were when the directory was read.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    dir: PathBuf,
    keys: Vec<Key>,
    allow_unsigned: bool,
}

/// Why the ring does not vouch for a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    #[error("key {id} ({name}) is revoked by {}", file.display())]
    Revoked { id: KeyId, name: String, file: PathBuf },
    #[error("key {id} is not among the trusted keys in {}, which are {known}", dir.display())]
    Unknown { id: KeyId, dir: PathBuf, known: String },
    #[error("nobody signed it")]
    Unsigned,
}

impl Distrust {
    /// A short name that stays the same across versions.
    pub fn code(&self) -> &'static str {
        match self {
            Distrust::Revoked { .. } => "revoked_key",
            Distrust::Unknown { .. } => "unknown_key",
            Distrust::Unsigned => "unsigned",
        }
    }
}

impl KeyRing {
    /// Reads the directory; one that is absent is a ring without keys, which trusts nobody.
    ///
    /// # Errors
    /// A directory or a key file that cannot be read: a ring that is half read might miss a revocation.
    pub fn read(dir: &Path) -> Result<KeyRing, KeyError> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            entries => entries
                .and_then(Iterator::collect)
                .map_err(|source| io_error(dir, source))?,
        };
        let mut keys = Vec::new();
        for path in entries.into_iter().map(|entry: fs::DirEntry| entry.path()) {
            let ending = path.extension().and_then(|ending| ending.to_str());
            let Some(ending @ (TRUSTED | REVOKED)) = ending else {
                continue;
            };
            let key = read_verifying_key(&path)?;
            keys.push(Key {
                name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                id: KeyId::of(&key),
                key,
                revoked: ending == REVOKED,
            });
        }
        // A key that is there under both endings is revoked.
        keys.sort_by(|a, b| b.revoked.cmp(&a.revoked).then_with(|| a.name.cmp(&b.name)));
        Ok(KeyRing {
            dir: dir.to_owned(),
            keys,
            allow_unsigned: false,
        })
    }

    /// A ring that trusts this one key.
    pub fn of(name: &str, key: VerifyingKey) -> KeyRing {
        let key = Key {
            name: name.to_owned(),
            id: KeyId::of(&key),
            key,
            revoked: false,
        };
        KeyRing {
            dir: PathBuf::new(),
            keys: vec![key],
            allow_unsigned: false,
        }
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
        match self.keys.iter().find(|key| key.id == id) {
            Some(key) if key.revoked => Err(Distrust::Revoked {
                id,
                name: key.name.clone(),
                file: self.dir.join(format!("{}.{REVOKED}", key.name)),
            }),
            Some(key) => Ok(&key.key),
            None => Err(Distrust::Unknown {
                id,
                dir: self.dir.clone(),
                known: self.known(),
            }),
        }
    }

    fn known(&self) -> String {
        let trusted = self.keys.iter().filter(|key| !key.revoked);
        let names: Vec<String> = trusted.map(|key| format!("{} ({})", key.id, key.name)).collect();
        match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(", "),
        }
    }
}

//! Ed25519 keys in files: 32 bytes as 64 hexadecimal digits and a line end.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use regular_file::{Draft, Links};

pub use ed25519_dalek::{SigningKey, VerifyingKey};

/// Room for a key with its line end, and for whoever puts blanks around it.
const MAX_KEY_BYTES: u64 = 4 << 10;

/// Why a key was not read or written. Never contains key material.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system failed, or the path is no regular file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The key's file, or the folder of the ring.
        path: PathBuf,
        /// The operating system's error; `FileTooLarge` for more than 4 KiB.
        source: io::Error,
    },
    /// The file does not hold 64 hexadecimal digits, or they are no point of the curve. Holds its
    /// path.
    #[error("{}: not a key; expected 64 hexadecimal digits", .0.display())]
    Malformed(PathBuf),
    /// The private key's file is open to its group or to others.
    #[error("{}: a private key that others can read (mode {mode:o}); allowed: mode 600", path.display())]
    Exposed {
        /// The private key's file.
        path: PathBuf,
        /// Its permission bits, at most `0o777`.
        mode: u32,
    },
    /// The operating system gave no random bytes. Holds its error.
    #[error("no randomness from the operating system: {0}")]
    Randomness(String),
}

/// A new private key, from the operating system's randomness.
///
/// # Errors
/// `Randomness`.
pub fn generate_key() -> Result<SigningKey, KeyError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|e| KeyError::Randomness(e.to_string()))?;
    Ok(SigningKey::from_bytes(&secret))
}

/// Writes a private key (mode 600). An existing file is never overwritten.
///
/// # Errors
/// `Io`.
pub fn write_signing_key(path: &Path, key: &SigningKey) -> Result<(), KeyError> {
    draft(path, &key.to_bytes(), 0o600)
        .and_then(Draft::commit_new)
        .map_err(|source| io_error(path, source))
}

/// As [`write_signing_key`], in one step in place of a file that is there.
///
/// # Errors
/// `Io`; the former key is then still there.
pub fn replace_signing_key(path: &Path, key: &SigningKey) -> Result<(), KeyError> {
    draft(path, &key.to_bytes(), 0o600)
        .and_then(Draft::commit)
        .map_err(|source| io_error(path, source))
}

/// Writes a public key (mode 644). An existing file is never overwritten.
///
/// # Errors
/// `Io`.
pub fn write_verifying_key(path: &Path, key: &VerifyingKey) -> Result<(), KeyError> {
    draft(path, key.as_bytes(), 0o644)
        .and_then(Draft::commit_new)
        .map_err(|source| io_error(path, source))
}

/// Reads a private key; refuses one that other users of the machine can read.
///
/// # Errors
/// `Io`, `Exposed`, `Malformed`.
pub fn read_signing_key(path: &Path) -> Result<SigningKey, KeyError> {
    let file = open(path)?;
    let metadata = file.metadata().map_err(|source| io_error(path, source))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(SigningKey::from_bytes(&read(&file, path)?))
}

/// Reads a public key.
///
/// # Errors
/// `Io`, `Malformed` (also for 32 bytes that are no point of the curve).
pub fn read_verifying_key(path: &Path) -> Result<VerifyingKey, KeyError> {
    VerifyingKey::from_bytes(&read(&open(path)?, path)?).map_err(|_| KeyError::Malformed(path.to_owned()))
}

/// Reads the public keys of a file, one or several: whoever revokes may list them.
///
/// # Errors
/// As [`read_verifying_key`], also for a file of which only a part is keys.
pub(super) fn read_verifying_keys(path: &Path) -> Result<Vec<VerifyingKey>, KeyError> {
    let malformed = || KeyError::Malformed(path.to_owned());
    let text = regular_file::read_all(&open(path)?, MAX_KEY_BYTES).map_err(|source| io_error(path, source))?;
    let words = without_mark(&text)
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let keys: Result<Vec<VerifyingKey>, KeyError> = words
        .map(|word| VerifyingKey::from_bytes(&decoded(word).ok_or_else(malformed)?).map_err(|_| malformed()))
        .collect();
    keys.and_then(|keys| if keys.is_empty() { Err(malformed()) } else { Ok(keys) })
}

fn draft(path: &Path, bytes: &[u8; 32], mode: u32) -> io::Result<Draft> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    let mut draft = Draft::create(path, mode)?;
    draft.write_all((hex::encode(bytes) + "\n").as_bytes())?;
    Ok(draft)
}

/// An operator's path: Kubernetes mounts keys as links.
fn open(path: &Path) -> Result<File, KeyError> {
    regular_file::open(path, Links::Follow).map_err(|source| io_error(path, source))
}

fn read(file: &File, path: &Path) -> Result<[u8; 32], KeyError> {
    let text = regular_file::read_all(file, MAX_KEY_BYTES).map_err(|source| io_error(path, source))?;
    decoded(without_mark(&text).trim_ascii()).ok_or_else(|| KeyError::Malformed(path.to_owned()))
}

/// Windows' editor begins a text with a byte order mark.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text)
}

fn decoded(hexadecimal: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(hexadecimal, &mut bytes).ok()?;
    Some(bytes)
}

pub(super) fn io_error(path: &Path, source: io::Error) -> KeyError {
    KeyError::Io {
        path: path.to_owned(),
        source,
    }
}

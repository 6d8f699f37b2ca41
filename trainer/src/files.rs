//! Reads files up to a size limit, and writes them atomically.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::Path;

use anyhow::Context;
use regular_file::Links;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// Limit for files that are read into memory as a whole: models and keys.
const MAX_BYTES: u64 = 4 << 30;
/// Limit for JSON files: reports, and Envoy's discovery responses (`edge-bypass`).
const MAX_JSON_BYTES: u64 = 256 << 20;

/// Writes `bytes` to `path` atomically: even after a crash, readers see the old or the new file.
///
/// The bytes go to a temporary file beside it, which is synced to disk and renamed. Missing parent
/// directories are created.
///
/// # Errors
/// Any I/O failure, naming the path; `path` is then unchanged.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    try_write(path, bytes, 0o666).with_context(|| format!("writing {}", path.display()))
}

/// As [`write()`], but only the owner can read and write the file, from the first byte on.
///
/// # Errors
/// The same.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    try_write(path, bytes, 0o600).with_context(|| format!("writing {}", path.display()))
}

/// A value as indented JSON, written by [`write()`].
///
/// # Errors
/// As [`write()`], or a value that JSON cannot represent.
pub fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(value).with_context(|| format!("writing {} as JSON", path.display()))?;
    text.push(b'\n');
    write(path, &text)
}

/// Reads a value from a JSON file of at most 256 MiB.
///
/// # Errors
/// An unreadable file, or JSON that is not such a value (with line and column).
pub fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let bytes = read_up_to(path, MAX_JSON_BYTES)?;
    // Windows editors may write a byte order mark.
    let json = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    serde_json::from_slice(json).with_context(|| format!("reading {}", path.display()))
}

/// Reads a file of at most 4 GiB.
///
/// # Errors
/// A path that is unreadable, too large or not a regular file, naming it.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    read_up_to(path, MAX_BYTES)
}

fn read_up_to(path: &Path, max_bytes: u64) -> anyhow::Result<Vec<u8>> {
    regular_file::read(path, Links::Follow, max_bytes).with_context(|| format!("reading {}", path.display()))
}

/// SHA-256 in lowercase hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// SHA-256 of a file of any size, in lowercase hexadecimal.
///
/// # Errors
/// A path that is unreadable or not a regular file.
pub fn hash(path: &Path) -> io::Result<String> {
    hash_of(&mut regular_file::open(path, Links::Follow)?)
}

/// SHA-256 of an open file, in lowercase hexadecimal. Leaves the file at its beginning.
///
/// # Errors
/// A failure to read.
pub fn hash_of(file: &mut File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    file.rewind()?;
    Ok(hex::encode(hasher.finalize()))
}

fn try_write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let path = &regular_file::replaceable(path)?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    regular_file::replace(path, bytes, mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_a_file_or_too_large_is_rejected_by_name_without_blocking() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(at("fifo")).status();
        assert!(made.unwrap().success());
        fs::File::create(at("giant")).unwrap().set_len(20 << 30).unwrap();
        for path in [at("fifo"), at("giant"), "/dev/zero".into(), folder.path().into()] {
            for error in [read(&path).unwrap_err(), read_json::<String>(&path).unwrap_err()] {
                assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
            }
        }
    }
}

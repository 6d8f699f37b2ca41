//! Machine code on disk, so that a component is compiled once a machine and not once a start.
//!
//! Deserialising machine code is running it, in the end: whoever can make an entry that is believed, owns the
//! process. So an entry carries an HMAC-SHA-256 under a secret that the first host to use the directory made there,
//! over what it is for and every byte that is then deserialised. Directory and secret are their owner's alone; who can
//! read them could as well change this program.
//!
//! This is our own code: Wasmtime's own cache believes every entry in its directory.

use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use regular_file::{Draft, Links};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tracing::warn;
use wasmtime::component::Component;

/// What an entry starts its authenticated text with: another layout needs another one.
const LAYOUT: &[u8] = b"ltr machine code 1\0";
const TAG_BYTES: usize = 32;
const SECRET: &str = "secret";
/// The end of an entry's name.
const ENTRY: &str = ".code";

/// A directory of machine code that this host made itself.
pub struct CodeCache {
    dir: PathBuf,
    secret: [u8; 32],
    max_bytes: u64,
}

/// Why a directory cannot be used as a cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The file system failed, or the directory cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The directory, its parent or its secret.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The directory or its secret is a link, has another owner, or is open to its group or others.
    #[error("{}: open to others (mode {mode:o}, owner {owner}); allowed: {allowed}", path.display())]
    Exposed {
        /// The directory or its secret.
        path: PathBuf,
        /// Its permission bits, at most `0o777`.
        mode: u32,
        /// The id of the user who owns it.
        owner: u32,
        /// What it has to be, in words.
        allowed: &'static str,
    },
    /// The secret does not have 32 bytes. Holds its path.
    #[error("{}: not a secret of 32 bytes; delete it, and a new one is made", .0.display())]
    Malformed(PathBuf),
    /// The operating system gave no random bytes. Holds its error.
    #[error("no randomness from the operating system: {0}")]
    Randomness(String),
}

/// Where a scorer's machine code came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeOrigin {
    /// From the compiler; there was none in the cache, or there is no cache.
    Compiled,
    /// From the cache.
    Cached,
    /// From the compiler, because what the cache had was damaged, forged or not for this engine.
    Recompiled,
}

impl CodeOrigin {
    /// The label in metrics.
    pub fn name(self) -> &'static str {
        match self {
            CodeOrigin::Compiled => "compiled",
            CodeOrigin::Cached => "cached",
            CodeOrigin::Recompiled => "recompiled",
        }
    }
}

/// What [`CodeCache::find`] found.
pub(crate) enum Found {
    Code(Component),
    Absent,
    /// There is something, and it is not to be believed.
    Refused,
}

/// What machine code is for: one component, and engines that compile as this one does.
struct Key(String);

impl Key {
    /// `sha256` is the component's, hexadecimal. The engine's part covers the compiler's version, its settings and
    /// the processor's features.
    fn new(sha256: &str, engine: &wasmtime::Engine) -> Key {
        let mut hasher = Sha256Hasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let engine = hex::encode(hasher.0.finalize());
        Key(format!("{sha256}-{engine}"))
    }

    fn file(&self) -> String {
        format!("{}{ENTRY}", self.0)
    }
}

impl CodeCache {
    /// Uses `dir`, which is made where it is absent, for at most `max_bytes` of code.
    ///
    /// # Errors
    /// `Exposed` when others than this process's user may read or write the directory or its secret, `Malformed`,
    /// `Randomness`, and `Io`, also when the directory cannot be written.
    pub fn open(dir: &Path, max_bytes: u64) -> Result<CodeCache, CacheError> {
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent).map_err(at(parent))?;
        }
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(at(dir)(e)),
            _ => {}
        }
        let mut fresh = [0; 32];
        getrandom::fill(&mut fresh).map_err(|e| CacheError::Randomness(e.to_string()))?;
        // Written in any case: it shows that the directory can be written, and whose files ours are.
        let path = dir.join(SECRET);
        let mut draft = Draft::create(&path, 0o600).map_err(at(dir))?;
        let ours = draft.metadata().map_err(at(dir))?.uid();
        draft.write_all(&fresh).map_err(at(dir))?;
        // Of hosts that start together, one makes the secret.
        match draft.commit_new() {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(at(&path)(e)),
            _ => {}
        }
        private(dir, ours, "a directory of mode 700 of this user's own")?;
        private(&path, ours, "a file of mode 600 of this user's own")?;
        let bytes = match regular_file::read(&path, Links::Refuse, fresh.len() as u64) {
            Err(e) if e.kind() == io::ErrorKind::FileTooLarge => return Err(CacheError::Malformed(path)),
            bytes => bytes.map_err(at(&path))?,
        };
        Ok(CodeCache {
            dir: dir.to_owned(),
            secret: bytes.try_into().map_err(|_| CacheError::Malformed(path))?,
            max_bytes,
        })
    }

    /// The machine code for `engine` of the component with this hash.
    pub(crate) fn find(&self, engine: &wasmtime::Engine, sha256: &str) -> Found {
        let key = Key::new(sha256, engine);
        let path = self.dir.join(key.file());
        let entry = match regular_file::read(&path, Links::Refuse, self.max_bytes) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Found::Absent,
            entry => entry,
        };
        let code = entry.as_deref().ok().and_then(|entry| self.authentic(&key, entry));
        let component = code.and_then(|code| {
            // SAFETY: `deserialize` must be given what `Component::serialize` gave, unchanged. `authentic` has just
            // verified that these very bytes, in this process's memory, where no change to a file reaches them any
            // more, carry a tag under the secret for this component and an engine that compiles as this one does.
            // `store` alone makes such tags, and only over what `serialize` has just given it; and `open` has refused
            // a secret that another user could have read or put there.
            unsafe { Component::deserialize(engine, code) }.ok()
        });
        match component {
            Some(component) => {
                // The oldest go first, and this one is of use. Without the mark it goes a little early.
                let _ = regular_file::open_with(OpenOptions::new().append(true), &path, Links::Refuse)
                    .and_then(|file| file.set_modified(SystemTime::now()));
                Found::Code(component)
            }
            None => {
                warn!(path = %path.display(), "cached machine code is damaged or not ours; compiling anew");
                Found::Refused
            }
        }
    }

    /// Keeps the machine code of the component with this hash in place of what was there, and drops the oldest where
    /// there is too much. Code beyond the whole cache's size is not kept.
    pub(crate) fn store(&self, sha256: &str, compiled: &Component) -> io::Result<()> {
        let code = compiled.serialize().map_err(io::Error::other)?;
        if (TAG_BYTES + code.len()) as u64 > self.max_bytes {
            return Ok(());
        }
        let key = Key::new(sha256, compiled.engine());
        let tag = self.mac(&key, &code).finalize().into_bytes();
        let mut draft = Draft::create(&self.dir.join(key.file()), 0o600)?;
        draft.write_all(&tag)?;
        draft.write_all(&code)?;
        draft.commit()?;
        self.drop_oldest()
    }

    /// The code of an entry whose tag is right.
    fn authentic<'e>(&self, key: &Key, entry: &'e [u8]) -> Option<&'e [u8]> {
        let (tag, code) = entry.split_at_checked(TAG_BYTES)?;
        self.mac(key, code).verify_slice(tag).ok()?;
        Some(code)
    }

    fn mac(&self, key: &Key, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes keys of any length");
        mac.update(LAYOUT);
        // Two hashes of a fixed length, so that key and code cannot run into each other.
        mac.update(key.0.as_bytes());
        mac.update(code);
        mac
    }

    /// Drafts that a crash left behind go the same way.
    fn drop_oldest(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            // Another host on this directory may have dropped it meanwhile.
            if let Ok(metadata) = entry.metadata()
                && entry.file_name() != SECRET
            {
                files.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if total <= self.max_bytes {
                break;
            }
            let _ = fs::remove_file(path);
            total -= bytes;
        }
        Ok(())
    }
}

/// Refuses what is not `owner`'s alone. A link is looked at itself, not followed.
fn private(path: &Path, owner: u32, allowed: &'static str) -> Result<(), CacheError> {
    let metadata = fs::symlink_metadata(path).map_err(at(path))?;
    let mode = metadata.mode() & 0o777;
    if metadata.is_symlink() || mode & 0o077 != 0 || metadata.uid() != owner {
        return Err(CacheError::Exposed {
            path: path.to_owned(),
            mode,
            owner: metadata.uid(),
            allowed,
        });
    }
    Ok(())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |source| CacheError::Io { path, source }
}

/// Takes what a `Hash` says, whole.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the digest is taken in its place, by the one user of this type")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest component there is.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn engine(change: impl FnOnce(&mut wasmtime::Config)) -> wasmtime::Engine {
        let mut config = wasmtime::Config::new();
        config.wasm_component_model(true);
        change(&mut config);
        wasmtime::Engine::new(&config).unwrap()
    }

    #[test]
    fn code_is_found_by_engines_that_compile_alike_and_by_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(&dir.path().join("code"), 1 << 20).unwrap();
        let maker = engine(|_| {});
        cache
            .store("ab", &Component::from_binary(&maker, EMPTY).unwrap())
            .unwrap();
        let finds = |engine: wasmtime::Engine| match cache.find(&engine, "ab") {
            Found::Code(_) => "code",
            Found::Absent => "absent",
            Found::Refused => "refused",
        };
        assert_eq!(finds(engine(|_| {})), "code");
        let slower = |config: &mut wasmtime::Config| {
            config.cranelift_opt_level(wasmtime::OptLevel::None);
        };
        let interruptible = |config: &mut wasmtime::Config| {
            config.epoch_interruption(true);
        };
        let smaller = |config: &mut wasmtime::Config| {
            config.memory_reservation(1 << 20);
        };
        assert_eq!(finds(engine(slower)), "absent");
        assert_eq!(finds(engine(interruptible)), "absent");
        assert_eq!(finds(engine(smaller)), "absent");
    }
}

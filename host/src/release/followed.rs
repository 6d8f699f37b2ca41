//! How far this gateway has followed the record, kept on disk: a record that was replaced while the
//! gateway was down must not pass for the one that it followed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ranking::release::ledger::Anchor;
use regular_file::Links;
use serde::{Deserialize, Serialize};

/// Maximum size of the file, bytes.
const MAX_SIZE: u64 = 64 << 10;
/// How long a look waits for the disk.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the next run must know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Followed {
    /// How far the record was checked; `None`: none was ever seen.
    pub anchor: Option<Anchor>,
    /// Entries that the record must contain: rollbacks that were followed before they were checked.
    #[serde(default)]
    pub must_have: Vec<Anchor>,
    /// Why legacy answers until an operator orders what serves, in words.
    pub rewritten: Option<String>,
}

/// The file. An older note is as good as the latest one, as long as the record continues it.
pub(super) struct FollowedFile {
    path: PathBuf,
    kept: Mutex<Followed>,
    is_busy: AtomicBool,
    has_failed: AtomicBool,
}

impl FollowedFile {
    /// Reads the note that an earlier run left. One that cannot be read counts as a record that was
    /// replaced: nobody knows any more what was followed.
    pub(super) fn open(path: &Path) -> (FollowedFile, Followed) {
        let followed = read(path).unwrap_or_else(|error| {
            let path = path.display();
            tracing::error!(
                "database.spool_dir: {path} cannot be read: {error}; legacy answers until an operator orders what serves"
            );
            Followed {
                rewritten: Some(format!(
                    "{path} cannot be read, so that nobody knows which record was followed: {error}; legacy answers until an operator orders what serves"
                )),
                ..Followed::default()
            }
        });
        let file = FollowedFile {
            path: path.to_owned(),
            kept: Mutex::new(followed.clone()),
            is_busy: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        };
        (file, followed)
    }

    /// Keeps this, if it has changed. A disk that hangs holds up one look, and that for a moment.
    pub(super) async fn keep_in_time(self: &Arc<FollowedFile>, followed: Followed) {
        if *self.kept.lock() == followed || self.is_busy.swap(true, Ordering::Acquire) {
            return;
        }
        let file = self.clone();
        let writing = tokio::task::spawn_blocking(move || {
            file.keep(followed);
            file.is_busy.store(false, Ordering::Release);
        });
        let _ = tokio::time::timeout(PATIENCE, writing).await;
    }

    fn keep(&self, followed: Followed) {
        let text = serde_json::to_vec(&followed).expect("a note has texts and numbers alone");
        match regular_file::replace(&self.path, &text, 0o600) {
            Ok(()) => {
                *self.kept.lock() = followed;
                self.has_failed.store(false, Ordering::Relaxed);
            }
            // Once, and not at each look.
            Err(error) if !self.has_failed.swap(true, Ordering::Relaxed) => tracing::error!(
                "database.spool_dir: {} cannot be written: {error}; a restart knows an older record alone",
                self.path.display()
            ),
            Err(_) => {}
        }
    }
}

fn read(path: &Path) -> io::Result<Followed> {
    match regular_file::read(path, Links::Refuse, MAX_SIZE) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Followed::default()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(seq: u64) -> Followed {
        let head = "a".repeat(64);
        Followed {
            anchor: Some(Anchor { seq, head }),
            ..Followed::default()
        }
    }

    #[test]
    fn what_was_followed_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.followed");
        let (file, none) = FollowedFile::open(&path);
        assert_eq!(none, Followed::default());
        for seq in [7, 8] {
            file.keep(followed(seq));
            assert_eq!(FollowedFile::open(&path).1, followed(seq));
        }
    }

    #[test]
    fn a_note_that_cannot_be_read_counts_as_a_replaced_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.followed");
        std::fs::write(&path, "{\"anchor\":").unwrap();
        let long = folder.path().join("long");
        std::fs::write(&long, vec![b' '; MAX_SIZE as usize + 1]).unwrap();
        for path in [&path, &long, folder.path()] {
            let (_, followed) = FollowedFile::open(path);
            assert!(
                followed.anchor.is_none() && followed.rewritten.is_some(),
                "{}",
                path.display()
            );
        }
    }
}

//! A rollback that acts on this gateway and is not in the database yet, kept on disk, so that a
//! restart does not undo it.
//!
//! The file is written in place: its space is taken at the start, so that a full disk does not
//! matter, and it stays open, so that a right that is revoked later does not.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use regular_file::Links;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Size of the file, bytes.
const SIZE: usize = 4096;
/// Longest actor and reason that are kept, bytes.
const MAX_TEXT: usize = 800;

/// A rollback as an operator asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRollback {
    /// The command's id: it is in the ledger once, however often it is written.
    pub command: Uuid,
    /// Who asked.
    pub actor: String,
    /// Why; may be empty.
    pub reason: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Asked for now, and not left by an earlier run, which may have recorded it.
    #[serde(skip)]
    pub is_fresh: bool,
}

/// The file.
pub(super) struct PendingFile {
    /// `None`: it cannot be used, and rollbacks are kept in memory alone.
    file: Option<File>,
    /// Held while it is written.
    writing: Mutex<()>,
}

impl PendingFile {
    /// Opens the file, makes it if it is missing, and reads what it holds. A file that cannot be
    /// read as a rollback counts as one: it was written by one that did not end.
    pub(super) fn open(path: &Path, now: DateTime<Utc>) -> (PendingFile, Option<PendingRollback>) {
        let opened = open(path);
        let (file, text) = match opened {
            Ok((file, text)) => (Some(file), text),
            Err(error) => {
                tracing::error!(
                    "database.spool_dir: {} cannot be used: {error}; a rollback during an outage is kept in memory alone",
                    path.display()
                );
                (None, Vec::new())
            }
        };
        let text = text.trim_ascii();
        let pending = (!text.is_empty()).then(|| {
            serde_json::from_slice(text).unwrap_or_else(|error| PendingRollback {
                command: Uuid::new_v5(&Uuid::NAMESPACE_OID, text),
                actor: "unknown".to_owned(),
                reason: format!("a rollback was being written when the gateway ended: {error}"),
                at: now,
                is_fresh: false,
            })
        });
        let writing = Mutex::default();
        (PendingFile { file, writing }, pending)
    }

    /// Writes a rollback, or that there is none. On disk when it returns.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self, pending: Option<&PendingRollback>) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Err(io::Error::other(
                "the file of pending rollbacks could not be opened at the start",
            ));
        };
        let mut page = [b' '; SIZE];
        page[SIZE - 1] = b'\n';
        if let Some(pending) = pending {
            let bounded = PendingRollback {
                actor: bounded(&pending.actor),
                reason: bounded(&pending.reason),
                ..pending.clone()
            };
            let text = serde_json::to_vec(&bounded)?;
            let place = page
                .get_mut(..text.len())
                .ok_or_else(|| io::Error::other("the reason is too long"))?;
            place.copy_from_slice(&text);
        }
        let _writing = self.writing.lock();
        file.write_all_at(&page, 0)?;
        file.sync_data()
    }
}

/// Opens the file with its full size, and reads it.
fn open(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    let file = regular_file::open_with(&mut options, path, Links::Refuse)?;
    let text = regular_file::read_all(&file, SIZE as u64)?;
    if text.len() < SIZE {
        let mut page = [b' '; SIZE];
        page[SIZE - 1] = b'\n';
        page[..text.len()].copy_from_slice(&text);
        file.write_all_at(&page, 0)?;
        file.sync_all()?;
        path.parent().map_or(Ok(()), regular_file::sync_folder)?;
    }
    Ok((file, text))
}

/// JSON may need six bytes for one.
fn bounded(text: &str) -> String {
    let mut bytes = 0;
    let fits = |char: &char| {
        bytes += if char.is_control() || ['"', '\\'].contains(char) {
            6
        } else {
            char.len_utf8()
        };
        bytes <= MAX_TEXT
    };
    text.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(reason: &str) -> PendingRollback {
        PendingRollback {
            command: Uuid::from_u128(7),
            actor: "ann".into(),
            reason: reason.into(),
            at: DateTime::UNIX_EPOCH,
            is_fresh: false,
        }
    }

    #[test]
    fn a_rollback_survives_a_restart_until_it_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rollback.pending");
        let open = || PendingFile::open(&path, DateTime::UNIX_EPOCH);
        let (file, none) = open();
        assert_eq!(none, None);
        file.write(Some(&pending("slow"))).unwrap();
        assert_eq!(open().1, Some(pending("slow")));
        file.write(None).unwrap();
        assert_eq!(open().1, None);
    }

    #[test]
    fn any_reason_fits_and_a_torn_file_counts_as_a_rollback() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rollback.pending");
        let (file, _) = PendingFile::open(&path, DateTime::UNIX_EPOCH);
        for reason in ["\u{1}".repeat(9_000), "ü\"".repeat(9_000), "x".repeat(9_000)] {
            file.write(Some(&pending(&reason))).unwrap();
            let (_, read) = PendingFile::open(&path, DateTime::UNIX_EPOCH);
            assert!(reason.starts_with(&read.unwrap().reason));
        }
        file.file.as_ref().unwrap().write_all_at(b"   ", 0).unwrap();
        let (_, torn) = PendingFile::open(&path, DateTime::UNIX_EPOCH);
        assert_eq!(torn.unwrap().actor, "unknown");
    }
}

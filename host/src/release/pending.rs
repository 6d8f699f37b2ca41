//! Rollbacks that act on this gateway and are not in the database yet, kept on disk, so that a
//! restart neither undoes nor forgets them.
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
const MAX_TEXT: usize = 200;

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
    /// [`Seen::rewrites`](super::Seen) when it was asked for; `None`: it was left by an earlier run, which
    /// may have recorded it.
    #[serde(skip)]
    pub seen: Option<u64>,
}

/// The file.
pub(super) struct PendingFile {
    /// `None`: it cannot be used, and rollbacks are kept in memory alone.
    file: Option<File>,
    /// Held while it is written.
    writing: Mutex<()>,
}

impl PendingFile {
    /// Opens the file, makes it if it is missing, and reads what it holds. What cannot be read as
    /// rollbacks counts as one: it was written by one that did not end, or is not the gateway's file.
    pub(super) fn open(path: &Path, now: DateTime<Utc>) -> (PendingFile, Vec<PendingRollback>) {
        let unknown = |reason: String, of: &[u8]| PendingRollback {
            command: Uuid::new_v5(&Uuid::NAMESPACE_OID, of),
            actor: "unknown".to_owned(),
            reason: bounded(&reason),
            at: now,
            seen: None,
        };
        let (file, pending) = match open(path) {
            Ok((file, text)) => {
                let text = text.trim_ascii();
                let read = if text.is_empty() {
                    Ok(Vec::new())
                } else {
                    serde_json::from_slice(text)
                };
                let torn = |error| format!("a rollback was being written when the gateway ended: {error}");
                let pending = read.unwrap_or_else(|error| vec![unknown(torn(error), text)]);
                (Some(file), pending)
            }
            Err(error) => {
                let path = path.display();
                tracing::error!(
                    "database.spool_dir: {path} cannot be used: {error}; rollbacks are kept in memory alone, and one may have been in it"
                );
                // The same at each start, so that the ledger gets it once.
                let problem = format!("{path} cannot be used, and may have held a rollback: {error}");
                (None, vec![unknown(problem.clone(), problem.as_bytes())])
            }
        };
        let writing = Mutex::default();
        (PendingFile { file, writing }, pending)
    }

    /// Writes what `pending` gives: as many rollbacks as have room, the first ones first. It is asked
    /// while nobody else writes, so that the last writer writes the latest. On disk when it returns.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self, pending: impl FnOnce() -> Vec<PendingRollback>) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Err(io::Error::other(
                "the file of pending rollbacks could not be opened at the start",
            ));
        };
        let _writing = self.writing.lock();
        let mut kept: Vec<PendingRollback> = pending().iter().map(PendingRollback::bounded).collect();
        let mut page = [b' '; SIZE];
        page[SIZE - 1] = b'\n';
        while !kept.is_empty() {
            let text = serde_json::to_vec(&kept)?;
            if let Some(place) = page[..SIZE - 1].get_mut(..text.len()) {
                place.copy_from_slice(&text);
                break;
            }
            kept.pop();
        }
        file.write_all_at(&page, 0)?;
        file.sync_data()
    }
}

impl PendingRollback {
    fn bounded(&self) -> PendingRollback {
        PendingRollback {
            actor: bounded(&self.actor),
            reason: bounded(&self.reason),
            ..self.clone()
        }
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
            seen: None,
        }
    }

    #[test]
    fn rollbacks_survive_a_restart_until_they_are_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rollback.pending");
        let open = || PendingFile::open(&path, DateTime::UNIX_EPOCH);
        let (file, none) = open();
        assert_eq!(none, []);
        let both = || vec![pending("slow"), pending("wrong")];
        file.write(both).unwrap();
        assert_eq!(open().1, both());
        file.write(Vec::new).unwrap();
        assert_eq!(open().1, []);
    }

    #[test]
    fn any_reason_has_room_and_of_too_many_rollbacks_the_first_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rollback.pending");
        let (file, _) = PendingFile::open(&path, DateTime::UNIX_EPOCH);
        for reason in ["\u{1}".repeat(9_000), "ü\"".repeat(9_000), "x".repeat(9_000)] {
            file.write(|| vec![pending(&reason); 40]).unwrap();
            let (_, read) = PendingFile::open(&path, DateTime::UNIX_EPOCH);
            assert!(read.len() >= 8, "{}", read.len());
            assert!(reason.starts_with(&read[0].reason));
        }
    }

    #[test]
    fn what_cannot_be_read_counts_as_a_rollback_the_same_at_each_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rollback.pending");
        let (file, _) = PendingFile::open(&path, DateTime::UNIX_EPOCH);
        file.write(|| vec![pending("slow")]).unwrap();
        file.file.as_ref().unwrap().write_all_at(b"   ", 0).unwrap();
        let open = |path: &Path| PendingFile::open(path, DateTime::UNIX_EPOCH).1;
        let too_long = folder.path().join("too_long");
        std::fs::write(&too_long, [b' '; SIZE + 1]).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&too_long, &link).unwrap();
        for path in [&path, &too_long, &link, folder.path()] {
            let [rollback] = &open(path)[..] else {
                panic!("{} counts as a rollback", path.display())
            };
            assert_eq!(
                (rollback.actor.as_str(), rollback.command),
                ("unknown", open(path)[0].command)
            );
        }
    }
}

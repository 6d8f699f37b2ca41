//! The files of a database on disk: their identity and their permissions.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The database, its write-ahead log, and the log's index.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];
const WAL: usize = 1;

/// The identity of the files at a database's paths. After a file is deleted or replaced, an open
/// connection still writes to the old one, which nobody else finds. The files are not opened for
/// this check: closing any of them would release SQLite's own locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Files([Option<Id>; SUFFIXES.len()]);

/// Device and inode. While a file is open, no other file gets the same ones.
type Id = (u64, u64);

impl Files {
    pub(super) fn at(database: &str) -> Files {
        Files(SUFFIXES.map(|suffix| id(&beside(Path::new(database), suffix))))
    }

    /// Whether both are the same existing database file. The log is ignored: it comes and goes with
    /// the connections.
    pub(super) fn are_of(&self, other: &Files) -> bool {
        self.0[0].is_some() && self.0[0] == other.0[0]
    }

    /// Whether log and index exist too, as they do while a connection is open.
    pub(super) fn are_all_there(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }

    /// Renames the former database's log if it lies beside a new database: its pages do not belong
    /// to the new file.
    pub(super) fn disown_wal(&self, database: &str) {
        let now = Files::at(database);
        if now.0[0].is_none() || now.are_of(self) || now.0[WAL].is_none() || now.0[WAL] != self.0[WAL] {
            return;
        }
        let wal = beside(Path::new(database), SUFFIXES[WAL]);
        let aside = beside(Path::new(database), "-wal.orphan");
        match fs::rename(&wal, &aside) {
            Ok(()) => tracing::warn!(path = %aside.display(), "the former database's log is set aside"),
            Err(error) => tracing::error!(path = %wal.display(), %error, "the former database's log stays"),
        }
    }
}

/// Whether the path holds a regular file that is not empty, and so perhaps a database.
pub(super) fn may_be_a_database(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
}

/// Restricts the database's files to their owner. A missing file is made here, because SQLite would
/// make it readable to others. SQLite gives the log and its index the database's mode.
pub(super) fn make_private(database: &Path) -> io::Result<()> {
    if !database.exists() {
        let made = fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(database);
        made.map(drop).or_else(|error| match error.kind() {
            // Another program was quicker.
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        })?;
    }
    if !fs::metadata(database)?.is_file() {
        // SQLite would block on a FIFO.
        let said = "it is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, said));
    }
    // Log and index lie beside the file itself, not beside a link to it.
    let database = database.canonicalize()?;
    for path in SUFFIXES.map(|suffix| beside(&database, suffix)) {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let mode = metadata.permissions().mode() & 0o777;
        if !metadata.is_file() || mode & 0o077 == 0 {
            continue;
        }
        let made = fs::set_permissions(&path, Permissions::from_mode(0o600));
        let (path, mode) = (path.display(), format!("{mode:o}"));
        match made {
            Ok(()) => tracing::warn!(%path, mode, "others could read or write the database; now its owner alone can"),
            Err(error) => tracing::warn!(%path, mode, %error, "others can read or write the database"),
        }
    }
    Ok(())
}

fn id(path: &Path) -> Option<Id> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(database);
    path.push(suffix);
    PathBuf::from(path)
}

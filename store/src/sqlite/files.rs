//! The files of a database on disk: which ones they are, and who may read them.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The database, its write-ahead log, and the index of that.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];
const WAL: usize = 1;

/// Which files lie at the paths of a database: a file that was deleted or replaced is written to as before by whoever has
/// it open, and found by nobody else. They are not opened to tell: closing any file of the database would let go of
/// SQLite's own locks on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Files([Option<Id>; SUFFIXES.len()]);

/// Device and inode: never those of another file while this one is open.
type Id = (u64, u64);

impl Files {
    pub(super) fn at(database: &str) -> Files {
        Files(SUFFIXES.map(|suffix| id(&beside(Path::new(database), suffix))))
    }

    /// Whether both are of one database; its log comes and goes with those who use it.
    pub(super) fn are_of(&self, other: &Files) -> bool {
        self.0[0].is_some() && self.0[0] == other.0[0]
    }

    /// Whether log and index are there as well, as they are while a connection is open.
    pub(super) fn are_all_there(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }

    /// Takes the log of the database that was here away from the one that is: its pages are the former's.
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

/// Whether what is at the path of a database may be one: a file that is not empty.
pub(super) fn may_be_a_database(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
}

/// Lets the owner alone read and write the database. A new one is made here, because SQLite would make it readable to
/// others; what SQLite adds later has the mode of the database.
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
        // SQLite would wait for a FIFO.
        let said = "it is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, said));
    }
    // Beside the file, not beside a link to it.
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

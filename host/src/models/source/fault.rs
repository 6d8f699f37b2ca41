//! What every kind of place answers with, and how long it may take.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// For one answer of the store; the watch will ask again.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// An object of a version: its name, its size, and what changes when it does.
pub(crate) type Published = (String, u64, String);

/// Why a place did not give what it was asked for.
pub(super) enum Fault {
    Away(String),
    Absent,
    TooLarge,
    /// What stands in a file's place.
    NoFile(String),
    Disk {
        path: PathBuf,
        source: io::Error,
    },
}

impl Fault {
    pub(super) fn away(error: io::Error) -> Fault {
        Fault::Away(error.to_string())
    }
}

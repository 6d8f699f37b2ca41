//! The failures that every kind of source has, and the time limit of a response.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Time limit of one response from the store. The watch tries again later.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A file of a version: its name, its size in bytes, and a text that changes when the file does.
pub(crate) type PublishedFile = (String, u64, String);

/// Why a request to the source failed.
pub(super) enum Fault {
    /// The source cannot be read, for this reason.
    Unavailable(String),
    /// There is no such file.
    Absent,
    /// The version exceeds the limit of bytes.
    TooLarge,
    /// Something other than a regular file; the text says what.
    NotAFile(String),
    /// A file cannot be written here.
    Disk { path: PathBuf, source: io::Error },
}

impl Fault {
    pub(super) fn unavailable(error: io::Error) -> Fault {
        Fault::Unavailable(error.to_string())
    }
}

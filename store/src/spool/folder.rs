//! The names in the spool's folder.

use std::ffi::OsString;
use std::io;
use std::path::Path;

const EXTENSION: &str = "spool";
/// Of a file with damage, once its records are in the database.
pub(super) const DAMAGED: &str = "damaged";
/// Of version 0.1: what a crash had left behind a file's last whole line.
const TORN: &str = "torn";
/// Digits of a file's number, which is its name.
const DIGITS: usize = 20;
pub(super) const LOCK: &str = "lock";
/// Where records go that the database rejects as invalid.
pub(super) const REFUSED: &str = "refused.ndjson";

/// Where a gateway keeps a rollback that the database does not have yet.
pub const PENDING_ROLLBACK: &str = "rollback.pending";

/// Where a gateway keeps how far it has followed the release record.
pub const FOLLOWED_RECORD: &str = "record.followed";

/// Where a gateway keeps whose records in the queue of the event bus are its own.
pub const BUS_OWNER: &str = "bus.owner";

/// Damaged parts of a file that are named in the log, and other files of the folder.
pub(super) const MOST_NAMED: usize = 10;

/// What a folder holds besides the lock.
pub(super) struct Folder {
    /// The numbers of the files with records, oldest first.
    pub spooled: Vec<u64>,
    /// Larger than the number of any file, also of those that are done with.
    pub next: u64,
    /// Names that are not the spool's.
    others: Vec<OsString>,
}

impl Folder {
    pub(super) fn read(dir: &Path) -> io::Result<Folder> {
        let (mut spooled, mut next, mut others) = (Vec::new(), 0, Vec::new());
        for entry in std::fs::read_dir(dir)? {
            let name = entry?.file_name();
            match name.to_str().and_then(number) {
                Some((number, extension)) => {
                    next = next.max(number + 1);
                    spooled.extend((extension == EXTENSION).then_some(number));
                }
                None if [LOCK, REFUSED, PENDING_ROLLBACK, FOLLOWED_RECORD, BUS_OWNER]
                    .iter()
                    .any(|own| name == *own) => {}
                None => others.push(name),
            }
        }
        spooled.sort_unstable();
        Ok(Folder { spooled, next, others })
    }

    pub(super) fn name_others(&self, dir: &Path) {
        if !self.others.is_empty() {
            let (count, names) = (self.others.len(), &self.others[..self.others.len().min(MOST_NAMED)]);
            tracing::warn!(dir = %dir.display(), count, ?names, "files that are not the spool's are left alone");
        }
    }
}

/// The number and the extension of a name that is the spool's.
fn number(name: &str) -> Option<(u64, &str)> {
    let (digits, extension) = name.split_once('.')?;
    let is_number = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_ours = is_number && [EXTENSION, DAMAGED, TORN].contains(&extension);
    // Numbers must go on behind it.
    let number = digits.parse().ok().filter(|number| *number < u64::MAX / 2)?;
    is_ours.then_some((number, extension))
}

/// The name of a file with records.
pub(super) fn name(number: u64) -> String {
    format!("{number:0DIGITS$}.{EXTENSION}")
}

//! What lies in a folder of models, and which of it is newer than what serves.
//!
//! People and programs leave other things there: notes, copies, folders that are half written. None of it may hide a
//! version, so each entry is looked at by itself, and what is passed over is told with its reason.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use serde::Serialize;

use super::{MANIFEST, is_plain_name};

/// Versions that are kept of a listing: the newest. More of them, with a manifest each, nobody has.
const MOST_VERSIONS: usize = 10_000;
/// Entries that are told, of those that were passed over.
const MOST_TOLD: usize = 50;
const MOST_CHARS: usize = 80;

/// Which of two versions is the newer one.
///
/// A publisher names a version by its time, `YYYYMMDDTHHMMSSZ`. Every other name counts as older than those, so that
/// no folder which happens to be there, `old` or `zz`, is taken for the newest model; so does a time in the future,
/// which would stay the newest until it has come. Among themselves they are in the order of their bytes.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// The last time that is not in the future, as a version is named; `None`: no time is.
    horizon: Option<String>,
}

impl Order {
    /// An order in which times after `horizon` (`YYYYMMDDTHHMMSSZ`) count as future ones. `None`:
    /// no time does.
    pub fn until(horizon: Option<String>) -> Order {
        Order { horizon }
    }

    /// What to compare in place of the names.
    pub fn key<'n>(&self, name: &'n str) -> (bool, &'n str) {
        (is_time(name) && !self.is_future(name), name)
    }

    fn is_future(&self, name: &str) -> bool {
        self.horizon.as_deref().is_some_and(|horizon| name > horizon)
    }

    /// Whether `name` is newer than `than`.
    pub fn is_newer(&self, name: &str, than: Option<&str>) -> bool {
        than.is_none_or(|than| self.key(name) > self.key(than))
    }

    /// Why a version is not among the newer ones though it is not simply an older one.
    pub fn oddity(&self, name: &str) -> Option<&'static str> {
        if !is_time(name) {
            Some("not named by its time (YYYYMMDDTHHMMSSZ), so it counts as older; POST /models/notify loads it")
        } else if self.is_future(name) {
            Some("its time is in the future, so it counts as older; POST /models/notify loads it")
        } else {
            None
        }
    }
}

/// Whether a name is `YYYYMMDDTHHMMSSZ`.
fn is_time(name: &str) -> bool {
    let number = |from: usize, to: usize| name.get(from..to).and_then(|digits| digits.parse::<u32>().ok());
    let shaped = name.bytes().enumerate().all(|(at, byte)| match at {
        8 => byte == b'T',
        15 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    });
    name.len() == 16
        && shaped
        && number(4, 6).is_some_and(|month| (1..=12).contains(&month))
        && number(6, 8).is_some_and(|day| (1..=31).contains(&day))
        && number(9, 11).is_some_and(|hour| hour < 24)
        && number(11, 13).is_some_and(|minute| minute < 60)
        && number(13, 15).is_some_and(|second| second <= 60)
}

/// The versions that may be loaded, and what else was found.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The newest first.
    pub versions: Vec<String>,
    /// Entries that are no version, and versions with an odd name or time. A version that is simply
    /// older is not among them.
    pub skipped: Skipped,
}

/// Entries that were passed over: the first of them, and how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The first 50, in the order they were found.
    pub entries: Vec<SkippedEntry>,
    /// How many more were passed over.
    pub more: u64,
}

/// One entry that was passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SkippedEntry {
    /// Its name, cut to 80 characters.
    pub name: String,
    /// Why it was passed over, in words, for example `not a folder`.
    pub reason: String,
}

impl Skipped {
    /// Keeps an entry, or counts it.
    pub fn note(&mut self, name: &str, reason: impl Into<String>) {
        if self.entries.len() < MOST_TOLD {
            self.entries.push(SkippedEntry {
                name: name.chars().take(MOST_CHARS).collect(),
                reason: reason.into(),
            });
        } else {
            self.more += 1;
        }
    }

    /// With what was passed over elsewhere.
    pub fn and(mut self, other: Skipped) -> Skipped {
        for entry in other.entries {
            self.note(&entry.name, entry.reason);
        }
        self.more += other.more;
        self
    }
}

/// Collects the newest versions of a listing of any length.
pub struct Newest<'o> {
    order: &'o Order,
    above: Option<&'o str>,
    found: BinaryHeap<Reverse<(bool, String)>>,
    skipped: Skipped,
}

impl<'o> Newest<'o> {
    /// Of the versions newer than `above`.
    pub fn new(order: &'o Order, above: Option<&'o str>) -> Newest<'o> {
        Newest {
            order,
            above,
            found: BinaryHeap::new(),
            skipped: Skipped::default(),
        }
    }

    /// Notes an entry that is passed over: see [`Skipped::note`].
    pub fn skip(&mut self, name: &str, reason: impl Into<String>) {
        self.skipped.note(name, reason);
    }

    /// Whether a folder of that name is one to look into; if not, that is told where it is odd.
    pub fn wants(&mut self, name: &str) -> bool {
        if !is_plain_name(name) {
            self.skip(name, "not a version's name; allowed: 1 to 64 of A-Z a-z 0-9 . _ -");
            return false;
        }
        let newer = self.order.is_newer(name, self.above);
        if !newer
            && self.above != Some(name)
            && let Some(oddity) = self.order.oddity(name)
        {
            self.skip(name, oddity);
        }
        newer
    }

    /// Takes a version that is wanted.
    pub fn take(&mut self, name: &str) {
        let (dated, name) = self.order.key(name);
        self.found.push(Reverse((dated, name.to_owned())));
        if self.found.len() > MOST_VERSIONS
            && let Some(Reverse((_, oldest))) = self.found.pop()
        {
            self.skip(&oldest, format!("there are more than {MOST_VERSIONS} newer ones"));
        }
    }

    /// The versions taken, newest first and at most 10,000, and what was passed over.
    pub fn listing(self) -> Listing {
        Listing {
            // Reversed, so that ascending is the newest first.
            versions: self
                .found
                .into_sorted_vec()
                .into_iter()
                .map(|Reverse((_, name))| name)
                .collect(),
            skipped: self.skipped,
        }
    }
}

/// The versions in a folder that are newer than `above`, the newest first; none where there is no such folder. Hidden
/// entries, as drafts are, are not even told. What has no manifest is no version yet.
///
/// # Errors
/// A folder that cannot be read at all.
pub fn newer(models_dir: &Path, order: &Order, above: Option<&str>) -> io::Result<Listing> {
    let entries = match fs::read_dir(models_dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Listing::default()),
        entries => entries?,
    };
    let mut newest = Newest::new(order, above);
    for entry in entries {
        // After an error there may be no end of them.
        let Ok(entry) = entry.inspect_err(|error| newest.skip("(the rest)", error.to_string())) else {
            break;
        };
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let shown = name.to_string_lossy();
        match folder(&entry) {
            Err(reason) => newest.skip(&shown, reason),
            Ok(()) if !newest.wants(&shown) => {}
            Ok(()) if is_missing(&entry, MANIFEST.as_ref()) => {
                newest.skip(&shown, format!("there is no {MANIFEST} in it"));
            }
            Ok(()) => newest.take(&shown),
        }
    }
    Ok(newest.listing())
}

/// The published versions, in ascending order.
///
/// # Errors
/// As [`newer`].
pub fn versions(models_dir: &Path) -> io::Result<Vec<String>> {
    let mut versions = newer(models_dir, &Order::default(), None)?.versions;
    versions.reverse();
    Ok(versions)
}

/// Whether an entry is a folder, or a link to one.
fn folder(entry: &DirEntry) -> Result<(), String> {
    let kind = entry.file_type().map_err(|error| error.to_string())?;
    if kind.is_dir() {
        return Ok(());
    }
    if !kind.is_symlink() {
        return Err("not a folder".to_owned());
    }
    match fs::metadata(entry.path()) {
        Ok(target) if target.is_dir() => Ok(()),
        Ok(_) => Err("a link to something that is not a folder".to_owned()),
        Err(error) => Err(format!("a link that leads nowhere: {error}")),
    }
}

fn is_missing(entry: &DirEntry, name: &OsStr) -> bool {
    let found = fs::symlink_metadata(entry.path().join(name));
    found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

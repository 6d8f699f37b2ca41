//! Versions that were tried, so that one that was refused is tried again only when it has changed.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use runtime::artefact::Skipped;

use super::loader::{FilePrint, Refusal};

/// After which a version that took too long is tried again: the machine may have been too busy for a good one.
const AGAIN: Duration = Duration::from_secs(600);

/// By version: its files, and when it is tried again though they are the same.
type Prints = HashMap<String, (FilePrint, Option<Instant>)>;

/// The versions that were tried, with their files as they were then: one that was refused is tried again only when
/// it has changed, or, if it took too long, after [`AGAIN`].
#[derive(Default)]
pub struct Tried {
    prints: Mutex<Prints>,
    skipped: Mutex<Skipped>,
}

impl Tried {
    /// Remembers that `version` was tried while its files were as in `print`; `refusal` is `None`
    /// if it was loaded.
    pub fn insert(&self, version: &str, print: FilePrint, refusal: Option<&Refusal>) {
        let passes = refusal.is_some_and(Refusal::is_matter_of_time);
        let again = passes.then(|| Instant::now() + AGAIN);
        self.prints().insert(version.to_owned(), (print, again));
    }

    /// Forgets a version, so that it is tried again.
    pub fn forget(&self, version: &str) {
        self.prints().remove(version);
    }

    /// Whether another try would end as before: the files of `version` were tried as in `print`,
    /// and no retry is due.
    pub fn has(&self, version: &str, print: &FilePrint) -> bool {
        let prints = self.prints();
        let tried = prints.get(version).filter(|(tried, _)| tried == print);
        tried.is_some_and(|(_, again)| again.is_none_or(|again| Instant::now() < again))
    }

    /// Forgets what is no longer there to be tried.
    pub fn keep(&self, versions: &[String]) {
        let versions: HashSet<&String> = versions.iter().collect();
        self.prints().retain(|version, _| versions.contains(version));
    }

    /// Keeps what the last search for newer models passed over.
    pub fn show(&self, skipped: Skipped) {
        *self.skipped.lock() = skipped;
    }

    /// What the last search for newer models passed over.
    pub fn skipped(&self) -> Skipped {
        self.skipped.lock().clone()
    }

    fn prints(&self) -> MutexGuard<'_, Prints> {
        self.prints.lock()
    }
}

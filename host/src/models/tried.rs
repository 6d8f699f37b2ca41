//! Remembers which versions were tried, so that a refused one is tried again only after it has
//! changed.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use runtime::artefact::Skipped;

use super::loader::{FileFingerprint, Refusal};

/// A version that took too long is tried again after this time: the machine may have been too busy
/// for a good one.
const RETRY_AFTER: Duration = Duration::from_secs(600);

/// By version: the fingerprint of its files, and when it is tried again even if they are unchanged.
type Fingerprints = HashMap<String, (FileFingerprint, Option<Instant>)>;

/// The tried versions and the fingerprints of their files. A refused version is tried again once it
/// has changed, or after ten minutes if it took too long.
#[derive(Default)]
pub struct Tried {
    fingerprints: Mutex<Fingerprints>,
    skipped: Mutex<Skipped>,
}

impl Tried {
    /// Remembers that `version` was tried with this fingerprint; `refusal` is `None` if it was
    /// loaded.
    pub fn insert(&self, version: &str, fingerprint: FileFingerprint, refusal: Option<&Refusal>) {
        let is_transient = refusal.is_some_and(|refusal| refusal.is_transient);
        let retry_at = is_transient.then(|| Instant::now() + RETRY_AFTER);
        self.fingerprints().insert(version.to_owned(), (fingerprint, retry_at));
    }

    /// Forgets a version, so that it is tried again.
    pub fn forget(&self, version: &str) {
        self.fingerprints().remove(version);
    }

    /// Whether another try would end as before: `version` was tried with this fingerprint, and no
    /// retry is due.
    pub fn has(&self, version: &str, fingerprint: &FileFingerprint) -> bool {
        let fingerprints = self.fingerprints();
        let tried = fingerprints.get(version).filter(|(tried, _)| tried == fingerprint);
        tried.is_some_and(|(_, retry_at)| retry_at.is_none_or(|retry_at| Instant::now() < retry_at))
    }

    /// Forgets all versions except these.
    pub fn keep(&self, versions: &[String]) {
        let versions: HashSet<&String> = versions.iter().collect();
        self.fingerprints().retain(|version, _| versions.contains(version));
    }

    /// Stores the entries that the last search for newer models skipped.
    pub fn set_skipped(&self, skipped: Skipped) {
        *self.skipped.lock() = skipped;
    }

    /// The entries that the last search for newer models skipped.
    pub fn skipped(&self) -> Skipped {
        self.skipped.lock().clone()
    }

    fn fingerprints(&self) -> MutexGuard<'_, Fingerprints> {
        self.fingerprints.lock()
    }
}

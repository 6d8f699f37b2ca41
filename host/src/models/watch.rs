//! The watch over the models' directory and source: what is published is found even where nobody tells. It looks from
//! time to time, because neither file systems over a network nor object stores tell either.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use runtime::artefact::Skipped;

use super::load::FilePrint;
use super::{Refusal, Serving, Trigger};
use crate::gateway::Gateway;

/// Loads of one look, or of a start. What is left has its turn at the next look: a look that never ended would not see
/// what is published meanwhile.
pub const MOST_LOADS: usize = 16;

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
    pub fn insert(&self, version: &str, print: FilePrint, refusal: Option<&Refusal>) {
        let passes = refusal.is_some_and(Refusal::is_matter_of_time);
        let again = passes.then(|| Instant::now() + AGAIN);
        self.prints().insert(version.to_owned(), (print, again));
    }

    pub fn forget(&self, version: &str) {
        self.prints().remove(version);
    }

    pub fn has(&self, version: &str, print: &FilePrint) -> bool {
        let prints = self.prints();
        let tried = prints.get(version).filter(|(tried, _)| tried == print);
        tried.is_some_and(|(_, again)| again.is_none_or(|again| Instant::now() < again))
    }

    /// Forgets what is no longer there to be tried.
    fn keep(&self, versions: &[String]) {
        let versions: HashSet<&String> = versions.iter().collect();
        self.prints().retain(|version, _| versions.contains(version));
    }

    /// Keeps what the last search for newer models passed over.
    pub fn show(&self, skipped: Skipped) {
        *self.skipped.lock().unwrap_or_else(PoisonError::into_inner) = skipped;
    }

    /// What the last search for newer models passed over.
    pub fn skipped(&self) -> Skipped {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn prints(&self) -> MutexGuard<'_, Prints> {
        self.prints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks now, and every `pause` for as long as the gateway lives.
pub fn watch(gateway: &Arc<Gateway>, pause: Duration) {
    let weak = Arc::downgrade(gateway);
    tokio::spawn(async move {
        loop {
            let Some(gateway) = weak.upgrade() else { return };
            look(&gateway).await;
            drop(gateway);
            tokio::time::sleep(pause).await;
        }
    });
}

/// Tries a champion that could not be loaded before; then what is newer than every model on record, from the newest
/// down, until one is loaded. What was tried as it is, is not tried again. What became of them is in `GET /models`.
pub async fn look(gateway: &Gateway) {
    let serving = gateway.models.serving();
    let known = newest_of(gateway, &serving);
    let lost = serving.lost.clone();
    drop(serving);
    if let Some(champion) = &lost {
        try_anew(gateway, champion).await;
    }
    let mut found = gateway.loader.newer(known.as_deref()).await;
    let mut loads = 0;
    for version in &found.versions {
        match try_anew(gateway, version).await {
            Try::Loaded => break,
            Try::Gone => {}
            Try::Unchanged => {
                let reason = "refused, and unchanged since; see refused, or the log";
                found.skipped.note(version, reason);
            }
            Try::Refused => loads += 1,
        }
        if loads == MOST_LOADS {
            break;
        }
    }
    gateway.tried.show(found.skipped);
    found.versions.extend(lost);
    gateway.tried.keep(&found.versions);
}

/// The newest version on record: loaded, or promoted and lost.
fn newest_of(gateway: &Gateway, serving: &Serving) -> Option<String> {
    let order = gateway.loader.order();
    let loaded = serving.slots().into_iter().filter_map(|(_, model)| model.as_ref());
    let known = loaded.map(|model| &model.version).chain(&serving.lost);
    known.max_by(|a, b| order.key(a).cmp(&order.key(b))).cloned()
}

enum Try {
    Loaded,
    /// A refusal has been logged and remembered.
    Refused,
    Unchanged,
    Gone,
}

async fn try_anew(gateway: &Gateway, version: &str) -> Try {
    let Some(print) = gateway.loader.print_of(version).await else {
        return Try::Gone;
    };
    if gateway.tried.has(version, &print) {
        return Try::Unchanged;
    }
    match gateway.challenge(version, Trigger::Watch).await {
        Ok(()) => Try::Loaded,
        Err(_) => Try::Refused,
    }
}

//! The watch: looks for new versions in the models directory and at the source, in case nobody
//! notifies the gateway. It polls, because network file systems and object stores report no
//! changes.

use std::sync::Arc;
use std::time::Duration;

use super::controller::{Controller, MAX_LOADS};
use crate::models::{Serving, Trigger};

/// Looks now, and after every `pause` as long as the controller lives.
pub fn watch(controller: &Arc<Controller>, pause: Duration) {
    let weak = Arc::downgrade(controller);
    tokio::spawn(async move {
        loop {
            let Some(controller) = weak.upgrade() else { return };
            look(&controller).await;
            drop(controller);
            tokio::time::sleep(pause).await;
        }
    });
}

/// Looks once. Tries the lost champion, then the versions newer than every loaded model, from the
/// newest down, until one is loaded. Refused versions that have not changed are skipped.
/// `GET /models` shows the outcome.
pub async fn look(controller: &Controller) {
    let serving = controller.models.serving();
    let known = newest_of(controller, &serving);
    let lost = serving.lost.clone();
    drop(serving);
    if let Some(champion) = &lost {
        try_if_changed(controller, champion).await;
    }
    let mut found = controller.loader.newer(known.as_deref()).await;
    let mut loads = 0;
    for version in &found.versions {
        match try_if_changed(controller, version).await {
            TryOutcome::Loaded => break,
            TryOutcome::Gone => {}
            TryOutcome::Unchanged => {
                let reason = "refused and unchanged since; see `refused` or the log";
                found.skipped.note(version, reason);
            }
            TryOutcome::Refused => loads += 1,
        }
        if loads == MAX_LOADS {
            break;
        }
    }
    controller.tried.set_skipped(found.skipped);
    found.versions.extend(lost);
    controller.tried.keep(&found.versions);
}

/// The newest version that is loaded, or was promoted and lost.
fn newest_of(controller: &Controller, serving: &Serving) -> Option<String> {
    let order = controller.loader.order();
    let loaded = serving.slots().into_iter().filter_map(|(_, model)| model.as_ref());
    let known = loaded.map(|model| &model.version).chain(&serving.lost);
    known.max_by(|a, b| order.key(a).cmp(&order.key(b))).cloned()
}

/// What became of one version.
enum TryOutcome {
    Loaded,
    /// The refusal is logged and remembered already.
    Refused,
    /// Tried before, and unchanged since.
    Unchanged,
    /// There is no such version any more.
    Gone,
}

/// Loads a version, unless it was tried before and is unchanged.
async fn try_if_changed(controller: &Controller, version: &str) -> TryOutcome {
    let Some(fingerprint) = controller.loader.fingerprint_of(version).await else {
        return TryOutcome::Gone;
    };
    if controller.tried.has(version, &fingerprint) {
        return TryOutcome::Unchanged;
    }
    match controller.challenge(version, Trigger::Watch).await {
        Ok(()) => TryOutcome::Loaded,
        Err(_) => TryOutcome::Refused,
    }
}

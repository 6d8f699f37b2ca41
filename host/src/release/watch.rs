//! The watch over the models' directory and source: what is published is found even where nobody tells. It looks from
//! time to time, because neither file systems over a network nor object stores tell either.

use std::sync::Arc;
use std::time::Duration;

use super::controller::{Controller, MOST_LOADS};
use crate::models::{Serving, Trigger};

/// Looks now, and every `pause` for as long as the controller lives.
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

/// Tries a champion that could not be loaded before; then what is newer than every model on record, from the newest
/// down, until one is loaded. What was tried as it is, is not tried again. What became of them is in `GET /models`.
pub async fn look(controller: &Controller) {
    let serving = controller.models.serving();
    let known = newest_of(controller, &serving);
    let lost = serving.lost.clone();
    drop(serving);
    if let Some(champion) = &lost {
        try_anew(controller, champion).await;
    }
    let mut found = controller.loader.newer(known.as_deref()).await;
    let mut loads = 0;
    for version in &found.versions {
        match try_anew(controller, version).await {
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
    controller.tried.show(found.skipped);
    found.versions.extend(lost);
    controller.tried.keep(&found.versions);
}

/// The newest version on record: loaded, or promoted and lost.
fn newest_of(controller: &Controller, serving: &Serving) -> Option<String> {
    let order = controller.loader.order();
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

async fn try_anew(controller: &Controller, version: &str) -> Try {
    let Some(print) = controller.loader.print_of(version).await else {
        return Try::Gone;
    };
    if controller.tried.has(version, &print) {
        return Try::Unchanged;
    }
    match controller.challenge(version, Trigger::Watch).await {
        Ok(()) => Try::Loaded,
        Err(_) => Try::Refused,
    }
}

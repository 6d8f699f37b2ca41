//! The watch over the models' directory and source: what is published is found even where nobody tells. It looks from
//! time to time, because neither file systems over a network nor object stores tell either.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Trigger;
use super::load::FilePrint;
use crate::gateway::Gateway;

/// The versions that were tried, with their files as they were then: one that was refused is tried again only when
/// it has changed.
#[derive(Default)]
pub struct Tried(Mutex<HashMap<String, FilePrint>>);

impl Tried {
    pub fn insert(&self, version: &str, print: FilePrint) {
        let mut tried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tried.insert(version.to_owned(), print);
    }

    pub fn forget(&self, version: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(version);
    }

    pub fn has(&self, version: &str, print: &FilePrint) -> bool {
        let tried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tried.get(version) == Some(print)
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

/// Loads the newest publication, if it is newer than every model that is loaded, and a champion that could not be
/// loaded before; neither, if it was tried as it is. What became of them is in `GET /models`.
pub async fn look(gateway: &Gateway) {
    let serving = gateway.models.serving();
    let loaded = serving.slots().into_iter().filter_map(|(_, model)| model.as_ref());
    let known = loaded.map(|model| model.version.clone()).max();
    let lost = serving.lost.clone();
    drop(serving);
    let newer = gateway
        .loader
        .newest()
        .await
        .filter(|newest| known.as_ref() < Some(newest));
    for version in lost.into_iter().chain(newer) {
        let Some(print) = gateway.loader.print_of(&version).await else {
            continue;
        };
        if !gateway.tried.has(&version, &print) {
            // A refusal has been logged and remembered.
            let _ = gateway.challenge(&version, Trigger::Watch).await;
        }
    }
}

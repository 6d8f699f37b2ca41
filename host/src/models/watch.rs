//! The watch over the models' directory: what is published is found even where nobody tells. It looks from time to
//! time, because file systems over a network do not tell either.

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

/// Looks every `pause` for as long as the gateway lives.
pub fn watch(gateway: &Arc<Gateway>, pause: Duration) {
    let weak = Arc::downgrade(gateway);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(pause).await;
            let Some(gateway) = weak.upgrade() else { return };
            look(&gateway).await;
        }
    });
}

/// Makes the newest publication the challenger, if it is newer than every model that is loaded and was not tried
/// as it is. What became of it is in `GET /models`.
pub async fn look(gateway: &Gateway) {
    let loader = gateway.loader.clone();
    let found = tokio::task::spawn_blocking(move || {
        let newest = loader.newest()?;
        let print = loader.print_of(&newest)?;
        Some((newest, print))
    });
    let Some((newest, print)) = found.await.ok().flatten() else {
        return;
    };
    let serving = gateway.models.serving();
    let loaded = serving.slots().into_iter().filter_map(|(_, model)| model.as_ref());
    let known = loaded.map(|model| &model.version).max();
    if known < Some(&newest) && !gateway.tried.has(&newest, &print) {
        // A refusal has been logged and remembered.
        let _ = gateway.challenge(&newest, Trigger::Watch).await;
    }
}

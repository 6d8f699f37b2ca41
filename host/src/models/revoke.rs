//! Unloads serving models that the key ring no longer trusts.

use runtime::artefact::KeyRing;

use super::loader::Refusal;
use super::registry::Models;
use crate::http::clock::wall;

impl Models {
    /// Unloads every model whose key `ring` revokes or does not have. Requests in progress keep
    /// their model. An unloaded champion counts as lost: legacy answers, and the challenger does
    /// not take its place.
    pub fn unload_untrusted(&self, ring: &KeyRing) {
        let mut serving = (*self.serving()).clone();
        let mut unloaded = Vec::new();
        for slot in [&mut serving.champion, &mut serving.challenger] {
            let Some(model) = slot else { continue };
            if let Err(distrust) = ring.vouches(model.signed_by)
                && distrust.ends_service()
            {
                let message = format!("unloaded while serving: {distrust}");
                unloaded.push(Refusal::new(&model.version, distrust.code(), message));
                *slot = None;
            }
        }
        if unloaded.is_empty() {
            return;
        }
        if serving.champion.is_none()
            && let Some(champion) = &self.serving().champion
        {
            serving.lost = Some(champion.version.clone());
        }
        self.swap(serving);
        for refusal in unloaded {
            self.record_refusal(refusal, wall());
        }
    }
}

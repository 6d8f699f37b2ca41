//! The key ring and the models that serve already: what it no longer vouches for is unloaded.

use runtime::artefact::KeyRing;

use super::loader::Refusal;
use super::registry::Models;
use crate::http::clock::wall;

impl Models {
    /// Unloads every model whose key `ring` revokes or does not have. Requests that are being answered keep theirs; then
    /// legacy answers, and what took the champion's place before it was promoted does not take it again.
    pub fn hold_to(&self, ring: &KeyRing) {
        let mut serving = (*self.serving()).clone();
        let mut unloaded = Vec::new();
        for slot in [&mut serving.champion, &mut serving.challenger] {
            let Some(model) = slot else { continue };
            if let Err(distrust) = ring.vouches(model.signed_by)
                && distrust.ends_service()
            {
                unloaded.push(Refusal {
                    version: model.version.clone(),
                    code: distrust.code(),
                    message: format!("it was loaded, and is unloaded: {distrust}"),
                });
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
            self.refuse(refusal, wall());
        }
    }
}

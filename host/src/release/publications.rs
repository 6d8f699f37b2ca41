//! Finds and loads published models: those that the state names, and newer ones, which are proposed
//! as challengers.
//!
//! It polls, because network file systems and object stores report no changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ranking::release::{Input, State};
use serde_json::{Value, json};
use store::StoreError;
use tokio::sync::OwnedSemaphorePermit;

use super::controller::{Controller, OrderError};
use crate::http::clock::wall;
use crate::models::{Model, Refusal, Trigger};

/// How long a start goes on trying newer models.
const RESTORE_BUDGET: Duration = Duration::from_secs(30);
/// Time limit for reading the key ring.
const KEY_RING_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of loads per start, and per look. Bounded, so that the next look sees new versions;
/// it tries the rest.
pub const MAX_LOADS: usize = 16;

impl Controller {
    /// Follows the state on record, and loads the models that it names. The newest version that can be
    /// loaded becomes the challenger, if it is newer than those on record: a gateway that lacks the
    /// challenger must not bring back an older one for the whole fleet.
    ///
    /// # Errors
    /// A database that cannot be used. A refused model is no error, nor is a record that cannot be read:
    /// legacy answers until it can, and both are logged.
    pub async fn restore(&self) -> Result<(), StoreError> {
        let _loading = self.loading.lock().await;
        match self.look().await {
            Ok(()) => {}
            Err(OrderError::Store(error)) => return Err(error),
            Err(error) => {
                tracing::error!("the rollout's record cannot be followed; legacy answers until it can: {error}");
                return Ok(());
            }
        }
        let state = self.state();
        let champion = state.as_ref().and_then(|state| state.champion.as_ref());
        if let Some(champion) = champion
            && let Ok(model) = self.load(&champion.model.version, Trigger::Start).await
        {
            // A refusal is logged and remembered.
            let _ = self.add_named(model).await;
        }
        if let Some(state) = &state
            && let Some(model) = self.load_first_good(state).await
        {
            match self.propose(model, Allowed::Newer).await {
                Err(Proposal::Store(error)) => return Err(error),
                // A refusal is logged and remembered.
                Err(Proposal::Refused(_)) | Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Loads the candidates of a start in order, until one can be loaded.
    async fn load_first_good(&self, state: &State) -> Option<Arc<Model>> {
        let start = Instant::now();
        let on_record = state.challenger.as_ref().map(|model| &model.version);
        for version in self.start_candidates(state).await {
            // Bad models must not delay readiness. The challenger on record is tried in any case.
            if start.elapsed() > RESTORE_BUDGET && on_record != Some(&version) {
                continue;
            }
            if let Ok(model) = self.load(&version, Trigger::Start).await {
                return Some(model);
            }
        }
        None
    }

    /// The versions to try at a start, in order. Later looks try the rest.
    async fn start_candidates(&self, state: &State) -> Vec<String> {
        let order = self.loader.order();
        let newest = versions_of(state).max_by(|a, b| order.key(a).cmp(&order.key(b)));
        let newer = self.loader.newer_here(newest).await;
        self.tried.set_skipped(newer.skipped);
        let mut versions = newer.versions;
        versions.truncate(MAX_LOADS);
        versions.extend(state.challenger.as_ref().map(|model| model.version.clone()));
        versions
    }

    /// Loads a version and proposes it as challenger. If the state names it already, it takes its
    /// place. A refusal leaves what serves as it is.
    ///
    /// # Errors
    /// Why the version was refused.
    pub async fn challenge(&self, version: &str, trigger: Trigger) -> Result<(), Refusal> {
        let _loading = self.loading.lock().await;
        self.load_and_propose(version, trigger, Allowed::Any).await
    }

    /// Like [`Controller::challenge`], but refuses versions older than the newest one that is
    /// loaded or on record, except those themselves. For anonymous callers, who must not bring back
    /// a replaced model.
    ///
    /// # Errors
    /// Those of [`Controller::challenge`], and `older_version`.
    pub async fn challenge_newer(&self, version: &str, trigger: Trigger) -> Result<(), Refusal> {
        let _loading = self.loading.lock().await;
        let looked = self.look().await;
        looked.map_err(|error| Refusal::new(version, "database", error.to_string()))?;
        let known = self.known_versions();
        let order = self.loader.order();
        match known.iter().max_by_key(|known| order.key(known)) {
            Some(newest) if order.key(version) < order.key(newest) && !known.iter().any(|known| known == version) => {
                let message = format!(
                    "it is older than {newest}; without access.tokens only newer versions may be loaded; configure a token with the role admin to load others"
                );
                Err(Refusal::new(version, "older_version", message))
            }
            _ => self.load_and_propose(version, trigger, Allowed::Newer).await,
        }
    }

    /// The versions that are loaded or on record.
    fn known_versions(&self) -> Vec<String> {
        let known = self.known.lock();
        let named = known.state.iter().flat_map(versions_of).map(str::to_owned);
        named.chain(known.loaded.keys().cloned()).collect()
    }

    /// The caller holds `loading`.
    async fn load_and_propose(&self, version: &str, trigger: Trigger, allowed: Allowed) -> Result<(), Refusal> {
        self.apply_key_ring().await;
        let is_named = self.state().is_some_and(|state| state.named(version).is_some());
        let is_missing = self.missing().iter().any(|model| model.version == version);
        if is_named && !is_missing {
            return Ok(());
        }
        let model = self.load(version, trigger).await?;
        if is_named {
            return self.add_named(model).await;
        }
        self.propose(model, allowed).await.map_err(|proposal| match proposal {
            Proposal::Refused(refusal) => refusal,
            Proposal::Store(error) => {
                self.tried.forget(version);
                Refusal::new(version, "database", error.to_string())
            }
        })?;
        tracing::info!(version, ?trigger, "a new challenger is loaded");
        Ok(())
    }

    /// Adds a model that the state names, unless its content is not the one on record: what was judged
    /// is what serves.
    async fn add_named(&self, model: Arc<Model>) -> Result<(), Refusal> {
        let (version, id) = (model.version.clone(), model.id());
        let on_record = self.state().and_then(|state| state.named(&version).cloned());
        if let Some(on_record) = on_record.as_ref().filter(|on_record| !on_record.is(&id)) {
            let refusal = other_content(&version, on_record.sha256.as_deref(), id.sha256.as_deref());
            self.models.record_refusal(refusal.clone(), wall());
            return Err(refusal);
        }
        let is_unknown = on_record.is_some_and(|on_record| on_record.sha256.is_none());
        self.add_model(model);
        tracing::info!(version, "a model that the rollout names is loaded");
        if is_unknown {
            // A former program named it. If this fails, the next load puts its content on record.
            let known = |_: &State| Ok(Some(Input::Published(id.clone())));
            if let Err(error) = self.submit(self.now(), None, None, known).await {
                tracing::warn!(version, "the content of the model is not on record yet: {error}");
            }
        }
        Ok(())
    }

    /// Proposes a loaded model as challenger. An older one than is on record changes nothing, unless any
    /// is allowed.
    async fn propose(&self, model: Arc<Model>, allowed: Allowed) -> Result<(), Proposal> {
        let (version, id) = (model.version.clone(), model.id());
        let published = match model.gate_bypassed_as.clone() {
            None => Input::Published(id),
            Some(name) => Input::Ungated(id, name),
        };
        let order = self.loader.order();
        // Looked at again for each attempt: another gateway may have proposed a newer one meanwhile.
        let is_older = |state: &State| versions_of(state).any(|known| order.key(known) > order.key(&version));
        // Before the state names it, so that it serves from the moment that it does.
        self.add_model(model);
        let proposed = self
            .submit(self.now(), None, None, |state| {
                let is_allowed = allowed == Allowed::Any || !is_older(state);
                Ok(is_allowed.then(|| published.clone()))
            })
            .await;
        self.forget_models(None);
        proposed.map(drop).map_err(|error| match error {
            OrderError::Store(error) => Proposal::Store(error),
            OrderError::Refused(refused) => {
                let refusal = Refusal::new(&version, refused.code(), refused.to_string());
                self.models.record_refusal(refusal.clone(), wall());
                Proposal::Refused(refusal)
            }
            other => Proposal::Refused(Refusal::new(&version, "rollout", other.to_string()).if_transient(true)),
        })
    }

    /// Loads what the state names and is not loaded, unless it was refused before and is unchanged.
    pub(super) async fn load_missing(&self) {
        let _loading = self.loading.lock().await;
        for model in self.missing() {
            if let TryOutcome::Gone = self.try_if_changed(&model.version, Trigger::Follow).await {
                self.note_gone(&model.version);
            }
        }
        self.forget_models(None);
    }

    /// A version that is nowhere to be found is remembered as refused.
    fn note_gone(&self, version: &str) {
        let is_noted = self
            .models
            .refused()
            .iter()
            .any(|(refusal, _)| refusal.version == version);
        if !is_noted {
            let message = "the rollout names it, and neither models.dir nor models.source has it";
            self.models
                .record_refusal(Refusal::new(version, "gone", message), wall());
        }
    }

    /// Looks for publications once: tries what is missing, then the versions newer than every known
    /// one, from the newest down, until one is loaded. Refused versions that have not changed are
    /// skipped. `GET /models` shows the outcome.
    pub async fn find_publications(&self) {
        self.load_missing().await;
        let order = self.loader.order();
        let known = self.known_versions();
        let newest = known.iter().max_by(|a, b| order.key(a).cmp(&order.key(b)));
        let mut found = self.loader.newer(newest.map(String::as_str)).await;
        let mut loads = 0;
        for version in &found.versions {
            let _loading = self.loading.lock().await;
            match self.try_if_changed(version, Trigger::Watch).await {
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
        self.tried.set_skipped(found.skipped);
        found.versions.extend(known);
        self.tried.keep(&found.versions);
    }

    /// Loads a version, unless it was tried before and is unchanged. The caller holds `loading`.
    async fn try_if_changed(&self, version: &str, trigger: Trigger) -> TryOutcome {
        let Some(fingerprint) = self.loader.fingerprint_of(version).await else {
            return TryOutcome::Gone;
        };
        if self.tried.has(version, &fingerprint) {
            return TryOutcome::Unchanged;
        }
        match self.load_and_propose(version, trigger, Allowed::Newer).await {
            Ok(()) => TryOutcome::Loaded,
            Err(_) => TryOutcome::Refused,
        }
    }

    /// Reads the key ring again and unloads the models that it no longer trusts. Missing models are
    /// tried again.
    pub async fn reload_keys(&self) {
        self.apply_key_ring().await;
        for model in self.missing() {
            // A refusal is logged and remembered already.
            let _ = self.challenge(&model.version, Trigger::Keys).await;
        }
    }

    /// Reads the key ring, and unloads the models that it no longer trusts.
    async fn apply_key_ring(&self) {
        let keys = self.loader.keys.clone();
        // On a thread of its own, because the file system may be slow.
        let reading = tokio::task::spawn_blocking(move || keys.read());
        let Ok(Ok(ring)) = tokio::time::timeout(KEY_RING_TIMEOUT, reading).await else {
            tracing::error!("models.trusted_keys: the key ring cannot be read; the loaded models keep serving");
            return;
        };
        self.unload_untrusted(&ring);
    }

    /// Loads a version. The load, and its refusal if any, are remembered for `GET /models`.
    async fn load(&self, version: &str, trigger: Trigger) -> Result<Arc<Model>, Refusal> {
        let (mut load, result) = self.loader.load(version, trigger).await;
        if let Some(files) = load.files.take() {
            self.tried.insert(version, files, result.as_ref().err());
        }
        self.models.record_load(load);
        result
            .map(Arc::new)
            .inspect_err(|refusal| self.models.record_refusal(refusal.clone(), wall()))
    }

    /// A permit for a notified publication to wait for its load; `None` if too many wait.
    pub fn admit_notice(&self) -> Option<OwnedSemaphorePermit> {
        self.notices.clone().try_acquire_owned().ok()
    }

    /// For `GET /models`: the skipped versions, and the key ring.
    pub fn shown(&self) -> (Value, Value) {
        (json!(self.tried.skipped()), json!(self.loader.keys.facts()))
    }
}

/// Which versions may be proposed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    /// Only those that are newer than what is on record.
    Newer,
    /// Any: an operator asks for it.
    Any,
}

/// Why a proposal did not become the challenger.
enum Proposal {
    Refused(Refusal),
    Store(StoreError),
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

/// The versions on record.
fn versions_of(state: &State) -> impl Iterator<Item = &str> {
    let champion = state.champion.as_ref().map(|champion| &*champion.model.version);
    let others = [&state.challenger, &state.next].into_iter().flatten();
    champion.into_iter().chain(others.map(|model| &*model.version))
}

fn other_content(version: &str, on_record: Option<&str>, found: Option<&str>) -> Refusal {
    let message = format!(
        "the rollout names this version with the component {}, and this one is {}; allowed: the files that were judged, or a new version",
        on_record.unwrap_or("unknown"),
        found.unwrap_or("unknown")
    );
    Refusal::new(version, "other_content", message)
}

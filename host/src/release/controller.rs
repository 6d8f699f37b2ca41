//! The controller: the only code that changes what serves, which is the loaded models, their roles
//! and LTR's share of the requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use store::{HistoryEntry, RolloutState, Store, StoreError};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use crate::http::clock::wall;
use crate::models::{Loader, Model, Models, Refusal, Serving, Tried, Trigger};

/// How long a start goes on trying newer models.
const RESTORE_BUDGET: Duration = Duration::from_secs(30);
/// Time limit for reading the key ring.
const KEY_RING_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of notified publications that wait for their load.
const MAX_NOTICES: usize = 32;
/// Maximum number of loads per start, and per look of the watch. Bounded, so that the next look sees
/// new versions; it tries the rest.
pub const MAX_LOADS: usize = 16;

/// Changes the models and the rollout, one change at a time.
pub struct Controller {
    /// The loaded models.
    pub models: Models,
    pub(super) loader: Loader,
    /// Versions that the watch need not try again.
    pub(super) tried: Tried,
    store: Store,
    /// Limits the notified publications that wait for their load.
    notices: Arc<Semaphore>,
    /// Held during a load. Taken before `change`, which is held only for moments, so that no
    /// operator waits for a compiler.
    loading: Mutex<()>,
    /// Held during a change.
    change: Mutex<()>,
}

/// A change of what serves.
pub struct Change {
    /// Written to the database first; `None` if only the loaded models change.
    pub record: Option<Record>,
    /// Serves once the record is written.
    pub serving: Serving,
}

/// What was done to the rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A new model is compared.
    Challenger,
    /// The evidence let the challenger take the traffic.
    Promote,
    /// An operator gave all requests back to legacy.
    Rollback,
    /// An operator set the percentage.
    Weight,
}

impl Action {
    /// As the history spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Challenger => "challenger",
            Action::Promote => "promote",
            Action::Rollback => "rollback",
            Action::Weight => "weight",
        }
    }
}

/// The state of the rollout after a change, and the change's entry in the history.
pub struct Record {
    /// The state to write.
    pub state: RolloutState,
    /// What was done.
    pub action: Action,
    /// Who asked for the change.
    pub actor: String,
    /// The numbers behind the change.
    pub detail: Value,
}

impl Controller {
    /// Without models, until [`Controller::restore`] loads them.
    pub fn new(store: Store, loader: Loader) -> Controller {
        Controller {
            models: Models::default(),
            loader,
            tried: Tried::default(),
            store,
            notices: Arc::new(Semaphore::new(MAX_NOTICES)),
            loading: Mutex::new(()),
            change: Mutex::new(()),
        }
    }

    /// Makes one change. `decide` chooses it from the state on record and what serves; nothing else
    /// changes either meanwhile. The change is in the database before it serves.
    ///
    /// # Errors
    /// The error of `decide`, or a database that cannot be used. Nothing changes then.
    pub async fn apply<E: From<StoreError>>(
        &self,
        decide: impl FnOnce(RolloutState, &Serving) -> Result<Change, E>,
    ) -> Result<(), E> {
        let _change = self.change.lock().await;
        let before = self.store.rollout().await?;
        let Change { record, serving } = decide(before, &self.models.serving())?;
        if let Some(record) = record {
            let entry = HistoryEntry {
                ts_utc: wall(),
                action: record.action.as_str().to_owned(),
                actor: record.actor,
                detail: record.detail,
            };
            self.store.save_rollout(&record.state, &entry).await?;
        }
        self.models.swap(serving);
        Ok(())
    }

    /// Loads the champion, and as challenger the newest version that can be loaded. The candidates
    /// are the versions in the directory that are newer than the champion, and the challenger on
    /// record.
    ///
    /// # Errors
    /// A database that cannot be used. A refused model is no error; it is logged.
    pub async fn restore(&self) -> Result<(), StoreError> {
        let _loading = self.loading.lock().await;
        let state = self.store.rollout().await?;
        let mut champion = None;
        if let Some(version) = &state.champion {
            champion = self.load(version, Trigger::Start).await.ok();
        }
        let lost = state.champion.clone().filter(|_| champion.is_none());
        let challenger = self.load_first_good(&state).await;
        self.apply(|before, _| {
            let record = challenger
                .as_ref()
                .filter(|model| state.challenger.as_ref() != Some(&model.version))
                .map(|model| challenger_record(&before, &model.version));
            let serving = Serving {
                // An operator may have changed it meanwhile.
                weight: before.weight,
                champion,
                challenger,
                lost,
            };
            Ok(Change { record, serving })
        })
        .await
    }

    /// Loads the candidates of a start in order, until one can be loaded.
    async fn load_first_good(&self, state: &RolloutState) -> Option<Arc<Model>> {
        let start = Instant::now();
        for version in self.start_candidates(state).await {
            // Bad models must not delay readiness. The challenger on record is tried in any case.
            if start.elapsed() > RESTORE_BUDGET && state.challenger.as_ref() != Some(&version) {
                continue;
            }
            if let Ok(model) = self.load(&version, Trigger::Start).await {
                return Some(model);
            }
        }
        None
    }

    /// The versions to try at a start, in order. The watch tries the rest later.
    async fn start_candidates(&self, state: &RolloutState) -> Vec<String> {
        let order = self.loader.order();
        let newer = self.loader.newer_here(state.champion.as_deref()).await;
        self.tried.set_skipped(newer.skipped);
        let mut versions = newer.versions;
        let on_record = state.challenger.as_ref();
        if let Some(version) = on_record
            && !versions.contains(version)
        {
            let newer = versions.partition_point(|other| order.is_newer(other, Some(version)));
            versions.insert(newer, version.clone());
        }
        let place = |version: &String| versions.iter().position(|other| other == version);
        // The challenger on record is tried, however many versions are newer.
        let late = on_record.filter(|version| place(version) >= Some(MAX_LOADS)).cloned();
        versions.truncate(MAX_LOADS);
        versions.extend(late);
        versions
    }

    /// Loads a version and makes it the challenger. If it is the lost champion, it becomes the
    /// champion again. A refusal leaves the serving models as they are.
    ///
    /// # Errors
    /// Why the version was refused.
    pub async fn challenge(&self, version: &str, trigger: Trigger) -> Result<(), Refusal> {
        let _loading = self.loading.lock().await;
        self.load_challenger(version, trigger).await
    }

    /// Like [`Controller::challenge`], but refuses versions older than the newest one that is
    /// loaded or on record, except those themselves. For anonymous callers, who must not bring back
    /// a replaced model.
    ///
    /// # Errors
    /// Those of [`Controller::challenge`], and `older_version`.
    pub async fn challenge_newer(&self, version: &str, trigger: Trigger) -> Result<(), Refusal> {
        let _loading = self.loading.lock().await;
        let state = self.store.rollout().await;
        let state = state.map_err(|error| Refusal::new(version, "database", error.to_string()))?;
        let loaded = self.models.serving();
        let loaded = loaded.slots().into_iter().filter_map(|(_, model)| model.clone());
        let known: Vec<String> = loaded
            .map(|model| model.version.clone())
            .chain([state.champion, state.challenger].into_iter().flatten())
            .collect();
        let order = self.loader.order();
        match known.iter().max_by_key(|known| order.key(known)) {
            Some(newest) if order.key(version) < order.key(newest) && !known.iter().any(|known| known == version) => {
                let message = format!(
                    "it is older than {newest}; without access.tokens only newer versions may be loaded; configure a token with the role admin to load others"
                );
                Err(Refusal::new(version, "older_version", message))
            }
            _ => self.load_challenger(version, trigger).await,
        }
    }

    /// The caller holds `loading`.
    async fn load_challenger(&self, version: &str, trigger: Trigger) -> Result<(), Refusal> {
        self.apply_key_ring().await;
        if self.models.serving().holds(version) {
            return Ok(());
        }
        let model = self.load(version, trigger).await?;
        if self.reinstate_champion(&model).await {
            tracing::info!(version, ?trigger, "the champion is loaded again");
            return Ok(());
        }
        let recorded = self.apply(|before, serving| {
            let serving = Serving {
                challenger: Some(model),
                ..serving.clone()
            };
            Ok::<_, StoreError>(Change {
                record: Some(challenger_record(&before, version)),
                serving,
            })
        });
        recorded.await.map_err(|error| {
            self.tried.forget(version);
            Refusal::new(version, "database", error.to_string())
        })?;
        tracing::info!(version, ?trigger, "a new challenger is loaded");
        Ok(())
    }

    /// Makes `model` the champion again if it is the lost one. Returns whether it is. The database
    /// has it on record already.
    async fn reinstate_champion(&self, model: &Arc<Model>) -> bool {
        let _change = self.change.lock().await;
        let serving = (*self.models.serving()).clone();
        let is_lost = serving.lost.as_ref() == Some(&model.version);
        if is_lost {
            self.models.swap(Serving {
                champion: Some(model.clone()),
                lost: None,
                ..serving
            });
        }
        is_lost
    }

    /// Reads the key ring again and unloads the models that it no longer trusts. A lost champion is
    /// tried again.
    pub async fn reload_keys(&self) {
        self.apply_key_ring().await;
        let lost = self.models.serving().lost.clone();
        if let Some(version) = lost {
            // A refusal is logged and remembered already.
            let _ = self.challenge(&version, Trigger::Keys).await;
        }
    }

    /// Reads the key ring, and unloads the models that it no longer trusts.
    async fn apply_key_ring(&self) {
        let keys = self.loader.keys.clone();
        // Read before the change begins, because the file system may be slow.
        let reading = tokio::task::spawn_blocking(move || keys.read());
        let Ok(Ok(ring)) = tokio::time::timeout(KEY_RING_TIMEOUT, reading).await else {
            tracing::error!("models.trusted_keys: the key ring cannot be read; the loaded models keep serving");
            return;
        };
        let _change = self.change.lock().await;
        self.models.unload_untrusted(&ring);
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

/// The record of a new challenger.
fn challenger_record(before: &RolloutState, version: &str) -> Record {
    Record {
        state: RolloutState {
            challenger: Some(version.to_owned()),
            ..before.clone()
        },
        action: Action::Challenger,
        actor: "gateway".to_owned(),
        detail: json!({ "version": version }),
    }
}

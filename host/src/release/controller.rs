//! The one place that changes what serves: the models that are loaded, their roles and LTR's share of the requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use store::{HistoryEntry, RolloutState, Store, StoreError};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use crate::http::clock::wall;
use crate::models::{Loader, Model, Models, Refusal, Serving, Tried, Trigger};

/// How long a start tries newer models.
const RESTORE_WALK: Duration = Duration::from_secs(30);
/// How long a reading of the key ring may take.
const READING_KEYS: Duration = Duration::from_secs(30);
/// Publications that may wait to be loaded.
const MOST_NOTICES: usize = 32;
/// Loads of one look at what was published, or of a start. What is left has its turn at the next look: a look that
/// never ended would miss what is published meanwhile.
pub const MOST_LOADS: usize = 16;

/// Changes the models and the rollout, one change at a time.
pub struct Controller {
    /// The models that are loaded.
    pub models: Models,
    pub(super) loader: Loader,
    /// Versions that the watch need not try again.
    pub(super) tried: Tried,
    store: Store,
    notices: Arc<Semaphore>,
    /// One load at a time. Taken before `change`, which is held for moments: no operator waits for a compiler.
    loading: Mutex<()>,
    /// One change at a time.
    change: Mutex<()>,
}

/// A change of what serves.
pub struct Change {
    /// What is written first; `None` where only the loaded models change.
    pub record: Option<Record>,
    /// What serves once that is written.
    pub serving: Serving,
}

/// The state of the rollout after a change, and the change's entry in the history.
pub struct Record {
    /// The state to write.
    pub state: RolloutState,
    /// `challenger`, `promote`, `rollback` or `weight`.
    pub action: &'static str,
    /// Who asked for it.
    pub actor: String,
    /// The numbers behind it.
    pub detail: Value,
}

impl Controller {
    /// With no model, until [`Controller::restore`].
    pub fn new(store: Store, loader: Loader) -> Controller {
        Controller {
            models: Models::default(),
            loader,
            tried: Tried::default(),
            store,
            notices: Arc::new(Semaphore::new(MOST_NOTICES)),
            loading: Mutex::new(()),
            change: Mutex::new(()),
        }
    }

    /// Makes one change. `decide` says which, from the state on record and what serves; nothing else changes either
    /// meanwhile. What it decides is on disk before it serves.
    ///
    /// # Errors
    /// What `decide` says, or a database that cannot be used; nothing changes then.
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
                action: record.action.to_owned(),
                actor: record.actor,
                detail: record.detail,
            };
            self.store.save_rollout(&record.state, &entry).await?;
        }
        self.models.swap(serving);
        Ok(())
    }

    /// Loads the champion, and as a challenger the newest version that is good: of those in the directory that are
    /// newer than the champion, and the one on record.
    ///
    /// # Errors
    /// A database that cannot be used; a model that is refused is no error but is reported.
    pub async fn restore(&self) -> Result<(), StoreError> {
        let _loading = self.loading.lock().await;
        let state = self.store.rollout().await?;
        let mut champion = None;
        if let Some(version) = &state.champion {
            champion = self.load(version, Trigger::Start).await.ok();
        }
        let lost = state.champion.clone().filter(|_| champion.is_none());
        let challenger = self.first_good(&state).await;
        self.apply(|before, _| {
            let record = challenger
                .as_ref()
                .filter(|model| state.challenger.as_ref() != Some(&model.version))
                .map(|model| challenged(&before, &model.version));
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

    /// The first version of those to try at a start that can be loaded.
    async fn first_good(&self, state: &RolloutState) -> Option<Arc<Model>> {
        let begun = Instant::now();
        for version in self.challengers(state).await {
            // Bad models must not keep the gateway from being ready. What was compared before is tried in any case.
            if begun.elapsed() > RESTORE_WALK && state.challenger.as_ref() != Some(&version) {
                continue;
            }
            if let Ok(model) = self.load(&version, Trigger::Start).await {
                return Some(model);
            }
        }
        None
    }

    /// The versions to try at a start, in that order. The watch goes on with the rest.
    async fn challengers(&self, state: &RolloutState) -> Vec<String> {
        let order = self.loader.order();
        let newer = self.loader.newer_here(state.champion.as_deref()).await;
        self.tried.show(newer.skipped);
        let mut versions = newer.versions;
        let on_record = state.challenger.as_ref();
        if let Some(version) = on_record
            && !versions.contains(version)
        {
            let newer = versions.partition_point(|other| order.is_newer(other, Some(version)));
            versions.insert(newer, version.clone());
        }
        let place = |version: &String| versions.iter().position(|other| other == version);
        // What was compared before has its turn, however many stand before it.
        let late = on_record.filter(|version| place(version) >= Some(MOST_LOADS)).cloned();
        versions.truncate(MOST_LOADS);
        versions.extend(late);
        versions
    }

    /// Loads a version and makes it the challenger, or, if it is the promoted champion that could not be loaded
    /// before, the champion again. The models that serve are as they were if it is refused.
    ///
    /// # Errors
    /// Why the version was refused.
    pub async fn challenge(&self, version: &str, trigger: Trigger) -> Result<(), Refusal> {
        let _loading = self.loading.lock().await;
        self.load_challenger(version, trigger).await
    }

    /// As [`Controller::challenge`], but only a version that is newer than those that serve or are compared, or that
    /// is one of them: for anonymous callers, who must not bring a model back that was replaced.
    ///
    /// # Errors
    /// As [`Controller::challenge`], and `older_version`.
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
        match known.iter().max() {
            Some(newest) if version < newest.as_str() && !known.iter().any(|known| known == version) => {
                let message = format!(
                    "it is older than {newest}; while access.tokens is empty only newer versions are loaded, configure a token with the role admin for others"
                );
                Err(Refusal::new(version, "older_version", message))
            }
            _ => self.load_challenger(version, trigger).await,
        }
    }

    /// While `loading` is held.
    async fn load_challenger(&self, version: &str, trigger: Trigger) -> Result<(), Refusal> {
        self.hold_to_keys().await;
        if self.models.serving().holds(version) {
            return Ok(());
        }
        let model = self.load(version, trigger).await?;
        if self.is_champion_again(&model).await {
            tracing::info!(version, ?trigger, "the champion is back");
            return Ok(());
        }
        let recorded = self.apply(|before, serving| {
            let serving = Serving {
                challenger: Some(model),
                ..serving.clone()
            };
            Ok::<_, StoreError>(Change {
                record: Some(challenged(&before, version)),
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

    /// Puts a champion that could not be loaded before back in its place, if this is it. The database has it on record.
    async fn is_champion_again(&self, model: &Arc<Model>) -> bool {
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

    /// Reads the key ring again and unloads the models that it no longer vouches for. A champion that was lost for
    /// such a reason, and is trusted again, comes back.
    pub async fn reload_keys(&self) {
        self.hold_to_keys().await;
        let lost = self.models.serving().lost.clone();
        if let Some(version) = lost {
            // A refusal has been logged and remembered.
            let _ = self.challenge(&version, Trigger::Keys).await;
        }
    }

    async fn hold_to_keys(&self) {
        let keys = self.loader.keys.clone();
        // Read before the change begins: the directory may be on a file system that answers late.
        let reading = tokio::task::spawn_blocking(move || keys.read());
        let Ok(Ok(ring)) = tokio::time::timeout(READING_KEYS, reading).await else {
            tracing::error!("models.trusted_keys: not read; the models that are loaded stay");
            return;
        };
        let _change = self.change.lock().await;
        self.models.hold_to(&ring);
    }

    /// A refusal is remembered for `GET /models`, as is the story of every load.
    async fn load(&self, version: &str, trigger: Trigger) -> Result<Arc<Model>, Refusal> {
        let (mut load, result) = self.loader.load(version, trigger).await;
        if let Some(files) = load.files.take() {
            self.tried.insert(version, files, result.as_ref().err());
        }
        self.models.tell(load);
        result
            .map(Arc::new)
            .inspect_err(|refusal| self.models.refuse(refusal.clone(), wall()))
    }

    /// A place among the publications that wait to be loaded; `None` where there are too many.
    pub fn notice(&self) -> Option<OwnedSemaphorePermit> {
        self.notices.clone().try_acquire_owned().ok()
    }

    /// What `GET /models` shows of loading: versions that were passed over, and the key ring.
    pub fn shown(&self) -> (Value, Value) {
        (json!(self.tried.skipped()), json!(self.loader.keys.facts()))
    }
}

/// The record of a new challenger.
fn challenged(before: &RolloutState, version: &str) -> Record {
    Record {
        state: RolloutState {
            challenger: Some(version.to_owned()),
            ..before.clone()
        },
        action: "challenger",
        actor: "gateway".to_owned(),
        detail: json!({ "version": version }),
    }
}

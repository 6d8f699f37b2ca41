//! The gateway's parts, put together once.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chrono::Utc;
use ranking::{Event, Presets, Schema};
use regular_file::Links;
use runtime::{CodeCache, Engine, Limits};
use settings::Settings;
use store::{HistoryEntry, RolloutState, Spool, Store};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::access::Access;
use crate::body::Bodies;
use crate::clock::Clock;
use crate::flags::Flags;
use crate::limits::Rate;
use crate::models::watch::{MOST_LOADS, Tried};
use crate::models::{Keys, Loader, Model, Models, Refusal, Serving, Source, Trigger};
use crate::telemetry::Traces;
use crate::writer::Writer;
use crate::{models, observe};

/// Between two attempts to restore the models from a database that is away.
const RESTORING: Duration = Duration::from_millis(500);

/// How long a start tries newer models.
const RESTORE_WALK: Duration = Duration::from_secs(30);
/// How long a reading of the key ring may take.
const READING_KEYS: Duration = Duration::from_secs(30);
/// No salt is near this size; what is larger is some other file.
const MAX_SALT_BYTES: u64 = 4 << 10;
/// Most notices of publications that may wait to be loaded.
const NOTICES: usize = 32;

/// Everything a request can use.
pub struct Gateway {
    pub settings: Settings,
    pub schema: Schema,
    pub presets: Presets,
    pub clock: Clock,
    pub store: Store,
    pub writer: Writer,
    pub models: Models,
    pub access: Access,
    pub rate: Rate,
    pub bodies: Bodies,
    pub flags: Arc<Flags>,
    /// `None`: nobody wants them.
    pub traces: Option<Traces>,
    /// Key of the pseudonyms.
    pub salt: Vec<u8>,
    /// What pseudonyms say of it.
    pub salt_id: Uuid,
    pub(crate) loader: Loader,
    /// What the watch need not try again.
    pub(crate) tried: Tried,
    /// Publications that are waited for: each is loaded in its turn.
    pub(crate) notices: Arc<Semaphore>,
    /// One load at a time. Taken before `change`, which is held for moments: no operator waits for a compiler.
    loading: Mutex<()>,
    /// One change of the models or the rollout at a time.
    pub change: Mutex<()>,
    ready: AtomicBool,
    draining: AtomicBool,
}

impl Gateway {
    /// Opens the database and the secrets. The handle ends when the gateway is gone and all is written.
    ///
    /// # Errors
    /// A database, a folder or a file that cannot be used.
    pub async fn open(settings: Settings) -> anyhow::Result<(Arc<Gateway>, JoinHandle<()>)> {
        observe::recorder();
        let address = store::Address {
            url: settings.database.url.expose(),
            ca_file: settings.database.ca_file(),
        };
        let limits = store::Limits {
            max_connections: settings.database.max_connections,
            timeout: settings.database.timeout(),
        };
        let store = Store::open_later(address, limits).await?;
        let salt = salt(&settings.privacy.salt_file)?;
        match store.hold_to_salt(ranking::salt_id(&salt)).await {
            // It is asked again before anything is written.
            Err(error) if error.is_unavailable() || error.is_busy() => {}
            held => held?,
        }
        let spool = Spool::open(&settings.database.spool_dir, settings.database.spool_mb << 20)?;
        let (writer, written) = Writer::start(store.clone(), spool);
        let schema = settings.schema();
        let limits = Limits {
            max_component_bytes: settings.models.max_component_mb as usize * 1024 * 1024,
            max_memory_bytes: settings.models.max_memory_mb as usize * 1024 * 1024,
            max_instances: models::max_instances().max(Limits::default().max_instances),
            ..Limits::default()
        };
        let loader = Loader {
            engine: Engine::with_cache(limits, code_cache(&settings.models)?)?,
            dir: settings.models.dir.join("ltr"),
            source: Source::open(&settings.models)?,
            keys: Keys::new(&settings.models.trusted_keys, settings.models.allow_unsigned),
            any_time: settings.host.clock == settings::Clock::Header,
            schema: schema.clone(),
            warm_instances: settings.models.warm_instances as usize,
        };
        observe::unsigned_models_allowed(settings.models.allow_unsigned);
        if settings.models.allow_unsigned {
            tracing::warn!(
                "models that NOBODY SIGNED are loaded, because models.allow_unsigned is true; never in production"
            );
        }
        if !settings.privacy.pseudonymise_events {
            tracing::warn!(
                "match_events and the spool have users' ids, by which pseudonyms can be found out: privacy.pseudonymise_events is false"
            );
        }
        let gateway = Gateway {
            presets: settings.presets(),
            clock: match settings.host.clock {
                settings::Clock::System => Clock::System,
                settings::Clock::Header => Clock::Header,
            },
            flags: Flags::open(&settings).await?,
            salt_id: ranking::salt_id(&salt),
            salt,
            models: Models::default(),
            access: Access::new(&settings.access),
            rate: Rate::new(&settings.host),
            bodies: Bodies::new(&settings.host),
            traces: Traces::start(&settings.telemetry)?,
            tried: Tried::default(),
            notices: Arc::new(Semaphore::new(NOTICES)),
            loading: Mutex::new(()),
            change: Mutex::new(()),
            ready: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            settings,
            schema,
            store,
            writer,
            loader,
        };
        Ok((Arc::new(gateway), written))
    }

    /// Restores the models, as soon as the database can say which; until then legacy answers, and nothing is lost that is
    /// to be kept. Ends early with the gateway.
    ///
    /// # Errors
    /// As [`Gateway::restore`], but not for a database that is unavailable.
    pub async fn restore_when_possible(gateway: &Weak<Gateway>) -> Result<(), store::StoreError> {
        loop {
            let Some(gateway) = gateway.upgrade() else {
                return Ok(());
            };
            match gateway.restore().await {
                Err(error) if error.is_unavailable() => gateway.wait_for_database(&error),
                Err(error) if error.is_busy() => {}
                restored => return restored,
            }
            drop(gateway);
            tokio::time::sleep(RESTORING).await;
        }
    }

    fn wait_for_database(&self, error: &store::StoreError) {
        self.writer.outage().lost(error);
        if !self.models.unknown.swap(true, Ordering::Relaxed) {
            tracing::error!("database.url: what serves is not known until the database is back; legacy answers");
        }
        // Rankings do without.
        self.ready.store(true, Ordering::Release);
    }

    /// Loads the champion, and as a challenger the newest version that is good: of those in the directory that are newer
    /// than the champion, and the one on record.
    ///
    /// # Errors
    /// A database that cannot be used; a model that is refused is no error but is reported.
    pub async fn restore(&self) -> Result<(), store::StoreError> {
        let _loading = self.loading.lock().await;
        self.store.hold_to_salt(self.salt_id).await?;
        let state = self.store.rollout().await?;
        let mut serving = Serving::default();
        if let Some(version) = &state.champion {
            serving.champion = self.load(version, Trigger::Start).await.ok();
            serving.lost = serving.champion.is_none().then(|| version.clone());
        }
        let begun = Instant::now();
        for version in self.challengers(&state).await {
            // Bad models must not keep the gateway from being ready. What was compared before is tried in any case.
            if begun.elapsed() > RESTORE_WALK && state.challenger.as_ref() != Some(&version) {
                continue;
            }
            serving.challenger = self.load(&version, Trigger::Start).await.ok();
            if serving.challenger.is_some() {
                break;
            }
        }
        let _change = self.change.lock().await;
        if let Some(model) = &serving.challenger
            && state.challenger.as_ref() != Some(&model.version)
        {
            self.record_challenger(&model.version).await?;
        }
        // An operator may have changed it meanwhile.
        serving.weight = self.store.rollout().await?.weight;
        self.models.swap(serving);
        self.models.unknown.store(false, Ordering::Relaxed);
        self.writer.outage().found();
        self.ready.store(true, Ordering::Release);
        Ok(())
    }

    /// What to try at a start, in that order. The watch goes on with the rest.
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

    /// As [`Gateway::challenge`], but only a version that is newer than those that serve or are compared, or that is one
    /// of them: for callers whom nobody knows, and who must not bring a model back that was replaced.
    ///
    /// # Errors
    /// As [`Gateway::challenge`], and `older_version`.
    pub async fn challenge_newer(&self, version: &str, trigger: Trigger) -> Result<(), Refusal> {
        let _loading = self.loading.lock().await;
        let refused = |code, message| Refusal {
            version: version.to_owned(),
            code,
            message,
        };
        let state = self.store.rollout().await;
        let state = state.map_err(|error| refused("database", error.to_string()))?;
        let serving = self.models.serving();
        let loaded = serving
            .slots()
            .map(|(_, model)| model.as_ref().map(|model| model.version.clone()));
        let known: Vec<String> = loaded
            .into_iter()
            .chain([state.champion, state.challenger])
            .flatten()
            .collect();
        drop(serving);
        match known.iter().max() {
            Some(newest) if version < newest.as_str() && !known.iter().any(|known| known == version) => {
                let message = format!(
                    "it is older than {newest}; while access.tokens is empty only newer versions are loaded, configure a token with the role admin for others"
                );
                Err(refused("older_version", message))
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
        let _change = self.change.lock().await;
        let serving = (*self.models.serving()).clone();
        if serving.lost.as_deref() == Some(version) {
            self.models.swap(Serving {
                champion: Some(model),
                lost: None,
                ..serving
            });
            tracing::info!(version, ?trigger, "the champion is back");
            return Ok(());
        }
        self.record_challenger(version).await.map_err(|error| {
            self.tried.forget(version);
            Refusal {
                version: version.to_owned(),
                code: "database",
                message: error.to_string(),
            }
        })?;
        self.models.swap(Serving {
            challenger: Some(model),
            ..serving
        });
        tracing::info!(version, ?trigger, "a new challenger is loaded");
        Ok(())
    }

    /// Reads the key ring again and unloads what it no longer vouches for. A champion that was lost for such a
    /// reason, and is trusted again, comes back.
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

    async fn record_challenger(&self, version: &str) -> Result<(), store::StoreError> {
        let state = RolloutState {
            challenger: Some(version.to_owned()),
            ..self.store.rollout().await?
        };
        let detail = serde_json::json!({ "version": version });
        self.store
            .save_rollout(&state, &self.entry("challenger", "gateway", detail))
            .await
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
            .inspect_err(|refusal| self.models.refuse(refusal.clone(), Utc::now()))
    }

    /// Puts the user's pseudonym in the place of their id, where that is wanted.
    pub fn pseudonymise(&self, event: &mut Event) {
        if self.settings.privacy.pseudonymise_events {
            event.user_id = ranking::pseudonym(&self.salt, event.user_id);
            event.salt_id = Some(self.salt_id);
        }
    }

    /// An entry of the rollout's history, at this moment of the system's clock.
    pub fn entry(&self, action: &str, actor: &str, detail: serde_json::Value) -> HistoryEntry {
        HistoryEntry {
            ts_utc: Utc::now(),
            action: action.into(),
            actor: actor.into(),
            detail,
        }
    }

    /// From here on `/readyz` sends requests elsewhere; those that come all the same are answered.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// Where machine code outlives this process, if anywhere.
fn code_cache(models: &settings::Models) -> anyhow::Result<Option<CodeCache>> {
    if models.code_cache_dir.as_os_str().is_empty() {
        return Ok(None);
    }
    let most = u64::from(models.code_cache_mb) * 1024 * 1024;
    let cache = CodeCache::open(&models.code_cache_dir, most).context("models.code_cache_dir")?;
    Ok(Some(cache))
}

/// The salt of the pseudonyms, made at the first start and readable by its owner alone.
fn salt(path: &Path) -> anyhow::Result<Vec<u8>> {
    let place = || format!("privacy.salt_file: {}", path.display());
    let made = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_salt(path),
        _ => Ok(()),
    };
    made.with_context(place)?;
    let text = regular_file::read_to_string(path, Links::Follow, MAX_SALT_BYTES).with_context(place)?;
    ensure!(
        text.trim().len() >= 32,
        "privacy.salt_file: {} holds {} characters; allowed: at least 32",
        path.display(),
        text.trim().len()
    );
    Ok(text.trim().as_bytes().to_vec())
}

fn make_salt(path: &Path) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let fresh = format!("{}{}\n", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = match made {
        // Another gateway was first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        file => file?,
    };
    file.write_all(fresh.as_bytes())?;
    file.sync_all()
}

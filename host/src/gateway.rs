//! The gateway's parts, put together once, and the routes that use them.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use chrono::Utc;
use ranking::{Presets, Sampler, Schema};
use runtime::{Engine, Limits};
use settings::Settings;
use store::{HistoryEntry, RolloutState, Spool, Store};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::clock::Clock;
use crate::models::{Loader, Model, Models, Refusal, Serving};
use crate::writer::Writer;
use crate::{events, observe, rank, rollout, score};

/// Everything a request can use.
pub struct Gateway {
    pub settings: Settings,
    pub schema: Schema,
    pub presets: Presets,
    pub clock: Clock,
    pub store: Store,
    pub writer: Writer,
    pub models: Models,
    /// Which requests are compared in shadow.
    pub shadow: Sampler,
    /// Key of the pseudonyms in the shadow log.
    pub salt: Vec<u8>,
    loader: Loader,
    /// One change of the models or the rollout at a time.
    pub change: Mutex<()>,
    ready: AtomicBool,
}

impl Gateway {
    /// Opens the database and the secrets. The handle ends when the gateway is gone and all is written.
    ///
    /// # Errors
    /// A database, a folder or a file that cannot be used.
    pub async fn open(settings: Settings) -> anyhow::Result<(Arc<Gateway>, JoinHandle<()>)> {
        observe::recorder();
        let limits = store::Limits {
            max_connections: settings.database.max_connections,
            timeout: settings.database.timeout(),
        };
        let store = Store::open_with(settings.database.url.expose(), limits).await?;
        let spool = Spool::open(&settings.database.spool_dir, settings.database.spool_mb << 20)?;
        let (writer, written) = Writer::start(store.clone(), spool);
        let schema = settings.schema();
        let limits = Limits {
            max_component_bytes: settings.models.max_component_mb as usize * 1024 * 1024,
            max_memory_bytes: settings.models.max_memory_mb as usize * 1024 * 1024,
            ..Limits::default()
        };
        let loader = Loader {
            engine: Engine::new(limits)?,
            dir: settings.models.dir.join("ltr"),
            verify_key: settings.models.verify_key.clone(),
            schema: schema.clone(),
        };
        let gateway = Gateway {
            presets: settings.presets(),
            clock: match settings.host.clock {
                settings::Clock::System => Clock::System,
                settings::Clock::Header => Clock::Header,
            },
            shadow: Sampler::new(&settings.shadow.salt, settings.shadow.fraction)?,
            salt: salt(&settings.privacy.salt_file)?,
            models: Models::default(),
            change: Mutex::new(()),
            ready: AtomicBool::new(false),
            settings,
            schema,
            store,
            writer,
            loader,
        };
        Ok((Arc::new(gateway), written))
    }

    /// Loads the champion, and as a challenger the newest version published since, or else the one on record.
    ///
    /// # Errors
    /// A database that cannot be used; a model that is refused is no error but is reported.
    pub async fn restore(&self) -> anyhow::Result<()> {
        let _change = self.change.lock().await;
        let state = self.store.rollout().await?;
        let mut serving = Serving {
            weight: state.weight,
            ..Serving::default()
        };
        if let Some(version) = &state.champion {
            serving.champion = self.load(version).await.ok();
            serving.champion_lost = serving.champion.is_none();
        }
        // What was published while nobody was listening comes first; if it is refused, what was compared before.
        let known = state.champion.iter().chain(&state.challenger).max();
        let newest = self.loader.newest().filter(|newest| Some(newest) > known);
        for version in newest.iter().chain(&state.challenger) {
            serving.challenger = self.load(version).await.ok();
            if serving.challenger.is_some() {
                if state.challenger.as_ref() != Some(version) {
                    self.record_challenger(version).await?;
                }
                break;
            }
        }
        self.models.swap(serving);
        self.ready.store(true, Ordering::Release);
        Ok(())
    }

    /// Loads a version and makes it the challenger. The models that serve are as they were if it is refused.
    ///
    /// # Errors
    /// Why the version was refused.
    pub async fn challenge(&self, version: &str) -> Result<(), Refusal> {
        let _change = self.change.lock().await;
        let serving = self.models.serving();
        if [&serving.champion, &serving.challenger]
            .into_iter()
            .flatten()
            .any(|model| model.version == version)
        {
            return Ok(());
        }
        let model = self.load(version).await?;
        self.record_challenger(version).await.map_err(|error| Refusal {
            version: version.to_owned(),
            code: "database",
            message: error.to_string(),
        })?;
        self.models.swap(Serving {
            challenger: Some(model),
            ..(*serving).clone()
        });
        tracing::info!(version, "a new challenger is loaded");
        Ok(())
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

    /// Off the reactor, because it compiles. A refusal is remembered for `GET /models`.
    async fn load(&self, version: &str) -> Result<Arc<Model>, Refusal> {
        let (loader, named) = (self.loader.clone(), version.to_owned());
        let loaded = tokio::task::spawn_blocking(move || loader.load(&named)).await;
        let loaded = loaded.unwrap_or_else(|error| {
            Err(Refusal {
                version: version.to_owned(),
                code: "not_loaded",
                message: error.to_string(),
            })
        });
        loaded
            .map(Arc::new)
            .inspect_err(|refusal| self.models.refuse(refusal.clone(), Utc::now()))
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

    /// The routes.
    pub fn router(self: &Arc<Gateway>) -> Router {
        Router::new()
            .route("/rank", post(rank::rank))
            .route("/ltr/score", post(score::score))
            .route("/events", post(events::events))
            .route("/models", get(rollout::models))
            .route("/models/notify", post(rollout::notify))
            .route("/rollout", get(rollout::status))
            .route("/rollout/promote", post(rollout::promote))
            .route("/rollout/rollback", post(rollout::rollback))
            .route("/rollout/weight", post(rollout::weight))
            .route("/metrics", get(async || observe::recorder().render()))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .layer(middleware::from_fn(observe::time_request))
            .with_state(self.clone())
    }
}

async fn ready(State(gateway): State<Arc<Gateway>>) -> impl IntoResponse {
    if !gateway.ready.load(Ordering::Acquire) {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned());
    }
    let outage = gateway.writer.outage();
    // Rankings do without the database, so that an outage is no reason to send requests elsewhere.
    let said = match (outage.away(), outage.spooled()) {
        (true, spooled) => format!("ready; the database is unavailable, {spooled} records are spooled\n"),
        (false, 0) => "ready\n".to_owned(),
        (false, spooled) => format!("ready; {spooled} spooled records are being replayed\n"),
    };
    (StatusCode::OK, said)
}

/// The salt of the pseudonyms, made at the first start and readable by its owner alone.
fn salt(path: &Path) -> anyhow::Result<Vec<u8>> {
    if !path.exists() {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        }
        let fresh = format!("{}{}\n", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let made = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let mut file = made.with_context(|| format!("privacy.salt_file: creating {}", path.display()))?;
        file.write_all(fresh.as_bytes())?;
        file.sync_all()?;
    }
    let text =
        std::fs::read_to_string(path).with_context(|| format!("privacy.salt_file: reading {}", path.display()))?;
    ensure!(
        text.trim().len() >= 32,
        "privacy.salt_file: {} holds {} characters; allowed: at least 32",
        path.display(),
        text.trim().len()
    );
    Ok(text.trim().as_bytes().to_vec())
}

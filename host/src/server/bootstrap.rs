//! Starts a gateway: opens its parts from the settings, and restores the serving models.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, ensure};
use bus::{Bus, Kafka};
use ranking::release::Shares;
use regular_file::{Draft, Links};
use runtime::{CodeCache, Engine, Limits};
use settings::Settings;
use store::{BUS_OWNER, Spool, Store, StoreError};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::flags::Flags;
use crate::http::auth::Access;
use crate::http::body::Bodies;
use crate::http::clock::{Clock, wall};
use crate::http::rate_limit::Rate;
use crate::ingest::Writer;
use crate::models::{self, Keys, Loader, Source};
use crate::release::courier::Courier;
use crate::release::{Config, Controller};
use crate::state::{Gateway, Pseudonyms, Readiness};
use crate::telemetry::{Traces, metrics};

/// Pause between two attempts to restore the models while the database is unavailable.
const RESTORE_PAUSE: Duration = Duration::from_millis(500);
const MAX_OWNER_BYTES: u64 = 1 << 10;
/// No salt is near this size; a larger file is something else.
const MAX_SALT_BYTES: u64 = 4 << 10;

/// Opens the database, the spool and the secrets, and creates the gateway's state. The handle ends
/// when the gateway is dropped and all records are written.
///
/// # Errors
/// A database, a folder or a file that cannot be used.
pub async fn open(settings: Settings) -> anyhow::Result<(Arc<Gateway>, JoinHandle<()>)> {
    metrics::recorder();
    let store = Store::open_later(settings.database.address(), settings.database.limits()).await?;
    let pseudonyms = pseudonyms(&settings.privacy)?;
    check_salt(&store, &pseudonyms).await?;
    let spool = Spool::open(&settings.database.spool_dir, settings.database.spool_mb << 20)?;
    let (writer, written) = Writer::start(store.clone(), spool, bus(&settings)?);
    let loader = loader(&settings)?;
    warn_of_unsafe_settings(&settings);
    let gateway = Gateway {
        schema: settings.schema(),
        presets: settings.presets(),
        clock: Clock::from(settings.host.clock),
        release: Arc::new(controller(&settings, &store, loader)?),
        shares: Shares::new(&settings.rollout.salt, &settings.rollout.hold_out_salt)?,
        swaps: settings.swaps.design()?,
        access: Access::new(&settings.access),
        rate: Rate::new(&settings.host),
        bodies: Bodies::new(&settings.host),
        flags: Flags::open(&settings).await?,
        traces: Traces::start(&settings.telemetry)?,
        readiness: Readiness::default(),
        pseudonyms,
        store,
        writer,
        settings,
    };
    Ok((Arc::new(gateway), written))
}

/// The event bus, and whose records this gateway's are there: they stay its own after a restart.
fn bus(settings: &Settings) -> anyhow::Result<Option<(Uuid, Arc<dyn Bus>)>> {
    let events = &settings.events;
    let Some(address) = events.bus_address()? else {
        return Ok(None);
    };
    let file = settings.database.spool_dir.join(BUS_OWNER);
    let owner = match regular_file::read_to_string(&file, Links::Refuse, MAX_OWNER_BYTES) {
        Ok(text) => text
            .trim()
            .parse()
            .with_context(|| format!("{}: no id", file.display()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let owner = Uuid::new_v4();
            let mut draft = Draft::create(&file, 0o600)?;
            draft.write_all(owner.to_string().as_bytes())?;
            draft.commit().with_context(|| file.display().to_string())?;
            owner
        }
        Err(error) => return Err(error).with_context(|| file.display().to_string()),
    };
    tracing::info!(bus = %address, "what is logged goes to the event bus");
    let kafka = Kafka::new(address, events.bus_access(), events.bus_timeout(), wall);
    Ok(Some((owner, Arc::new(kafka))))
}

/// Restores the models, retrying while the database is unavailable. Until then legacy answers, and
/// records go to the spool. Returns early if the gateway is dropped.
///
/// # Errors
/// Those of [`Controller::restore`], except an unavailable database; and a database with another
/// salt.
pub async fn restore_when_possible(gateway: &Weak<Gateway>) -> Result<(), StoreError> {
    loop {
        let Some(gateway) = gateway.upgrade() else {
            return Ok(());
        };
        match restore(&gateway).await {
            Err(error) if error.is_unavailable() => serve_legacy(&gateway, &error),
            Err(error) if error.is_busy() => {}
            restored => return restored,
        }
        drop(gateway);
        tokio::time::sleep(RESTORE_PAUSE).await;
    }
}

/// Restores the models once.
///
/// # Errors
/// Those of [`restore_when_possible`], and an unavailable database.
pub async fn restore(gateway: &Gateway) -> Result<(), StoreError> {
    gateway.store.hold_to_salt(gateway.pseudonyms.salt_id).await?;
    gateway.release.restore().await?;
    gateway.release.refresh_snapshot().await?;
    gateway.models().set_unknown(false);
    gateway.writer.health().mark_available();
    gateway.readiness.set_ready();
    Ok(())
}

/// Serves legacy rankings while it is not known which models serve.
fn serve_legacy(gateway: &Gateway, error: &StoreError) {
    gateway.writer.health().mark_unavailable(error);
    if !gateway.models().set_unknown(true) {
        tracing::error!(
            "database.url: the serving models are unknown while the database is unavailable; legacy answers"
        );
    }
    // Rankings do not need the database.
    gateway.readiness.set_ready();
}

/// Checks that the database belongs to this gateway's salt, or claims a new one. An unavailable
/// database passes here, and is checked again before anything is written.
///
/// # Errors
/// The database belongs to another salt.
async fn check_salt(store: &Store, pseudonyms: &Pseudonyms) -> Result<(), StoreError> {
    match store.hold_to_salt(pseudonyms.salt_id).await {
        Err(error) if error.is_unavailable() || error.is_busy() => Ok(()),
        held => held,
    }
}

fn controller(settings: &Settings, store: &Store, loader: Loader) -> anyhow::Result<Controller> {
    let courier = Courier::new(&settings.webhooks)?;
    let rollout = &settings.rollout;
    let config = Config {
        rules: rollout.rules(),
        limits: rollout.watch_limits(),
        criteria: rollout.criteria.clone(),
        futility: rollout.futility(),
        replacement: rollout.replacement_rules(),
        trial: rollout.trial_rules(),
        pools: rollout.unit == settings::Unit::Pipeline,
        relevance: rollout.relevance_rules(),
        examination: settings.swaps.examination_rules(),
        examination_days: settings.swaps.window_days,
        shadow: settings
            .flags
            .redis_url
            .expose()
            .is_empty()
            .then_some(settings.shadow.fraction),
        window: settings.labels.closed_after(),
        evaluate: rollout.evaluate(),
        arrival: rollout.watch.arrival(),
        lease: rollout.lease(),
        name: gateway_name(settings),
    };
    let is_stepped = settings.host.clock == settings::Clock::Header;
    let dir = &settings.database.spool_dir;
    let store = store.clone();
    Ok(Controller::new(store, loader, config, is_stepped, dir, courier))
}

/// The gateway's name in the fleet: as configured, or the machine's name and the port.
fn gateway_name(settings: &Settings) -> String {
    if !settings.rollout.gateway.is_empty() {
        return settings.rollout.gateway.clone();
    }
    let machine = regular_file::read_to_string(Path::new("/proc/sys/kernel/hostname"), Links::Follow, 256);
    let machine = machine.unwrap_or_else(|_| "gateway".to_owned());
    format!("{}:{}", machine.trim(), settings.host.listen.port())
}

fn loader(settings: &Settings) -> anyhow::Result<Loader> {
    let limits = settings.models.limits();
    let limits = Limits {
        max_instances: models::max_instances().max(limits.max_instances),
        ..limits
    };
    Ok(Loader {
        engine: Engine::with_cache(limits, code_cache(&settings.models)?)?,
        dir: settings.models.dir.join("ltr"),
        source: Source::open(&settings.models)?,
        keys: Keys::new(&settings.models.trusted_keys, settings.models.allow_unsigned),
        any_time: settings.host.clock == settings::Clock::Header,
        schema: settings.schema(),
        warm_instances: settings.models.warm_instances as usize,
    })
}

/// The cache of machine code across restarts, if configured.
fn code_cache(models: &settings::Models) -> anyhow::Result<Option<CodeCache>> {
    if models.code_cache_dir.as_os_str().is_empty() {
        return Ok(None);
    }
    let most = u64::from(models.code_cache_mb) * 1024 * 1024;
    let cache = CodeCache::open(&models.code_cache_dir, most).context("models.code_cache_dir")?;
    Ok(Some(cache))
}

/// Warns of settings that are unsafe in production.
fn warn_of_unsafe_settings(settings: &Settings) {
    metrics::unsigned_models_allowed(settings.models.allow_unsigned);
    if settings.models.allow_unsigned {
        tracing::warn!(
            "models that NOBODY SIGNED are loaded, because models.allow_unsigned is true; never use this in production"
        );
    }
    if !settings.privacy.pseudonymise_events {
        tracing::warn!(
            "match_events and the spool store users' ids, from which pseudonyms can be derived, because privacy.pseudonymise_events is false"
        );
    }
}

fn pseudonyms(privacy: &settings::Privacy) -> anyhow::Result<Pseudonyms> {
    let salt = salt(&privacy.salt_file)?;
    Ok(Pseudonyms {
        salt_id: ranking::salt_id(&salt),
        salt,
        in_events: privacy.pseudonymise_events,
    })
}

/// Reads the salt of the pseudonyms. The first start creates it, readable only by its owner.
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
    let mut draft = Draft::create(path, 0o600)?;
    draft.write_all(fresh.as_bytes())?;
    match draft.commit_new() {
        // Another gateway created it first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

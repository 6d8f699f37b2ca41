//! The one way from a published folder to a model that may serve, whoever asked for it: fetch, verify, compile,
//! golden rows, warm instances.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use metrics::{counter, gauge, histogram};
use parking_lot::Mutex;
use ranking::Schema;
use runtime::artefact::{self, Artefact, ArtefactError, KeyRing, Listing, Order, RingFacts};
use runtime::{CodeOrigin, Engine, ScoreError, Scorer};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::model::Model;
use super::source::{Published, Source, SourceError, files_of};
use crate::http::clock::wall;

/// How long a load may hold up the next one. Each of its stages is bounded far below that, but for a file system that
/// does not answer.
const PATIENCE: Duration = Duration::from_secs(600);
/// What the name of a download in progress begins with.
const DOWNLOAD: &str = ".download.";
/// More than twice what `models.download_seconds` allows.
const LEFT_OVER: Duration = Duration::from_secs(3 * 3_600);
/// How long a fresh scorer's instances have to be made and to score one row.
const WARM_TIMEOUT: Duration = Duration::from_secs(5);

/// A version that was not loaded, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refusal {
    /// The version that was asked for.
    pub version: String,
    /// Short, snake_case.
    pub code: &'static str,
    /// One sentence for people: what is wrong, and what is allowed.
    pub message: String,
}

/// Who asked for a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The gateway itself, when it started.
    Start,
    /// `POST /models/notify`.
    Notify,
    /// The watch over the models' directory.
    Watch,
    /// SIGHUP: the key ring was read again.
    Keys,
}

/// The story of one load, as `GET /models` tells it.
#[derive(Clone, Debug, Serialize)]
pub struct Load {
    /// The version that was asked for.
    pub version: String,
    /// What started the load.
    pub trigger: Trigger,
    /// When the load began.
    pub started_at: DateTime<Utc>,
    /// In order; of a refused version, the last is the one that it failed in.
    pub stages: Vec<Stage>,
    /// Where its machine code came from, if it got that far.
    pub code: Option<CodeOrigin>,
    /// `loaded` or `refused`.
    pub outcome: &'static str,
    /// Why it was refused.
    pub reason: Option<Reason>,
    /// The files as they were when it began.
    #[serde(skip)]
    pub files: Option<FilePrint>,
}

/// The `code` and the sentence of a refusal.
#[derive(Clone, Debug, Serialize)]
pub struct Reason {
    pub code: &'static str,
    pub message: String,
}

/// A part of a load and the time it took.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    pub stage: &'static str,
    pub ms: f64,
}

impl Refusal {
    /// `code` is short and snake_case.
    pub fn new(version: &str, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal {
            version: version.to_owned(),
            code,
            message: message.into(),
        }
    }

    /// Whether the version may be good, and the machine was only too busy.
    pub fn is_matter_of_time(&self) -> bool {
        matches!(self.code, "timeout" | "compile_timeout" | "busy" | "not_loaded")
    }
}

impl Load {
    fn begin(version: &str, trigger: Trigger) -> Load {
        Load {
            version: version.to_owned(),
            trigger,
            started_at: wall(),
            stages: Vec::new(),
            code: None,
            outcome: "refused",
            reason: None,
            files: None,
        }
    }

    fn stage<T>(&mut self, stage: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        let took = start.elapsed();
        histogram!("ltr_model_load_seconds", "stage" => stage).record(took);
        self.stages.push(Stage {
            stage,
            ms: took.as_secs_f64() * 1e3,
        });
        done
    }

    fn compiled(&mut self, code: CodeOrigin) {
        counter!("ltr_model_code_total", "origin" => code.name()).increment(1);
        self.code = Some(code);
    }

    fn end<T>(&mut self, result: &Result<T, Refusal>) {
        match result {
            Ok(_) => self.outcome = "loaded",
            Err(Refusal { code, message, .. }) => {
                self.reason = Some(Reason {
                    code,
                    message: message.clone(),
                });
            }
        }
    }
}

/// The directory of the keys that may sign, and the ring as it was read last. Clones share it.
#[derive(Clone)]
pub struct Keys {
    dir: PathBuf,
    last: Arc<Mutex<KeyRing>>,
}

impl Keys {
    /// A ring without keys, until [`Keys::read`] reads `dir`. `allow_unsigned` also accepts
    /// unsigned models.
    pub fn new(dir: &Path, allow_unsigned: bool) -> Keys {
        let ring = KeyRing::default().allowing_unsigned(allow_unsigned);
        Keys {
            dir: dir.to_owned(),
            last: Arc::new(Mutex::new(ring)),
        }
    }

    /// The keys as they are now. Says what is wrong with them, once.
    pub fn read(&self) -> KeyRing {
        let before = self.last.lock().clone();
        let ring = before.read_again(&self.dir);
        let facts = ring.facts();
        if facts != before.facts() {
            for fault in &facts.faults {
                tracing::error!("models.trusted_keys: {}: {}", fault.file, fault.reason);
            }
            if let Some(reason) = &facts.closed {
                tracing::error!("models.trusted_keys: no new model is believed: {reason}");
            }
        }
        gauge!("ltr_key_ring_faults").set(facts.faults.len() as f64);
        gauge!("ltr_key_ring_closed").set(u8::from(facts.closed.is_some()));
        *self.last.lock() = ring.clone();
        ring
    }

    /// As they were when they were read last.
    pub fn facts(&self) -> RingFacts {
        self.last.lock().facts()
    }
}

/// What loading needs.
#[derive(Clone)]
pub struct Loader {
    /// Compiles components, and bounds what they may use.
    pub engine: Engine,
    /// The folder that holds one folder a version.
    pub dir: PathBuf,
    /// Where what is not there comes from.
    pub source: Option<Source>,
    /// The keys that may sign models.
    pub keys: Keys,
    /// Whether a version may be named by a time in the future: where the clock is not this machine's.
    pub any_time: bool,
    /// The features that the gateway knows (`ranking.features`).
    pub schema: Schema,
    /// Instances that are ready when a model starts to serve.
    pub warm_instances: usize,
}

impl Loader {
    /// Loads one version on a thread of its own, because that compiles: neither the reactor nor the threads that
    /// score are kept from their work. The refusal is the first check that failed.
    pub async fn load(&self, version: &str, trigger: Trigger) -> (Load, Result<Model, Refusal>) {
        let (tell, told) = oneshot::channel();
        let (loader, named, reactor) = (self.clone(), version.to_owned(), Handle::current());
        let spawned = std::thread::Builder::new().name("model-load".into()).spawn(move || {
            let mut load = Load::begin(&named, trigger);
            load.files = reactor.block_on(loader.print_of(&named));
            let result = loader.run(&named, &mut load, &reactor);
            load.end(&result);
            // Nobody listens any more when the gateway has gone.
            let _ = tell.send((load, result));
        });
        let broken = match spawned {
            Err(error) => error.to_string(),
            Ok(_) => match tokio::time::timeout(PATIENCE, told).await {
                Ok(Ok(told)) => return told,
                Ok(Err(_)) => "the loading thread panicked".to_owned(),
                Err(_) => format!("it is not loaded after {} s", PATIENCE.as_secs()),
            },
        };
        let result = Err(Refusal::new(version, "not_loaded", broken));
        let mut load = Load::begin(version, trigger);
        load.end(&result);
        (load, result)
    }

    fn run(&self, version: &str, load: &mut Load, reactor: &Handle) -> Result<Model, Refusal> {
        let refuse = |code, message| Refusal::new(version, code, message);
        let ring = self.keys.read();
        let (opened, wasm) = self.open(version, &ring, load, reactor).map_err(|error| {
            if error.may_pass() {
                // Nothing has to change before another try.
                load.files = None;
            }
            refuse(error.code(), error.to_string())
        })?;
        if opened.signed_by.is_none() {
            tracing::warn!(
                version,
                "loading a model that NOBODY SIGNED, because models.allow_unsigned is true; never in production"
            );
        }
        let scorer = load
            .stage("compile", || artefact::load(&self.engine, &opened, &wasm))
            .and_then(|scorer| {
                load.compiled(scorer.code());
                load.stage("golden_rows", || artefact::check_golden(&scorer, &opened.manifest))?;
                Ok(scorer)
            })
            .map_err(|e| refuse(e.code(), e.to_string()))?;
        let columns = self.columns(&scorer).map_err(|(code, message)| refuse(code, message))?;
        load.stage("warm", || self.warm(&scorer, &opened.manifest.golden))
            .map_err(|e| refuse(e.reason(), format!("warming instances: {e}")))?;
        Ok(Model {
            signed_by: opened.signed_by,
            ..Model::new(version.to_owned(), scorer, columns)
        })
    }

    /// The version as it is in the directory, or, where that is none or not a good one, as the source has it.
    fn open(
        &self,
        version: &str,
        ring: &KeyRing,
        load: &mut Load,
        reactor: &Handle,
    ) -> Result<(Artefact, Vec<u8>), OpenError> {
        let source = self.source.as_ref().filter(|_| artefact::is_version(version));
        let Some(source) = source else {
            return Ok(self.open_in(&self.dir, version, ring, load)?);
        };
        let bad = if !self.dir.join(version).is_dir() {
            None
        } else {
            match self.open_in(&self.dir, version, ring, load) {
                Ok(opened) => return Ok(opened),
                Err(error) => Some(error),
            }
        };
        let download = Download::new(&self.dir, version);
        let fetched = load.stage("fetch", || reactor.block_on(source.download(version, &download.beside)));
        match (fetched, bad) {
            // There is a version here, and the source has nothing to mend it with.
            (Err(_), Some(bad)) => return Err(bad.into()),
            (fetched, _) => fetched?,
        }
        let opened = self.open_in(&download.beside, version, ring, load)?;
        match download.keep() {
            // From now on its files here are the ones that count.
            Ok(()) => load.files = reactor.block_on(self.print_of(version)),
            // It serves all the same, and the next start asks the source again.
            Err(error) => tracing::warn!(version, "the downloaded model is not kept: {error}"),
        }
        Ok(opened)
    }

    fn open_in(
        &self,
        dir: &Path,
        version: &str,
        ring: &KeyRing,
        load: &mut Load,
    ) -> Result<(Artefact, Vec<u8>), ArtefactError> {
        let most = self.engine.limits().max_component_bytes;
        let fetched = load.stage("fetch", || artefact::fetch(dir, version, most))?;
        load.stage("verify", || fetched.verify(ring))
    }

    /// For each column of the component, where in the schema it is.
    fn columns(&self, scorer: &Scorer) -> Result<Vec<usize>, (&'static str, String)> {
        let description = scorer.description();
        if description.outputs != 1 {
            let message = format!("{} scores a row; allowed: 1", description.outputs);
            return Err(("wrong_outputs", message));
        }
        let column = |name: &String| {
            self.schema.index_of(name).ok_or_else(|| {
                let known = self.schema.names().join(", ");
                (
                    "feature_mismatch",
                    format!("feature {name:?}; allowed: ranking.features, {known}"),
                )
            })
        };
        description.feature_names.iter().map(column).collect()
    }

    fn warm(&self, scorer: &Scorer, golden: &artefact::Golden) -> Result<(), ScoreError> {
        let row = &golden.values()[..scorer.width()];
        scorer.warm(row, self.warm_instances, WARM_TIMEOUT)
    }

    /// Which of two versions is the newer one, now.
    pub fn order(&self) -> Order {
        let tomorrow = (wall() + TimeDelta::days(1)).format("%Y%m%dT%H%M%SZ");
        Order::until((!self.any_time).then(|| tomorrow.to_string()))
    }

    /// The versions in the directory that are newer than `above`, the newest first.
    pub async fn newer_here(&self, above: Option<&str>) -> Listing {
        let (dir, order, above) = (self.dir.clone(), self.order(), above.map(str::to_owned));
        let listed = tokio::task::spawn_blocking(move || artefact::newer(&dir, &order, above.as_deref()));
        let listed = listed.await.unwrap_or_else(|panicked| Err(panicked.into()));
        listed.unwrap_or_else(|error| {
            tracing::error!("models.dir: {} cannot be read: {error}", self.dir.display());
            let mut none = Listing::default();
            none.skipped.note(&self.dir.to_string_lossy(), error.to_string());
            none
        })
    }

    /// The versions that are published and newer than `above`, in the directory or at the source, the newest first.
    pub async fn newer(&self, above: Option<&str>) -> Listing {
        let here = self.newer_here(above).await;
        let Some(source) = &self.source else {
            return here;
        };
        let order = self.order();
        let there = source.newer(&order, above).await;
        let mut versions = [here.versions, there.versions].concat();
        versions.sort_by(|a, b| order.key(b).cmp(&order.key(a)));
        versions.dedup();
        Listing {
            versions,
            skipped: here.skipped.and(there.skipped),
        }
    }

    /// What would have to change for another try at `version` to end otherwise; `None` where there is no such version.
    pub async fn print_of(&self, version: &str) -> Option<FilePrint> {
        if !artefact::is_version(version) {
            return None;
        }
        let (dir, keys) = (self.dir.join(version), self.keys.clone());
        let here = tokio::task::spawn_blocking(move || {
            let ring = keys.read().facts();
            (changed(&dir), files_of(&dir), ring)
        });
        let (folder, files, ring) = here.await.ok()?;
        let published = match &self.source {
            Some(source) => source.published(version).await,
            None => Vec::new(),
        };
        let any = !files.is_empty() || !published.is_empty();
        any.then_some(FilePrint {
            folder,
            files,
            ring,
            published,
        })
    }
}

/// Names, sizes and ages of a version's files, here and at the source, and the key ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePrint {
    folder: Option<(i64, i64)>,
    files: Vec<Published>,
    ring: RingFacts,
    published: Vec<Published>,
}

/// When a folder was changed, its permissions included.
fn changed(dir: &Path) -> Option<(i64, i64)> {
    let metadata = fs::metadata(dir).ok()?;
    Some((metadata.ctime(), metadata.ctime_nsec()))
}

/// Why a version could not be read or was not believed.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Here(#[from] ArtefactError),
    #[error(transparent)]
    There(#[from] SourceError),
}

impl OpenError {
    fn code(&self) -> &'static str {
        match self {
            OpenError::Here(e) => e.code(),
            OpenError::There(e) => e.code(),
        }
    }

    fn may_pass(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, InvalidInput, NotFound, PermissionDenied};
        match self {
            // All but what the files themselves are, as a disk that fails or too many open files.
            OpenError::Here(ArtefactError::Io { source, .. }) => {
                !matches!(source.kind(), FileTooLarge | InvalidInput | NotFound | PermissionDenied)
            }
            OpenError::Here(_) => false,
            OpenError::There(e) => e.may_pass(),
        }
    }
}

/// A version that came from the source: in a hidden folder beside the directory, and gone again unless it is kept.
struct Download {
    dir: PathBuf,
    version: String,
    beside: PathBuf,
}

impl Download {
    /// In a place that nothing else can have.
    fn new(dir: &Path, version: &str) -> Download {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        remove_leftovers(dir);
        Download {
            dir: dir.to_owned(),
            version: version.to_owned(),
            beside: dir.join(format!(
                "{DOWNLOAD}{}.{}.{}",
                std::process::id(),
                wall().timestamp_micros(),
                NEXT.fetch_add(1, Ordering::Relaxed)
            )),
        }
    }

    /// Moves it to where it would have been published, in one step.
    fn keep(&self) -> Result<(), ArtefactError> {
        let target = self.dir.join(&self.version);
        let moved = fs::rename(self.beside.join(&self.version), &target);
        let synced = moved.and_then(|()| regular_file::sync_folder(&self.dir));
        synced.map_err(|source| ArtefactError::Io { path: target, source })
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.beside);
    }
}

/// Removes what a crash left of earlier downloads. Another gateway's that is still coming is never that old.
fn remove_leftovers(dir: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(DOWNLOAD.as_bytes())) {
        let changed = entry.metadata().and_then(|metadata| metadata.modified());
        let age = changed.ok().and_then(|changed| changed.elapsed().ok());
        if age.is_some_and(|age| age > LEFT_OVER) {
            // Whoever has the same thought at the same time may have been first.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

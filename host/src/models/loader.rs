//! Loads a model in five stages: fetch, verify, compile, golden rows, warm instances. Every load
//! takes this path, whatever started it.

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
use super::source::{PublishedFile, Source, SourceError, files_of};
use crate::http::clock::wall;

/// How long a load may delay the next one. Each stage has a far lower limit of its own, except on a
/// file system that does not answer.
const LOAD_TIMEOUT: Duration = Duration::from_secs(600);
/// Prefix of the folder of a download in progress.
const DOWNLOAD_PREFIX: &str = ".download.";
/// Age at which such a folder is a leftover: more than twice the maximum of
/// `models.download_seconds`.
const LEFTOVER_AGE: Duration = Duration::from_secs(3 * 3_600);
/// Time limit for a new scorer's instances to be created and to score one row.
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
    /// Whether the version may be good and the machine was only too busy: it is tried again.
    #[serde(skip)]
    pub is_transient: bool,
}

/// What started a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The start of the gateway.
    Start,
    /// `POST /models/notify`.
    Notify,
    /// The watch over the models directory and the source.
    Watch,
    /// The state on record names it.
    Follow,
    /// SIGHUP: the key ring was read again.
    Keys,
}

/// A load, as `GET /models` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Load {
    /// The version that was asked for.
    pub version: String,
    /// What started the load.
    pub trigger: Trigger,
    /// When the load began.
    pub started_at: DateTime<Utc>,
    /// In order. The last stage of a refused version is the one that failed.
    pub stages: Vec<Stage>,
    /// The origin of the machine code; `None` if the load ended before.
    pub code: Option<CodeOrigin>,
    /// How it ended.
    pub outcome: LoadOutcome,
    /// Why it was refused.
    pub reason: Option<Reason>,
    /// The files when the load began; `None` if a retry may succeed although they are unchanged.
    #[serde(skip)]
    pub files: Option<FileFingerprint>,
}

/// How a load ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadOutcome {
    /// The model is loaded.
    Loaded,
    /// The model was refused.
    Refused,
}

/// The code and the message of a refusal.
#[derive(Clone, Debug, Serialize)]
pub struct Reason {
    pub code: &'static str,
    pub message: String,
}

/// A stage of a load, and its time in milliseconds.
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
            is_transient: false,
        }
    }

    /// The same, of a machine that may only have been too busy.
    pub fn if_transient(self, is_transient: bool) -> Refusal {
        Refusal { is_transient, ..self }
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
            outcome: LoadOutcome::Refused,
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
            Ok(_) => self.outcome = LoadOutcome::Loaded,
            Err(Refusal { code, message, .. }) => {
                self.reason = Some(Reason {
                    code,
                    message: message.clone(),
                });
            }
        }
    }
}

/// The directory of the trusted keys, and the key ring as last read. Clones share the ring.
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

    /// Reads the key ring. Its faults are logged whenever they change.
    pub fn read(&self) -> KeyRing {
        let before = self.last.lock().clone();
        let ring = before.read_again(&self.dir);
        let facts = ring.facts();
        if facts != before.facts() {
            for fault in &facts.faults {
                tracing::error!("models.trusted_keys: {}: {}", fault.file, fault.reason);
            }
            if let Some(reason) = &facts.closed {
                tracing::error!("models.trusted_keys: no new model is accepted: {reason}");
            }
        }
        gauge!("ltr_key_ring_faults").set(facts.faults.len() as f64);
        gauge!("ltr_key_ring_closed").set(u8::from(facts.closed.is_some()));
        *self.last.lock() = ring.clone();
        ring
    }

    /// The keys and faults of the ring as last read.
    pub fn facts(&self) -> RingFacts {
        self.last.lock().facts()
    }
}

/// Loads models.
#[derive(Clone)]
pub struct Loader {
    /// Compiles components, and bounds what they may use.
    pub engine: Engine,
    /// The folder that holds one folder per version.
    pub dir: PathBuf,
    /// Where versions come from that are not in `dir`; `None`: nowhere.
    pub source: Option<Source>,
    /// The keys that may sign models.
    pub keys: Keys,
    /// Whether a version named by a future time may be the newest: for a clock that is not this
    /// machine's.
    pub any_time: bool,
    /// The features that the gateway knows (`ranking.features`).
    pub schema: Schema,
    /// Number of instances that are ready when a model starts to serve.
    pub warm_instances: usize,
}

impl Loader {
    /// Loads one version on a thread of its own, because compiling would block the runtime's
    /// threads. The refusal names the first check that failed.
    pub async fn load(&self, version: &str, trigger: Trigger) -> (Load, Result<Model, Refusal>) {
        let (sender, receiver) = oneshot::channel();
        let (loader, named, reactor) = (self.clone(), version.to_owned(), Handle::current());
        let spawned = std::thread::Builder::new().name("model-load".into()).spawn(move || {
            let mut load = Load::begin(&named, trigger);
            load.files = reactor.block_on(loader.fingerprint_of(&named));
            let result = loader.run(&named, &mut load, &reactor);
            load.end(&result);
            // The receiver is gone after a timeout or a shutdown.
            let _ = sender.send((load, result));
        });
        let problem = match spawned {
            Err(error) => error.to_string(),
            Ok(_) => match tokio::time::timeout(LOAD_TIMEOUT, receiver).await {
                Ok(Ok(outcome)) => return outcome,
                Ok(Err(_)) => "the loading thread panicked".to_owned(),
                Err(_) => format!("the load did not end within {} s", LOAD_TIMEOUT.as_secs()),
            },
        };
        let result = Err(Refusal::new(version, "not_loaded", problem).if_transient(true));
        let mut load = Load::begin(version, trigger);
        load.end(&result);
        (load, result)
    }

    fn run(&self, version: &str, load: &mut Load, reactor: &Handle) -> Result<Model, Refusal> {
        let refuse = |code, message| Refusal::new(version, code, message);
        let ring = self.keys.read();
        let (opened, wasm) = self.open(version, &ring, load, reactor).map_err(|error| {
            if error.is_transient() {
                // A retry may succeed with the same files.
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
        let gate_bypassed_as = opened.manifest.gate_bypassed_as().map(str::to_owned);
        if let Some(name) = &gate_bypassed_as {
            tracing::warn!(
                version,
                "loading a model that was published AROUND THE GATE, as {name:?}"
            );
        }
        let scorer = load
            .stage("compile", || artefact::load(&self.engine, &opened, &wasm))
            .and_then(|scorer| {
                load.compiled(scorer.code());
                load.stage("golden_rows", || artefact::check_golden(&scorer, &opened.manifest))?;
                Ok(scorer)
            })
            .map_err(|e| refuse(e.code(), e.to_string()).if_transient(e.is_transient()))?;
        let columns = self.columns(&scorer).map_err(|(code, message)| refuse(code, message))?;
        load.stage("warm", || self.warm(&scorer, &opened.manifest.golden))
            .map_err(|e| refuse(e.reason(), format!("warming instances: {e}")).if_transient(e.is_transient()))?;
        Ok(Model {
            signed_by: opened.signed_by,
            // Null where no model was live.
            gate: serde_json::from_value(opened.manifest.gate["champion"].clone()).ok(),
            gate_bypassed_as,
            ..Model::new(version.to_owned(), scorer, columns)
        })
    }

    /// Opens the version in the directory, or from the source if the directory lacks it or has a
    /// bad copy.
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
        let fetched = load.stage("fetch", || reactor.block_on(source.download(version, &download.folder)));
        match (fetched, bad) {
            // The local copy is bad, and the source cannot replace it.
            (Err(_), Some(bad)) => return Err(bad.into()),
            (fetched, _) => fetched?,
        }
        let opened = self.open_in(&download.folder, version, ring, load)?;
        match download.keep() {
            // The fingerprint must be of the files that are now here.
            Ok(()) => load.files = reactor.block_on(self.fingerprint_of(version)),
            // The model serves anyway.
            Err(error) => tracing::warn!(
                version,
                "the downloaded model cannot be stored and will be downloaded again at the next start: {error}"
            ),
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

    /// For each column of the component, its index in the schema.
    fn columns(&self, scorer: &Scorer) -> Result<Vec<usize>, (&'static str, String)> {
        let description = scorer.description();
        if description.outputs != 1 {
            let message = format!("the component gives {} scores per row; allowed: 1", description.outputs);
            return Err(("wrong_outputs", message));
        }
        let column = |name: &String| {
            self.schema.index_of(name).ok_or_else(|| {
                let known = self.schema.names().join(", ");
                (
                    "feature_mismatch",
                    format!("feature {name:?} is not in ranking.features; allowed: {known}"),
                )
            })
        };
        description.feature_names.iter().map(column).collect()
    }

    fn warm(&self, scorer: &Scorer, golden: &artefact::Golden) -> Result<(), ScoreError> {
        let row = &golden.values()[..scorer.width()];
        scorer.warm(row, self.warm_instances, WARM_TIMEOUT)
    }

    /// The order of versions now. Unless `any_time` is set, times more than a day ahead count as
    /// older.
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

    /// The versions in the directory or at the source that are newer than `above`, the newest
    /// first.
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

    /// A fingerprint of everything that decides how a load of `version` ends; `None` if there is no
    /// such version.
    pub async fn fingerprint_of(&self, version: &str) -> Option<FileFingerprint> {
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
        any.then_some(FileFingerprint {
            folder,
            files,
            ring,
            published,
        })
    }
}

/// Names, sizes and times of a version's files, here and at the source, and the key ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFingerprint {
    folder: Option<(i64, i64)>,
    files: Vec<PublishedFile>,
    ring: RingFacts,
    published: Vec<PublishedFile>,
}

/// The time of the folder's last change (ctime), which includes its permissions.
fn changed(dir: &Path) -> Option<(i64, i64)> {
    let metadata = fs::metadata(dir).ok()?;
    Some((metadata.ctime(), metadata.ctime_nsec()))
}

/// Why a version could not be read or verified.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Local(#[from] ArtefactError),
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl OpenError {
    fn code(&self) -> &'static str {
        match self {
            OpenError::Local(e) => e.code(),
            OpenError::Source(e) => e.code(),
        }
    }

    fn is_transient(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, InvalidInput, NotFound, PermissionDenied};
        match self {
            // Other I/O errors, such as a failing disk or too many open files, are not the
            // version's fault.
            OpenError::Local(ArtefactError::Io { source, .. }) => {
                !matches!(source.kind(), FileTooLarge | InvalidInput | NotFound | PermissionDenied)
            }
            OpenError::Local(_) => false,
            OpenError::Source(e) => e.is_transient(),
        }
    }
}

/// A download from the source, in a hidden folder inside the models directory. The folder is
/// removed on drop.
struct Download {
    dir: PathBuf,
    version: String,
    folder: PathBuf,
}

impl Download {
    /// Chooses a folder name that no other download has.
    fn new(dir: &Path, version: &str) -> Download {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        remove_leftovers(dir);
        Download {
            dir: dir.to_owned(),
            version: version.to_owned(),
            folder: dir.join(format!(
                "{DOWNLOAD_PREFIX}{}.{}.{}",
                std::process::id(),
                wall().timestamp_micros(),
                NEXT.fetch_add(1, Ordering::Relaxed)
            )),
        }
    }

    /// Moves the version to its place in the models directory, by one rename.
    fn keep(&self) -> Result<(), ArtefactError> {
        let target = self.dir.join(&self.version);
        let moved = fs::rename(self.folder.join(&self.version), &target);
        let synced = moved.and_then(|()| regular_file::sync_folder(&self.dir));
        synced.map_err(|source| ArtefactError::Io { path: target, source })
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Removes downloads that a crash left behind. A download in progress of another gateway is never
/// that old.
fn remove_leftovers(dir: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| {
        entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(DOWNLOAD_PREFIX.as_bytes())
    }) {
        let changed = entry.metadata().and_then(|metadata| metadata.modified());
        let age = changed.ok().and_then(|changed| changed.elapsed().ok());
        if age.is_some_and(|age| age > LEFTOVER_AGE) {
            // Another gateway may be removing it too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

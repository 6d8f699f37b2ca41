//! The one way from a published folder to a model that may serve, whoever asked for it: fetch, verify, compile,
//! golden rows, warm instances.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use metrics::{counter, histogram};
use ranking::Schema;
use runtime::artefact::{self, ArtefactError, Fetched, KeyRing};
use runtime::{CodeOrigin, Engine, ScoreError, Scorer};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Model;
use super::source::{Published, Source, SourceError};

/// How long a fresh scorer's instances have to be made and to score one row.
const WARM_TIMEOUT: Duration = Duration::from_secs(5);

/// A version that was not loaded, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refusal {
    pub version: String,
    /// Short, snake_case.
    pub code: &'static str,
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
    pub version: String,
    pub trigger: Trigger,
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

impl Load {
    fn begin(version: &str, trigger: Trigger) -> Load {
        Load {
            version: version.to_owned(),
            trigger,
            started_at: Utc::now(),
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

/// What loading needs.
#[derive(Clone)]
pub struct Loader {
    pub engine: Engine,
    /// The folder that holds one folder a version.
    pub dir: PathBuf,
    /// Where what is not there comes from.
    pub source: Option<Source>,
    /// The directory of the keys that may sign.
    pub trusted_keys: PathBuf,
    /// Whether what nobody signed is loaded too.
    pub allow_unsigned: bool,
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
            Ok(_) => match told.await {
                Ok(told) => return told,
                Err(_) => "the loading thread panicked".to_owned(),
            },
        };
        let result = Err(refuse(version, "not_loaded", broken));
        let mut load = Load::begin(version, trigger);
        load.end(&result);
        (load, result)
    }

    fn run(&self, version: &str, load: &mut Load, reactor: &Handle) -> Result<Model, Refusal> {
        let refuse = |code, message| refuse(version, code, message);
        let ring = self
            .ring()
            .map_err(|error| refuse("unreadable_keys", format!("models.trusted_keys: {error}")))?;
        let (fetched, download) = load.stage("fetch", || self.fetch(version, reactor)).map_err(|e| {
            if e.may_pass() {
                // Nothing has to change before another try.
                load.files = None;
            }
            refuse(e.code(), e.to_string())
        })?;
        let (opened, wasm) = load
            .stage("verify", || {
                let verified = fetched.verify(&ring)?;
                download.as_ref().map_or(Ok(()), Download::keep)?;
                Ok(verified)
            })
            .map_err(|e: ArtefactError| refuse(e.code(), e.to_string()))?;
        if download.is_some() {
            // From now on its files here are the ones that count.
            load.files = reactor.block_on(self.print_of(version));
        }
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

    /// The version as it is in the directory, or else as the source has it, beside the directory until it is verified.
    fn fetch(&self, version: &str, reactor: &Handle) -> Result<(Fetched, Option<Download>), FetchError> {
        let most = self.engine.limits().max_component_bytes;
        let source = self.source.as_ref().filter(|_| artefact::is_version(version));
        let Some(source) = source.filter(|_| !self.dir.join(version).is_dir()) else {
            return Ok((artefact::fetch(&self.dir, version, most)?, None));
        };
        let download = Download::new(&self.dir, version);
        reactor.block_on(source.download(version, &download.beside))?;
        let fetched = artefact::fetch(&download.beside, version, most)?;
        Ok((fetched, Some(download)))
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

    /// The keys as they are now.
    ///
    /// # Errors
    /// A directory or a file that cannot be read.
    pub fn ring(&self) -> Result<KeyRing, artefact::keys::KeyError> {
        Ok(KeyRing::read(&self.trusted_keys)?.allowing_unsigned(self.allow_unsigned))
    }

    fn warm(&self, scorer: &Scorer, golden: &artefact::Golden) -> Result<(), ScoreError> {
        let row = &golden.values()[..scorer.width()];
        scorer.warm(row, self.warm_instances, WARM_TIMEOUT)
    }

    /// The newest version in the directory.
    pub fn newest_here(&self) -> Option<String> {
        artefact::versions(&self.dir).ok()?.pop()
    }

    /// The newest version that is published, in the directory or at the source.
    pub async fn newest(&self) -> Option<String> {
        let loader = self.clone();
        let here = tokio::task::spawn_blocking(move || loader.newest_here());
        let there = match &self.source {
            Some(source) => source.newest().await,
            None => None,
        };
        here.await.ok().flatten().max(there)
    }

    /// What would have to change for another try at `version` to end otherwise; `None` where there is no such version.
    pub async fn print_of(&self, version: &str) -> Option<FilePrint> {
        if !artefact::is_version(version) {
            return None;
        }
        let (dir, keys) = (self.dir.join(version), self.trusted_keys.clone());
        let here = tokio::task::spawn_blocking(move || {
            let names = [artefact::MANIFEST, artefact::SIGNATURE, artefact::SCORER];
            (names.map(|name| file_print(&dir.join(name))), file_print(&keys))
        });
        let (files, ring) = here.await.ok()?;
        let published = match &self.source {
            Some(source) if files.iter().all(Option::is_none) => source.published(version).await,
            _ => Vec::new(),
        };
        let any = files.iter().any(Option::is_some) || !published.is_empty();
        any.then_some(FilePrint { files, ring, published })
    }
}

/// Size and age of a version's files, here or at the source, and of the key ring, whose directory changes with every key
/// that is added, renamed or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePrint {
    files: [Option<(u64, SystemTime)>; 3],
    ring: Option<(u64, SystemTime)>,
    published: Vec<Published>,
}

fn file_print(path: &Path) -> Option<(u64, SystemTime)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}

/// Why a version could not be read, before anything of it was believed.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Here(#[from] ArtefactError),
    #[error(transparent)]
    There(#[from] SourceError),
}

impl FetchError {
    fn code(&self) -> &'static str {
        match self {
            FetchError::Here(e) => e.code(),
            FetchError::There(e) => e.code(),
        }
    }

    fn may_pass(&self) -> bool {
        matches!(self, FetchError::There(e) if e.may_pass())
    }
}

/// A version that came from the source: in a hidden folder beside the directory, and gone again unless it is kept.
struct Download {
    dir: PathBuf,
    version: String,
    beside: PathBuf,
}

impl Download {
    fn new(dir: &Path, version: &str) -> Download {
        Download {
            dir: dir.to_owned(),
            version: version.to_owned(),
            // A gateway loads one model at a time.
            beside: dir.join(format!(".download.{}", std::process::id())),
        }
    }

    /// Moves it to where it would have been published, in one step.
    fn keep(&self) -> Result<(), ArtefactError> {
        let target = self.dir.join(&self.version);
        let moved = fs::rename(self.beside.join(&self.version), &target);
        let synced = moved.and_then(|()| fs::File::open(&self.dir)?.sync_all());
        synced.map_err(|source| ArtefactError::Io { path: target, source })
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.beside);
    }
}

fn refuse(version: &str, code: &'static str, message: String) -> Refusal {
    Refusal {
        version: version.to_owned(),
        code,
        message,
    }
}

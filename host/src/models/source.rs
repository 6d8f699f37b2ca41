//! Models that are published elsewhere, in an object store or another folder: what is there, and how a version gets to
//! this host's disk. Nothing of it is believed here; what was downloaded is verified as what was published in the
//! directory itself.

mod bucket;
mod fault;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use metrics::gauge;
use regular_file::Links;
use runtime::artefact::{self, Listing, Order};
use serde::Deserialize;
use serde::de::IgnoredAny;

use bucket::Bucket;
pub(super) use fault::Published;
use fault::{Fault, PATIENCE};

/// Files of a version beside the manifest and its signature.
const MAX_FILES: usize = 64;
/// Files of a version that are looked at to see whether it changed.
const MAX_PUBLISHED: usize = 1_000;
/// Where versions are published, beside the directory of this host.
#[derive(Clone)]
pub struct Source {
    place: Place,
    /// As it is configured.
    url: String,
    max_bytes: u64,
    patience: Duration,
    up: Arc<AtomicBool>,
}

/// The folder that holds one folder a version.
#[derive(Clone)]
enum Place {
    Folder(PathBuf),
    Bucket(Arc<Bucket>),
}

/// Why a version was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{url} cannot be read: {reason}")]
    Away { url: String, reason: String },
    #[error("there is no {version}/{file} in {url}")]
    NotFound { version: String, file: String, url: String },
    #[error("{what} in {url}; allowed: at most {MAX_FILES} files a version, named as an artefact's are")]
    NotAnArtefact { what: String, url: String },
    #[error("it has more than {limit} bytes in {url}; allowed: at most that (models.max_download_mb)")]
    TooLarge { limit: u64, url: String },
    #[error("it is not here after {seconds} s (models.download_seconds) from {url}")]
    TooSlow { seconds: u64, url: String },
    #[error("{}: {source}", path.display())]
    Disk { path: PathBuf, source: io::Error },
}

impl SourceError {
    /// A short name that stays the same across versions.
    pub fn code(&self) -> &'static str {
        match self {
            SourceError::Away { .. } => "source_unavailable",
            SourceError::NotFound { .. } => "not_found",
            SourceError::NotAnArtefact { .. } => "not_an_artefact",
            SourceError::TooLarge { .. } => "too_large",
            SourceError::TooSlow { .. } => "download_timeout",
            SourceError::Disk { .. } => "io",
        }
    }

    /// Whether another try may end otherwise though nothing was published meanwhile.
    pub fn may_pass(&self) -> bool {
        use SourceError::{Away, Disk, TooSlow};
        matches!(self, Away { .. } | TooSlow { .. } | Disk { .. })
    }
}

impl Source {
    /// The source that is configured, if there is one. Asks nobody yet.
    ///
    /// # Errors
    /// Settings of the store, in the environment, that contradict each other.
    pub fn open(models: &settings::Models) -> anyhow::Result<Option<Source>> {
        let Some((scheme, rest)) = models.source.split_once("://") else {
            return Ok(None);
        };
        let patience = Duration::from_secs(models.download_seconds.into());
        let place = match scheme {
            "s3" => Place::Bucket(Arc::new(Bucket::open(rest, patience).context("models.source")?)),
            _ => Place::Folder(Path::new(rest).join("ltr")),
        };
        Ok(Some(Source {
            place,
            url: models.source.clone(),
            max_bytes: u64::from(models.max_download_mb) << 20,
            patience,
            up: Arc::new(AtomicBool::new(true)),
        }))
    }

    /// The versions that are published and newer than `above`; none where the store cannot tell, which is logged.
    pub async fn newer(&self, order: &Order, above: Option<&str>) -> Listing {
        let listed = match &self.place {
            Place::Bucket(bucket) => bucket.newer(order, above).await,
            Place::Folder(folder) => {
                let (folder, order, above) = (folder.clone(), order.clone(), above.map(str::to_owned));
                blocking(move || artefact::newer(&folder, &order, above.as_deref()).map_err(Fault::away)).await
            }
        };
        self.noted(listed).unwrap_or_default()
    }

    /// What is published of a version; empty where there is nothing, or the store cannot tell.
    pub async fn published(&self, version: &str) -> Vec<Published> {
        let objects = match &self.place {
            Place::Bucket(bucket) => bucket.objects(version, MAX_PUBLISHED).await,
            Place::Folder(folder) => {
                let folder = folder.join(version);
                blocking(move || Ok(files_of(&folder))).await
            }
        };
        let mut objects = self.noted(objects).unwrap_or_default();
        objects.sort();
        objects
    }

    /// Downloads a version to a folder of that name below `into`, which must not be there: the manifest, its signature
    /// and the files that it names. What else lies beside them is nobody's concern. A file that is missing is missed by
    /// whoever verifies the version.
    ///
    /// # Errors
    /// The first limit that it breaks, a store that is away, a disk that does not take it.
    pub async fn download(&self, version: &str, into: &Path) -> Result<(), SourceError> {
        let downloading = tokio::time::timeout(self.patience, self.download_all(version, into));
        downloading.await.unwrap_or_else(|_| {
            Err(SourceError::TooSlow {
                seconds: self.patience.as_secs(),
                url: self.url.clone(),
            })
        })
    }

    async fn download_all(&self, version: &str, into: &Path) -> Result<(), SourceError> {
        let folder = into.join(version);
        let failed = |source| SourceError::Disk {
            path: folder.clone(),
            source,
        };
        fs::create_dir_all(&folder).map_err(failed)?;
        let mut left = self.max_bytes;
        if !self
            .download_one(version, artefact::MANIFEST, &folder, &mut left)
            .await?
        {
            return Err(SourceError::NotFound {
                version: version.to_owned(),
                file: artefact::MANIFEST.to_owned(),
                url: self.url.clone(),
            });
        }
        let manifest = folder.join(artefact::MANIFEST);
        let manifest = regular_file::read(&manifest, Links::Refuse, self.max_bytes).map_err(failed)?;
        for name in [artefact::SIGNATURE, artefact::SCORER] {
            self.download_one(version, name, &folder, &mut left).await?;
        }
        for name in self.named(&manifest)? {
            self.download_one(version, &name, &folder, &mut left).await?;
        }
        regular_file::sync_folder(&folder).map_err(failed)
    }

    /// The other files that a manifest names; none where it is no manifest, as its verification will say.
    fn named(&self, manifest: &[u8]) -> Result<Vec<String>, SourceError> {
        #[derive(Deserialize)]
        struct Named {
            files: BTreeMap<String, IgnoredAny>,
        }
        let refuse = |what| {
            let url = self.url.clone();
            Err(SourceError::NotAnArtefact { what, url })
        };
        let Ok(Named { files }) = serde_json::from_slice(manifest) else {
            return Ok(Vec::new());
        };
        if files.len() > MAX_FILES {
            return refuse(format!("its manifest names {} files", files.len()));
        }
        // A name of a file is made by the same rule as a version.
        if let Some(odd) = files.keys().find(|name| !artefact::is_version(name)) {
            let odd: String = odd.chars().take(80).collect();
            return refuse(format!("its manifest names a file {odd:?}"));
        }
        let here = [artefact::MANIFEST, artefact::SIGNATURE, artefact::SCORER];
        Ok(files
            .into_keys()
            .filter(|name| !here.contains(&name.as_str()))
            .collect())
    }

    /// Whether the file is there. `left` is what may still come: what a store says of sizes is its word alone.
    async fn download_one(
        &self,
        version: &str,
        name: &str,
        folder: &Path,
        left: &mut u64,
    ) -> Result<bool, SourceError> {
        let path = folder.join(name);
        let got = match &self.place {
            Place::Bucket(bucket) => bucket.download(version, name, &path, *left).await,
            Place::Folder(folder) => {
                let (from, most) = (folder.join(version).join(name), *left);
                blocking(move || copy(&from, &path, most)).await
            }
        };
        match got {
            Err(Fault::Absent) => Ok(false),
            got => {
                *left = left.saturating_sub(self.noted(got)?);
                Ok(true)
            }
        }
    }

    /// Shows whether the store answers, says when that changes, and names it in what went wrong.
    fn noted<T>(&self, answer: Result<T, Fault>) -> Result<T, SourceError> {
        let url = self.url.clone();
        let answer = answer.map_err(|fault| match fault {
            Fault::Away(reason) => SourceError::Away { url, reason },
            Fault::Absent => SourceError::Away {
                url,
                reason: "it is gone".to_owned(),
            },
            Fault::TooLarge => SourceError::TooLarge {
                limit: self.max_bytes,
                url,
            },
            Fault::NoFile(what) => SourceError::NotAnArtefact { what, url },
            Fault::Disk { path, source } => SourceError::Disk { path, source },
        });
        let is_up = !matches!(answer, Err(SourceError::Away { .. }));
        gauge!("ltr_model_source_up").set(u8::from(is_up));
        let was_up = self.up.swap(is_up, Ordering::Relaxed);
        match &answer {
            Err(error) if was_up && !is_up => {
                tracing::error!("models.source: {error}; the models that are loaded serve on");
            }
            _ if is_up && !was_up => tracing::info!("models.source: {} can be read again", self.url),
            _ => {}
        }
        answer
    }
}

/// Work on a file system that may be one over a network, within [`PATIENCE`]: off the threads that serve.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    match tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => Err(Fault::Away(error.to_string())),
        Err(_) => Err(Fault::Away(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// The regular files of a folder, of very many those that are listed first: name, size, and when it changed.
pub(super) fn files_of(folder: &Path) -> Vec<Published> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        // Its permissions, too.
        let changed = format!("{} {}.{:09}", metadata.mtime(), metadata.ctime(), metadata.ctime_nsec());
        Some((
            entry.file_name().to_string_lossy().into_owned(),
            metadata.len(),
            changed,
        ))
    });
    let mut files: Vec<_> = files.take(MAX_PUBLISHED).collect();
    files.sort();
    files
}

/// Copies at most that many bytes of a file, and gives their number.
fn copy(from: &Path, to: &Path, most: u64) -> Result<u64, Fault> {
    let file = match regular_file::open(from, Links::Refuse) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Fault::Absent),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            return Err(Fault::NoFile(format!("{}: {error}", from.display())));
        }
        file => file.map_err(Fault::away)?,
    };
    if file.metadata().map_err(Fault::away)?.len() > most {
        return Err(Fault::TooLarge);
    }
    let disk = |source| Fault::Disk {
        path: to.to_owned(),
        source,
    };
    let mut copy = File::create_new(to).map_err(disk)?;
    let bytes = io::copy(&mut file.take(most.saturating_add(1)), &mut copy).map_err(disk)?;
    copy.sync_all().map_err(disk)?;
    if bytes > most { Err(Fault::TooLarge) } else { Ok(bytes) }
}

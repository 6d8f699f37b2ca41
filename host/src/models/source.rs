//! The source: models published elsewhere, in an object store or another folder. Lists versions,
//! and downloads one to this host's disk.
//!
//! Nothing is trusted here. A download is verified like a version published in the directory
//! itself.

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
pub(super) use fault::PublishedFile;
use fault::{Fault, RESPONSE_TIMEOUT};

/// Maximum number of files that a manifest may name.
const MAX_FILES: usize = 64;
/// Maximum number of files that are compared to see whether a version changed.
const MAX_PUBLISHED: usize = 1_000;

/// A place where versions are published, in addition to this host's directory.
#[derive(Clone)]
pub struct Source {
    place: Place,
    /// The configured URL (`models.source`).
    url: String,
    max_bytes: u64,
    timeout: Duration,
    /// Whether the last request could be answered.
    up: Arc<AtomicBool>,
}

/// The folder or bucket that holds one folder per version.
#[derive(Clone)]
enum Place {
    Folder(PathBuf),
    Bucket(Arc<Bucket>),
}

/// Why a version was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{url} cannot be read: {reason}")]
    Unavailable { url: String, reason: String },
    #[error("there is no {version}/{file} in {url}")]
    NotFound { version: String, file: String, url: String },
    #[error("{what} in {url}; allowed: at most {MAX_FILES} regular files per version, named with A-Z a-z 0-9 . _ -")]
    NotAnArtefact { what: String, url: String },
    #[error("the version in {url} exceeds {limit} bytes (models.max_download_mb)")]
    TooLarge { limit: u64, url: String },
    #[error("the download from {url} took longer than {seconds} s (models.download_seconds)")]
    TooSlow { seconds: u64, url: String },
    #[error("{}: {source}", path.display())]
    Disk { path: PathBuf, source: io::Error },
}

impl SourceError {
    /// Short, snake_case, the same across releases.
    pub fn code(&self) -> &'static str {
        match self {
            SourceError::Unavailable { .. } => "source_unavailable",
            SourceError::NotFound { .. } => "not_found",
            SourceError::NotAnArtefact { .. } => "not_an_artefact",
            SourceError::TooLarge { .. } => "too_large",
            SourceError::TooSlow { .. } => "download_timeout",
            SourceError::Disk { .. } => "io",
        }
    }

    /// Whether another try may succeed although nothing was published meanwhile.
    pub fn is_transient(&self) -> bool {
        use SourceError::{Disk, TooSlow, Unavailable};
        matches!(self, Unavailable { .. } | TooSlow { .. } | Disk { .. })
    }
}

impl Source {
    /// The configured source; `None` if there is none. Does not connect yet.
    ///
    /// # Errors
    /// The store's settings in the environment are invalid.
    pub fn open(models: &settings::Models) -> anyhow::Result<Option<Source>> {
        let Some((scheme, rest)) = models.source.split_once("://") else {
            return Ok(None);
        };
        let timeout = Duration::from_secs(models.download_seconds.into());
        let place = match scheme {
            "s3" => Place::Bucket(Arc::new(Bucket::open(rest, timeout).context("models.source")?)),
            _ => Place::Folder(Path::new(rest).join("ltr")),
        };
        Ok(Some(Source {
            place,
            url: models.source.clone(),
            max_bytes: u64::from(models.max_download_mb) << 20,
            timeout,
            up: Arc::new(AtomicBool::new(true)),
        }))
    }

    /// The published versions that are newer than `above`; none if the source cannot be read, which
    /// is logged.
    pub async fn newer(&self, order: &Order, above: Option<&str>) -> Listing {
        let listed = match &self.place {
            Place::Bucket(bucket) => bucket.newer(order, above).await,
            Place::Folder(folder) => {
                let (folder, order, above) = (folder.clone(), order.clone(), above.map(str::to_owned));
                blocking(move || artefact::newer(&folder, &order, above.as_deref()).map_err(Fault::unavailable)).await
            }
        };
        self.record_availability(listed).unwrap_or_default()
    }

    /// The published files of a version, sorted; empty if there are none or the source cannot be
    /// read.
    pub async fn published(&self, version: &str) -> Vec<PublishedFile> {
        let objects = match &self.place {
            Place::Bucket(bucket) => bucket.objects(version, MAX_PUBLISHED).await,
            Place::Folder(folder) => {
                let folder = folder.join(version);
                blocking(move || Ok(files_of(&folder))).await
            }
        };
        let mut objects = self.record_availability(objects).unwrap_or_default();
        objects.sort();
        objects
    }

    /// Downloads a version to a new folder of that name below `into`: the manifest, its signature
    /// and the files that the manifest names. Other files are ignored. A file that is missing at
    /// the source is no error here; verification finds it.
    ///
    /// # Errors
    /// No manifest, the first limit that is exceeded, a source that cannot be read, or a disk that
    /// cannot be written.
    pub async fn download(&self, version: &str, into: &Path) -> Result<(), SourceError> {
        let downloading = tokio::time::timeout(self.timeout, self.download_all(version, into));
        downloading.await.unwrap_or_else(|_| {
            Err(SourceError::TooSlow {
                seconds: self.timeout.as_secs(),
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
        for name in self.other_files(&manifest)? {
            self.download_one(version, &name, &folder, &mut left).await?;
        }
        regular_file::sync_folder(&folder).map_err(failed)
    }

    /// The other files that a manifest names; none if it cannot be parsed, which verification
    /// reports.
    fn other_files(&self, manifest: &[u8]) -> Result<Vec<String>, SourceError> {
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
            return refuse(format!("the manifest names {} files", files.len()));
        }
        // File names follow the same rule as versions.
        if let Some(odd) = files.keys().find(|name| !artefact::is_version(name)) {
            let odd: String = odd.chars().take(80).collect();
            return refuse(format!("the manifest names a file {odd:?}"));
        }
        let here = [artefact::MANIFEST, artefact::SIGNATURE, artefact::SCORER];
        Ok(files
            .into_keys()
            .filter(|name| !here.contains(&name.as_str()))
            .collect())
    }

    /// Downloads one file; false if it is not there. `left` is the number of bytes that the version
    /// may still have. It counts the bytes received, because a store may announce any size.
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
                let (from, max_bytes) = (folder.join(version).join(name), *left);
                blocking(move || copy(&from, &path, max_bytes)).await
            }
        };
        match got {
            Err(Fault::Absent) => Ok(false),
            got => {
                *left = left.saturating_sub(self.record_availability(got)?);
                Ok(true)
            }
        }
    }

    /// Updates the metric of the source's availability, logs when it changes, and adds the URL to
    /// errors.
    fn record_availability<T>(&self, answer: Result<T, Fault>) -> Result<T, SourceError> {
        let url = self.url.clone();
        let answer = answer.map_err(|fault| match fault {
            Fault::Unavailable(reason) => SourceError::Unavailable { url, reason },
            Fault::Absent => SourceError::Unavailable {
                url,
                reason: "the file is gone".to_owned(),
            },
            Fault::TooLarge => SourceError::TooLarge {
                limit: self.max_bytes,
                url,
            },
            Fault::NotAFile(what) => SourceError::NotAnArtefact { what, url },
            Fault::Disk { path, source } => SourceError::Disk { path, source },
        });
        let is_up = !matches!(answer, Err(SourceError::Unavailable { .. }));
        gauge!("ltr_model_source_up").set(u8::from(is_up));
        let was_up = self.up.swap(is_up, Ordering::Relaxed);
        match &answer {
            Err(error) if was_up && !is_up => {
                tracing::error!("models.source: {error}; the loaded models keep serving");
            }
            _ if is_up && !was_up => tracing::info!("models.source: {} can be read again", self.url),
            _ => {}
        }
        answer
    }
}

/// Runs file-system work on a blocking thread, with a time limit, because it may be a network file
/// system.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    match tokio::time::timeout(RESPONSE_TIMEOUT, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => Err(Fault::Unavailable(error.to_string())),
        Err(_) => Err(Fault::Unavailable(format!(
            "no answer within {} s",
            RESPONSE_TIMEOUT.as_secs()
        ))),
    }
}

/// The regular files of a folder, sorted: name, size and time of change. Of too many files, the
/// first ones listed.
pub(super) fn files_of(folder: &Path) -> Vec<PublishedFile> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        // A change of the permissions changes ctime.
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

/// Copies a file of at most `max_bytes`, and returns its size in bytes.
fn copy(from: &Path, to: &Path, max_bytes: u64) -> Result<u64, Fault> {
    let file = match regular_file::open(from, Links::Refuse) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Fault::Absent),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            return Err(Fault::NotAFile(format!("{}: {error}", from.display())));
        }
        file => file.map_err(Fault::unavailable)?,
    };
    if file.metadata().map_err(Fault::unavailable)?.len() > max_bytes {
        return Err(Fault::TooLarge);
    }
    let disk = |source| Fault::Disk {
        path: to.to_owned(),
        source,
    };
    let mut copy = File::create_new(to).map_err(disk)?;
    let bytes = io::copy(&mut file.take(max_bytes.saturating_add(1)), &mut copy).map_err(disk)?;
    copy.sync_all().map_err(disk)?;
    if bytes > max_bytes {
        Err(Fault::TooLarge)
    } else {
        Ok(bytes)
    }
}

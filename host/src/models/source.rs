//! Models in an object store: what is published there, and how a version gets to this host's disk. Nothing of it is
//! believed here; what was downloaded is verified as what was published in the directory itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use metrics::gauge;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ClientConfigKey, Error, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig};
use runtime::artefact;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

/// Files of a version, the manifest and its signature among them.
const MAX_FILES: usize = 66;
/// For one answer of the store; the watch will ask again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where versions are published, beside the directory of this host.
#[derive(Clone)]
pub struct Source {
    store: Arc<dyn ObjectStore>,
    /// The folder that holds one folder a version.
    folder: Key,
    /// As it is configured.
    url: String,
    max_bytes: u64,
    patience: Duration,
    up: Arc<AtomicBool>,
}

/// An object of a version: its name, its size, and what changes when it does.
pub type Published = (String, u64, String);

/// Why a version was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{url} cannot be read: {reason}")]
    Away { url: String, reason: String },
    #[error("there is no version {version:?} in {url}")]
    NotFound { version: String, url: String },
    #[error("{what} in {url}; allowed: at most {MAX_FILES} files a version, named as an artefact's are")]
    NotAnArtefact { what: String, url: String },
    #[error("it has {bytes} bytes in {url}; allowed: at most {limit} (models.max_download_mb)")]
    TooLarge { bytes: u64, limit: u64, url: String },
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
        let (store, folder): (Arc<dyn ObjectStore>, &str) = match scheme {
            "s3" => {
                let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
                (Arc::new(s3(bucket, patience).context("models.source")?), folder)
            }
            _ => (Arc::new(LocalFileSystem::new()), rest),
        };
        Ok(Some(Source {
            store,
            folder: Key::parse(folder.trim_matches('/'))
                .context("models.source")?
                .join("ltr"),
            url: models.source.clone(),
            max_bytes: u64::from(models.max_download_mb) << 20,
            patience,
            up: Arc::new(AtomicBool::new(true)),
        }))
    }

    /// The newest version that is published; `None` also where the store cannot tell, which is logged.
    pub async fn newest(&self) -> Option<String> {
        let listed = self.answer(self.store.list_with_delimiter(Some(&self.folder))).await;
        let folders = self.noted(listed).ok()?.common_prefixes;
        let names = folders.iter().filter_map(Key::filename);
        names.filter(|name| artefact::is_version(name)).max().map(str::to_owned)
    }

    /// What is published of a version; empty where there is nothing, or the store cannot tell.
    pub async fn published(&self, version: &str) -> Vec<Published> {
        let objects = self.objects(version).await.unwrap_or_default();
        let published = objects.into_iter().map(|object| {
            let changes = object.e_tag.unwrap_or_else(|| object.last_modified.to_rfc3339());
            (object.location.to_string(), object.size, changes)
        });
        published.collect()
    }

    /// Downloads a version to a folder of that name below `into`, which is made anew.
    ///
    /// # Errors
    /// The first limit that it breaks, a store that is away, a disk that does not take it.
    pub async fn download(&self, version: &str, into: &Path) -> Result<(), SourceError> {
        let downloading = tokio::time::timeout(self.patience, async {
            let objects = self.objects(version).await?;
            self.check(version, &objects)?;
            let folder = into.join(version);
            let failed = |source| SourceError::Disk {
                path: folder.clone(),
                source,
            };
            match fs::remove_dir_all(into) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => fs::create_dir_all(&folder).map_err(failed)?,
            }
            let mut left = self.max_bytes;
            for object in &objects {
                self.download_one(object, &folder, &mut left).await?;
            }
            fs::File::open(&folder).and_then(|dir| dir.sync_all()).map_err(failed)
        });
        downloading.await.unwrap_or_else(|_| {
            Err(SourceError::TooSlow {
                seconds: self.patience.as_secs(),
                url: self.url.clone(),
            })
        })
    }

    /// `left` is what may still come: the listing is the store's word alone.
    async fn download_one(&self, object: &ObjectMeta, folder: &Path, left: &mut u64) -> Result<(), SourceError> {
        let path = folder.join(object.location.filename().unwrap_or_default());
        let failed = |source| SourceError::Disk {
            path: path.clone(),
            source,
        };
        let got = self.noted(self.answer(self.store.get(&object.location)).await)?;
        let mut file = File::create_new(&path).await.map_err(failed)?;
        let mut stream = got.into_stream();
        while let Some(chunk) = self.answer(async { stream.next().await.transpose() }).await? {
            *left = left
                .checked_sub(chunk.len() as u64)
                .ok_or_else(|| self.too_large(self.max_bytes + 1))?;
            file.write_all(&chunk).await.map_err(failed)?;
        }
        file.sync_all().await.map_err(failed)
    }

    async fn objects(&self, version: &str) -> Result<Vec<ObjectMeta>, SourceError> {
        let folder = self.folder.clone().join(version);
        let listed = self.answer(self.store.list_with_delimiter(Some(&folder))).await;
        Ok(self.noted(listed)?.objects)
    }

    /// Before anything is downloaded.
    fn check(&self, version: &str, objects: &[ObjectMeta]) -> Result<(), SourceError> {
        let refuse = |what| {
            let url = self.url.clone();
            Err(SourceError::NotAnArtefact { what, url })
        };
        if objects.is_empty() {
            return Err(SourceError::NotFound {
                version: version.to_owned(),
                url: self.url.clone(),
            });
        }
        if objects.len() > MAX_FILES {
            return refuse(format!("it has {} files", objects.len()));
        }
        // A name of a file is made by the same rule as a version.
        let odd = objects
            .iter()
            .map(|object| object.location.filename().unwrap_or_default());
        if let Some(name) = odd.into_iter().find(|name| !artefact::is_version(name)) {
            return refuse(format!(
                "it has a file {:?}",
                name.chars().take(100).collect::<String>()
            ));
        }
        let bytes = objects.iter().fold(0u64, |sum, object| sum.saturating_add(object.size));
        match bytes > self.max_bytes {
            true => Err(self.too_large(bytes)),
            false => Ok(()),
        }
    }

    fn too_large(&self, bytes: u64) -> SourceError {
        SourceError::TooLarge {
            bytes,
            limit: self.max_bytes,
            url: self.url.clone(),
        }
    }

    /// Waits for the store as long as that is of use.
    async fn answer<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, SourceError> {
        let away = |reason| SourceError::Away {
            url: self.url.clone(),
            reason,
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answer) => answer.map_err(|error| away(reason(&error))),
            Err(_) => Err(away(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    /// Shows whether the store answers, and says when that changes.
    fn noted<T>(&self, answer: Result<T, SourceError>) -> Result<T, SourceError> {
        gauge!("ltr_model_source_up").set(u8::from(answer.is_ok()));
        let was_up = self.up.swap(answer.is_ok(), Ordering::Relaxed);
        match &answer {
            Ok(_) if !was_up => tracing::info!("models.source: {} can be read again", self.url),
            Err(error) if was_up => tracing::error!("models.source: {error}; the models that are loaded serve on"),
            _ => {}
        }
        answer
    }
}

/// Credentials, region and endpoint are the environment's, as with every client of S3.
fn s3(bucket: &str, patience: Duration) -> Result<impl ObjectStore, Error> {
    use ClientConfigKey::{ConnectTimeout, Timeout};
    client::use_ring();
    let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    let endpoints = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let endpoint = endpoints.iter().find_map(|key| builder.get_config_value(key));
    let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let builder = match plain {
        true => builder.with_allow_http(true),
        false => builder,
    };
    let setting = |seconds: u64| format!("{seconds}s");
    let builder = builder
        .with_config(
            AmazonS3ConfigKey::Client(ConnectTimeout),
            setting(PATIENCE.as_secs() / 2),
        )
        .with_config(AmazonS3ConfigKey::Client(Timeout), setting(patience.as_secs()));
    let retries = RetryConfig {
        max_retries: 2,
        retry_timeout: PATIENCE,
        ..RetryConfig::default()
    };
    builder.with_retry(retries).build()
}

/// What went wrong, without the answer's body: that is the server's to choose, and may name a key.
fn reason(error: &Error) -> String {
    let text = error.to_string();
    let text = text.split(['<', '\n']).next().unwrap_or_default();
    text.chars().take(300).collect::<String>().trim_end().to_owned()
}

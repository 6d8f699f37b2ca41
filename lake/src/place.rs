//! Where the lake is: a folder or a bucket, behind one interface.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::{Path as OsPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store_lake::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store_lake::local::LocalFileSystem;
use object_store_lake::path::Path;
use object_store_lake::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig};
use parking_lot::Mutex;
use regular_file::Draft;

use crate::LakeError;
use crate::footer;
use crate::layout::{RawFile, Table, cover};

/// Footers that are read at once.
const FOOTERS: usize = 16;
/// How long a store that fails is asked again.
const RETRY: Duration = Duration::from_secs(30);

/// A lake.
#[derive(Clone)]
pub struct Lake {
    store: Arc<dyn ObjectStore>,
    /// Before each path in the store. (`PrefixStore` would leave it in what it says of one object.)
    prefix: Path,
    /// The folder, if it is one: there a file is on disk before it has its name, which the store's own
    /// writer does not wait for.
    folder: Option<PathBuf>,
    url: String,
    /// How many records files have whose names do not say it. Nobody changes a file, but a damaged one may be removed and
    /// made again.
    records: Arc<Mutex<HashMap<Version, u64>>>,
}

/// A file by its path, size and time.
type Version = (Path, u64, DateTime<Utc>);

/// The files of each table and day.
pub(crate) type Files = BTreeMap<(Table, Option<NaiveDate>), Vec<RawFile>>;
/// Tables and days that cannot be read, and why.
pub(crate) type Broken = BTreeMap<(Table, Option<NaiveDate>), LakeError>;

impl Lake {
    /// The lake at `s3://BUCKET[/PREFIX]`, `file:///PATH` or a path. A folder is made if it is not there. Credentials,
    /// region and endpoint of S3 come from the environment (`AWS_*`), as for every client.
    ///
    /// # Errors
    /// A folder that cannot be made or used; another kind of URL.
    pub fn open(address: &str) -> Result<Lake, LakeError> {
        Lake::open_on(address, AmazonS3Builder::from_env())
    }

    /// As [`Lake::open`], with these variables instead of the environment's.
    ///
    /// # Errors
    /// As [`Lake::open`].
    pub fn open_with<'a>(
        address: &str,
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Lake, LakeError> {
        let builder = AmazonS3Builder::new();
        let builder = variables.into_iter().fold(builder, |builder, (name, value)| {
            let key = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>();
            match key {
                Ok(key) => builder.with_config(key, value),
                // Another program's.
                Err(_) => builder,
            }
        });
        Lake::open_on(address, builder)
    }

    fn open_on(address: &str, s3: AmazonS3Builder) -> Result<Lake, LakeError> {
        let failed = |problem: String| LakeError::Address {
            value: address.to_owned(),
            problem,
        };
        let (store, prefix, folder): (Arc<dyn ObjectStore>, _, _) = match address.split_once("://") {
            Some(("s3", rest)) => {
                let (store, prefix) = bucket(rest, s3).map_err(|error| failed(error.to_string()))?;
                (store, prefix, None)
            }
            Some((kind, _)) if kind != "file" => {
                return Err(failed(
                    "allowed: s3://BUCKET[/PREFIX], file:///PATH or a path".to_owned(),
                ));
            }
            of_file => {
                let dir = PathBuf::from(of_file.map_or(address, |(_, path)| path));
                std::fs::create_dir_all(&dir).map_err(|error| failed(error.to_string()))?;
                let store = LocalFileSystem::new_with_prefix(&dir).map_err(|error| failed(error.to_string()))?;
                (Arc::new(store.with_automatic_cleanup(true)), Path::default(), Some(dir))
            }
        };
        Ok(Lake {
            store,
            prefix,
            folder,
            url: address.to_owned(),
            records: Arc::default(),
        })
    }

    /// The lake in a store that is open. `url`: how to name it.
    pub fn on(store: Arc<dyn ObjectStore>, url: &str) -> Lake {
        Lake {
            store,
            prefix: Path::default(),
            folder: None,
            url: url.to_owned(),
            records: Arc::default(),
        }
    }

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    /// The place in the store of a path in the lake.
    pub(crate) fn full(&self, path: &Path) -> Path {
        self.prefix.parts().chain(path.parts()).collect()
    }

    /// Where it is, for people.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where an object of it is, for other programs.
    pub fn url_of(&self, path: &str) -> String {
        format!("{}/{path}", self.url.trim_end_matches('/'))
    }

    /// The file that an object is; `None`: the lake is no folder.
    pub(crate) fn file(&self, path: &Path) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(path.as_ref()))
    }

    /// The files of the raw tables that together have each record once, and what cannot be read: a damaged file makes no
    /// other day unreadable.
    pub(crate) async fn raw_files(&self) -> Result<(Files, Broken), LakeError> {
        let folders = ["ltr/raw".to_owned(), "ltr/rejected".to_owned()];
        let (files, mut broken) = self.all_raw_files(&folders).await?;
        let mut covered = Files::new();
        for (key, files) in files {
            match cover(files) {
                Ok(files) => drop(covered.insert(key, files)),
                Err(error) => drop(broken.insert(key, error)),
            }
        }
        Ok((covered, broken))
    }

    /// Those of one day.
    pub(crate) async fn raw_files_of(&self, day: Option<NaiveDate>) -> Result<Files, LakeError> {
        let folders = Table::ALL.map(|table| table.folder(day));
        let (files, mut broken) = self.all_raw_files(&folders).await?;
        if let Some((_, error)) = broken.pop_first() {
            return Err(error);
        }
        files.into_iter().map(|(key, files)| Ok((key, cover(files)?))).collect()
    }

    /// The files of these folders, also those that larger ones replace.
    pub(crate) async fn all_raw_files(&self, folders: &[String]) -> Result<(Files, Broken), LakeError> {
        let mut found = Vec::new();
        for folder in folders {
            let listed = self.store.list(Some(&self.full(&Path::from(folder.as_str()))));
            let listed: Vec<_> = listed.try_collect().await.map_err(|error| self.failed(error))?;
            for mut object in listed {
                let inside: Option<Path> = object.location.prefix_match(&self.prefix).map(Iterator::collect);
                object.location = inside.unwrap_or(object.location);
                match RawFile::parse(&object) {
                    Some(file) => found.push(file),
                    // What was being written when a program ended.
                    None if object.location.filename().is_some_and(|name| name.starts_with('.')) => {}
                    None => tracing::warn!(path = %object.location, "a file that is not the lake's is left alone"),
                }
            }
        }
        let counted = |file: RawFile| async move { ((file.table, file.day), self.counted(file).await) };
        let mut counted = stream::iter(found).map(counted).buffered(FOOTERS);
        let (mut files, mut broken) = (Files::new(), Broken::new());
        while let Some((key, counted)) = counted.next().await {
            match counted {
                Ok(Some(file)) => files.entry(key).or_default().push(file),
                Ok(None) => {}
                Err(error @ LakeError::File { .. }) => drop(broken.entry(key).or_insert(error)),
                Err(error) => return Err(error),
            }
        }
        files.retain(|key, _| !broken.contains_key(key));
        Ok((files, broken))
    }

    /// The file with its end, if its name does not say it. `None`: it is gone.
    async fn counted(&self, mut file: RawFile) -> Result<Option<RawFile>, LakeError> {
        if file.is_merged {
            return Ok(Some(file));
        }
        let path = file.path();
        let known = (path, file.size, file.written);
        let remembered = self.records.lock().get(&known).copied();
        let records = match remembered {
            Some(records) => records,
            None => match footer::records(self.store.as_ref(), &self.full(&known.0), file.size).await {
                Ok(records) => records,
                Err(footer::Failure::Store(Error::NotFound { .. })) => return Ok(None),
                Err(failure) => return Err(self.unread(&file, failure)),
            },
        };
        self.records.lock().insert(known, records);
        file.to = file.from + records;
        Ok(Some(file))
    }

    /// How many of a file's records were late.
    pub(crate) async fn late(&self, file: &RawFile) -> Result<u64, LakeError> {
        if file.is_merged {
            let late = footer::late(self.store.as_ref(), &self.full(&file.path()), file.size).await;
            return late.map_err(|failure| self.unread(file, failure));
        }
        Ok(if file.is_late() { file.to - file.from } else { 0 })
    }

    fn unread(&self, file: &RawFile, failure: footer::Failure) -> LakeError {
        match failure {
            footer::Failure::Store(error) => self.failed(error),
            footer::Failure::Damaged(problem) => damaged(file, problem),
        }
    }

    /// Reads an object; `None`: there is none.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>, LakeError> {
        match self.store.get(&self.full(path)).await {
            Ok(found) => Ok(Some(found.bytes().await.map_err(|error| self.failed(error))?)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// What tells an object from another one in its place, without reading it; `None`: there is none.
    pub(crate) async fn mark(&self, path: &Path) -> Result<Option<String>, LakeError> {
        match self.store.head(&self.full(path)).await {
            // A folder's own tag has the number of the file, which is another one after a copy.
            Ok(object) => Ok(Some(match object.e_tag.filter(|_| self.folder.is_none()) {
                Some(tag) => tag,
                None => format!("{} {}", object.size, object.last_modified.timestamp_micros()),
            })),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Puts an object in the place of one that may be there, whole or not at all.
    pub(crate) async fn put(&self, path: &Path, bytes: Bytes) -> Result<(), LakeError> {
        if let Some(folder) = &self.folder {
            return self.draft(folder, path, bytes, Draft::commit).await;
        }
        let put = self.store.put(&self.full(path), bytes.into()).await;
        put.map_err(|error| self.failed(error))?;
        Ok(())
    }

    /// Puts an object where none is. Returns whether none was there.
    pub(crate) async fn put_new(&self, path: &Path, bytes: Bytes) -> Result<bool, LakeError> {
        let put = match &self.folder {
            Some(folder) => self.draft(folder, path, bytes, Draft::commit_new).await,
            None => {
                let options = PutOptions::from(PutMode::Create);
                let put = self.store.put_opts(&self.full(path), bytes.into(), options).await;
                put.map(drop).map_err(|error| self.failed(error))
            }
        };
        match put {
            Ok(()) => Ok(true),
            Err(LakeError::Store {
                error: Error::AlreadyExists { .. },
                ..
            }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes an object. One that is gone already is as good.
    pub(crate) async fn remove(&self, path: &Path) -> Result<(), LakeError> {
        match self.store.delete(&self.full(path)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn draft(
        &self,
        folder: &OsPath,
        path: &Path,
        bytes: Bytes,
        commit: fn(Draft) -> io::Result<()>,
    ) -> Result<(), LakeError> {
        let file = folder.join(path.as_ref());
        let write = move || {
            if let Some(parent) = file.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let mut draft = Draft::create(&file, 0o666)?;
            draft.write_all(&bytes)?;
            commit(draft)
        };
        let written = tokio::task::spawn_blocking(write).await;
        let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
        written.map_err(|error| {
            let (kind, source) = (error.kind(), error.into());
            self.failed(if kind == io::ErrorKind::AlreadyExists {
                let path = path.to_string();
                Error::AlreadyExists { path, source }
            } else {
                Error::Generic {
                    store: "folder",
                    source,
                }
            })
        })
    }

    pub(crate) fn failed(&self, error: Error) -> LakeError {
        LakeError::Store {
            url: self.url.clone(),
            error,
        }
    }
}

/// What a damaged file of the raw tables comes to.
pub(crate) fn damaged(file: &RawFile, problem: String) -> LakeError {
    LakeError::File {
        path: file.to_string(),
        problem,
        remedy: "remove the file and those behind it, of all tables of that day, and run sink --from-start",
    }
}

/// A bucket, and a folder in it.
fn bucket(rest: &str, builder: AmazonS3Builder) -> Result<(Arc<dyn ObjectStore>, Path), Error> {
    let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
    let builder = builder.with_bucket_name(bucket);
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let retries = RetryConfig {
        retry_timeout: RETRY,
        ..RetryConfig::default()
    };
    let store = builder.with_allow_http(is_plain).with_retry(retries).build()?;
    Ok((Arc::new(store), Path::parse(folder.trim_matches('/'))?))
}

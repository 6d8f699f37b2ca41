//! Where the lake is: a folder, or later a bucket, behind one interface.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path as OsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use chrono::NaiveDate;
use futures_util::TryStreamExt;
use object_store_lake::local::LocalFileSystem;
use object_store_lake::path::Path;
use object_store_lake::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use regular_file::Draft;

use crate::LakeError;
use crate::layout::{RawFile, Table, cover};

/// A lake.
#[derive(Clone)]
pub struct Lake {
    store: Arc<dyn ObjectStore>,
    /// The folder, if it is one: there a file is on disk before it has its name, which the store's own
    /// writer does not wait for.
    folder: Option<PathBuf>,
    url: String,
}

/// The files of each table and day.
pub(crate) type Files = BTreeMap<(Table, Option<NaiveDate>), Vec<RawFile>>;

impl Lake {
    /// The lake in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// A folder that cannot be made or used.
    pub fn open(dir: &OsPath) -> Result<Lake, LakeError> {
        let address = |problem: String| LakeError::Address {
            value: dir.display().to_string(),
            problem,
        };
        std::fs::create_dir_all(dir).map_err(|error| address(error.to_string()))?;
        let store = LocalFileSystem::new_with_prefix(dir).map_err(|error| address(error.to_string()))?;
        Ok(Lake {
            store: Arc::new(store.with_automatic_cleanup(true)),
            folder: Some(dir.to_owned()),
            url: dir.display().to_string(),
        })
    }

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    /// Where it is, for people.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The files of the raw tables that together have each event once.
    pub(crate) async fn raw_files(&self) -> Result<Files, LakeError> {
        self.listed(&["ltr/raw".to_owned(), "ltr/rejected".to_owned()]).await
    }

    /// Those of one day.
    pub(crate) async fn raw_files_of(&self, day: Option<NaiveDate>) -> Result<Files, LakeError> {
        self.listed(&Table::ALL.map(|table| table.folder(day))).await
    }

    async fn listed(&self, prefixes: &[String]) -> Result<Files, LakeError> {
        let mut files = Files::new();
        for prefix in prefixes {
            let found: Vec<_> = self
                .store
                .list(Some(&Path::from(prefix.as_str())))
                .try_collect()
                .await
                .map_err(|error| self.failed(error))?;
            for object in found {
                match RawFile::parse(&object.location, object.size) {
                    Some(file) => files.entry((file.table, file.day)).or_default().push(file),
                    // What was being written when a program ended.
                    None if object.location.filename().is_some_and(|name| name.starts_with('.')) => {}
                    None => tracing::warn!(path = %object.location, "a file that is not the lake's is left alone"),
                }
            }
        }
        for files in files.values_mut() {
            *files = cover(std::mem::take(files))?;
        }
        Ok(files)
    }

    /// Reads an object; `None`: there is none.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>, LakeError> {
        match self.store.get(path).await {
            Ok(found) => Ok(Some(found.bytes().await.map_err(|error| self.failed(error))?)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Puts an object in the place of one that may be there, whole or not at all.
    pub(crate) async fn put(&self, path: &Path, bytes: Bytes) -> Result<(), LakeError> {
        if let Some(folder) = &self.folder {
            return self.draft(folder, path, bytes, Draft::commit).await;
        }
        let put = self.store.put(path, bytes.into()).await;
        put.map_err(|error| self.failed(error))?;
        Ok(())
    }

    /// Puts an object where none is. Returns whether none was there.
    pub(crate) async fn put_new(&self, path: &Path, bytes: Bytes) -> Result<bool, LakeError> {
        let put = match &self.folder {
            Some(folder) => self.draft(folder, path, bytes, Draft::commit_new).await,
            None => {
                let options = PutOptions::from(PutMode::Create);
                let put = self.store.put_opts(path, bytes.into(), options).await;
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

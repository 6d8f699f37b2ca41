//! What a step reads or writes, as OpenLineage names it.

use std::path::{Path, PathBuf};

use reqwest::Url;
use settings::SecretUrl;

use crate::files;

/// A file, a folder or a table.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Where names are unique: `file`, `s3://BUCKET`, `postgres://HOST:PORT`.
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) rows: Option<u64>,
    sha256: Option<String>,
    /// What to hash if the step did not say.
    file: Option<PathBuf>,
}

impl Dataset {
    /// A file. Its hash is taken when the step has ended, unless [`Dataset::sha256`] gives it.
    pub fn file(path: &Path) -> Dataset {
        let folder = Dataset::folder(path);
        let is_local = folder.namespace == "file";
        Dataset {
            file: is_local.then(|| path.to_owned()),
            ..folder
        }
    }

    /// A folder of files, which has no hash.
    pub fn folder(path: &Path) -> Dataset {
        let text = path.to_string_lossy();
        let (namespace, name) = match text.split_once("://") {
            Some((scheme, rest)) if scheme != "file" => {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                (format!("{scheme}://{bucket}"), key.to_owned())
            }
            local => {
                let path = local.map_or(path, |(_, path)| Path::new(path));
                let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
                ("file".to_owned(), absolute.to_string_lossy().into_owned())
            }
        };
        Dataset {
            namespace,
            name,
            rows: None,
            sha256: None,
            file: None,
        }
    }

    /// A table of a database. Neither user nor password nor parameters are taken from the URL.
    pub fn table(database: &SecretUrl, table: &str) -> Dataset {
        let url = database.expose();
        if let Some(file) = url.strip_prefix("sqlite://") {
            let of_file = Dataset::folder(Path::new(file.split('?').next().unwrap_or_default()));
            return Dataset {
                name: format!("{}.{table}", of_file.name),
                ..of_file
            };
        }
        let server = Url::parse(url).ok();
        let host = server.as_ref().and_then(Url::host_str).unwrap_or("localhost");
        let port = server.as_ref().and_then(Url::port).unwrap_or(5432);
        let name = server.as_ref().map_or("", |url| url.path().trim_start_matches('/'));
        Dataset {
            namespace: format!("postgres://{host}:{port}"),
            name: format!("{name}.{table}"),
            rows: None,
            sha256: None,
            file: None,
        }
    }

    /// With its number of rows.
    #[must_use]
    pub fn rows(self, rows: u64) -> Dataset {
        Dataset {
            rows: Some(rows),
            ..self
        }
    }

    /// With its SHA-256, in hexadecimal.
    #[must_use]
    pub fn sha256(self, sha256: &str) -> Dataset {
        Dataset {
            sha256: Some(sha256.to_owned()),
            ..self
        }
    }

    pub(super) fn is_same(&self, other: &Dataset) -> bool {
        (&self.namespace, &self.name) == (&other.namespace, &other.name)
    }

    /// The hash that the step gave, or else that of the file; `None`: it cannot be read.
    pub(super) fn hash(&self) -> Option<String> {
        self.sha256.clone().or_else(|| files::hash(self.file.as_deref()?).ok())
    }
}

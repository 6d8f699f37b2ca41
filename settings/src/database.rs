use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SecretUrl;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    pub url: SecretUrl,
    /// Empty: a PostgreSQL server's certificate is not verified.
    pub ca_file: PathBuf,
    pub max_connections: u32,
    pub timeout_ms: u64,
    pub spool_dir: PathBuf,
    pub spool_mb: u64,
    pub rank_waits: bool,
}

impl Default for Database {
    fn default() -> Database {
        Database {
            url: "sqlite://var/ltr.db".into(),
            ca_file: PathBuf::new(),
            max_connections: 5,
            timeout_ms: 3_000,
            spool_dir: "var/spool".into(),
            spool_mb: 256,
            rank_waits: false,
        }
    }
}

impl Database {
    /// The URL and the certificate authorities that the server is verified against.
    pub fn address(&self) -> store::Address<'_> {
        let ca_file_is_set = !self.ca_file.as_os_str().is_empty();
        store::Address {
            url: self.url.expose(),
            ca_file: ca_file_is_set.then_some(&*self.ca_file),
        }
    }

    /// The limits of one program on its database.
    pub fn limits(&self) -> store::Limits {
        store::Limits {
            max_connections: self.max_connections,
            timeout: Duration::from_millis(self.timeout_ms),
        }
    }

    pub(crate) fn has_usable_url(&self) -> bool {
        match self.url.expose().split_once("://") {
            Some(("sqlite", path)) => !path.is_empty(),
            Some(("postgres" | "postgresql", rest)) => names_a_server(rest),
            _ => false,
        }
    }
}

/// Whether `rest` is `USER[:PASSWORD]@HOST[:PORT]/DB`.
fn names_a_server(rest: &str) -> bool {
    let parts = rest.split_once('/').and_then(|(authority, database)| {
        let (user, server) = authority.rsplit_once('@')?;
        Some([user, server, database])
    });
    let named = |part: &str| !part.is_empty() && !part.starts_with(':');
    parts.is_some_and(|parts| parts.into_iter().all(named)) && !rest.contains(['?', '#'])
}

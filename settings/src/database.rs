//! The section `database`.

use std::path::{Path, PathBuf};
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
    /// How long a call waits for the database.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// The certificate authorities that a PostgreSQL server is verified against, if configured.
    pub fn ca_file(&self) -> Option<&Path> {
        let set = !self.ca_file.as_os_str().is_empty();
        set.then_some(&*self.ca_file)
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

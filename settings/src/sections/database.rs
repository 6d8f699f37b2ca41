//! The database, and the spool that takes its place while it is away.

use std::path::PathBuf;
use std::time::Duration;

use crate::SecretUrl;
use crate::section::Rule::{Flag, Whole, Words};
use crate::section::{PATH, section};

section! {
    /// Storage of events, shadow log and rollout.
    ["database"] Database {
        /// URL of the database; a missing SQLite file is created. A password in it is secret.
        url: SecretUrl = "sqlite://var/ltr.db".into(), Words("sqlite://PATH or postgres://USER[:PASSWORD]@HOST[:PORT]/DB");
        /// Certificate authorities (PEM), in addition to the system's; a PostgreSQL server must have a
        /// certificate from one of them for the host in the URL. Empty: TLS is opportunistic and the server
        /// is not verified.
        ca_file: PathBuf = PathBuf::new(), Words("empty, or a path; only with a postgres:// URL");
        /// Maximum number of open connections per program: one writes, one serves the rollout, the others
        /// read. 2 counts as 3. Two more may be open: a second one for the rollout, and with PostgreSQL
        /// one that waits for changes.
        max_connections: u32 = 5, Whole(2, 1000);
        /// How long a call waits before the database counts as unavailable.
        timeout_ms: u64 = 3_000, Whole(100, 600_000);
        /// Directory for the records that the gateway accepts while the database is unavailable; one per
        /// gateway, on a local disk.
        spool_dir: PathBuf = "var/spool".into(), PATH;
        /// Maximum size of the spool, in MiB; /events answers 503 beyond.
        spool_mb: u64 = 256, Whole(1, 1_000_000);
        /// Whether /rank waits until its records are on disk, as long as its deadline allows. A crash of
        /// the machine then loses no impression.
        rank_waits: bool = false, Flag;
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

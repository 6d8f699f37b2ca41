//! The section `lineage`: where the run records of the nightly steps go.

use std::path::PathBuf;

use crate::SecretUrl;
use crate::section::Rule::{Text, Whole, Words};
use crate::section::section;

section! {
    /// Run records. Each step of the nightly run writes OpenLineage events: what it read and wrote, with
    /// hashes, and how it ended. A target that fails is a warning, never a failure of the step.
    ["lineage"] Lineage {
        /// File to which the events are appended, one per line; empty: none. A relative path begins in
        /// lake.dir; if the lake is an object store, only an absolute path is written.
        file: PathBuf = "ltr/lineage.ndjson".into(), Words("empty, or a path, absolute or from lake.dir");
        /// URL to which each event is posted, for example that of Marquez; empty: none. A password in it is
        /// secret.
        url: SecretUrl = SecretUrl::default(), Words("empty, or http[s]://HOST[:PORT]/PATH");
        /// Time limit of one post, in milliseconds.
        timeout_ms: u64 = 2_000, Whole(100, 60_000);
        /// The namespace of the jobs in the events.
        namespace: String = "ltr".into(), Text("a name");
    }
}

//! Published models: sources, trusted keys, resource limits.

use std::path::PathBuf;
use std::time::Duration;

use crate::section::Rule::{Flag, Whole, Words};
use crate::section::{PATH, section};
use crate::url::is_place;

section! {
    /// Published models.
    ["models"] Models {
        /// Directory of the models, each in ltr/{version}/. A version is named by its time,
        /// YYYYMMDDTHHMMSSZ; any other name counts as older.
        dir: PathBuf = "var/models".into(), PATH;
        /// Remote source of models, each in ltr/{version}/. A version is copied from there to models.dir,
        /// which this gateway must then not share. S3 credentials, region and endpoint: AWS_* in the
        /// environment.
        source: String = String::new(), Words("empty, or s3://BUCKET[/PREFIX], or file:///PATH");
        /// Maximum size of a version in models.source, all its files together, in MiB.
        max_download_mb: u32 = 256, Whole(1, 65_536);
        /// How long the download of a version may take, in seconds.
        download_seconds: u32 = 60, Whole(1, 3_600);
        /// Directory of the public keys that may sign models: NAME.pub is trusted, NAME.revoked no longer;
        /// read at each load and on SIGHUP. A revocation file that cannot be read revokes the key of its
        /// name.
        trusted_keys: PathBuf = "var/keys/trusted".into(), PATH;
        /// Development only: load unsigned models. Warns at every load; metric ltr_unsigned_models_allowed.
        allow_unsigned: bool = false, Flag;
        /// Maximum size of a component, in MiB.
        max_component_mb: u32 = 64, Whole(1, 1024);
        /// Maximum memory per instance of a component, in MiB.
        max_memory_mb: u32 = 256, Whole(1, 4096);
        /// Instances of a component that are ready before it serves; more are created under load.
        warm_instances: u32 = 2, Whole(1, 8);
        /// Seconds between two searches of models.dir and models.source for a newer model, in addition to
        /// POST /models/notify; 0: never.
        poll_seconds: u32 = 10, Whole(0, 86_400);
        /// Directory of compiled models, for this host only (mode 700); empty: models are compiled at every
        /// start.
        code_cache_dir: PathBuf = "var/cache/code".into(), Words("empty, or a path, absolute or from the working directory");
        /// Maximum size of the code cache, in MiB; the oldest entry is removed first.
        code_cache_mb: u32 = 256, Whole(1, 65_536);
    }
}

impl Models {
    /// Whether `source` is empty, an S3 URL or the URL of a directory.
    pub(crate) fn has_usable_source(&self) -> bool {
        is_place(&self.source)
    }

    /// The limits on a component: those configured, else the sandbox's own.
    pub fn limits(&self) -> runtime::Limits {
        runtime::Limits {
            max_component_bytes: self.max_component_mb as usize * 1024 * 1024,
            max_memory_bytes: self.max_memory_mb as usize * 1024 * 1024,
            ..runtime::Limits::default()
        }
    }

    /// The interval between two searches of the directory and the source; `None`: never.
    pub fn poll(&self) -> Option<Duration> {
        (self.poll_seconds > 0).then(|| Duration::from_secs(self.poll_seconds.into()))
    }
}

//! The last values from Redis, stored on this gateway's disk. So a stopped fleet stays stopped if a
//! gateway restarts while Redis is down.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use chrono::{DateTime, Utc};
use regular_file::Links;
use serde::{Deserialize, Serialize};

/// Maximum size of the file. This program writes far less.
const MAX_BYTES: u64 = 4 << 10;

/// The values of the flags in Redis; `None` where it held no value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlagSnapshot {
    pub kill_switch: Option<bool>,
    pub shadow_fraction: Option<f64>,
    pub read_at: DateTime<Utc>,
    /// The value of the kill switch if it was invalid; it then counts as on.
    #[serde(skip)]
    pub unclear: Option<String>,
}

impl FlagSnapshot {
    /// Whether both have the same values, read at whatever time.
    pub(super) fn has_same_values(&self, other: &FlagSnapshot) -> bool {
        self.kill_switch == other.kill_switch && self.shadow_fraction == other.shadow_fraction
    }
}

/// The file of the snapshot (`flags.file`).
#[derive(Clone)]
pub(super) struct SnapshotFile {
    path: PathBuf,
}

impl SnapshotFile {
    /// Creates the file's folder.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub(super) fn open(path: &Path) -> anyhow::Result<SnapshotFile> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("flags.file: creating {}", dir.display()))?;
        }
        Ok(SnapshotFile { path: path.to_owned() })
    }

    /// Reads the stored snapshot; `None` if there is none.
    ///
    /// # Errors
    /// A file that cannot be read or parsed. The kill switch may have been on in it.
    pub(super) fn read(&self) -> anyhow::Result<Option<FlagSnapshot>> {
        let place = || format!("flags.file: {}", self.path.display());
        let text = match regular_file::read(&self.path, Links::Follow, MAX_BYTES) {
            // A dangling link is an error, not an absent file: it may have led to a snapshot.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.path.symlink_metadata().is_err() => {
                return Ok(None);
            }
            text => text.with_context(place)?,
        };
        let snapshot: FlagSnapshot = serde_json::from_slice(&text).with_context(place)?;
        match snapshot.shadow_fraction {
            Some(fraction) if !(0.0..=1.0).contains(&fraction) => {
                Err(anyhow!("shadow_fraction = {fraction}; allowed: 0 to 1")).with_context(place)
            }
            _ => Ok(Some(snapshot)),
        }
    }

    /// Replaces the file atomically; it is on disk when this returns.
    pub(super) async fn write(&self, snapshot: &FlagSnapshot) -> anyhow::Result<()> {
        let (path, text) = (self.path.clone(), serde_json::to_vec_pretty(snapshot)?);
        let written = tokio::task::spawn_blocking(move || regular_file::replace(&path, &text, 0o666));
        Ok(written.await??)
    }
}

//! Redis's last word, on this gateway's own disk: a fleet that was stopped stays so when Redis is away and a gateway starts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use chrono::{DateTime, Utc};
use regular_file::Links;
use serde::{Deserialize, Serialize};

/// Nothing this program wrote is near it.
const MAX_BYTES: u64 = 4 << 10;

/// What Redis said; `None` where it held no value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagSnapshot {
    pub kill_switch: Option<bool>,
    pub shadow_fraction: Option<f64>,
    pub read_at: DateTime<Utc>,
    /// What was said of the kill switch, if it was not understood; it counts as on then.
    #[serde(skip)]
    pub unclear: Option<String>,
}

impl FlagSnapshot {
    /// Whether the two differ in nothing but the time.
    pub fn says_the_same(&self, other: &FlagSnapshot) -> bool {
        self.kill_switch == other.kill_switch && self.shadow_fraction == other.shadow_fraction
    }
}

/// The file.
#[derive(Clone)]
pub struct SnapshotFile {
    path: PathBuf,
}

impl SnapshotFile {
    /// # Errors
    /// A folder that cannot be made.
    pub fn open(path: &Path) -> anyhow::Result<SnapshotFile> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("flags.file: creating {}", dir.display()))?;
        }
        Ok(SnapshotFile { path: path.to_owned() })
    }

    /// What was written last; `None` where nothing was.
    ///
    /// # Errors
    /// A file that cannot be read, or that this program did not write as it stands: it may have said that LTR must not
    /// serve.
    pub fn read(&self) -> anyhow::Result<Option<FlagSnapshot>> {
        let place = || format!("flags.file: {}", self.path.display());
        let text = match regular_file::read(&self.path, Links::Follow, MAX_BYTES) {
            // A link that leads nowhere is there, and may have led to a word.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.path.symlink_metadata().is_err() => {
                return Ok(None);
            }
            text => text.with_context(place)?,
        };
        let heard: FlagSnapshot = serde_json::from_slice(&text).with_context(place)?;
        match heard.shadow_fraction {
            Some(fraction) if !(0.0..=1.0).contains(&fraction) => {
                Err(anyhow!("shadow_fraction = {fraction}; allowed: 0 to 1")).with_context(place)
            }
            _ => Ok(Some(heard)),
        }
    }

    /// Replaces the file in one step; it is on disk when this returns.
    pub async fn write(&self, heard: &FlagSnapshot) -> anyhow::Result<()> {
        let (path, text) = (self.path.clone(), serde_json::to_vec_pretty(heard)?);
        let written = tokio::task::spawn_blocking(move || regular_file::replace(&path, &text, 0o666));
        Ok(written.await??)
    }
}

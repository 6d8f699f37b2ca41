//! Which earlier run's data a run is compared with.

use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::NaiveDateTime;
use runtime::artefact;
use serde::{Deserialize, Serialize};
use settings::Settings;

use super::{CHECKS, DataChecks, DataProfile, PROFILE};
use crate::files;

/// The run that another one is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Its directory.
    pub run: PathBuf,
    /// Whether its model was published.
    pub published: bool,
}

/// The directory of nightly runs, each named after its version.
pub fn runs_dir(settings: &Settings) -> PathBuf {
    settings.lake.dir.join("ltr").join("runs")
}

/// Among the runs before `run` whose checks passed: the newest whose model was published, because that is what
/// serves, or else the newest.
///
/// `run` itself is never one, and nor are later ones if it is a nightly run, so that a night that is repeated
/// comes to the same verdict.
pub(super) fn find(run: &Path, settings: &Settings) -> anyhow::Result<Option<(Reference, DataProfile)>> {
    let runs = runs_dir(settings);
    let versions = earlier(run, &runs)?;
    let models = settings.models.dir.join("ltr");
    let published = artefact::versions(&models).with_context(|| format!("listing {}", models.display()))?;
    let (first, second): (Vec<String>, Vec<String>) =
        versions.into_iter().partition(|version| published.contains(version));
    for (versions, published) in [(first, true), (second, false)] {
        for run in versions.iter().map(|version| runs.join(version)) {
            if let Some(profile) = passed(&run) {
                return Ok(Some((Reference { run, published }, profile)));
            }
        }
    }
    Ok(None)
}

/// The versions of the nightly runs before `run`, the newest first.
fn earlier(run: &Path, runs: &Path) -> anyhow::Result<Vec<String>> {
    let reading = || format!("listing {}", runs.display());
    let own = std::path::absolute(run).with_context(|| run.display().to_string())?;
    let is_nightly = own.parent() == Some(&*std::path::absolute(runs).with_context(reading)?);
    let own = own.file_name().and_then(|name| name.to_str()).filter(|_| is_nightly);
    let entries = match std::fs::read_dir(runs) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(reading)?,
    };
    let mut versions = Vec::new();
    for entry in entries {
        let name = entry.with_context(reading)?.file_name();
        let name = name.to_string_lossy();
        let is_version = NaiveDateTime::parse_from_str(&name, "%Y%m%dT%H%M%SZ").is_ok();
        if is_version && own.is_none_or(|own| *name < *own) {
            versions.push(name.into_owned());
        }
    }
    versions.sort_unstable_by(|a, b| b.cmp(a));
    Ok(versions)
}

/// The profile of a run whose checks passed. A run from before there were checks, or one that ended before
/// them, has none; a file that cannot be read is said and passed over.
fn passed(run: &Path) -> Option<DataProfile> {
    let (checks, profile) = (run.join(CHECKS), run.join(PROFILE));
    if !checks.exists() || !profile.exists() {
        return None;
    }
    let both = files::read_json::<DataChecks>(&checks).and_then(|checks| {
        let profile: DataProfile = files::read_json(&profile)?;
        Ok((checks, profile))
    });
    match both {
        // A run that was repeated and ended half-way has a profile without its verdict.
        Ok((checks, profile)) => (checks.passed && checks.matrix_sha256 == profile.matrix_sha256).then_some(profile),
        Err(error) => {
            tracing::warn!("{}: not compared with: {error:#}", run.display());
            None
        }
    }
}

//! Delivers the filter to running Envoys through a directory that they watch (file-based ECDS).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use crate::files;

/// The operator's template: a discovery response, in which only version and file name are replaced.
pub(super) const TEMPLATE: &str = "ecds.template.json";
/// The discovery response that Envoys watch.
pub(super) const DISCOVERY: &str = "ecds.json";
/// JSON pointer to the filter's file name in a discovery response, as a path that Envoy sees.
const FILENAME: &str = "/resources/0/typed_config/config/vm_config/code/local/filename";

/// The directory that Envoys watch (`publish.edge_dir`).
pub(super) struct EdgeDir {
    dir: PathBuf,
    template: Value,
}

impl EdgeDir {
    /// Reads and checks the template, so that its errors show before anything is published.
    ///
    /// # Errors
    /// A template that is missing or does not name the filter's file.
    pub(super) fn open(dir: &Path) -> anyhow::Result<EdgeDir> {
        let template: Value = files::read_json(&dir.join(TEMPLATE)).context("publish.edge_dir")?;
        let one = template["resources"]
            .as_array()
            .is_some_and(|resources| resources.len() == 1);
        if !one || template.pointer(FILENAME).is_none_or(|name| !name.is_string()) {
            bail!(
                "publish.edge_dir: {}: not exactly one resource with a text at {FILENAME}; needed: a discovery response with one resource, the filter, whose code is a local file",
                dir.join(TEMPLATE).display()
            );
        }
        let dir = dir.to_owned();
        Ok(EdgeDir { dir, template })
    }

    /// Switches all watching Envoys to this filter.
    ///
    /// Writes the filter's file first and then replaces the discovery response atomically. Keeps
    /// the previous filter's file, because an Envoy may be reading it, and removes older ones.
    ///
    /// # Errors
    /// A file that cannot be written; Envoys then keep their current filter.
    pub(super) fn offer(&self, version: &str, filter: &[u8]) -> anyhow::Result<()> {
        let name = format!("edge-filter-{version}.wasm");
        let before = self.current_filter();
        files::write(&self.dir.join(&name), filter)?;
        let mut discovery = self.template.clone();
        discovery["version_info"] = version.into();
        let filename = discovery
            .pointer_mut(FILENAME)
            .ok_or_else(|| anyhow!("no {FILENAME}"))?;
        let seen_by_envoy = Path::new(filename.as_str().unwrap_or_default()).with_file_name(&name);
        *filename = seen_by_envoy.to_string_lossy().into();
        files::write_json(&self.dir.join(DISCOVERY), &discovery)?;
        // The new filter is offered already, so an old one that cannot be deleted is only a warning.
        if let Err(error) = self.remove_other_filters(&[Some(name), before]) {
            tracing::warn!("publish.edge_dir: {error:#}; a former filter is left there");
        }
        Ok(())
    }

    /// File name of the filter in the current discovery response.
    fn current_filter(&self) -> Option<String> {
        let discovery: Value = files::read_json(&self.dir.join(DISCOVERY)).ok()?;
        let filename = Path::new(discovery.pointer(FILENAME)?.as_str()?);
        Some(filename.file_name()?.to_str()?.to_owned())
    }

    /// Removes all filter files but these.
    fn remove_other_filters(&self, kept: &[Option<String>]) -> anyhow::Result<()> {
        let listing = || format!("reading {}", self.dir.display());
        for entry in fs::read_dir(&self.dir).with_context(listing)? {
            let name = entry.with_context(listing)?.file_name();
            let name = name.to_string_lossy();
            let ours = name.starts_with("edge-filter-") && name.ends_with(".wasm");
            if ours && !kept.iter().flatten().any(|kept| *kept == name) {
                let path = self.dir.join(&*name);
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
        }
        Ok(())
    }
}

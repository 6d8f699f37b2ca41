//! The way of a filter to running Envoys: a directory that they watch (ECDS from a file).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use crate::files;

/// The operator's: a discovery response with everything about the filter but its version and file.
pub(super) const TEMPLATE: &str = "ecds.template.json";
/// What Envoys watch.
pub(super) const DISCOVERY: &str = "ecds.json";
/// Where the filter's file is named in a discovery response. Its directory is said as Envoy sees it.
const FILENAME: &str = "/resources/0/typed_config/config/vm_config/code/local/filename";

/// A directory that Envoys watch.
pub(super) struct EdgeDir {
    dir: PathBuf,
    template: Value,
}

impl EdgeDir {
    /// Reads the template, so that what is wrong with it shows before anything is published.
    ///
    /// # Errors
    /// A template that is not there, or does not name the filter's file.
    pub(super) fn open(dir: &Path) -> anyhow::Result<EdgeDir> {
        let template: Value = files::read_json(&dir.join(TEMPLATE)).context("publish.edge_dir")?;
        let one = template["resources"]
            .as_array()
            .is_some_and(|resources| resources.len() == 1);
        if !one || template.pointer(FILENAME).is_none_or(|name| !name.is_string()) {
            bail!(
                "publish.edge_dir: {} has no text at {FILENAME}; allowed: a discovery response with one resource, the filter, whose code is a local file",
                dir.join(TEMPLATE).display()
            );
        }
        let dir = dir.to_owned();
        Ok(EdgeDir { dir, template })
    }

    /// Lets every Envoy that watches go over to this filter: its file first, then, in one step, what they watch. The file
    /// of the filter before stays, for an Envoy that is just reading; older ones go.
    ///
    /// # Errors
    /// A file that cannot be written; Envoys stay with the filter they have.
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
        self.remove_other_filters(&[Some(name), before])
    }

    /// The file that Envoys are told of now.
    fn current_filter(&self) -> Option<String> {
        let discovery: Value = files::read_json(&self.dir.join(DISCOVERY)).ok()?;
        let filename = Path::new(discovery.pointer(FILENAME)?.as_str()?);
        Some(filename.file_name()?.to_str()?.to_owned())
    }

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

//! Where events go. A target that fails is a warning.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use regular_file::Links;
use serde_json::Value;
use settings::{SecretUrl, Settings};

/// The targets of `[lineage]`.
pub(super) struct Targets {
    file: Option<PathBuf>,
    url: Option<(SecretUrl, PathBuf, Duration)>,
}

impl Targets {
    /// The configured targets; `None`: there are none.
    pub(super) fn of(settings: &Settings) -> Option<Targets> {
        let lineage = &settings.lineage;
        let timeout = Duration::from_millis(lineage.timeout_ms);
        let targets = Targets {
            file: file(&lineage.file, &settings.lake.dir),
            url: (!lineage.url.is_empty()).then(|| (lineage.url.clone(), settings.client.ca_file.clone(), timeout)),
        };
        (targets.file.is_some() || targets.url.is_some()).then_some(targets)
    }

    pub(super) async fn send(&self, event: &Value) {
        if let Some(path) = &self.file
            && let Err(error) = append(path, event)
        {
            tracing::warn!(
                "lineage.file: {}: {error:#}; the run record is not written",
                path.display()
            );
        }
        if let Some((url, ca_file, timeout)) = &self.url
            && let Err(error) = post(url, ca_file, *timeout, event).await
        {
            tracing::warn!("lineage.url: {url:?}: {error:#}; the run record is not sent");
        }
    }
}

/// Nothing can be appended to an object, so a lake in an object store has no file of its own.
fn file(file: &Path, lake: &Path) -> Option<PathBuf> {
    if file.as_os_str().is_empty() || file.is_absolute() {
        return (!file.as_os_str().is_empty()).then(|| file.to_owned());
    }
    let lake = lake.to_string_lossy();
    let folder = lake.strip_prefix("file://").unwrap_or(&lake);
    (!folder.contains("://")).then(|| Path::new(folder).join(file))
}

/// One write of one line, so that the lines of two programs do not mix.
fn append(path: &Path, event: &Value) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = regular_file::open_with(options.read(true).append(true).create(true), path, Links::Follow)?;
    let mut line = Vec::new();
    if !ends_with_newline(&mut file)? {
        // The last writer was cut off. Its line must not spoil this one.
        line.push(b'\n');
    }
    serde_json::to_writer(&mut line, event)?;
    line.push(b'\n');
    file.write_all(&line)?;
    Ok(())
}

fn ends_with_newline(file: &mut std::fs::File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

async fn post(url: &SecretUrl, ca_file: &Path, timeout: Duration, event: &Value) -> anyhow::Result<()> {
    let client = client::builder(url.expose(), ca_file)?.timeout(timeout).build()?;
    // The URL may hold a password, and reqwest's errors show it.
    let answer = client.post(url.expose()).json(event).send().await;
    let status = answer.map_err(reqwest::Error::without_url).context("POST")?.status();
    ensure!(status.is_success(), "the server answered {status}");
    Ok(())
}

//! What a model costs before its first score: compiling it, loading it, keeping it.
//!
//! Loading is measured in processes of its own, because what a process has freed before hides what it takes later.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ltr_trainer::compile::{self, compile};
use ranking::statistics::median;
use runtime::{Engine, Limits, Output};
use serde::{Deserialize, Serialize};

use crate::report::Costs;

const TIMES: usize = 3;

/// Compiles `text` as `name`: the component, and the milliseconds it took.
pub(crate) fn component(name: &str, text: &str) -> Result<(Vec<u8>, f64)> {
    let request = compile::Request {
        model: text.as_bytes(),
        feature_map: None,
        model_version: name,
        training_window: None,
    };
    let start = Instant::now();
    let component = compile(&request)?;
    Ok((component, milliseconds(start)))
}

/// One loading, as the process that did it reports it.
#[derive(Debug, Serialize, Deserialize)]
struct Loading {
    load_ms: f64,
    first_score_ms: f64,
    resident_bytes: f64,
}

/// Measures the component in the file `path`; `other` is a component that warms the engine up.
pub(crate) fn measure(case: &str, text: &str, path: &Path, other: &Path) -> Result<Costs> {
    let mut compile_ms = Vec::new();
    let mut loadings = Vec::new();
    for _ in 0..TIMES {
        compile_ms.push(component(case, text)?.1);
        let child = Command::new(std::env::current_exe()?)
            .arg("load")
            .args([path, other])
            .output()?;
        ensure!(
            child.status.success(),
            "loading: {}",
            String::from_utf8_lossy(&child.stderr)
        );
        loadings.push(serde_json::from_slice::<Loading>(&child.stdout)?);
    }
    let middle = |value: fn(&Loading) -> f64| {
        median(loadings.iter().map(value).collect()).context("there is more than one loading")
    };
    Ok(Costs {
        case: case.to_owned(),
        text_bytes: text.len() as f64,
        component_bytes: fs::metadata(path)?.len() as f64,
        compile_ms: median(compile_ms).context("there is more than one compilation")?,
        load_ms: middle(|l| l.load_ms)?,
        first_score_ms: middle(|l| l.first_score_ms)?,
        resident_bytes: middle(|l| l.resident_bytes)?,
    })
}

/// The measuring process: loads a component and scores a row with it, the engine being warm.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// Component that is measured
    component: PathBuf,
    /// Component that is loaded before
    other: PathBuf,
}

impl LoadArgs {
    pub(crate) fn run(&self) -> Result<()> {
        let engine = Engine::new(Limits::default())?;
        let other = engine.load(&fs::read(&self.other)?)?;
        other.score(&vec![0.5; other.width()], Output::Converted, Duration::from_secs(10))?;
        let component = fs::read(&self.component)?;
        let before = resident_bytes()?;
        let start = Instant::now();
        let scorer = engine.load(&component)?;
        let load_ms = milliseconds(start);
        scorer.score(&vec![0.5; scorer.width()], Output::Converted, Duration::from_secs(10))?;
        let loading = Loading {
            load_ms,
            first_score_ms: milliseconds(start),
            resident_bytes: resident_bytes()? - before,
        };
        println!("{}", serde_json::to_string(&loading)?);
        Ok(())
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn resident_bytes() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("resident memory is read from /proc, on Linux")?;
    resident(&status).context("/proc/self/status without VmRSS")
}

/// Bytes, from the text of /proc/PID/status.
pub(crate) fn resident(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()? * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_the_kernels_text() {
        assert_eq!(
            resident("VmHWM:\t  900 kB\nVmRSS:\t     512 kB\nThreads: 1\n"),
            Some(524_288.0)
        );
        assert_eq!(resident("VmHWM:\t  900 kB\n"), None);
    }
}

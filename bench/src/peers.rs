//! The scorers that are reached from Python: one process a model, which waits while the others are measured.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Carried inside the program, so that it runs from anywhere.
const SCRIPT: &str = include_str!("../peers.py");

/// Where Python is and where its files go.
#[derive(Debug)]
pub(crate) struct Python {
    program: PathBuf,
    script: PathBuf,
    /// Machine code of the peers that compile models, kept from run to run.
    cache: PathBuf,
    log: PathBuf,
}

/// What the process says of one scorer after loading a model.
#[derive(Debug, Deserialize)]
pub(crate) struct Facts {
    pub name: String,
    pub version: String,
    /// Whether its scores are LightGBM's to the last bit.
    #[serde(default)]
    pub exact: bool,
    pub not_measured: Option<String>,
}

impl Python {
    pub(crate) fn new(program: &Path, work: &Path, output: &Path) -> Result<Python> {
        let script = work.join("peers.py");
        fs::write(&script, SCRIPT).with_context(|| format!("writing {}", script.display()))?;
        let folder = output.parent().unwrap_or(Path::new(""));
        let cache = std::path::absolute(folder.join("peers"))?;
        fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
        let log = cache.join("peers.log");
        File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        Ok(Python {
            program: program.to_owned(),
            script,
            cache,
            log,
        })
    }

    /// Has the peers that compile models do so, as many at a time as there are processors; `finished` is called after
    /// each job. What takes longer than `seconds` is given up.
    pub(crate) fn compile(&self, models: &[PathBuf], seconds: f64, mut finished: impl FnMut()) -> Result<()> {
        let seconds = seconds.to_string();
        let mut process = self.start(["compile".as_ref(), self.cache.as_os_str(), seconds.as_ref()])?;
        for model in models {
            writeln!(process.requests, "{}", model.display())?;
        }
        // The end of the list is the end of its input.
        let Process {
            mut child,
            requests,
            answers,
            log,
        } = process;
        drop(requests);
        for line in answers {
            answer::<Value>(&line?)?;
            finished();
        }
        if !child.0.wait()?.success() {
            bail!(
                "the compiling Python process failed: {} says why; `make setup-bench` installs what it needs",
                log.display()
            );
        }
        Ok(())
    }

    /// A process that scores with the model in the file `model`.
    pub(crate) fn serve(&self, model: &Path, work: &Path) -> Result<Peers> {
        let (rows, scores) = (work.join("rows.f64"), work.join("scores.f64"));
        let arguments = [
            "serve".as_ref(),
            self.cache.as_os_str(),
            model.as_os_str(),
            rows.as_os_str(),
            scores.as_os_str(),
        ];
        let mut process = self.start(arguments)?;
        #[derive(Deserialize)]
        struct Loaded {
            peers: Vec<Facts>,
        }
        let loaded: Loaded = process.ask(&json!({ "op": "load" }))?;
        Ok(Peers {
            process,
            facts: loaded.peers,
            rows,
            scores,
        })
    }

    fn start<'a>(&self, arguments: impl IntoIterator<Item = &'a std::ffi::OsStr>) -> Result<Process> {
        let log = File::options().append(true).open(&self.log)?;
        let mut child = Command::new(&self.program)
            .arg(&self.script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {} (`make setup-bench` makes it)", self.program.display()))?;
        let requests = child.stdin.take().context("its input is a pipe")?;
        let answers = BufReader::new(child.stdout.take().context("its output is a pipe")?).lines();
        Ok(Process {
            child: Reaped(child),
            requests,
            answers,
            log: self.log.clone(),
        })
    }
}

struct Process {
    child: Reaped,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Process {
    fn ask<T: DeserializeOwned>(&mut self, request: &Value) -> Result<T> {
        let died = || format!("the Python process died at {request}: {} says why", self.log.display());
        writeln!(self.requests, "{request}").with_context(died)?;
        answer(&self.answers.next().with_context(died)??)
    }
}

fn answer<T: DeserializeOwned>(line: &str) -> Result<T> {
    let value: Value = serde_json::from_str(line).with_context(|| format!("an answer of peers.py: {line:?}"))?;
    if let Some(error) = value.get("error") {
        bail!("peers: {}", error.as_str().unwrap_or_default());
    }
    Ok(serde_json::from_value(value)?)
}

/// A child that is waited for however its owner ends.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The scorers of one model.
pub(crate) struct Peers {
    process: Process,
    facts: Vec<Facts>,
    rows: PathBuf,
    scores: PathBuf,
}

impl Peers {
    pub(crate) fn facts(&self) -> &[Facts] {
        &self.facts
    }

    /// Hands over the rows that the next calls of [`Peers::score`] are about.
    pub(crate) fn take_rows(&mut self, rows: &[f64], width: usize) -> Result<()> {
        let bytes: Vec<u8> = rows.iter().flat_map(|x| x.to_le_bytes()).collect();
        fs::write(&self.rows, bytes).with_context(|| format!("writing {}", self.rows.display()))?;
        self.ask(&json!({ "op": "rows", "width": width })).map(|_: Value| ())
    }

    /// Scores all rows with the `nth` peer, `batch` a call: the nanoseconds of all calls, and the scores.
    pub(crate) fn score(&mut self, nth: usize, batch: usize) -> Result<(f64, Vec<f64>)> {
        #[derive(Deserialize)]
        struct Timed {
            ns: f64,
        }
        let request = json!({ "op": "score", "name": self.facts[nth].name, "batch": batch });
        let timed: Timed = self.ask(&request)?;
        let bytes = fs::read(&self.scores).with_context(|| format!("reading {}", self.scores.display()))?;
        let (values, _) = bytes.as_chunks::<8>();
        Ok((
            timed.ns,
            values.iter().map(|&value| f64::from_le_bytes(value)).collect(),
        ))
    }

    fn ask<T: DeserializeOwned>(&mut self, request: &Value) -> Result<T> {
        self.process.ask(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_an_answer_is_the_callers_error() {
        let refused = answer::<Value>(r#"{"error": "No module named 'x': `make setup-bench` installs it"}"#);
        assert!(refused.unwrap_err().to_string().contains("make setup-bench"));
        assert!(
            answer::<Value>("Treelite says hello")
                .unwrap_err()
                .to_string()
                .contains("Treelite says hello")
        );
        let facts: Facts = answer(r#"{"name": "lleaves", "version": "1", "not_measured": "why"}"#).unwrap();
        assert_eq!(facts.not_measured.as_deref(), Some("why"));
        assert!(!facts.exact);
    }
}

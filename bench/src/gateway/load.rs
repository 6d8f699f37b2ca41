//! Load from a public generator, h2load (Debian's package nghttp2-client), over HTTP/1.1.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use ranking::statistics::{median, quantile};

/// Connections that send at once, each waiting for its answer.
pub(crate) const CLIENTS: usize = 16;

/// Before anything is counted, at the same pace.
pub(crate) const WARM_UP_SECONDS: u32 = 1;

/// One request in so many may go unanswered, and is not counted: uvicorn now and then closes a connection that was just
/// used.
const FEW: usize = 1_000;

/// What is sent to whom.
pub(crate) struct Target<'a> {
    pub url: String,
    /// Posted as JSON.
    pub body: PathBuf,
    /// Bearer token; who does not ask for one ignores it.
    pub token: &'a str,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub per_second: f64,
    /// Milliseconds.
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

impl Load {
    /// The median of each figure: at a pace, throughput would tell no load from another.
    pub(crate) fn median(loads: &[Load]) -> Option<Load> {
        let of = |figure: fn(&Load) -> f64| median(loads.iter().map(figure).collect());
        Some(Load {
            per_second: of(|load| load.per_second)?,
            p50: of(|load| load.p50)?,
            p95: of(|load| load.p95)?,
            p99: of(|load| load.p99)?,
        })
    }
}

/// Sends for so many seconds, as fast as answers come or, with `rate`, so many requests a second.
///
/// Writing down each request's time takes h2load a fifth of what it can send, and the other processor its time: where
/// throughput is asked for, it is measured first without.
///
/// # Errors
/// There is no h2load, or an answer is not 2xx.
pub(crate) fn run(target: &Target<'_>, seconds: u32, rate: Option<f64>, work: &Path) -> Result<Load> {
    let per_second = match rate {
        None => Some(throughput(&h2load(target, seconds, &[])?).with_context(|| target.url.clone())?),
        Some(_) => None,
    };
    let log = work.join("requests.tsv");
    // h2load appends.
    let _ = fs::remove_file(&log);
    let mut more = vec!["--log-file".to_owned(), log.display().to_string()];
    if let Some(rate) = rate {
        more.extend(["--rps".to_owned(), (rate / CLIENTS as f64).to_string()]);
    }
    h2load(target, seconds, &more)?;
    let log = fs::read_to_string(&log).context("reading h2load's log")?;
    let load = measured(&log, f64::from(seconds)).with_context(|| target.url.clone())?;
    Ok(Load {
        per_second: per_second.unwrap_or(load.per_second),
        ..load
    })
}

/// What h2load says at its end.
///
/// It has a session of its own, as a client elsewhere has a machine of its own: Linux shares processors between sessions
/// first, and one that sent from within the servers' would be interrupted by each answer.
fn h2load(target: &Target<'_>, seconds: u32, more: &[String]) -> Result<String> {
    let output = Command::new("setsid")
        .args([
            "--wait",
            "h2load",
            "--h1",
            "--threads",
            "1",
            "--warm-up-time",
            &WARM_UP_SECONDS.to_string(),
        ])
        .args(["--clients", &CLIENTS.to_string(), "--duration", &seconds.to_string()])
        .args(more)
        .arg("--data")
        .arg(&target.body)
        .args(["--header", "content-type: application/json"])
        .args(["--header", &format!("authorization: Bearer {}", target.token)])
        .arg(&target.url)
        .output()
        .context("setsid is missing: it is part of Debian's util-linux")?;
    ensure!(
        output.status.success(),
        "h2load {} (`make setup-bench` installs it): {}",
        target.url,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Requests a second from what h2load says, where all answers but a few are 2xx and none is anything else.
fn throughput(said: &str) -> Result<f64> {
    let line = |start: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(start));
        line.with_context(|| format!("h2load did not say {start:?}, but {said:?}"))
    };
    let number = |list: &str, name: &str| -> Result<f64> {
        let number = list.split(", ").find_map(|item| item.trim().strip_suffix(name));
        let number = number.with_context(|| format!("h2load did not say {name:?}, but {said:?}"))?;
        Ok(number.trim().parse()?)
    };
    let answers = line("status codes: ")?;
    let good = number(answers, " 2xx")?;
    for kind in [" 3xx", " 4xx", " 5xx"] {
        let others = number(answers, kind)?;
        ensure!(others == 0.0, "{others} answers were{kind}, not 2xx");
    }
    let broken = number(line("requests: ")?, " failed")?;
    ensure!(
        broken * FEW as f64 <= good,
        "{broken} requests were not answered, {good} were"
    );
    ensure!(good > 0.0, "nothing was answered");
    number(line("finished in ")?, " req/s")
}

/// From lines of start (microseconds), status and time (microseconds).
fn measured(log: &str, seconds: f64) -> Result<Load> {
    let mut times = Vec::new();
    let mut broken = 0;
    for line in log.lines() {
        let mut fields = line.split('\t');
        let (status, time) = (fields.nth(1), fields.next());
        let status = status.context("a line of h2load's log without a status")?;
        if status == "0" {
            broken += 1;
            continue;
        }
        ensure!(status.starts_with('2'), "an answer was {status}, not 2xx");
        let time: f64 = time.context("a line of h2load's log without a time")?.parse()?;
        times.push(time / 1e3);
    }
    ensure!(
        broken * FEW <= times.len(),
        "{broken} requests were not answered, {} were",
        times.len()
    );
    times.sort_by(f64::total_cmp);
    let at = |p| quantile(&times, p).context("nothing was answered");
    Ok(Load {
        per_second: times.len() as f64 / seconds,
        p50: at(0.5)?,
        p95: at(0.95)?,
        p99: at(0.99)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_is_what_h2load_says_of_good_answers() {
        let said = |failed: u32, others: u32| {
            format!(
                "finished in 3.00s, 1500.50 req/s, 1.05MB/s\n\
                 requests: 4502 total, 4518 started, 4502 done, {} succeeded, {failed} failed, 0 errored, 0 timeout\n\
                 status codes: {} 2xx, 0 3xx, {others} 4xx, 0 5xx\n",
                4502 - failed,
                4502 - failed - others
            )
        };
        assert_eq!(throughput(&said(0, 0)).unwrap(), 1500.5);
        assert_eq!(throughput(&said(4, 0)).unwrap(), 1500.5);
        assert!(throughput(&said(5, 0)).is_err());
        assert!(throughput(&said(0, 1)).unwrap_err().to_string().contains("4xx"));
        assert!(throughput("").is_err());
    }

    #[test]
    fn throughput_and_quantiles_come_from_the_log_and_other_answers_than_2xx_fail() {
        let log: String = (1..=200).map(|at| format!("{at}\t200\t{}\n", at * 1000)).collect();
        let load = measured(&log, 2.0).unwrap();
        assert_eq!((load.per_second, load.p50), (100.0, 100.5));
        assert!((load.p95 - 190.05).abs() < 1e-9 && (load.p99 - 198.01).abs() < 1e-9);
        assert!(measured("5\t503\t10\n", 1.0).unwrap_err().to_string().contains("503"));
        assert!(measured("", 1.0).is_err());
        assert!(measured(&format!("{log}9\t0\t0\n"), 2.0).is_err());
        let long = log.repeat(5) + "9\t0\t0\n";
        assert_eq!(measured(&long, 2.0).unwrap().per_second, 500.0);
    }
}

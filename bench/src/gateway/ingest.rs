//! What `/events` takes in: actions on lawyers that were shown before, each with an id of its own, acknowledged when
//! they are on disk. h2load sends the same body again and again, so that wrk (Debian's package) does this.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use servers::Postgres;

use super::load::Load;
use super::processes::{Home, Site};
use super::report::Measured;
use super::{Bench, report::Report};

/// Carried inside the program, so that it runs from anywhere.
const SCRIPT: &str = include_str!("../../events.lua");
/// Connections that send at once, each waiting for its answer.
const CLIENTS: usize = 64;
/// Cases that the actions are on.
const CASES: usize = 2_000;
/// Lawyers that each of them was shown.
const SHOWN: usize = 10;
/// Impressions of a request, while they are sent.
const IMPRESSIONS: usize = 500;

impl Bench<'_> {
    /// Events a second on both databases, one a request and a hundred.
    pub(super) fn ingest(&self, report: &mut Report) -> Result<()> {
        let server = Postgres::start();
        for (name, url) in [("SQLite", None), ("PostgreSQL", Some(server.database()))] {
            let environment = url.map(|url| ("LTR_DATABASE__URL", url));
            let gateway = self.home.start(&environment.into_iter().collect::<Vec<_>>())?;
            shown(&gateway, &self.home)?;
            for each in [1, 100] {
                eprintln!("{name}, {each} events a request ...");
                let loads = (0..self.args.rounds).map(|_| self.send(&gateway, each));
                let loads = loads.collect::<Result<Vec<_>>>()?;
                let load = Load::median(&loads).context("--rounds is 0; allowed: 1 or more")?;
                let case = format!("POST /events, {each} a request, {name}");
                report
                    .measured
                    .push(Measured::of_events("gateway", &case, load, gateway.resident_bytes()?));
            }
        }
        Ok(())
    }

    /// Events for so many seconds, as fast as they are acknowledged.
    fn send(&self, gateway: &Site, each: usize) -> Result<Load> {
        let script = self.work.join("events.lua");
        fs::write(&script, SCRIPT)?;
        let output = Command::new("wrk")
            .args(["--threads", "1", "--connections", &CLIENTS.to_string()])
            .args(["--duration", &format!("{}s", self.args.seconds), "--script"])
            .arg(&script)
            .arg(gateway.url(""))
            .args(["--", &each.to_string(), &CASES.to_string(), &SHOWN.to_string()])
            .arg(&self.home.token)
            .output()
            .context("wrk is missing: `make setup-bench` installs it")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().find_map(|line| line.strip_prefix("measured\t"));
        measured(line.with_context(|| format!("wrk: {said}"))?, each)
    }
}

/// From the line that the script ends with: requests, failed ones, and microseconds.
fn measured(line: &str, each: usize) -> Result<Load> {
    let numbers: Vec<f64> = line.split('\t').map(str::parse).collect::<Result<_, _>>()?;
    let [requests, failed, duration, p50, p95, p99] = numbers[..] else {
        anyhow::bail!("the line {line:?} has not six numbers");
    };
    ensure!(failed == 0.0, "{failed} of {requests} requests failed");
    Ok(Load {
        per_second: requests * each as f64 / (duration / 1e6),
        p50: p50 / 1e3,
        p95: p95 / 1e3,
        p99: p99 / 1e3,
    })
}

/// Sends the impressions that the actions follow.
fn shown(gateway: &Site, home: &Home) -> Result<()> {
    let impressions: Vec<Value> = (1..=CASES).map(impression).collect();
    for some in impressions.chunks(IMPRESSIONS) {
        gateway.post("/events", &home.token, &json!(some))?;
    }
    Ok(())
}

fn impression(case: usize) -> Value {
    let features = ranking::features::DEFAULT_FEATURES;
    json!({
        "event": "impression", "event_id": format!("00000000-0000-4000-9000-{case:012x}"), "ts_utc": "2026-10-01T11:00:00Z",
        "case_id": format!("00000000-0000-4000-8000-{case:012x}"), "user_id": "0b8f7d34-51a6-4e0e-8a4a-6f1f0c2d3e4f",
        "request_id": format!("00000000-0000-4000-a000-{case:012x}"), "source": "legacy", "model_version": null,
        "lawyer_ids": (0..SHOWN).map(|at| format!("adv_{at}")).collect::<Vec<_>>(),
        "features": vec![vec![0.5; features.len()]; SHOWN],
        "weights_used": features.iter().map(|name| (name.to_string(), json!(1.0 / features.len() as f64))).collect::<serde_json::Map<_, _>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_a_second_come_from_requests_and_failures_are_not_passed_over() {
        let load = measured("300\t0\t2000000\t1500\t2500\t3500", 100).unwrap();
        assert_eq!(
            (load.per_second, load.p50, load.p95, load.p99),
            (15_000.0, 1.5, 2.5, 3.5)
        );
        assert!(measured("300\t1\t2000000\t1500\t2500\t3500", 100).is_err());
        assert!(measured("300\t0", 100).is_err());
    }
}

//! Measures the component's latency inside the gateway's sandbox.

use std::time::Instant;

use anyhow::Context;
use ranking::Candidate;
use ranking::statistics::quantile;
use runtime::{Output, Scorer};
use serde::{Deserialize, Serialize};
use settings::Settings;

use super::SCORE_TIMEOUT;
use crate::matrix::Case;
use crate::progress;

/// Wall-clock time of single calls, each with the rows of one case.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Number of measured calls.
    pub calls: usize,
    /// Rows per call.
    pub rows: usize,
    /// Median, in milliseconds.
    pub p50_ms: f64,
    /// 95th percentile, in milliseconds; the gate checks this one.
    pub p95_ms: f64,
    /// 99th percentile, in milliseconds.
    pub p99_ms: f64,
}

/// Calls `scorer` once to warm up and then `latency_calls` times with `latency_rows` rows of the
/// test part. Each call has other rows, so that the branch predictor cannot learn them.
pub(super) fn measure(
    scorer: &Scorer,
    cases: &[(&Case, Vec<Candidate>)],
    settings: &Settings,
) -> anyhow::Result<Latency> {
    let config = &settings.evaluate;
    let bar = progress::bar("latency", config.latency_calls);
    let mut rows = cases
        .iter()
        .flat_map(|(case, _)| &case.rows)
        .map(|row| row.features.as_slice())
        .cycle();
    let mut times = Vec::with_capacity(config.latency_calls);
    for call in 0..=config.latency_calls {
        let batch: Vec<&[f64]> = rows.by_ref().take(config.latency_rows).collect();
        let batch = batch.concat();
        let started = Instant::now();
        scorer
            .score(&batch, Output::Converted, SCORE_TIMEOUT)
            .context("measuring latency")?;
        if call > 0 {
            times.push(started.elapsed().as_secs_f64() * 1e3);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    times.sort_by(f64::total_cmp);
    let at = |p| quantile(&times, p).context("no call was measured");
    Ok(Latency {
        calls: config.latency_calls,
        rows: config.latency_rows,
        p50_ms: at(0.50)?,
        p95_ms: at(0.95)?,
        p99_ms: at(0.99)?,
    })
}

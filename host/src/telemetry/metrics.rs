//! Metrics, by the names that dashboards and alerts rely on.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use hyper::StatusCode;
use metrics::{Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::RwLock;
use ranking::{Evidence, Fallback, ShadowOutcome};
use store::Unreadable;

/// Upper bounds in seconds; the alerts compare with 0.015, 0.020 and 0.025.
const BUCKETS: [f64; 10] = [0.003, 0.005, 0.010, 0.015, 0.020, 0.025, 0.050, 0.200, 1.0, 5.0];

/// How often measurements are sorted into buckets.
const SORTING: Duration = Duration::from_secs(1);

/// The process's metrics. The recorder is global, so every gateway of a process shares it.
pub fn recorder() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let handle = PrometheusBuilder::new()
            .set_buckets(&BUCKETS)
            .expect("the list of buckets is not empty")
            .install_recorder()
            .expect("nothing else in this process installs a recorder");
        describe();
        handle
    })
}

/// Sorts what was measured into the buckets of its histograms, for ever. Until then each measurement is kept as it is,
/// which only being asked for the metrics would end: a gateway that nobody watches would grow.
pub async fn keep_small() {
    let mut ticks = tokio::time::interval(SORTING);
    loop {
        ticks.tick().await;
        recorder().run_upkeep();
    }
}

fn describe() {
    describe_histogram!("http_request_duration_seconds", "Time to answer, by path and status");
    describe_histogram!(
        "ltr_rank_seconds",
        "Time that /rank takes from the request's last byte to its answer, by whether it was compared in shadow"
    );
    describe_counter!(
        "ltr_telemetry_lost_total",
        "Spans (otlp) and reports of errors (sentry) that could not be delivered"
    );
    describe_histogram!("ltr_score_seconds", "Time in the scorer component, one case a call");
    describe_counter!("api_requests_total", "Requests to /rank");
    describe_counter!(
        "ltr_fallback_total",
        "Rankings that LTR should have answered and legacy did, by reason"
    );
    describe_counter!("ltr_shadow_total", "Requests compared in shadow, by outcome");
    describe_counter!(
        "ltr_events_unbound_total",
        "Actions on what was not shown to their user in their case; they are kept and never label"
    );
    describe_gauge!(
        "ltr_unreadable_records",
        "Comparisons of the model that was judged last which cannot be read and are left out"
    );
    describe_counter!(
        "ltr_log_dropped_total",
        "Answers whose impression or shadow record was not kept"
    );
    describe_gauge!(
        "ltr_unsigned_models_allowed",
        "1 while models.allow_unsigned is true, which is for development only"
    );
    describe_counter!(
        "ltr_connections_refused_total",
        "Connections beyond host.max_connections"
    );
    describe_gauge!(
        "ltr_body_bytes",
        "Bytes that request bodies of more than 64 KiB hold; host.max_body_total_mb bounds them"
    );
    describe_counter!(
        "ltr_bodies_refused_total",
        "Requests answered 503 because other bodies filled host.max_body_total_mb"
    );
    describe_histogram!(
        "ltr_model_load_seconds",
        "Time to load a model, by stage: fetch, verify, compile, golden_rows, warm"
    );
    describe_counter!(
        "ltr_model_code_total",
        "Model loads by code origin: compiled, cached, recompiled"
    );
    describe_gauge!(
        "ltr_model_source_up",
        "1 while models.source can be read; absent without one"
    );
    describe_gauge!(
        "ltr_key_ring_faults",
        "Files in models.trusted_keys that are no key or cannot be read; GET /models names them"
    );
    describe_gauge!(
        "ltr_key_ring_closed",
        "1 while no new model is believed, because a revocation or the directory of the keys cannot be read"
    );
    describe_gauge!(
        "ltr_database_up",
        "1 unless the last attempt to write failed for a reason that is not in the records"
    );
    describe_gauge!(
        "ltr_spool_records",
        "Records that were acknowledged and are not in the database yet"
    );
    describe_counter!(
        "ltr_records_refused_total",
        "Records that the database rejected as invalid, or that could not be read from the spool, set aside in refused.ndjson"
    );
    describe_counter!(
        "ltr_spool_damaged_total",
        "Damaged parts of spool files and files of the spool that could not be read, found since the start"
    );
    describe_gauge!("ltr_model_info", "1 for each loaded model");
    describe_gauge!(
        "ltr_breaker_state",
        "Whether /rank asks a model: 0 closed (yes), 1 half-open (one call probes), 2 open (no), by role"
    );
    describe_gauge!("ltr_score_breaker_state", "The same of /ltr/score");
    describe_counter!(
        "ltr_breaker_opened_total",
        "Times that a model kept failing /rank and was left alone, by role"
    );
    describe_counter!("ltr_score_breaker_opened_total", "The same of /ltr/score");
    describe_gauge!(
        "ltr_flags_up",
        "1 while the Redis of flags.redis_url answers; absent without one"
    );
    describe_gauge!("ltr_kill_switch", "1 while legacy alone answers");
    describe_gauge!("ltr_shadow_fraction", "Share of the requests compared in shadow");
    describe_counter!(
        "ltr_flags_refused_total",
        "Looks at Redis that found a value which its flag cannot have, by flag"
    );
    describe_gauge!("ltr_rollout_weight", "Per cent of requests that LTR answers");
    describe_gauge!(
        "ltr_hit3",
        "Share of contracts with the lawyer among the first three, by arm"
    );
    describe_gauge!("ltr_mrr_gap", "MRR of LTR minus MRR of legacy, in shadow");
    describe_gauge!(
        "ltr_fair_gap",
        "Largest difference between groups' mean fair score, by arm"
    );
}

/// Counts an answer and the time it took.
pub fn answered(route: &'static str, method: &'static str, status: StatusCode, took: Duration) {
    /// By route, method and status.
    type Series = HashMap<(&'static str, &'static str, u16), Histogram>;
    /// The series that were met: looking one up costs less than naming it.
    static MET: LazyLock<RwLock<Series>> = LazyLock::new(RwLock::default);
    let key = (route, method, status.as_u16());
    if let Some(series) = MET.read().get(&key) {
        return series.record(took);
    }
    let series = histogram!(
        "http_request_duration_seconds", "path" => route, "method" => method, "status" => status.as_u16().to_string()
    );
    series.record(took);
    MET.write().insert(key, series);
}

/// Counts a ranking and the time it took: comparing in shadow must not make those wait who are not compared.
pub fn ranked(shadowed: bool, took: Duration) {
    let shadow = if shadowed { "yes" } else { "no" };
    histogram!("ltr_rank_seconds", "shadow" => shadow).record(took);
}

/// Shows whether models that nobody signed are loaded.
pub fn unsigned_models_allowed(allowed: bool) {
    gauge!("ltr_unsigned_models_allowed").set(u8::from(allowed));
}

/// Comparisons that were set aside, because they cannot be read.
pub fn unreadable(unreadable: &[Unreadable]) {
    gauge!("ltr_unreadable_records").set(unreadable.len() as f64);
    if let Some(Unreadable { table, key, reason }) = unreadable.first() {
        let count = unreadable.len();
        tracing::warn!(
            count,
            table,
            key,
            reason,
            "comparisons that cannot be read are left out"
        );
    }
}

/// Shows the evidence that the last verdict was based on.
pub fn evidence(evidence: &Evidence) {
    gauge!("ltr_hit3", "arm" => "legacy").set(evidence.hit3_legacy);
    gauge!("ltr_hit3", "arm" => "ltr").set(evidence.hit3_ltr);
    gauge!("ltr_mrr_gap").set(evidence.mrr_gap.estimate);
    gauge!("ltr_fair_gap", "arm" => "legacy").set(evidence.fair_gap_legacy);
    gauge!("ltr_fair_gap", "arm" => "ltr").set(evidence.fair_gap_ltr);
}

/// Counts a request to /rank.
pub fn rank_requested() {
    counter!("api_requests_total").increment(1);
}

/// Counts an answer whose records were not kept.
pub fn log_dropped() {
    counter!("ltr_log_dropped_total").increment(1);
}

/// Counts a ranking that legacy answered because LTR could not.
pub fn fallback(reason: Fallback) {
    counter!("ltr_fallback_total", "reason" => reason.as_str()).increment(1);
}

/// Counts a comparison in shadow.
pub fn shadow(outcome: &ShadowOutcome) {
    counter!("ltr_shadow_total", "outcome" => outcome.as_str().to_owned()).increment(1);
}

//! The metrics. Dashboards and alerts rely on their names.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use hyper::StatusCode;
use metrics::{Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::RwLock;
use ranking::{Evidence, Fallback, ShadowOutcome};
use store::{SetAside, Unreadable};

/// Upper bounds of the buckets, in seconds. The alerts compare with 0.015, 0.020 and 0.025.
const BUCKETS: [f64; 10] = [0.003, 0.005, 0.010, 0.015, 0.020, 0.025, 0.050, 0.200, 1.0, 5.0];

/// How often measurements are moved into their buckets.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The metrics of the process. The recorder is global, so all gateways of a process share it.
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

/// Moves the measurements of histograms into their buckets, forever. Otherwise only a scrape would
/// do so, and a gateway without monitoring would keep every single measurement in memory.
pub async fn run_upkeep_forever() {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        recorder().run_upkeep();
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Every metric with its help text, as `/metrics` shows it.
const METRICS: [(Kind, &str, &str); 52] = [
    (
        Kind::Histogram,
        "http_request_duration_seconds",
        "Response time, by path, method and status",
    ),
    (
        Kind::Histogram,
        "ltr_rank_seconds",
        "Time of /rank from the last byte of the request to the response, by whether it was compared in shadow",
    ),
    (
        Kind::Counter,
        "ltr_telemetry_lost_total",
        "Spans (otlp) and error reports (sentry) that could not be delivered",
    ),
    (
        Kind::Histogram,
        "ltr_score_seconds",
        "Time in the scorer component, per request and model",
    ),
    (Kind::Counter, "api_requests_total", "Requests to /rank"),
    (
        Kind::Counter,
        "ltr_fallback_total",
        "Rankings that legacy answered although LTR should have, by reason",
    ),
    (
        Kind::Counter,
        "ltr_shadow_total",
        "Requests compared in shadow, by outcome",
    ),
    (
        Kind::Counter,
        "ltr_events_unbound_total",
        "Actions on lawyers that were not shown to the user in the case; they are kept but never become labels",
    ),
    (
        Kind::Gauge,
        "ltr_unreadable_records",
        "Comparisons of the last judged model that cannot be read and are left out",
    ),
    (
        Kind::Counter,
        "ltr_log_dropped_total",
        "Responses whose impression or shadow record was lost",
    ),
    (
        Kind::Gauge,
        "ltr_unsigned_models_allowed",
        "1 while models.allow_unsigned is true, which is for development only",
    ),
    (
        Kind::Counter,
        "ltr_connections_refused_total",
        "Connections beyond host.max_connections",
    ),
    (
        Kind::Gauge,
        "ltr_body_bytes",
        "Bytes held by request bodies above 64 KiB; host.max_body_total_mb limits them",
    ),
    (
        Kind::Counter,
        "ltr_bodies_refused_total",
        "Requests answered 503 because other bodies filled host.max_body_total_mb",
    ),
    (
        Kind::Histogram,
        "ltr_model_load_seconds",
        "Time to load a model, by stage: fetch, verify, compile, golden_rows, warm",
    ),
    (
        Kind::Counter,
        "ltr_model_code_total",
        "Model loads by code origin: compiled, cached, recompiled",
    ),
    (
        Kind::Gauge,
        "ltr_model_source_up",
        "1 while models.source can be read; absent without one",
    ),
    (
        Kind::Gauge,
        "ltr_key_ring_faults",
        "Files in models.trusted_keys that are not keys or cannot be read; GET /models names them",
    ),
    (
        Kind::Gauge,
        "ltr_key_ring_closed",
        "1 while no new model is accepted, because a revocation or the key directory cannot be read",
    ),
    (
        Kind::Gauge,
        "ltr_database_up",
        "0 if the last write failed for a reason other than invalid records, else 1",
    ),
    (
        Kind::Gauge,
        "ltr_spool_records",
        "Acknowledged records that are not in the database yet",
    ),
    (
        Kind::Counter,
        "ltr_records_refused_total",
        "Records that the database rejected as invalid, or that could not be read from the spool, set aside in refused.ndjson",
    ),
    (
        Kind::Counter,
        "ltr_spool_damaged_total",
        "Damaged parts of spool files, and unreadable spool files, found since the start",
    ),
    (Kind::Gauge, "ltr_model_info", "1 for each loaded model"),
    (
        Kind::Gauge,
        "ltr_breaker_state",
        "Circuit breaker of /rank: 0 closed, 1 half-open (one call probes), 2 open (no calls), by role",
    ),
    (
        Kind::Gauge,
        "ltr_score_breaker_state",
        "Circuit breaker of /ltr/score: 0 closed, 1 half-open, 2 open, by role",
    ),
    (
        Kind::Counter,
        "ltr_breaker_opened_total",
        "Times that the circuit breaker of /rank opened, by role",
    ),
    (
        Kind::Counter,
        "ltr_score_breaker_opened_total",
        "Times that the circuit breaker of /ltr/score opened, by role",
    ),
    (
        Kind::Gauge,
        "ltr_flags_up",
        "1 while the Redis of flags.redis_url answers; absent without one",
    ),
    (
        Kind::Gauge,
        "ltr_kill_switch",
        "1 while the kill switch is on, so that only legacy answers",
    ),
    (
        Kind::Gauge,
        "ltr_shadow_fraction",
        "Share of requests compared in shadow, 0 to 1",
    ),
    (
        Kind::Counter,
        "ltr_flags_refused_total",
        "Polls of Redis that found an invalid value, by flag",
    ),
    (
        Kind::Gauge,
        "ltr_rollout_version",
        "Version of the release state that this gateway follows",
    ),
    (
        Kind::Counter,
        "ltr_rollout_evaluations_total",
        "Evaluations by this gateway as holder of the lease; over the fleet one per rollout.evaluate_seconds",
    ),
    (
        Kind::Gauge,
        "ltr_rollout_lease",
        "1 while this gateway holds the lease, so that it evaluates and sends",
    ),
    (
        Kind::Gauge,
        "ltr_rollout_model_missing",
        "1 while this gateway cannot load the model that should serve",
    ),
    (
        Kind::Gauge,
        "ltr_rollback_pending",
        "Rollbacks that act on this gateway and are not in the database yet",
    ),
    (
        Kind::Gauge,
        "ltr_fleet_fallback_rate",
        "Share of requests that fell back, pooled over the fleet by the holder of the lease",
    ),
    (
        Kind::Gauge,
        "ltr_fleet_latency_p95_seconds",
        "95th percentile of the scoring time, pooled over the fleet by the holder of the lease",
    ),
    (
        Kind::Gauge,
        "ltr_record_replaced",
        "1 while legacy answers because the record is not the one that this gateway had followed",
    ),
    (
        Kind::Counter,
        "ltr_ledger_rewritten_total",
        "Times that the record was not the one that this gateway had followed",
    ),
    (
        Kind::Gauge,
        "ltr_edge_offer_failed",
        "1 while Envoys that watch rollout.edge_dir do not get what serves",
    ),
    (
        Kind::Gauge,
        "ltr_rollout_weight",
        "Percentage of requests that LTR answers",
    ),
    (
        Kind::Gauge,
        "ltr_outbox_owed",
        "Messages that webhooks have not accepted yet, in the whole fleet",
    ),
    (
        Kind::Counter,
        "ltr_outbox_sent_total",
        "Messages that a webhook accepted, by destination",
    ),
    (
        Kind::Counter,
        "ltr_outbox_failed_total",
        "Failed attempts to deliver a message to a webhook, by destination",
    ),
    (
        Kind::Gauge,
        "ltr_hit3",
        "Share of contracts whose lawyer was ranked among the first three, by arm",
    ),
    (Kind::Gauge, "ltr_mrr_gap", "MRR of LTR minus MRR of legacy, in shadow"),
    (
        Kind::Gauge,
        "ltr_sample_ratio_mismatch",
        "1: a sampler does not choose as often as it should, by sampler",
    ),
    (
        Kind::Gauge,
        "ltr_trial_credit",
        "Mean preference of the users who were shown both rankings: 1 for LTR, -1 for legacy; 0 without a trial",
    ),
    (
        Kind::Gauge,
        "ltr_relevance_log_evidence",
        "Logarithm of the evidence that fewer of the users whom LTR answers sign contracts than did before",
    ),
    (
        Kind::Gauge,
        "ltr_fair_gap",
        "Largest difference between groups' mean fair score, by arm",
    ),
];

fn describe() {
    for (kind, name, help) in METRICS {
        match kind {
            Kind::Counter => describe_counter!(name, help),
            Kind::Gauge => describe_gauge!(name, help),
            Kind::Histogram => describe_histogram!(name, help),
        }
    }
}

/// Counts a response and records its time.
pub fn answered(route: &'static str, method: &'static str, status: StatusCode, took: Duration) {
    /// By route, method and status.
    type Series = HashMap<(&'static str, &'static str, u16), Histogram>;
    /// The histograms used so far: a lookup costs less than building the labels.
    static HISTOGRAMS: LazyLock<RwLock<Series>> = LazyLock::new(RwLock::default);
    let key = (route, method, status.as_u16());
    if let Some(series) = HISTOGRAMS.read().get(&key) {
        return series.record(took);
    }
    let series = histogram!(
        "http_request_duration_seconds", "path" => route, "method" => method, "status" => status.as_u16().to_string()
    );
    series.record(took);
    HISTOGRAMS.write().insert(key, series);
}

/// Counts a ranking and records its time. By the label, an alert sees whether comparisons in shadow
/// slow down the other requests.
pub fn ranked(shadowed: bool, took: Duration) {
    let shadow = if shadowed { "yes" } else { "no" };
    histogram!("ltr_rank_seconds", "shadow" => shadow).record(took);
}

/// Shows whether unsigned models are accepted.
pub fn unsigned_models_allowed(allowed: bool) {
    gauge!("ltr_unsigned_models_allowed").set(u8::from(allowed));
}

/// Shows how many comparisons cannot be read, and logs the first of them.
pub fn unreadable(set_aside: &SetAside) {
    let count = set_aside.count;
    gauge!("ltr_unreadable_records").set(count as f64);
    if let Some(Unreadable { table, key, reason }) = set_aside.first.first() {
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

/// Counts a response whose records were lost.
pub fn log_dropped() {
    counter!("ltr_log_dropped_total").increment(1);
}

/// Counts a ranking that legacy answered although LTR should have.
pub fn fallback(reason: Fallback) {
    counter!("ltr_fallback_total", "reason" => reason.as_str()).increment(1);
}

/// Counts a comparison in shadow.
pub fn shadow(outcome: &ShadowOutcome) {
    counter!("ltr_shadow_total", "outcome" => outcome.as_str().to_owned()).increment(1);
}

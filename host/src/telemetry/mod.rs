//! Telemetry: the log, metrics, traces and error reports.

mod log;
pub mod metrics;
mod panics;
mod scrub;
mod send;
mod sentry;
pub mod traceparent;
mod traces;

use ::sentry::ClientInitGuard;
use anyhow::Context;
use settings::Settings;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use log::REQUESTS;
pub use scrub::scrub;
pub use traces::{Trace, Traces, child_span, scope, with_current};

/// Keeps error reporting running. On drop it waits up to 2 s for the last reports.
pub struct Telemetry(#[expect(dead_code, reason = "held to be dropped")] Option<ClientInitGuard>);

/// Starts the log and the error reports of the whole process, panics included. `directives`
/// (RUST_LOG) override `log.level`.
///
/// # Errors
/// Invalid directives, an invalid DSN, or a log that runs already.
pub fn start(settings: &Settings, directives: Option<&str>) -> anyhow::Result<Telemetry> {
    let log = log::layer(&settings.log, directives)?;
    panics::log();
    // After `panics::log`, so that Sentry's panic hook calls the log's.
    let reports = sentry::start(&settings.telemetry.sentry_dsn)?;
    let subscriber = tracing_subscriber::registry()
        .with(log)
        .with(reports.is_some().then(sentry::layer));
    subscriber.try_init().context("starting the log")?;
    Ok(Telemetry(reports))
}

//! Telemetry: the log, metrics, traces and reports of errors.

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
pub use traces::{Trace, Traces, part, scope, with_current};

/// What telemetry needs until the end; dropped, it waits a little for the last reports.
pub struct Telemetry(#[expect(dead_code, reason = "held to be dropped")] Option<ClientInitGuard>);

/// Starts the log, and reports of errors, for the whole process, panics included. `directives` (RUST_LOG), where
/// given, decide instead of `log.level`.
///
/// # Errors
/// Directives or a DSN that cannot be read.
pub fn start(settings: &Settings, directives: Option<&str>) -> anyhow::Result<Telemetry> {
    let log = log::layer(&settings.log, directives)?;
    panics::log();
    // After the log's, so that its hook calls that one.
    let reports = sentry::start(&settings.telemetry.sentry_dsn)?;
    let subscriber = tracing_subscriber::registry()
        .with(log)
        .with(reports.is_some().then(sentry::layer));
    subscriber.try_init().context("starting the log")?;
    Ok(Telemetry(reports))
}

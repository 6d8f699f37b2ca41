//! Telemetry: the log, metrics, traces and reports of errors.

mod log;
pub mod metrics;
mod scrub;
mod send;
mod sentry;
pub mod traceparent;
mod traces;

use std::backtrace::{Backtrace, BacktraceStatus};

use ::sentry::ClientInitGuard;
use anyhow::Context;
use settings::Settings;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use log::REQUESTS;
pub use scrub::scrub;
pub use traces::{Trace, Traces, part, scope, with_current};

/// Target of the line that a panic leaves.
const PANIC: &str = "panic";

/// What telemetry needs until the end; dropped, it waits a little for the last reports.
pub struct Telemetry(#[expect(dead_code, reason = "held to be dropped")] Option<ClientInitGuard>);

/// Starts the log, and reports of errors, for the whole process, panics included. `directives` (RUST_LOG), where
/// given, decide instead of `log.level`.
///
/// # Errors
/// Directives or a DSN that cannot be read.
pub fn start(settings: &Settings, directives: Option<&str>) -> anyhow::Result<Telemetry> {
    let log = log::layer(&settings.log, directives)?;
    log_panics();
    // After the log's, so that its hook calls that one.
    let reports = sentry::start(&settings.telemetry.sentry_dsn)?;
    let subscriber = tracing_subscriber::registry()
        .with(log)
        .with(reports.is_some().then(sentry::layer));
    subscriber.try_init().context("starting the log")?;
    Ok(Telemetry(reports))
}

fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        tracing::error!(
            target: PANIC,
            location = panic.location().map(tracing::field::display),
            backtrace = backtrace.map(tracing::field::display),
            "a thread panicked: {}",
            // Nobody chose these words for a log.
            scrub(panic.payload_as_str().unwrap_or("without words"))
        );
    }));
}

//! What the gateway says of itself while it runs, beside its metrics.

mod log;
mod scrub;

use std::backtrace::{Backtrace, BacktraceStatus};

use anyhow::Context;
use settings::Settings;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use log::REQUESTS;
pub use scrub::scrub;

/// Starts the log for the whole process, panics included. `directives` (RUST_LOG), where given, decide instead of
/// `log.level`.
///
/// # Errors
/// Directives that cannot be read.
pub fn start(settings: &Settings, directives: Option<&str>) -> anyhow::Result<()> {
    let subscriber = tracing_subscriber::registry().with(log::layer(&settings.log, directives)?);
    subscriber.try_init().context("starting the log")?;
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        tracing::error!(
            location = panic.location().map(tracing::field::display),
            backtrace = backtrace.map(tracing::field::display),
            "a thread panicked: {}",
            // Nobody chose these words for a log.
            scrub(panic.payload_as_str().unwrap_or("without words"))
        );
    }));
    Ok(())
}

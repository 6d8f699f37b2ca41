//! Logs panics.

use std::backtrace::{Backtrace, BacktraceStatus};

use super::scrub::scrub;

/// Target of the log line of a panic.
pub(super) const PANIC: &str = "panic";

/// Logs every panic from now on, with its location.
pub(super) fn log() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        tracing::error!(
            target: PANIC,
            location = panic.location().map(tracing::field::display),
            backtrace = backtrace.map(tracing::field::display),
            "a thread panicked: {}",
            // The message may quote any data.
            scrub(panic.payload_as_str().unwrap_or("no message"))
        );
    }));
}

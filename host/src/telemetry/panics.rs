//! Panics in the log.

use std::backtrace::{Backtrace, BacktraceStatus};

use super::scrub::scrub;

/// Target of the line that a panic leaves.
pub(super) const PANIC: &str = "panic";

/// Logs every panic from now on, with where it was.
pub(super) fn log() {
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

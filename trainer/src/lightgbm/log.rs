//! Sends LightGBM's log lines to `tracing` instead of standard output.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ffi::{CStr, c_char};

/// How many different warnings are remembered, to log each only once.
const MAX_WARNINGS: usize = 100;

thread_local! {
    static ROUTED: Cell<bool> = const { Cell::new(false) };
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
    /// Warnings since the last handle was created: LightGBM repeats some in every round.
    static SEEN: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// Routes this thread's LightGBM log lines to `tracing`; idempotent.
///
/// LightGBM keeps its log callback per thread, so every constructor of a handle calls this first.
pub(super) fn route() {
    SEEN.with(|seen| seen.borrow_mut().clear());
    ROUTED.with(|routed| {
        if !routed.replace(true) {
            // SAFETY: `on_log` is a plain function that lives for ever, has the C signature
            // LightGBM expects and cannot unwind. Registering cannot fail.
            unsafe { lightgbm3_sys::LGBM_RegisterLogCallback(Some(on_log)) };
        }
    });
}

/// Receives a log line in three pieces: level, text, line end.
extern "C" fn on_log(piece: *const c_char) {
    if piece.is_null() {
        return;
    }
    // SAFETY: LightGBM passes a NUL-terminated buffer that outlives this call.
    let piece = unsafe { CStr::from_ptr(piece) }.to_string_lossy();
    // A failure to log (thread shutting down, re-entry) must not unwind into C++.
    let _ = LINE.try_with(|line| {
        let Ok(mut line) = line.try_borrow_mut() else {
            return;
        };
        line.push_str(&piece);
        if line.ends_with('\n') {
            let whole = std::mem::take(&mut *line);
            let whole = whole.trim();
            if whole.contains("[Warning]") && is_new(whole) {
                tracing::warn!(target: "lightgbm", "{whole}");
            } else {
                tracing::debug!(target: "lightgbm", "{whole}");
            }
        }
    });
}

fn is_new(warning: &str) -> bool {
    SEEN.try_with(|seen| {
        let Ok(mut seen) = seen.try_borrow_mut() else {
            return true;
        };
        seen.len() >= MAX_WARNINGS || seen.insert(warning.to_owned())
    })
    .unwrap_or(true)
}

//! The callbacks of `edge-mark.wasm`.
//!
//! This filter keeps no state per request, so Envoy need not report the end of a request. That
//! report would cost about a quarter more. The trainer exports these callbacks under the names that
//! Envoy calls. `edge-filter.wasm` exports the SDK's callbacks instead.

use std::cell::{Cell, RefCell};

use proxy_filter::{Exchange, Filter, Roots};
use proxy_wasm::hostcalls;
use proxy_wasm::types::{Action, BufferType};

use crate::envoy::{self, Envoy};
use crate::{configured, refuse};

thread_local! {
    static ROOTS: RefCell<Roots> = RefCell::default();
    /// The context that Envoy created last, and its root. For each request, Envoy creates a context
    /// and calls it at once.
    static LATEST: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

#[unsafe(no_mangle)]
extern "C" fn mark_on_context_create(context: u32, root: u32) {
    LATEST.set((context, root));
}

#[unsafe(no_mangle)]
extern "C" fn mark_on_configure(root: u32, size: usize) -> bool {
    let json = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size);
    match configured(&json.ok().flatten().unwrap_or_default()).and_then(|config| config.only_marks()) {
        Ok(config) => {
            envoy::define_metrics();
            ROOTS.with_borrow_mut(|roots| roots.add(root, Filter::new(config, None), envoy::has_context));
            true
        }
        Err(error) => refuse(&error),
    }
}

#[unsafe(no_mangle)]
extern "C" fn mark_on_request_headers(context: u32, _count: usize, end: bool) -> Action {
    let (latest, root) = LATEST.get();
    let filter = ROOTS.with_borrow(|roots| roots.get(root).cloned());
    if let Some(filter) = filter.filter(|_| latest == context) {
        Exchange::new(filter).headers(&Envoy::default(), end);
    }
    Action::Continue
}

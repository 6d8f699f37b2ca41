//! `ltr-host`: the gateway, and offline tools on the same runtime.

use std::process::ExitCode;

use clap::Parser;
use ltr_host::cli::Cli;

/// A request with a hundred lawyers makes a thousand small allocations. With glibc they took a
/// quarter of its time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// jemalloc's options. Unused memory returns to the system within about a second, so that the
/// process shrinks again after a flood of requests or an outage. Threads cache freed blocks of up
/// to 256 KiB: this covers the body and the values of a request with a hundred lawyers, which would
/// otherwise spend five per cent of its time in the arenas.
// SAFETY: jemalloc declares this name with this type, a pointer to a zero-terminated string.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: Option<&'static std::ffi::c_char> =
    // SAFETY: the pointer of a constant C string is valid for ever.
    Some(unsafe { &*ALLOCATION.as_ptr() });
const ALLOCATION: &std::ffi::CStr =
    c"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,narenas:2,tcache_max:262144";

fn main() -> ExitCode {
    Cli::parse().run()
}

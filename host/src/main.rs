//! `ltr-host`: the gateway, and the tools that use its runtime offline.

use std::process::ExitCode;

use clap::Parser;
use ltr_host::cli::Cli;

/// A case of a hundred lawyers is a thousand small allocations, of which glibc's were a quarter of its time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What is not used goes back to the system within a second or so: a process that has been through a flood or an outage
/// is then nearly as small as before. Threads keep what is freed up to 256 KiB, a case of a hundred lawyers and the list
/// of its values, which otherwise each request asks of the arenas anew: five per cent of its time.
// Sound: the name and the type are those that jemalloc declares, a pointer to a string that ends with a zero byte.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: Option<&'static std::ffi::c_char> = Some(unsafe { &*ALLOCATION.as_ptr() });
const ALLOCATION: &std::ffi::CStr =
    c"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,narenas:2,tcache_max:262144";

fn main() -> ExitCode {
    Cli::parse().run()
}

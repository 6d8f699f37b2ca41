//! The threads that serve connections. Each runs its own single-threaded runtime, and serves the
//! connections assigned to it.
//!
//! The threads of a work-stealing runtime wake each other for every request, to look for work to
//! share. That takes longer than scoring a row. Work that would keep a thread busy for long runs on
//! the main runtime instead.
//!
//! This is our own code: Tokio has no runtime of several threads that does not steal, and
//! tokio-util's pool of pinned threads offers no handle to a thread, which an accepted socket needs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A set of threads. Clones share it; the threads end when the last clone is dropped.
#[derive(Clone)]
pub struct ConnectionRuntimes(Arc<RoundRobin>);

struct RoundRobin {
    threads: Vec<Thread>,
    turn: AtomicUsize,
}

struct Thread {
    handle: Handle,
    _running: oneshot::Sender<()>,
}

impl ConnectionRuntimes {
    /// Starts one thread per processor.
    ///
    /// # Errors
    /// The system does not allow that many threads or descriptors.
    pub fn start() -> io::Result<ConnectionRuntimes> {
        let count = thread::available_parallelism()?.get();
        let threads = (0..count).map(|_| Thread::start()).collect::<io::Result<_>>()?;
        Ok(ConnectionRuntimes(Arc::new(RoundRobin {
            threads,
            turn: AtomicUsize::new(0),
        })))
    }

    /// The runtime for the next connection, in turn.
    pub fn next(&self) -> &Handle {
        let RoundRobin { threads, turn } = &*self.0;
        &threads[turn.fetch_add(1, Ordering::Relaxed) % threads.len()].handle
    }
}

impl Thread {
    fn start() -> io::Result<Thread> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel();
        thread::Builder::new().name("connections".into()).spawn(move || {
            // Nothing is ever sent: the receiver ends when its sender is dropped.
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        })?;
        Ok(Thread {
            handle,
            _running: running,
        })
    }
}

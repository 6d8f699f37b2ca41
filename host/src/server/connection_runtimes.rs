//! The threads that serve connections: each has a reactor of its own, and the connections that were given to it.
//!
//! ConnectionRuntimes that share their work wake each other for every request, to look whether there is any to share: that takes
//! longer than the score of a row. What keeps a thread busy for long is not done here, but by the threads of the
//! runtime that the gateway was started in.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Clones are the same threads, which end when the last one is dropped.
#[derive(Clone)]
pub struct ConnectionRuntimes(Arc<Turns>);

struct Turns {
    threads: Vec<Thread>,
    turn: AtomicUsize,
}

struct Thread {
    handle: Handle,
    _running: oneshot::Sender<()>,
}

impl ConnectionRuntimes {
    /// One for each processor.
    ///
    /// # Errors
    /// The system does not give as many threads or descriptors.
    pub fn start() -> io::Result<ConnectionRuntimes> {
        let count = thread::available_parallelism()?.get();
        let threads = (0..count).map(|_| Thread::start()).collect::<io::Result<_>>()?;
        Ok(ConnectionRuntimes(Arc::new(Turns {
            threads,
            turn: AtomicUsize::new(0),
        })))
    }

    /// The one whose turn it is to be given a connection.
    pub fn next(&self) -> &Handle {
        let Turns { threads, turn } = &*self.0;
        &threads[turn.fetch_add(1, Ordering::Relaxed) % threads.len()].handle
    }
}

impl Thread {
    fn start() -> io::Result<Thread> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel();
        thread::Builder::new().name("connections".into()).spawn(move || {
            // Nothing is ever sent: it ends with its sender.
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        })?;
        Ok(Thread {
            handle,
            _running: running,
        })
    }
}

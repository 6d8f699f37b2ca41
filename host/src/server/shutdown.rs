//! The signals that end a gateway, and the time it takes to drain.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::state::Gateway;

/// The signals that end the gateway.
pub struct Stops {
    /// What an orchestrator sends.
    terminate: Signal,
    /// Ctrl-c.
    interrupt: Signal,
}

impl Stops {
    /// Listens from here on: a signal does not end the process any more.
    ///
    /// # Errors
    /// The system takes no handler.
    pub fn listen() -> std::io::Result<Stops> {
        Ok(Stops {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns when the listeners are to close: on ctrl-c at once; on SIGTERM after `host.drain_delay_ms`, in which
    /// those who send requests here find out that they should not, or at a second signal.
    pub async fn wait(mut self, gateway: &Gateway) {
        let terminated = tokio::select! {
            _ = self.terminate.recv() => true,
            _ = self.interrupt.recv() => false,
        };
        gateway.readiness.drain();
        let delay = gateway.settings.host.drain_delay();
        if !terminated || delay.is_zero() {
            return;
        }
        tracing::info!(
            "draining: /readyz says so, and requests are taken for {} ms more",
            delay.as_millis()
        );
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

//! Shutdown: the signals that stop the gateway, and the drain delay.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::state::Gateway;

/// The signals that stop the gateway.
pub(super) struct Stops {
    /// SIGTERM, which orchestrators send.
    terminate: Signal,
    /// Ctrl-c.
    interrupt: Signal,
}

impl Stops {
    /// Installs the handlers. From here on a signal no longer ends the process.
    ///
    /// # Errors
    /// The system refuses a handler.
    pub(super) fn listen() -> std::io::Result<Stops> {
        Ok(Stops {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns when the listeners must close: on ctrl-c at once; on SIGTERM after
    /// `host.drain_delay_ms`, or at a second signal. During the delay load balancers see `/readyz`
    /// and send requests elsewhere.
    pub(super) async fn wait(mut self, gateway: &Gateway) {
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
            "draining: /readyz reports it, and requests are accepted for another {} ms",
            delay.as_millis()
        );
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

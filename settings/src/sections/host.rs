//! The gateway: addresses, limits, times.

use std::net::SocketAddr;
use std::time::Duration;

use crate::section::Rule::{Flag, OneOf, Whole, Words};
use crate::section::{TIMEOUT, choice, section};

section! {
    /// The gateway.
    ["host"] Host {
        /// Address to serve on; port 0 takes a free port.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080)), Words("IP:PORT, as 127.0.0.1:8080; a loopback IP while access.tokens is empty");
        /// Separate address of /rollout, /models and /metrics, for operators; empty: they are served on
        /// host.listen. On loopback it speaks plain HTTP, whatever `[tls]` says.
        admin_listen: String = String::new(), Words("empty, or another IP:PORT; a loopback IP while access.tokens is empty");
        /// /rank answers within this time, whatever the model does.
        deadline_ms: u64 = 200, Whole(1, 60_000);
        /// Part of the deadline that the model may use, below host.deadline_ms; after it, legacy answers.
        ltr_budget_ms: u64 = 100, Whole(1, 60_000);
        /// Maximum number of open connections; one more is answered 429 and closed.
        max_connections: usize = 4096, Whole(1, 1_000_000);
        /// Maximum number of headers per request; 431 beyond.
        max_headers: usize = 64, Whole(8, 100);
        /// Maximum size of a request's header names and values together; 431 beyond.
        max_header_bytes: usize = 16 << 10, Whole(512, 1 << 18);
        /// Maximum size of a request body; 413 beyond.
        max_body_bytes: usize = 8 << 20, Whole(1024, 1 << 30);
        /// Maximum memory for all request bodies above 64 KiB together, in MiB; 503 with Retry-After
        /// beyond. At least one and a third times host.max_body_bytes. Bodies above 256 KiB may use three
        /// quarters of it.
        max_body_total_mb: usize = 256, Whole(2, 1_000_000);
        /// Maximum nesting of arrays and objects in a body; 400 beyond.
        max_json_depth: usize = 32, Whole(8, 126);
        /// Maximum number of lawyers per /rank; 422 beyond.
        max_lawyers: usize = 10_000, Whole(1, 10_000);
        /// Maximum number of rows per /ltr/score; 422 beyond.
        max_rows: usize = 100_000, Whole(1, 10_000_000);
        /// Whether /ltr/score answers also with a model that serves no traffic: the champion while the
        /// rollout's weight is 0, or else the challenger.
        score_challenger: bool = false, Flag;
        /// How long a connection may take to deliver the head of its next request, idle time included; then
        /// it is closed.
        header_timeout_ms: u64 = 30_000, TIMEOUT;
        /// How long a request's body may take to arrive; then 408.
        body_timeout_ms: u64 = 10_000, TIMEOUT;
        /// How long a request may take in total, its body included; then 503.
        request_timeout_ms: u64 = 60_000, TIMEOUT;
        /// How long a client may read nothing of its response; then the connection is closed.
        write_timeout_ms: u64 = 10_000, TIMEOUT;
        /// How long after SIGTERM requests are still accepted, while /readyz reports draining. It must be
        /// longer than a load balancer takes to notice, e.g. 5000 in Kubernetes.
        drain_delay_ms: u64 = 0, Whole(0, 600_000);
        /// How long requests may then take to finish before they are cut off.
        drain_timeout_ms: u64 = 10_000, TIMEOUT;
        /// Maximum requests per second and client (by token, or else by address); 429 beyond; 0: no limit.
        rate_per_second: u32 = 0, Whole(0, 1_000_000);
        /// Requests that a client may send at once before host.rate_per_second applies.
        rate_burst: u32 = 100, Whole(1, 1_000_000);
        /// Source of "now"; header (X-LTR-Time) is for simulations and replays only.
        clock: Clock = Clock::System, OneOf(Clock::NAMES);
    }
}

impl Host {
    /// The time within which `/rank` answers.
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    /// The operators' separate address, if configured.
    ///
    /// # Panics
    /// If `validate` would refuse the settings.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        let set = !self.admin_listen.is_empty();
        set.then(|| self.admin_listen.parse().expect("validate has accepted the address"))
    }

    /// The limit for all request bodies together, in bytes.
    pub fn max_body_total(&self) -> usize {
        self.max_body_total_mb << 20
    }

    /// How long a connection may take to deliver the head of its next request.
    pub fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    /// How long a body may take to arrive.
    pub fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
    }

    /// How long a request may take in all, its body included.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// How long a client may read nothing of its response.
    pub fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }

    /// How long requests are still accepted after the signal to stop, while `/readyz` reports draining.
    pub fn drain_delay(&self) -> Duration {
        Duration::from_millis(self.drain_delay_ms)
    }

    /// How long requests in progress may take to finish after that.
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }

    /// How much of the deadline the model may use.
    pub fn ltr_budget(&self) -> Duration {
        Duration::from_millis(self.ltr_budget_ms)
    }
}

choice! {
    /// Where the gateway takes "now" from.
    Clock {
        /// The system's clock, in UTC.
        System = "system";
        /// The request header `X-LTR-Time`: for simulations and replays only.
        Header = "header";
    }
}

//! Sends telemetry, bounded in time and size, without delaying requests.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use hyper::{Request, Response};
use metrics::counter;
use opentelemetry_http::{HttpClient, HttpError};
use reqwest::Client;
use tokio::runtime::Handle;

/// Time limit of one batch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a response, in bytes.
const MAX_RESPONSE: usize = 64 << 10;
/// Minimum time between two log lines about lost telemetry.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Sends to one server, with the HTTP client of the gateway's other calls.
///
/// The adapter in `opentelemetry-http` does not serve: it needs a runtime on the exporter's thread,
/// which has none, and it reads responses of any size.
#[derive(Clone)]
pub(super) struct Sender {
    client: Client,
    /// Runs the connections, because the sending thread may have no runtime.
    runtime: Handle,
    losses: Arc<Losses>,
}

impl Sender {
    /// Sends to the URL `endpoint`; `to` is its name in metrics and the log. To be called inside a
    /// Tokio runtime.
    ///
    /// # Errors
    /// HTTPS, but this machine has no CA certificates.
    pub(super) fn new(to: &'static str, endpoint: &str) -> anyhow::Result<Sender> {
        let system_roots = Path::new("");
        let builder = client::builder(endpoint, system_roots)?;
        Ok(Sender {
            client: builder.no_proxy().timeout(TIMEOUT).build()?,
            runtime: Handle::current(),
            losses: Arc::new(Losses::new(to)),
        })
    }

    /// Sends a request and returns the response, whatever its status.
    ///
    /// # Errors
    /// No response in time, or one that is incomplete or too large.
    pub(super) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, request) = (self.client.clone(), request.try_into()?);
        let exchange = async move { read_bounded(client.execute(request).await?).await };
        self.runtime.spawn(exchange).await?
    }

    /// Counts `items` that did not arrive. Logs it, but at most once a minute.
    pub(super) fn record_lost(&self, items: usize, why: &dyn fmt::Display) {
        self.losses.add(items, why);
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender to {}", self.losses.to)
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.send(request).await
    }
}

/// The response with its body, of at most [`MAX_RESPONSE`] bytes.
async fn read_bounded(mut response: reqwest::Response) -> Result<Response<Bytes>, HttpError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_RESPONSE {
            return Err(format!("the response is larger than {MAX_RESPONSE} bytes").into());
        }
        body.extend_from_slice(&chunk);
    }
    let mut whole = Response::new(body.freeze());
    *whole.status_mut() = response.status();
    *whole.headers_mut() = std::mem::take(response.headers_mut());
    Ok(whole)
}

/// Counts the telemetry that did not arrive.
struct Losses {
    to: &'static str,
    start: Instant,
    /// Time of the last log line, in milliseconds after `start`, plus one; 0: none yet.
    last_logged: AtomicU64,
}

impl Losses {
    fn new(to: &'static str) -> Losses {
        Losses {
            to,
            start: Instant::now(),
            last_logged: AtomicU64::new(0),
        }
    }

    fn add(&self, items: usize, why: &dyn fmt::Display) {
        counter!("ltr_telemetry_lost_total", "to" => self.to).increment(items as u64);
        let now = self.start.elapsed().as_millis() as u64 + 1;
        let last_logged = self.last_logged.load(Ordering::Relaxed);
        let too_soon = last_logged > 0 && now < last_logged + LOG_INTERVAL.as_millis() as u64;
        let claim = || {
            self.last_logged
                .compare_exchange(last_logged, now, Ordering::Relaxed, Ordering::Relaxed)
        };
        if !too_soon && claim().is_ok() {
            tracing::warn!(to = self.to, items, "telemetry lost: {why}");
        }
    }
}

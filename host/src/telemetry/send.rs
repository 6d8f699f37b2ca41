//! How telemetry leaves: bounded in time and size, and never in a request's way.

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

/// How long a server may take for one batch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What is read of its answer, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// Between two lines in the log about what was lost.
const QUIET: Duration = Duration::from_secs(60);

/// Sends to one server, with the HTTP client of the other calls. `opentelemetry-http` has an adapter for that client, but
/// it wants a reactor on the exporter's thread, which has none, and reads an answer of any size.
#[derive(Clone)]
pub(super) struct Sender {
    client: Client,
    /// Where connections live; who sends may be on another thread.
    runtime: Handle,
    losses: Arc<Losses>,
}

impl Sender {
    /// For what goes to `endpoint`, a URL; `to` is its name in metrics and the log. To be called inside the runtime.
    ///
    /// # Errors
    /// HTTPS without any certificate of an authority on this machine.
    pub(super) fn new(to: &'static str, endpoint: &str) -> anyhow::Result<Sender> {
        let the_systems = Path::new("");
        let builder = client::builder(endpoint, the_systems)?;
        Ok(Sender {
            client: builder.no_proxy().timeout(TIMEOUT).build()?,
            runtime: Handle::current(),
            losses: Arc::new(Losses::new(to)),
        })
    }

    /// The answer, whatever its status.
    ///
    /// # Errors
    /// No answer in time, or none that is complete.
    pub(super) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, request) = (self.client.clone(), request.try_into()?);
        let exchange = async move { bounded(client.execute(request).await?).await };
        self.runtime.spawn(exchange).await?
    }

    /// Counts what did not arrive, and says so in the log, but not each time.
    pub(super) fn lost(&self, items: usize, why: &dyn fmt::Display) {
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

/// An answer with its body, of [`MAX_ANSWER`] at most.
async fn bounded(mut answer: reqwest::Response) -> Result<Response<Bytes>, HttpError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(format!("the answer is larger than {MAX_ANSWER} bytes").into());
        }
        body.extend_from_slice(&chunk);
    }
    let mut whole = Response::new(body.freeze());
    *whole.status_mut() = answer.status();
    *whole.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(whole)
}

/// What did not arrive.
struct Losses {
    to: &'static str,
    start: Instant,
    /// When the log said so last, in milliseconds after `start`, plus one; 0: never.
    told: AtomicU64,
}

impl Losses {
    fn new(to: &'static str) -> Losses {
        Losses {
            to,
            start: Instant::now(),
            told: AtomicU64::new(0),
        }
    }

    fn add(&self, items: usize, why: &dyn fmt::Display) {
        counter!("ltr_telemetry_lost_total", "to" => self.to).increment(items as u64);
        let now = self.start.elapsed().as_millis() as u64 + 1;
        let told = self.told.load(Ordering::Relaxed);
        let quiet = told > 0 && now < told + QUIET.as_millis() as u64;
        let mine = || {
            self.told
                .compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed)
        };
        if !quiet && mine().is_ok() {
            tracing::warn!(to = self.to, items, "telemetry is lost: {why}");
        }
    }
}

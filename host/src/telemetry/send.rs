//! How telemetry leaves: bounded in time and size, and never in a request's way.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use metrics::counter;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long a server may take for one batch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What is read of its answer, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// Between two lines in the log about what was lost.
const QUIET: Duration = Duration::from_secs(60);

/// Sends to one server.
#[derive(Clone)]
pub(super) struct Sender {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Where connections live; who sends may be on another thread.
    runtime: Handle,
    losses: Arc<Losses>,
}

impl Sender {
    /// For what goes to `endpoint`, of which metrics and the log say `to`. To be called inside the runtime.
    ///
    /// # Errors
    /// HTTPS without any certificate of an authority on this machine.
    pub fn new(to: &'static str, endpoint: &Uri) -> anyhow::Result<Sender> {
        let provider = ring::default_provider();
        let connector = HttpsConnectorBuilder::new();
        let connector = if endpoint.scheme_str() == Some("https") {
            let connector = connector.with_provider_and_native_roots(provider);
            connector.context("reading this machine's certificates of authorities")?
        } else {
            let tls = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
            let roots = RootCertStore::empty();
            connector.with_tls_config(tls?.with_root_certificates(roots).with_no_client_auth())
        };
        let connector = connector.https_or_http().enable_http1().build();
        Ok(Sender {
            client: Client::builder(TokioExecutor::new()).build(connector),
            runtime: Handle::current(),
            losses: Arc::new(Losses::new(to)),
        })
    }

    /// The answer, whatever its status.
    ///
    /// # Errors
    /// No answer in time, or none that is complete.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchange = async move {
            let answer = client.request(request.map(Full::new)).await?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        let in_time = async { tokio::time::timeout(TIMEOUT, exchange).await };
        self.runtime.spawn(in_time).await??
    }

    /// Counts what did not arrive, and says so in the log, but not each time.
    pub fn lost(&self, items: usize, why: &dyn fmt::Display) {
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

//! Accepts and serves connections, within limits of their number and of their slowness.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use metrics::counter;
use settings::Host;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_io_timeout::TimeoutStream;

use super::connection_runtimes::ConnectionRuntimes;
use super::tls::Tls;
use crate::http::body;
use crate::http::call::Request;
use crate::http::response::Response;
use crate::router::Router;

/// Pause after a failed accept, before the next one. The usual reason is too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How many connections beyond the limit are answered 429 at a time. Others are closed without a
/// response.
const MAX_REJECTIONS: usize = 64;
/// Time limit for sending such a 429.
const REJECTION_TIMEOUT: Duration = Duration::from_secs(1);
/// Read buffer of a connection, in bytes: a request with a hundred lawyers fits. hyper's own limit
/// is seven times larger.
const READ_AHEAD: usize = 64 << 10;

/// The connections of one listener, and their limits.
#[derive(Clone)]
pub struct Connections {
    threads: ConnectionRuntimes,
    /// The main runtime, for requests that would keep one of `threads` busy.
    main_runtime: Handle,
    slots: Arc<Semaphore>,
    rejections: Arc<Semaphore>,
    max: usize,
    header_timeout: Duration,
    write_timeout: Duration,
    /// Size of the read buffer, in bytes; a request's head must fit.
    buffer: usize,
    /// `None`: plain HTTP.
    tls: Option<Arc<Tls>>,
}

impl Connections {
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn new(host: &Host, threads: ConnectionRuntimes) -> Connections {
        Connections {
            threads,
            main_runtime: Handle::current(),
            slots: Arc::new(Semaphore::new(host.max_connections)),
            rejections: Arc::new(Semaphore::new(MAX_REJECTIONS)),
            max: host.max_connections,
            header_timeout: host.header_timeout(),
            write_timeout: host.write_timeout(),
            buffer: READ_AHEAD.max(2 * host.max_header_bytes),
            tls: None,
        }
    }

    /// Serves HTTPS with `tls`; plain HTTP if it is `None`.
    pub fn with_tls(self, tls: Option<Arc<Tls>>) -> Connections {
        Connections { tls, ..self }
    }

    /// Serves until `stop` is true, then waits for the requests in progress.
    pub async fn serve(self, listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|&stop| stop) => break,
            };
            match accepted {
                Ok((stream, peer)) => self.start(stream, peer, &router, graceful.watcher()),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        graceful.shutdown().await;
    }

    /// Serves a new connection on one of the threads, or rejects it if there are too many.
    fn start(&self, stream: TcpStream, peer: SocketAddr, router: &Router, watcher: Watcher) {
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            counter!("ltr_connections_refused_total").increment(1);
            return self.reject(stream);
        };
        // Responses are complete when they are sent, so waiting for more data gains nothing.
        let _ = stream.set_nodelay(true);
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%error, "a connection could not be passed to its thread"),
        };
        let (connections, router) = (self.clone(), router.clone());
        self.threads.next().spawn(async move {
            let _slot = slot;
            let stream = match TcpStream::from_std(stream) {
                Ok(stream) => connections.with_write_timeout(stream),
                Err(error) => return tracing::warn!(%error, "a connection could not be registered on its thread"),
            };
            let Some(tls) = &connections.tls else {
                return connections.serve_stream(stream, peer, router, watcher).await;
            };
            let handshake = tls.acceptor().accept(stream);
            match tokio::time::timeout(connections.header_timeout, handshake).await {
                Ok(Ok(stream)) => connections.serve_stream(stream, peer, router, watcher).await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake timed out"),
            }
        });
    }

    /// Adds the write timeout: a client that does not read its response must not keep it in memory
    /// for ever.
    fn with_write_timeout(&self, stream: TcpStream) -> Pin<Box<TimeoutStream<TcpStream>>> {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.write_timeout));
        Box::pin(stream)
    }

    async fn serve_stream<S>(&self, stream: S, peer: SocketAddr, router: Router, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = &router;
        let service = service_fn(async |request: hyper::Request<Incoming>| {
            let may_block = body::may_be_large(request.body());
            let request = request.map(Either::Left);
            if !may_block {
                Ok(router.answer(Some(peer.ip()), request).await)
            } else {
                self.answer_on_main_runtime(router, peer, request).await
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(self.buffer)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            // The client disconnected or was too slow, which is not a fault of the gateway.
            tracing::debug!(%error, "a connection ended early");
        }
    }

    /// Answers a request on the main runtime. If the connection ends first, so does the answer.
    async fn answer_on_main_runtime(
        &self,
        router: &Router,
        peer: SocketAddr,
        request: Request,
    ) -> Result<Response, JoinError> {
        let router = router.clone();
        let mut answer = JoinSet::new();
        answer.spawn_on(
            async move { router.answer(Some(peer.ip()), request).await },
            &self.main_runtime,
        );
        answer.join_next().await.expect("one was spawned")
    }

    /// Answers 429 and closes the connection.
    fn reject(&self, mut stream: TcpStream) {
        if self.tls.is_some() {
            // Without a handshake the client cannot read a response.
            return;
        }
        let Ok(permit) = self.rejections.clone().try_acquire_owned() else {
            return;
        };
        let body = format!(
            "{{\"error\":{{\"code\":\"too_many_connections\",\"message\":\"{} connections are open; allowed: at most {} (host.max_connections)\",\"field\":null,\"value\":null,\"allowed\":null}}}}",
            self.max, self.max
        );
        tokio::spawn(async move {
            let _permit = permit;
            let sent = async {
                let answer = format!(
                    "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await?;
                stream.shutdown().await?;
                // Closing with an unread request could reset the connection before the client reads
                // the response.
                tokio::io::copy(&mut stream.take(1 << 20), &mut tokio::io::sink()).await
            };
            let _ = tokio::time::timeout(REJECTION_TIMEOUT, sent).await;
        });
    }
}

//! Connections: how many there may be, and how slow.

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

/// How long after an accept that failed (too many open files, as a rule) the next is tried.
const BREATH: Duration = Duration::from_millis(100);
/// Connections beyond the limit that are told so at a time; more are closed without a word.
const TURNED_AWAY: usize = 64;
/// Room for a case of a hundred lawyers at once, in bytes; hyper's own limit is seven times as much for each connection.
const READ_AHEAD: usize = 64 << 10;
/// How long one of them may take to hear it.
const FAREWELL: Duration = Duration::from_secs(1);

/// What all listeners of a gateway share.
#[derive(Clone)]
pub struct Connections {
    threads: ConnectionRuntimes,
    /// Where requests go that would keep one of `threads` busy.
    elsewhere: Handle,
    slots: Arc<Semaphore>,
    farewells: Arc<Semaphore>,
    max: usize,
    header_timeout: Duration,
    write_timeout: Duration,
    /// What is read ahead of a body, in bytes; a head must fit.
    buffer: usize,
    /// `None`: plain HTTP.
    tls: Option<Arc<Tls>>,
}

impl Connections {
    /// # Panics
    /// Outside of a runtime.
    pub fn new(host: &Host, threads: ConnectionRuntimes) -> Connections {
        Connections {
            threads,
            elsewhere: Handle::current(),
            slots: Arc::new(Semaphore::new(host.max_connections)),
            farewells: Arc::new(Semaphore::new(TURNED_AWAY)),
            max: host.max_connections,
            header_timeout: host.header_timeout(),
            write_timeout: host.write_timeout(),
            buffer: READ_AHEAD.max(2 * host.max_header_bytes),
            tls: None,
        }
    }

    pub fn with_tls(self, tls: Option<Arc<Tls>>) -> Connections {
        Connections { tls, ..self }
    }

    /// Serves until `stop` says so, then waits for the requests that are being answered.
    pub async fn serve(self, listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|&stop| stop) => break,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer, &router, graceful.watcher()),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
        drop(listener);
        graceful.shutdown().await;
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr, router: &Router, watcher: Watcher) {
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            counter!("ltr_connections_refused_total").increment(1);
            return self.turn_away(stream);
        };
        // Answers are small and complete; waiting for more of them gains nothing.
        let _ = stream.set_nodelay(true);
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%error, "a connection could not be handed over"),
        };
        let (connections, router) = (self.clone(), router.clone());
        self.threads.next().spawn(async move {
            let _slot = slot;
            let stream = match TcpStream::from_std(stream) {
                Ok(stream) => connections.with_write_timeout(stream),
                Err(error) => return tracing::warn!(%error, "a connection could not be taken over"),
            };
            let Some(tls) = &connections.tls else {
                return connections.converse(stream, peer, router, watcher).await;
            };
            let handshake = tls.acceptor().accept(stream);
            match tokio::time::timeout(connections.header_timeout, handshake).await {
                Ok(Ok(stream)) => connections.converse(stream, peer, router, watcher).await,
                Ok(Err(error)) => tracing::debug!(%error, "no TLS with a client"),
                Err(_) => tracing::debug!("a client was too slow for TLS"),
            }
        });
    }

    /// A client that does not read its answer must not hold it in memory for ever.
    fn with_write_timeout(&self, stream: TcpStream) -> Pin<Box<TimeoutStream<TcpStream>>> {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.write_timeout));
        Box::pin(stream)
    }

    async fn converse<S>(&self, stream: S, peer: SocketAddr, router: Router, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = &router;
        let service = service_fn(async |request: hyper::Request<Incoming>| {
            let is_heavy = body::may_be_large(request.body());
            let request = request.map(Either::Left);
            match is_heavy {
                false => Ok(router.answer(Some(peer.ip()), request).await),
                true => self.answer_elsewhere(router, peer, request).await,
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(self.buffer)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            // A client that went away or was too slow; nothing here is wrong.
            tracing::debug!(%error, "a connection ended early");
        }
    }

    /// Ends with the connection.
    async fn answer_elsewhere(
        &self,
        router: &Router,
        peer: SocketAddr,
        request: Request,
    ) -> Result<Response, JoinError> {
        let router = router.clone();
        let mut answer = JoinSet::new();
        answer.spawn_on(
            async move { router.answer(Some(peer.ip()), request).await },
            &self.elsewhere,
        );
        answer.join_next().await.expect("one was spawned")
    }

    fn turn_away(&self, mut stream: TcpStream) {
        if self.tls.is_some() {
            // What it could be told it could not read.
            return;
        }
        let Ok(farewell) = self.farewells.clone().try_acquire_owned() else {
            return;
        };
        let body = format!(
            "{{\"error\":{{\"code\":\"too_many_connections\",\"message\":\"{} connections are open; allowed: at most {} (host.max_connections)\",\"field\":null,\"value\":null,\"allowed\":null}}}}",
            self.max, self.max
        );
        tokio::spawn(async move {
            let _farewell = farewell;
            let said = async {
                let answer = format!(
                    "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await?;
                stream.shutdown().await?;
                // Closing over a request that was not read would take the answer back.
                tokio::io::copy(&mut stream.take(1 << 20), &mut tokio::io::sink()).await
            };
            let _ = tokio::time::timeout(FAREWELL, said).await;
        });
    }
}

//! What stands behind Envoy: a server that keeps account of every request and answers with what it saw.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::PATIENCE;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Bodies go out in pieces of so many bytes, and that much of what came in is kept.
pub(crate) const PIECE: usize = 64 * 1024;

/// A request as it came out of Envoy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub method: String,
    pub path: String,
    /// Sorted; the bytes of a value need not be UTF-8.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body_bytes: usize,
    pub body_sha256: String,
    /// Bodies up to [`PIECE`], as they are.
    pub body: Bytes,
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Whether the body ended as it should, and not with its connection.
    pub whole: bool,
}

impl Seen {
    /// The value of a header, where there is exactly one.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.headers.iter().filter(|(found, _)| found == name);
        let value = values.next()?;
        values.next().is_none().then_some(&value.1)
    }

    /// The id under which it came.
    #[track_caller]
    pub(crate) fn id(&self) -> String {
        let id = self.header("x-request-id").expect("one x-request-id");
        String::from_utf8(id.to_vec()).unwrap()
    }

    pub(crate) fn is_marked(&self) -> bool {
        self.header("x-shadow-ltr") == Some(b"1")
    }
}

/// A running one; it ends with the value.
pub(crate) struct Origin {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    seen: Mutex<Vec<Seen>>,
    /// Requests that wait for [`Origin::release`].
    held: AtomicUsize,
    released: Notify,
    silent: AtomicBool,
}

impl Origin {
    /// Over HTTP/1.1 and HTTP/2, whichever the other side speaks.
    pub(crate) async fn start() -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let serving = state.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, serving.clone()));
            }
        });
        Origin {
            address,
            state,
            accepting,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came in until now, in the order in which it was complete; it is forgotten here.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.seen.lock().unwrap())
    }

    /// As [`Origin::take`], as soon as there are so many.
    #[track_caller]
    pub(crate) fn wait_for(&self, requests: usize) -> impl Future<Output = Vec<Seen>> {
        let state = self.state.clone();
        let start = Instant::now();
        async move {
            loop {
                let seen = state.seen.lock().unwrap().len();
                if seen >= requests {
                    return std::mem::take(&mut *state.seen.lock().unwrap());
                }
                assert!(start.elapsed() < PATIENCE, "{seen} of {requests} requests came");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// How many requests to `/hold` wait.
    pub(crate) fn held(&self) -> usize {
        self.state.held.load(Ordering::SeqCst)
    }

    /// Answers all who wait.
    pub(crate) fn release(&self) {
        self.state.released.notify_waiters();
    }

    /// Takes requests from now on, and answers none.
    pub(crate) fn fall_silent(&self) {
        self.state.silent.store(true, Ordering::SeqCst);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| answer(request, state.clone()));
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http2().max_concurrent_streams(20_000);
    // Clients may go as they like.
    let _ = server
        .serve_connection_with_upgrades(TokioIo::new(stream), answer)
        .await;
}

/// Paths choose how it behaves: `/hold` waits, `/fast` does not read bodies, `/upgrade` gives
/// back what it gets, `/trailers` ends with trailers, `/bytes/N` is N bytes long; everything else is told what it was.
async fn answer(mut request: Request<Incoming>, state: Arc<State>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    if request.headers().contains_key("upgrade") {
        return Ok(upgrade(&mut request));
    }
    let mut seen = Seen {
        method: request.method().to_string(),
        path: request.uri().to_string(),
        headers: pairs(request.headers()),
        body_bytes: 0,
        body_sha256: String::new(),
        body: Bytes::new(),
        trailers: Vec::new(),
        whole: true,
    };
    if !path.starts_with("/fast") {
        read(request.into_body(), &mut seen).await;
    }
    let told = format!("{} {} {} {}", seen.method, seen.path, seen.body_bytes, seen.body_sha256);
    state.seen.lock().unwrap().push(seen);
    if state.silent.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    let body = match path.as_str() {
        "/fast" => full(String::new()),
        "/hold" => {
            let released = state.released.notified();
            state.held.fetch_add(1, Ordering::SeqCst);
            released.await;
            full("released".to_owned())
        }
        "/trailers" => trailed(),
        _ => match path.strip_prefix("/bytes/").map(str::parse) {
            Some(Ok(bytes)) => long(bytes),
            _ => full(told),
        },
    };
    let mut response = Response::new(body);
    let bytes = HeaderValue::from_bytes(b"caf\xe9 \xff").unwrap();
    response.headers_mut().insert("x-origin", bytes);
    Ok(response)
}

async fn read(mut body: Incoming, seen: &mut Seen) {
    let mut hash = Sha256::new();
    let mut start = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => {
                hash.update(&data);
                seen.body_bytes += data.len();
                start.extend_from_slice(&data[..data.len().min(PIECE - start.len())]);
            }
            Ok(Err(other)) => seen
                .trailers
                .extend(other.into_trailers().map(|t| pairs(&t)).unwrap_or_default()),
            Err(_) => {
                seen.whole = false;
                break;
            }
        }
    }
    seen.body_sha256 = hex::encode(hash.finalize());
    seen.body = start.into();
}

/// Switches the protocol, and gives back every byte.
fn upgrade(request: &mut Request<Incoming>) -> Answer {
    let upgraded = hyper::upgrade::on(&mut *request);
    tokio::spawn(async move {
        let Ok(stream) = upgraded.await else { return };
        let mut stream = TokioIo::new(stream);
        let mut buffer = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            if stream.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(full(String::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert("connection", HeaderValue::from_static("upgrade"));
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    response
}

fn full(body: String) -> UnsyncBoxBody<Bytes, Infallible> {
    Full::from(body).boxed_unsync()
}

fn trailed() -> UnsyncBoxBody<Bytes, Infallible> {
    let trailers = HeaderMap::from_iter([(
        "x-checked".parse().unwrap(),
        HeaderValue::from_bytes(b"\xc3\x28").unwrap(),
    )]);
    let frames = [
        Frame::data(Bytes::from_static(b"before ")),
        Frame::data(Bytes::from_static(b"the trailers")),
        Frame::trailers(trailers),
    ];
    frames_of(frames).boxed_unsync()
}

/// So many bytes, in pieces.
fn long(bytes: usize) -> UnsyncBoxBody<Bytes, Infallible> {
    let piece = Bytes::from(vec![b'.'; PIECE]);
    let frames = (0..bytes.div_ceil(PIECE)).map(move |at| Frame::data(piece.slice(..PIECE.min(bytes - at * PIECE))));
    frames_of(frames).boxed_unsync()
}

/// A body of these frames.
pub(crate) fn frames_of(frames: impl IntoIterator<Item = Frame<Bytes>>) -> impl Body<Data = Bytes, Error = Infallible> {
    StreamBody::new(futures_util::stream::iter(frames.into_iter().map(Ok)))
}

/// Sorted, as bytes.
pub(crate) fn pairs(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let pairs = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    let mut pairs: Vec<(String, Vec<u8>)> = pairs.collect();
    pairs.sort();
    pairs
}

//! Clients of an edge, over HTTP/1.1 and HTTP/2, that send what they are told to the byte.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::{http1, http2};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;

use crate::origin::{PIECE, pairs};

pub(crate) type Sent = UnsyncBoxBody<Bytes, Infallible>;
/// Names, and values that need not be UTF-8.
pub(crate) type Headers<'a> = &'a [(&'a str, &'a [u8])];

/// An answer in full.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body_bytes: usize,
    pub body_sha256: String,
    /// Its beginning.
    pub body: Bytes,
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Whether it ended as it should.
    pub whole: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        let mut headers = self.headers.iter();
        headers.find(|(found, _)| found == name).map(|(_, value)| &value[..])
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    async fn read(response: Response<hyper::body::Incoming>) -> Answer {
        let (head, mut body) = response.into_parts();
        let (mut hash, mut start) = (Sha256::new(), Vec::new());
        let mut answer = Answer {
            status: head.status.as_u16(),
            headers: pairs(&head.headers),
            body_bytes: 0,
            body_sha256: String::new(),
            body: Bytes::new(),
            trailers: Vec::new(),
            whole: true,
        };
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                answer.whole = false;
                break;
            };
            match frame.into_data() {
                Ok(data) => {
                    hash.update(&data);
                    answer.body_bytes += data.len();
                    start.extend_from_slice(&data[..data.len().min(PIECE - start.len())]);
                }
                Err(other) => answer.trailers = other.into_trailers().map(|t| pairs(&t)).unwrap_or_default(),
            }
        }
        answer.body_sha256 = hex::encode(hash.finalize());
        answer.body = start.into();
        answer
    }
}

/// How a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// A connection.
pub(crate) enum Connection {
    Http1(http1::SendRequest<Sent>),
    Http2(http2::SendRequest<Sent>),
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr, protocol: Protocol) -> Connection {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let io = TokioIo::new(stream);
        match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await.unwrap();
                tokio::spawn(connection);
                Connection::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
                tokio::spawn(connection);
                Connection::Http2(sender)
            }
        }
    }

    /// Sends it, and reads the answer to its end.
    pub(crate) async fn send(&mut self, request: Request<Sent>) -> Result<Answer, hyper::Error> {
        let response = match self {
            Connection::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Connection::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        Ok(Answer::read(response).await)
    }
}

/// Sends one request on a connection of its own.
pub(crate) async fn send(address: SocketAddr, protocol: Protocol, request: Request<Sent>) -> Answer {
    Connection::open(address, protocol).await.send(request).await.unwrap()
}

/// A request to `path`; over HTTP/1.1 the target is `path` and over HTTP/2 the authority comes with it, as clients do.
pub(crate) fn request(
    method: Method,
    path: &str,
    protocol: Protocol,
    headers: Headers<'_>,
    body: Sent,
) -> Request<Sent> {
    let mut request = Request::builder().method(method);
    request = match protocol {
        Protocol::Http1 => request.uri(path).header("host", "edge.test"),
        Protocol::Http2 => request.uri(format!("http://edge.test{path}")),
    };
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

pub(crate) fn get(path: &str, headers: Headers<'_>) -> Request<Sent> {
    request(Method::GET, path, Protocol::Http1, headers, nothing())
}

pub(crate) fn post(path: &str, headers: Headers<'_>, body: impl Into<Bytes>) -> Request<Sent> {
    request(Method::POST, path, Protocol::Http1, headers, whole(body))
}

pub(crate) fn nothing() -> Sent {
    Empty::new().boxed_unsync()
}

pub(crate) fn whole(body: impl Into<Bytes>) -> Sent {
    Full::new(body.into()).boxed_unsync()
}

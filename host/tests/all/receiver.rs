//! A server that keeps what telemetry and webhooks bring.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use testkit::PATIENCE;
use tokio::net::TcpListener;

/// What came with one call.
#[derive(Clone)]
pub(crate) struct Call {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Listens on a free port, and says yes to everything unless told otherwise.
pub(crate) struct Receiver {
    pub address: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Receiver {
    pub(crate) async fn start() -> Receiver {
        Receiver::answering(|_| Response::new(Empty::new())).await
    }

    /// Answers as `answer` says of each call.
    pub(crate) async fn answering(
        answer: impl Fn(&Call) -> Response<Empty<Bytes>> + Send + Sync + 'static,
    ) -> Receiver {
        let answer = Arc::new(answer);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let kept = calls.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (kept, answer) = (kept.clone(), answer.clone());
                let keep = service_fn(move |request: Request<Incoming>| {
                    let (kept, answer) = (kept.clone(), answer.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let call = Call {
                            path: head.uri.path().to_owned(),
                            headers: head.headers,
                            body: body.collect().await?.to_bytes(),
                        };
                        let response = answer(&call);
                        kept.lock().unwrap().push(call);
                        Ok::<_, hyper::Error>(response)
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), keep));
            }
        });
        Receiver { address, calls }
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// What `find` finds among the calls, as soon as it does.
    pub(crate) async fn wait_for<T>(&self, find: impl Fn(&[Call]) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            let calls = self.calls();
            if let Some(found) = find(&calls) {
                return found;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{} calls, and not what is awaited",
                calls.len()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

//! A server that keeps what telemetry brings.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use tokio::net::TcpListener;

/// Only against a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came with one call.
#[derive(Clone)]
pub struct Call {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Listens on a free port, and says yes to everything.
pub struct Receiver {
    pub address: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Receiver {
    pub async fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let kept = calls.clone();
        let keep = async move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let path = uri.path().to_owned();
            kept.lock().unwrap().push(Call { path, headers, body });
            StatusCode::OK
        };
        let server = axum::serve(listener, Router::new().fallback(keep));
        tokio::spawn(async move { server.await.unwrap() });
        Receiver { address, calls }
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// What `find` finds among the calls, as soon as it does.
    pub async fn wait_for<T>(&self, find: impl Fn(&[Call]) -> Option<T>) -> T {
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

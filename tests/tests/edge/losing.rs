//! A way to a server on which answers are lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Passes requests on, and breaks the connection in place of an answer when it is told to. It ends with the value.
pub(crate) struct Losing {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    to_lose: AtomicUsize,
    passed: AtomicUsize,
}

impl Losing {
    pub(crate) async fn start(server: SocketAddr) -> Losing {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let passing = state.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass(stream, server, passing.clone()));
            }
        });
        Losing {
            address,
            state,
            accepting,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses so many of the answers to come.
    pub(crate) fn lose(&self, answers: usize) {
        self.state.to_lose.store(answers, Ordering::SeqCst);
    }

    /// Requests that the server has answered.
    pub(crate) fn passed(&self) -> usize {
        self.state.passed.load(Ordering::SeqCst)
    }
}

impl Drop for Losing {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Bytes of one connection. An answer of a server that waits for its client comes in a burst of its own, so that its
/// first bytes stand for it.
async fn pass(client: TcpStream, server: SocketAddr, state: Arc<State>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let up = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
        if buffer[..read].starts_with(b"HTTP/1.1 ") {
            state.passed.fetch_add(1, Ordering::SeqCst);
            let lost = |answers: usize| answers.checked_sub(1);
            if state
                .to_lose
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, lost)
                .is_ok()
            {
                break;
            }
        }
        if tokio::io::AsyncWriteExt::write_all(&mut to_client, &buffer[..read])
            .await
            .is_err()
        {
            break;
        }
    }
    // Both directions end.
    up.abort();
}

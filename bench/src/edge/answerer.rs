//! What stands behind every Envoy: reads each request to its end, as whoever uses it would, and answers `{}`. nginx's
//! `return` answers at the head, which a paced h2load does not survive.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::gateway::processes::{Site, free_address};

#[derive(Debug, clap::Args)]
pub(crate) struct AnswerArgs {
    /// Where to listen
    listen: SocketAddr,
}

/// Starts one in a process of its own.
pub(super) fn start(dir: &Path) -> Result<Site> {
    let address = free_address()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["answer", &address.to_string()]);
    Site::start(command, address, &dir.join("answerer.log"))
}

impl AnswerArgs {
    pub(crate) fn run(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind(self.listen).await?;
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                // Clients may go as they like.
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
            }
        })
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    let mut response = Response::new(Full::from("{}"));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

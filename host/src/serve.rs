//! The life of the gateway: open, listen, restore, serve, drain.

use std::future::IntoFuture;
use std::time::Duration;

use anyhow::Context;
use settings::Settings;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::gateway::Gateway;
use crate::models::watch;

/// How long requests may take to finish after the signal to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or ctrl-c.
///
/// # Errors
/// An address that is taken, a database or a file that cannot be used.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(serve(settings));
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let address = settings.host.listen;
    let (gateway, written) = Gateway::open(settings).await?;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("host.listen: listening on {address}"))?;
    println!("listening on http://{}", listener.local_addr()?);
    let restoring = gateway.clone();
    tokio::spawn(async move {
        if let Err(error) = restoring.restore().await {
            tracing::error!("the models could not be restored: {error:#}");
        }
        if let Some(pause) = restoring.settings.models.poll() {
            watch::watch(&restoring, pause);
        }
    });
    let store = gateway.store.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, gateway.router()).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    drop(gateway);
    let server = tokio::spawn(server.into_future());
    wait_for_signal().await?;
    tracing::info!("stopping: no new connections, running requests are answered");
    let _ = stop.send(());
    if tokio::time::timeout(DRAIN, server).await.is_err() {
        tracing::warn!("some connections were still open after {} s", DRAIN.as_secs());
    }
    // The writer ends when the last request has let go of it.
    let _ = tokio::time::timeout(DRAIN, written).await;
    store.close().await;
    Ok(())
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupt = tokio::signal::ctrl_c() => interrupt?,
    }
    Ok(())
}

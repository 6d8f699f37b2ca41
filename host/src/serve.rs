//! The life of the gateway: open, listen, restore, serve, drain.

use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use settings::Settings;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::gateway::Gateway;
use crate::listen::Connections;

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
    // Before anybody can know of this process: until then a SIGHUP would end it.
    let hangups = signal(SignalKind::hangup())?;
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
    });
    tokio::spawn(reload_on_hangup(hangups, Arc::downgrade(&gateway)));
    let store = gateway.store.clone();
    let connections = Connections::new(&gateway.settings.host);
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(connections.serve(listener, gateway.router(), stopped));
    drop(gateway);
    wait_for_signal().await?;
    tracing::info!("stopping: no new connections, running requests are answered");
    let _ = stop.send(true);
    if tokio::time::timeout(DRAIN, server).await.is_err() {
        tracing::warn!("some connections were still open after {} s", DRAIN.as_secs());
    }
    // The writer ends when the last request has let go of it.
    let _ = tokio::time::timeout(DRAIN, written).await;
    store.close().await;
    Ok(())
}

/// SIGHUP: the keys are read again.
async fn reload_on_hangup(mut hangups: Signal, gateway: Weak<Gateway>) {
    while hangups.recv().await.is_some() {
        let Some(gateway) = gateway.upgrade() else { return };
        gateway.reload_keys().await;
        tracing::info!("SIGHUP: models.trusted_keys is read again");
    }
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupt = tokio::signal::ctrl_c() => interrupt?,
    }
    Ok(())
}

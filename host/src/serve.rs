//! The life of the gateway: open, listen, restore, serve, drain.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use settings::Settings;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::gateway::Gateway;
use crate::listen::Connections;
use crate::models;
use crate::tls::Tls;

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
    // Before anybody can know of this process: until then a SIGHUP would end it.
    let hangups = signal(SignalKind::hangup())?;
    let tls = match settings.tls.is_on() {
        true => Some(Arc::new(Tls::open(&settings.tls)?)),
        false => None,
    };
    let (gateway, written) = Gateway::open(settings).await?;
    let (stop, stopped) = watch::channel(false);
    let mut servers = listen(&gateway, tls.as_ref(), &stopped).await?;
    let restoring = Arc::downgrade(&gateway);
    tokio::spawn(async move {
        if let Err(error) = Gateway::restore_when_possible(&restoring).await {
            tracing::error!("the models could not be restored: {error:#}");
        }
        if let Some(gateway) = restoring.upgrade()
            && let Some(pause) = gateway.settings.models.poll()
        {
            models::watch::watch(&gateway, pause);
        }
    });
    tokio::spawn(reload_on_hangup(hangups, Arc::downgrade(&gateway), tls));
    let store = gateway.store.clone();
    drop(gateway);
    wait_for_signal().await?;
    tracing::info!("stopping: no new connections, running requests are answered");
    let _ = stop.send(true);
    let drained = async { while servers.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("some connections were still open after {} s", DRAIN.as_secs());
    }
    // The writer ends when the last request has let go of it.
    let _ = tokio::time::timeout(DRAIN, written).await;
    store.close().await;
    Ok(())
}

/// Serves on `host.listen`, and on `host.admin_listen` where that is another address. Each has connections of its
/// own: a flood on one does not lock operators out of the other. Where operators call from this machine alone,
/// they do so without TLS, as the tools at hand can.
async fn listen(
    gateway: &Arc<Gateway>,
    tls: Option<&Arc<Tls>>,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<JoinSet<()>> {
    let host = &gateway.settings.host;
    let mut servers = JoinSet::new();
    let mut serve = async |key: &str, address: SocketAddr, front, tls: Option<&Arc<Tls>>| -> anyhow::Result<String> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("{key}: listening on {address}"))?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr()?);
        let connections = Connections::new(host).with_tls(tls.cloned());
        servers.spawn(connections.serve(listener, front, stopped.clone()));
        Ok(url)
    };
    match host.admin_address() {
        None => {
            let url = serve("host.listen", host.listen, gateway.front(), tls).await?;
            println!("listening on {url}");
        }
        Some(admin) => {
            let url = serve("host.listen", host.listen, gateway.data_front(), tls).await?;
            let admin_tls = tls.filter(|_| !admin.ip().is_loopback());
            let admin = serve("host.admin_listen", admin, gateway.admin_front(), admin_tls).await?;
            println!("listening on {url}\nfor operators on {admin}");
        }
    }
    Ok(servers)
}

/// SIGHUP: keys and certificates are read again.
async fn reload_on_hangup(mut hangups: Signal, gateway: Weak<Gateway>, tls: Option<Arc<Tls>>) {
    while hangups.recv().await.is_some() {
        let Some(gateway) = gateway.upgrade() else { return };
        gateway.reload_keys().await;
        tracing::info!("SIGHUP: models.trusted_keys is read again");
        match tls.as_ref().map(|tls| tls.reload()) {
            None => {}
            Some(Ok(())) => tracing::info!("SIGHUP: new connections get the certificates as they are now"),
            Some(Err(error)) => tracing::error!("SIGHUP: the certificates stay as they were, because {error}"),
        }
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

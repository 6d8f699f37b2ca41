//! The life of the gateway: open, listen, restore, serve, drain.

pub mod bootstrap;
pub mod connection_runtimes;
pub mod listener;
mod shutdown;
pub mod tls;

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use settings::Settings;
use store::StoreError;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch as watched;
use tokio::task::{JoinHandle, JoinSet};

use self::connection_runtimes::ConnectionRuntimes;
use self::listener::Connections;
use self::shutdown::Stops;
use self::tls::Tls;
use crate::release::watch;
use crate::router::Router;
use crate::state::Gateway;
use crate::telemetry::metrics;

/// How long the writer may then take for what was handed over.
const LAST_RECORDS: Duration = Duration::from_secs(10);
/// How long a reading of the certificates may take.
const RELOADING: Duration = Duration::from_secs(30);
/// How long the end waits for the last spans to be exported.
const LAST_SPANS: Duration = Duration::from_secs(3);

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
    // Before anybody can know of this process: until then a signal would end it.
    let hangups = signal(SignalKind::hangup())?;
    let stops = Stops::listen()?;
    let tls = match settings.tls.is_on() {
        true => Some(Arc::new(Tls::open(&settings.tls)?)),
        false => None,
    };
    let (gateway, written) = bootstrap::open(settings).await?;
    let (stop, stopped) = watched::channel(false);
    // Held to the end: connections to the database may belong to them.
    let runtimes = ConnectionRuntimes::start()?;
    let mut servers = listen(&gateway, &runtimes, tls.as_ref(), &stopped).await?;
    let restoring = tokio::spawn(restore(Arc::downgrade(&gateway)));
    tokio::spawn(metrics::keep_small());
    tokio::spawn(reload_on_hangup(hangups, Arc::downgrade(&gateway), tls));
    let ended = tokio::select! {
        () = stops.wait(&gateway) => Ok(()),
        error = refused(restoring) => Err(error.into()),
    };
    let (store, traces, patience) = (
        gateway.store.clone(),
        gateway.traces.clone(),
        gateway.settings.host.drain_timeout(),
    );
    drop(gateway);
    tracing::info!("stopping: no new connections, running requests are answered");
    let _ = stop.send(true);
    let drained = async { while servers.join_next().await.is_some() {} };
    if tokio::time::timeout(patience, drained).await.is_err() {
        let key = "host.drain_timeout_ms";
        tracing::warn!(
            "some connections were still open after {} ms ({key})",
            patience.as_millis()
        );
    }
    // The writer ends when the last request has let go of it.
    let _ = tokio::time::timeout(LAST_RECORDS, written).await;
    store.close().await;
    if let Some(traces) = traces {
        traces.stop(LAST_SPANS).await;
    }
    ended
}

/// Brings the models back, and looks for newer ones from then on.
///
/// # Errors
/// A database that is not for this gateway: it has another salt.
async fn restore(gateway: Weak<Gateway>) -> Result<(), StoreError> {
    match bootstrap::restore_when_possible(&gateway).await {
        Err(error @ StoreError::OtherSalt { .. }) => return Err(error),
        Err(error) => tracing::error!("the models could not be restored: {error:#}"),
        Ok(()) => {}
    }
    if let Some(gateway) = gateway.upgrade()
        && let Some(pause) = gateway.settings.models.poll()
    {
        watch::watch(&gateway.release, pause);
    }
    Ok(())
}

/// Ends when the database refuses this gateway, and never where it does not.
async fn refused(restoring: JoinHandle<Result<(), StoreError>>) -> StoreError {
    match restoring.await {
        Ok(Err(error)) => error,
        _ => std::future::pending().await,
    }
}

/// Serves on `host.listen`, and on `host.admin_listen` where that is another address. Each has connections of its
/// own: a flood on one does not lock operators out of the other. Where operators call from this machine alone,
/// they do so without TLS, as the tools at hand can.
async fn listen(
    gateway: &Arc<Gateway>,
    runtimes: &ConnectionRuntimes,
    tls: Option<&Arc<Tls>>,
    stopped: &watched::Receiver<bool>,
) -> anyhow::Result<JoinSet<()>> {
    let host = &gateway.settings.host;
    let mut servers = JoinSet::new();
    let mut serve = async |key: &str, address: SocketAddr, front, tls: Option<&Arc<Tls>>| -> anyhow::Result<String> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("{key}: listening on {address}"))?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr()?);
        let connections = Connections::new(host, runtimes.clone()).with_tls(tls.cloned());
        servers.spawn(connections.serve(listener, front, stopped.clone()));
        Ok(url)
    };
    match host.admin_address() {
        None => {
            let url = serve("host.listen", host.listen, Router::whole(gateway), tls).await?;
            println!("listening on {url}");
        }
        Some(admin) => {
            let url = serve("host.listen", host.listen, Router::data(gateway), tls).await?;
            let admin_tls = tls.filter(|_| !admin.ip().is_loopback());
            let admin = serve("host.admin_listen", admin, Router::admin(gateway), admin_tls).await?;
            println!("listening on {url}\nfor operators on {admin}");
        }
    }
    Ok(servers)
}

/// SIGHUP: keys and certificates are read again.
async fn reload_on_hangup(mut hangups: Signal, gateway: Weak<Gateway>, tls: Option<Arc<Tls>>) {
    while hangups.recv().await.is_some() {
        let Some(gateway) = gateway.upgrade() else { return };
        gateway.release.reload_keys().await;
        tracing::info!("SIGHUP: models.trusted_keys is read again");
        let Some(tls) = tls.clone() else { continue };
        // Off this thread, and not for ever: a file system that hangs must not keep later signals from being heard.
        let reloading = tokio::task::spawn_blocking(move || tls.reload());
        match tokio::time::timeout(RELOADING, reloading).await {
            Ok(Ok(Ok(()))) => tracing::info!("SIGHUP: new connections get the certificates as they are now"),
            Ok(Ok(Err(error))) => {
                tracing::error!("SIGHUP: the certificates stay as they were, because {error}");
            }
            Ok(Err(error)) => tracing::error!("SIGHUP: the certificates stay as they were: {error}"),
            Err(_) => tracing::error!("SIGHUP: the certificates are not read after {} s", RELOADING.as_secs()),
        }
    }
}

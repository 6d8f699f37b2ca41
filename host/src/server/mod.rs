//! Runs the gateway: open its parts, listen, restore the models, serve, drain.

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
use crate::release::{EdgeDir, tasks};
use crate::router::Router;
use crate::state::Gateway;
use crate::telemetry::metrics;

/// Time limit for the writer to finish after the requests have ended.
const LAST_RECORDS: Duration = Duration::from_secs(10);
/// Time limit for handing the lease on.
const LEAVING: Duration = Duration::from_secs(2);
/// Time limit for reading the certificates again.
const RELOADING: Duration = Duration::from_secs(30);
/// Time limit for exporting the last spans.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// Runs until SIGTERM or ctrl-c.
///
/// # Errors
/// An address in use, a database or a file that cannot be used.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(serve(settings));
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    // First of all, because until then a signal ends the process.
    let hangups = signal(SignalKind::hangup())?;
    let stops = Stops::listen()?;
    let tls = if settings.tls.is_on() {
        Some(Arc::new(Tls::open(&settings.tls)?))
    } else {
        None
    };
    let edge_dir = settings.rollout.edge_dir().map(EdgeDir::open).transpose()?;
    let (gateway, written) = bootstrap::open(settings).await?;
    let (stop, stopped) = watched::channel(false);
    // Kept to the end, because connections to the database may belong to these runtimes.
    let runtimes = ConnectionRuntimes::start()?;
    let mut servers = listen(&gateway, &runtimes, tls.as_ref(), &stopped).await?;
    let restoring = tokio::spawn(restore(Arc::downgrade(&gateway), edge_dir));
    tokio::spawn(metrics::run_upkeep_forever());
    tokio::spawn(reload_on_hangup(hangups, Arc::downgrade(&gateway), tls));
    let ended = tokio::select! {
        () = stops.wait(&gateway) => Ok(()),
        error = refused_by_database(restoring) => Err(error.into()),
    };
    let (store, release, traces, patience) = (
        gateway.store.clone(),
        gateway.release.clone(),
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
    // The writer ends when the last request has dropped its handle.
    let _ = tokio::time::timeout(LAST_RECORDS, written).await;
    let _ = tokio::time::timeout(LEAVING, release.leave()).await;
    drop(release);
    store.close().await;
    if let Some(traces) = traces {
        traces.stop(LAST_SPANS).await;
    }
    ended
}

/// Restores the models, and then starts what follows and changes the rollout.
///
/// # Errors
/// The database belongs to another salt, so this gateway must not use it.
async fn restore(gateway: Weak<Gateway>, edge_dir: Option<EdgeDir>) -> Result<(), StoreError> {
    // First, because Envoys must hear of a rollback and of the kill switch while the database is away.
    if let (Some(gateway), Some(dir)) = (gateway.upgrade(), edge_dir) {
        let flags = gateway.flags.clone();
        tasks::start_offering(&gateway.release, dir, move || flags.in_force().killed);
    }
    match bootstrap::restore_when_possible(&gateway).await {
        Err(error @ StoreError::OtherSalt { .. }) => return Err(error),
        Err(error) => tracing::error!("the models could not be restored: {error:#}"),
        Ok(()) => {}
    }
    if let Some(gateway) = gateway.upgrade() {
        let settings = &gateway.settings;
        tasks::start(&gateway.release, settings.rollout.poll(), settings.models.poll());
    }
    Ok(())
}

/// Returns when the database refuses this gateway; otherwise never.
async fn refused_by_database(restoring: JoinHandle<Result<(), StoreError>>) -> StoreError {
    match restoring.await {
        Ok(Err(error)) => error,
        _ => std::future::pending().await,
    }
}

/// Serves on `host.listen`, and on `host.admin_listen` if configured. Each address has its own
/// limit of connections, so that a flood on one does not lock operators out of the other. An admin
/// address on loopback has no TLS, so that local tools can call it.
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

/// Reads the trusted keys and the certificates again on each SIGHUP.
async fn reload_on_hangup(mut hangups: Signal, gateway: Weak<Gateway>, tls: Option<Arc<Tls>>) {
    while hangups.recv().await.is_some() {
        let Some(gateway) = gateway.upgrade() else { return };
        gateway.release.reload_keys().await;
        tracing::info!("SIGHUP: models.trusted_keys was read again");
        let Some(tls) = tls.clone() else { continue };
        // On a blocking thread and with a time limit: a hanging file system must not block later
        // signals.
        let reloading = tokio::task::spawn_blocking(move || tls.reload());
        match tokio::time::timeout(RELOADING, reloading).await {
            Ok(Ok(Ok(()))) => tracing::info!("SIGHUP: new connections get the new certificates"),
            Ok(Ok(Err(error))) => {
                tracing::error!("SIGHUP: the old certificates stay in use: {error}");
            }
            Ok(Err(error)) => tracing::error!("SIGHUP: the old certificates stay in use: {error}"),
            Err(_) => tracing::error!(
                "SIGHUP: the old certificates stay in use: reading takes longer than {} s",
                RELOADING.as_secs()
            ),
        }
    }
}

//! Notifications: a commit or new evidence wakes every program that listens.

use std::io::ErrorKind;
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions};
use tokio::time::timeout;

use crate::StoreError;

const CHANNEL: &str = "ltr_release";

/// After this time without a notification the server is asked whether it is still there: a connection that was cut off
/// would stay silent for ever. At most five times the time limit for an answer.
const SILENCE: Duration = Duration::from_secs(15);

/// Wakes everybody who listens, once the transaction is committed.
pub(super) async fn notify(connection: &mut PgConnection, payload: &str) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_notify($1, $2)")
        .bind(CHANNEL)
        .bind(payload)
        .execute(connection)
        .await?;
    Ok(())
}

/// A connection that listens.
pub(crate) struct Listening {
    /// `None` once it broke.
    listener: Option<PgListener>,
    /// The time limit for an answer.
    patience: Duration,
    /// The store's pool. When that is closed, so is this connection.
    store: PgPool,
}

impl Listening {
    pub(super) async fn start(
        options: PgConnectOptions,
        patience: Duration,
        store: PgPool,
    ) -> Result<Listening, StoreError> {
        // sqlx listens on a connection of a pool. The store's own has one for each turn, and none to spare.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(patience)
            .connect_lazy_with(options);
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            // What is missed while it connects again would be lost without notice.
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        let listener = match timeout(patience, listening).await {
            Ok(listener) => listener.map_err(StoreError::Unavailable)?,
            Err(_) => return Err(StoreError::timed_out()),
        };
        Ok(Listening {
            listener: Some(listener),
            patience,
            store,
        })
    }

    pub(crate) async fn next(&mut self) -> Result<(), StoreError> {
        let Some(listener) = &mut self.listener else {
            return Err(StoreError::Unavailable(broken()));
        };
        let mut closed = self.store.close_event();
        let woken = closed.do_until(wait(listener, self.patience)).await;
        let woken = woken.and_then(|woken| woken);
        if woken.is_err() {
            self.listener = None;
        }
        woken.map_err(StoreError::Unavailable)
    }
}

/// Waits for a notification. Cancelled at any time, it loses none.
async fn wait(listener: &mut PgListener, patience: Duration) -> Result<(), sqlx::Error> {
    let silence = SILENCE.min(patience.saturating_mul(5));
    loop {
        match timeout(silence, listener.try_recv()).await {
            Ok(received) => match received? {
                Some(_) => return Ok(()),
                None => return Err(broken()),
            },
            Err(_) => {
                let answered = timeout(patience, listener.execute("SELECT 1")).await;
                answered.map_err(|_| sqlx::Error::Io(ErrorKind::TimedOut.into()))??;
            }
        }
    }
}

fn broken() -> sqlx::Error {
    sqlx::Error::Io(ErrorKind::ConnectionAborted.into())
}

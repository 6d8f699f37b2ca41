//! Leases, by the host's clock: see `ltr_lease` in `migrations/sqlite/0005_release.sql`.

use std::time::Duration;

use sqlx::SqliteConnection;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::codec::{millis, now, signed};
use crate::{Lease, StoreError};

/// Takes or renews a lease, and returns its epoch.
pub(super) async fn take(
    connection: &mut SqliteConnection,
    name: &str,
    holder: Uuid,
    ttl: Duration,
) -> Result<Option<u64>, StoreError> {
    let now = now(connection).await?;
    let epoch = sqlx::query_scalar(
        "INSERT INTO ltr_lease AS lease (name, holder, epoch, until, ttl) VALUES (?1, ?2, 1, ?3 + ?4, ?4) \
         ON CONFLICT (name) DO UPDATE SET \
             epoch = CASE WHEN lease.holder = ?2 AND ?3 < lease.until THEN lease.epoch ELSE lease.epoch + 1 END, \
             holder = ?2, until = ?3 + ?4, ttl = ?4 \
         WHERE lease.holder = ?2 OR ?3 >= lease.until OR lease.until > ?3 + lease.ttl \
         RETURNING epoch",
    )
    .bind(name)
    .bind(holder.hyphenated())
    .bind(now)
    .bind(millis(ttl))
    .fetch_optional(connection)
    .await?;
    Ok(epoch)
}

/// Ends a lease if it is still this one. Its row stays, so that the next epoch is higher.
pub(super) async fn end(connection: &mut SqliteConnection, lease: &Lease) -> Result<(), StoreError> {
    sqlx::query("UPDATE ltr_lease SET until = 0 WHERE name = ? AND holder = ? AND epoch = ?")
        .bind(&lease.name)
        .bind(lease.holder.hyphenated())
        .bind(signed(lease.epoch))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn holder(connection: &mut SqliteConnection, name: &str) -> Result<Option<Uuid>, StoreError> {
    let now = now(connection).await?;
    let holder: Option<Hyphenated> =
        sqlx::query_scalar("SELECT holder FROM ltr_lease WHERE name = ?1 AND ?2 < until AND until <= ?2 + ttl")
            .bind(name)
            .bind(now)
            .fetch_optional(connection)
            .await?;
    Ok(holder.map(Uuid::from))
}

/// Whether this lease is held now. If so, nobody takes it before the end of a transaction that writes.
pub(super) async fn is_held(connection: &mut SqliteConnection, lease: &Lease) -> Result<bool, StoreError> {
    let now = now(connection).await?;
    let held = sqlx::query(
        "SELECT 1 FROM ltr_lease \
         WHERE name = ?1 AND holder = ?2 AND epoch = ?3 AND ?4 < until AND until <= ?4 + ttl",
    )
    .bind(&lease.name)
    .bind(lease.holder.hyphenated())
    .bind(signed(lease.epoch))
    .bind(now)
    .fetch_optional(connection)
    .await?;
    Ok(held.is_some())
}

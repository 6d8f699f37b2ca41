//! Leases, by the server's clock: see `ltr_lease` in `migrations/postgres/0004_release.sql`.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::codec::{read_unsigned, seconds, signed};
use crate::{Lease, StoreError};

/// Takes or renews a lease, and returns its epoch. Waits for a commit that relies on the lease.
pub(super) async fn take(
    connection: &mut PgConnection,
    name: &str,
    holder: Uuid,
    ttl: Duration,
) -> Result<Option<u64>, StoreError> {
    let row = sqlx::query(
        "INSERT INTO ltr_lease AS lease (name, holder, epoch, until, ttl) \
         VALUES ($1, $2, 1, clock_timestamp() + make_interval(secs => $3), make_interval(secs => $3)) \
         ON CONFLICT (name) DO UPDATE SET \
             epoch = CASE WHEN lease.holder = $2 AND clock_timestamp() < lease.until THEN lease.epoch \
                          ELSE lease.epoch + 1 END, \
             holder = $2, until = clock_timestamp() + make_interval(secs => $3), ttl = make_interval(secs => $3) \
         WHERE lease.holder = $2 \
            OR clock_timestamp() >= lease.until OR lease.until > clock_timestamp() + lease.ttl \
         RETURNING epoch",
    )
    .bind(name)
    .bind(holder)
    .bind(seconds(ttl))
    .fetch_optional(connection)
    .await?;
    row.map_or(Ok(None), |row| read_unsigned(&row, "epoch", "ltr_lease"))
}

/// Ends a lease if it is still this one. Its row stays, so that the next epoch is higher.
pub(super) async fn end(connection: &mut PgConnection, lease: &Lease) -> Result<(), StoreError> {
    sqlx::query("UPDATE ltr_lease SET until = '-infinity' WHERE name = $1 AND holder = $2 AND epoch = $3")
        .bind(&lease.name)
        .bind(lease.holder)
        .bind(signed(lease.epoch))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn holder(connection: &mut PgConnection, name: &str) -> Result<Option<Uuid>, StoreError> {
    let holder = sqlx::query_scalar(
        "SELECT holder FROM ltr_lease \
         WHERE name = $1 AND clock_timestamp() < until AND until <= clock_timestamp() + ttl",
    )
    .bind(name)
    .fetch_optional(connection)
    .await?;
    Ok(holder)
}

/// Whether this lease is held now. If so, nobody takes it before the end of the transaction.
pub(super) async fn is_held(connection: &mut PgConnection, lease: &Lease) -> Result<bool, StoreError> {
    let held = sqlx::query(
        "SELECT 1 FROM ltr_lease \
         WHERE name = $1 AND holder = $2 AND epoch = $3 \
           AND clock_timestamp() < until AND until <= clock_timestamp() + ttl \
         FOR SHARE",
    )
    .bind(&lease.name)
    .bind(lease.holder)
    .bind(signed(lease.epoch))
    .fetch_optional(connection)
    .await?;
    Ok(held.is_some())
}

//! How the database and the spool are, as writing to them has shown.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use metrics::{counter, gauge};
use store::{Spool, SpoolError, StoreError};

use crate::telemetry::scrub;

/// What writing has shown of the database, for those who read from it or ask how it is.
#[derive(Default)]
pub struct DatabaseHealth {
    away: AtomicBool,
    spooled: AtomicU64,
    /// Whether the spool takes nothing either.
    spool_fails: AtomicBool,
    /// Whether refused records cannot be set aside.
    pub(super) aside_fails: AtomicBool,
}

impl DatabaseHealth {
    /// Whether the last attempt to write met a database that was away.
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// Records that were acknowledged and are not in the database yet.
    pub fn spooled(&self) -> u64 {
        self.spooled.load(Ordering::Relaxed)
    }

    /// Notes a call that met a database that was away.
    pub fn lost(&self, error: &StoreError) {
        gauge!("ltr_database_up").set(0.0);
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::error!(
                error = scrub(&error.to_string()),
                "the database is unavailable; what is to be kept goes to the spool"
            );
        }
    }

    /// Notes a call that the database answered.
    pub fn found(&self) {
        gauge!("ltr_database_up").set(1.0);
        if self.away.swap(false, Ordering::Relaxed) {
            tracing::info!(spooled = self.spooled(), "the database is back; the spool is replayed");
        }
    }

    /// Notes how the spool took what was to be kept.
    pub(super) fn spool_said(&self, said: &Result<(), SpoolError>) {
        let failed = self.spool_fails.swap(said.is_err(), Ordering::Relaxed);
        match said {
            Err(error) if !failed => {
                tracing::error!(%error, "the spool takes nothing; what is to be kept is refused until it does");
            }
            Ok(()) if failed => tracing::info!("the spool takes records again"),
            _ => {}
        }
    }

    pub(super) fn damaged(&self, spool: &Spool) {
        counter!("ltr_spool_damaged_total").absolute(spool.damaged());
    }

    pub(super) fn waiting(&self, records: u64) {
        gauge!("ltr_spool_records").set(records as f64);
        if self.spooled.swap(records, Ordering::Relaxed) > 0 && records == 0 {
            tracing::info!("everything that was spooled is in the database");
        }
    }
}

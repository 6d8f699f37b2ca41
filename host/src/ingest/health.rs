//! The health of the database and the spool, as observed by the writer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use metrics::{counter, gauge};
use store::{Spool, SpoolError, StoreError};

use crate::telemetry::scrub;

/// The observed health of the database, for readers of the database and for `/readyz`.
#[derive(Default)]
pub struct DatabaseHealth {
    unavailable: AtomicBool,
    spooled: AtomicU64,
    /// Whether the last append to the spool failed.
    spool_fails: AtomicBool,
    /// Whether the last attempt to set refused records aside failed.
    pub(super) aside_fails: AtomicBool,
}

impl DatabaseHealth {
    /// Whether the database was unavailable at the last call.
    pub fn is_unavailable(&self) -> bool {
        self.unavailable.load(Ordering::Relaxed)
    }

    /// Number of records in the spool: acknowledged, but not yet in the database.
    pub fn spooled(&self) -> u64 {
        self.spooled.load(Ordering::Relaxed)
    }

    /// Records a call that found the database unavailable.
    pub fn mark_unavailable(&self, error: &StoreError) {
        gauge!("ltr_database_up").set(0.0);
        if !self.unavailable.swap(true, Ordering::Relaxed) {
            tracing::error!(
                error = scrub(&error.to_string()),
                "the database is unavailable; records go to the spool"
            );
        }
    }

    /// Records a call that the database answered.
    pub fn mark_available(&self) {
        gauge!("ltr_database_up").set(1.0);
        if self.unavailable.swap(false, Ordering::Relaxed) {
            tracing::info!(
                spooled = self.spooled(),
                "the database is available again; the spool is replayed"
            );
        }
    }

    /// Records the result of an append to the spool.
    pub(super) fn note_spooling(&self, appended: &Result<(), SpoolError>) {
        let failed = self.spool_fails.swap(appended.is_err(), Ordering::Relaxed);
        match appended {
            Err(error) if !failed => {
                tracing::error!(%error, "the spool cannot be written; new records are refused meanwhile");
            }
            Ok(()) if failed => tracing::info!("the spool can be written again"),
            _ => {}
        }
    }

    /// Updates the metric of damaged records.
    pub(super) fn count_damaged(&self, spool: &Spool) {
        counter!("ltr_spool_damaged_total").absolute(spool.damaged());
    }

    /// Sets the number of records in the spool.
    pub(super) fn set_spooled(&self, records: u64) {
        gauge!("ltr_spool_records").set(records as f64);
        if self.spooled.swap(records, Ordering::Relaxed) > 0 && records == 0 {
            tracing::info!("all spooled records are in the database");
        }
    }
}

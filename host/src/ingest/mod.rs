//! Stores impressions, events and comparisons: one task writes them to the database in order, or to
//! the spool while the database is unavailable.
//!
//! This is our own code, because no library has a queue on disk that is bounded, checksummed per
//! record, and replayed in order beside new records.

mod health;
mod job;
mod persist;
mod relay;
mod replay;
mod task;
mod writer;

pub use health::DatabaseHealth;
pub use job::{Kept, NotKept};
pub use writer::{Receipt, Writer};

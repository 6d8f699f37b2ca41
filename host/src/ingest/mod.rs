//! What must be kept: impressions, events and comparisons go to the database by one ordered writer, or to the spool while
//! the database is away. Written here because no library has a queue on disk that is bounded, checksummed per record
//! and replayed in order beside new records.

mod health;
mod job;
mod persist;
mod replay;
mod task;
mod writer;

pub use health::DatabaseHealth;
pub use job::{Kept, NotKept};
pub use writer::{Receipt, Writer};

//! The event bus: a Kafka topic that has what was logged, by case.
//!
//! `rskafka` is the client: in Rust, with the project's own TLS, and without OpenSSL, CMake or a thread of its own. It has no
//! consumer groups and no idempotent producer. Neither is wanted: the lake knows how far it has got, and every record has an
//! id, by which a repetition is known.

mod address;
mod error;
mod kafka;
mod partition;

use async_trait::async_trait;
use uuid::Uuid;

pub use address::{Access, Address, Mechanism};
pub use error::BusError;
pub use kafka::{Batch, Kafka, Received, Topic};

/// One record on its way to the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// By which a repetition is known.
    pub id: Uuid,
    /// Records of one case stay in order.
    pub case_id: Uuid,
    /// The record as JSON.
    pub json: String,
}

/// What takes records.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Sends messages, those of a case in this order, and returns once every replica that must have them has them. Returns
    /// the indices of those that the bus takes in no case, with its reason.
    ///
    /// # Errors
    /// The bus is away or refuses them all. Some may be there; sending them again is right.
    async fn send(&self, messages: &[Message]) -> Result<Vec<(usize, String)>, BusError>;
}

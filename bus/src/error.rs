use std::path::PathBuf;

use thiserror::Error;

/// Why the bus cannot be used.
#[derive(Debug, Error)]
pub enum BusError {
    /// An address of another form.
    #[error("events.bus: {value:?}: {problem}; allowed: none or kafka://HOST[:PORT][,HOST[:PORT]...]/TOPIC")]
    Address {
        /// The address.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The certificate authorities cannot be read.
    #[error("events.bus_ca_file: {}: {problem}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The brokers have no such topic.
    #[error("events.bus: the brokers have no topic {topic:?}: create it")]
    NoTopic {
        /// The topic.
        topic: String,
    },
    /// No answer in time.
    #[error("the brokers did not answer within {seconds} s")]
    Timeout {
        /// Seconds.
        seconds: u64,
    },
    /// The brokers are away, or refuse.
    #[error("the brokers: {0}")]
    Kafka(#[from] rskafka::client::error::Error),
    /// Records that the topic no longer has.
    #[error("partition {partition} begins at {earliest} now: records {wanted} to {earliest} are gone")]
    Gone {
        /// The partition.
        partition: i32,
        /// What was asked for.
        wanted: i64,
        /// What there is.
        earliest: i64,
    },
}

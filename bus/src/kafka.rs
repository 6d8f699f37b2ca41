//! The bus as a topic of Kafka.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::future::try_join_all;
use rskafka::BackoffConfig;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder, Credentials, SaslConfig};
use rskafka::record::Record;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::address::{self, Access, Address, Mechanism};
use crate::{Bus, BusError, Message, partition};

/// The header with a record's id.
const ID: &str = "event_id";
/// Bytes of the records of one request: below what a broker takes by default (`message.max.bytes`, 1 MiB).
const REQUEST_BYTES: usize = 900_000;
/// Bytes of an answer that the client takes: what one `fetch` may bring, and a margin.
const MOST_BYTES: usize = 64 << 20;
const FETCH_BYTES: i32 = 16 << 20;
/// How long a fetch waits for the first record.
const FETCH_WAIT_MS: i32 = 500;

/// A connection to a topic.
pub struct Topic {
    name: String,
    partitions: Vec<PartitionClient>,
}

/// The bus. Connects when it is used, and again after a failure.
pub struct Kafka {
    address: Address,
    access: Access,
    timeout: Duration,
    clock: fn() -> DateTime<Utc>,
    topic: Mutex<Option<Arc<Topic>>>,
}

/// What one fetch of a partition brought.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records, in order.
    pub records: Vec<Received>,
    /// Where the next fetch begins.
    pub next: i64,
    /// Behind the last record that there was.
    pub end: i64,
}

/// A record as it came.
#[derive(Debug)]
pub struct Received {
    /// Its number in its partition.
    pub offset: i64,
    /// The id in its header, if a gateway sent it.
    pub id: Option<Uuid>,
    /// Its value; empty: it had none.
    pub value: Vec<u8>,
}

impl Kafka {
    /// The topic at this address. `timeout`: of one request. `clock`: the time that is written beside the records.
    pub fn new(address: Address, access: Access, timeout: Duration, clock: fn() -> DateTime<Utc>) -> Kafka {
        Kafka {
            address,
            access,
            timeout,
            clock,
            topic: Mutex::default(),
        }
    }

    /// Connects, if no connection is there.
    ///
    /// # Errors
    /// Brokers that are away or refuse this program; a topic that is not there.
    pub async fn topic(&self) -> Result<Arc<Topic>, BusError> {
        let mut topic = self.topic.lock().await;
        if let Some(topic) = &*topic {
            return Ok(topic.clone());
        }
        let connected = self.within(connect(&self.address, &self.access, self.timeout)).await?;
        Ok(topic.insert(Arc::new(connected)).clone())
    }

    /// Forgets the connection, so that the next call looks anew who leads which partition.
    pub async fn disconnect(&self) {
        *self.topic.lock().await = None;
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, BusError>>) -> Result<T, BusError> {
        let late = |_| BusError::Timeout {
            seconds: self.timeout.as_secs(),
        };
        tokio::time::timeout(self.timeout, work).await.map_err(late)?
    }

    async fn send_all(&self, messages: &[Message]) -> Result<Vec<(usize, String)>, BusError> {
        let topic = self.topic().await?;
        let mut by_partition: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, message) in messages.iter().enumerate() {
            let partition = partition::of(message.case_id, topic.partitions.len());
            by_partition.entry(partition).or_default().push(at);
        }
        let sending = by_partition
            .iter()
            .map(|(partition, own)| self.send_to(&topic.partitions[*partition], messages, own));
        Ok(try_join_all(sending).await?.concat())
    }

    /// Sends the messages `own` to one partition, one request after the other, so that they stay in order.
    async fn send_to(
        &self,
        partition: &PartitionClient,
        messages: &[Message],
        own: &[usize],
    ) -> Result<Vec<(usize, String)>, BusError> {
        let mut refused = Vec::new();
        let mut requests = requests(own, |at| messages[*at].json.len());
        while let Some(request) = requests.pop() {
            let records = request.iter().map(|at| self.record(&messages[*at])).collect();
            let produced = partition.produce(records, Compression::Zstd);
            match self.within(async { Ok(produced.await?) }).await {
                Ok(_) => {}
                Err(BusError::Kafka(error)) if blames_the_records(&error) => match request {
                    [at] => refused.push((*at, error.to_string())),
                    // The one that is refused is looked for, and the others get there.
                    _ => {
                        let (first, second) = request.split_at(request.len() / 2);
                        requests.extend([second, first]);
                    }
                },
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    fn record(&self, message: &Message) -> Record {
        Record {
            key: Some(message.case_id.hyphenated().to_string().into_bytes()),
            value: Some(message.json.clone().into_bytes()),
            headers: BTreeMap::from([(ID.to_owned(), message.id.hyphenated().to_string().into_bytes())]),
            timestamp: (self.clock)(),
        }
    }
}

#[async_trait]
impl Bus for Kafka {
    async fn send(&self, messages: &[Message]) -> Result<Vec<(usize, String)>, BusError> {
        let sent = self.send_all(messages).await;
        if sent.is_err() {
            self.disconnect().await;
        }
        sent
    }
}

impl Topic {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many partitions it has.
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// The first record that a partition still has, and behind its last one.
    ///
    /// # Errors
    /// Brokers that are away.
    pub async fn range(&self, partition: usize) -> Result<(i64, i64), BusError> {
        let partition = &self.partitions[partition];
        let earliest = partition.get_offset(OffsetAt::Earliest).await?;
        Ok((earliest, partition.get_offset(OffsetAt::Latest).await?))
    }

    /// Reads what follows a place of a partition, some megabytes at most.
    ///
    /// # Errors
    /// Brokers that are away; a place that the partition does not have.
    pub async fn fetch(&self, partition: usize, from: i64) -> Result<Batch, BusError> {
        let client = &self.partitions[partition];
        let (records, end) = client.fetch_records(from, 1..FETCH_BYTES, FETCH_WAIT_MS).await?;
        let received = records
            .into_iter()
            .filter(|found| found.offset >= from)
            .map(|found| Received {
                offset: found.offset,
                id: id_of(&found.record),
                value: found.record.value.unwrap_or_default(),
            });
        let records: Vec<Received> = received.collect();
        Ok(Batch {
            next: records.last().map_or(from, |last| last.offset + 1),
            end,
            records,
        })
    }
}

fn id_of(record: &Record) -> Option<Uuid> {
    let header = record.headers.get(ID)?;
    Uuid::try_parse_ascii(header).ok()
}

async fn connect(address: &Address, access: &Access, timeout: Duration) -> Result<Topic, BusError> {
    let mut builder = ClientBuilder::new(address.brokers.clone())
        .client_id("ltr")
        .max_message_size(MOST_BYTES)
        .backoff_config(BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(1),
            base: 2.0,
            deadline: Some(timeout),
        });
    if let Some(ca_file) = &access.tls {
        builder = builder.tls_config(address::tls(ca_file)?);
    }
    if let Some((user, password, mechanism)) = &access.user {
        let credentials = Credentials::new(user.clone(), password.clone());
        builder = builder.sasl_config(match mechanism {
            Mechanism::Plain => SaslConfig::Plain(credentials),
            Mechanism::ScramSha256 => SaslConfig::ScramSha256(credentials),
            Mechanism::ScramSha512 => SaslConfig::ScramSha512(credentials),
        });
    }
    let client = builder.build().await?;
    let name = address.topic.clone();
    let topics = client.list_topics().await?;
    let Some(topic) = topics.into_iter().find(|topic| topic.name == name) else {
        return Err(BusError::NoTopic { topic: name });
    };
    let partitions = topic
        .partitions
        .into_iter()
        .map(|partition| of(&client, &name, partition));
    Ok(Topic {
        partitions: try_join_all(partitions).await?,
        name,
    })
}

async fn of(client: &Client, topic: &str, partition: i32) -> Result<PartitionClient, BusError> {
    Ok(client
        .partition_client(topic, partition, UnknownTopicHandling::Error)
        .await?)
}

/// Splits messages into requests of bounded size, the last one first.
fn requests<T>(own: &[T], size: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut requests = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, message) in own.iter().enumerate() {
        if at > start && bytes + size(message) > REQUEST_BYTES {
            requests.push(&own[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += size(message);
    }
    if start < own.len() {
        requests.push(&own[start..]);
    }
    requests.reverse();
    requests
}

/// Whether the brokers refuse these records, and would take others.
fn blames_the_records(error: &Error) -> bool {
    // Not `CorruptMessage`: the checksum says that the network changed the record, so it is sent again.
    use ProtocolError::{InvalidRecord, InvalidTimestamp, MessageTooLarge, RecordListTooLarge};
    let Error::ServerError { protocol_error, .. } = error else {
        return false;
    };
    matches!(
        protocol_error,
        MessageTooLarge | RecordListTooLarge | InvalidRecord | InvalidTimestamp
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_bounded_and_in_order() {
        let sizes = [400_000, 400_000, 400_000, 2_000_000, 1, 1];
        let mut requests = requests(&sizes, |size| *size);
        let mut in_order: Vec<Vec<usize>> = Vec::new();
        while let Some(request) = requests.pop() {
            in_order.push(request.to_vec());
        }
        assert_eq!(
            in_order,
            [vec![400_000, 400_000], vec![400_000], vec![2_000_000], vec![1, 1]]
        );
        assert!(super::requests(&[] as &[usize], |size| *size).is_empty());
    }
}

//! Fills the raw tables from the bus, each record once.
//!
//! A bookmark for each partition says where to go on. It is written after the files. The ids of what is there decide, so
//! that a bookmark that is lost or old costs time, and no record. It knows a record before it: of another topic under the
//! same name, which has another one there, everything is read.

use std::collections::BTreeMap;

use bus::Topic;
use chrono::{Datelike, NaiveDate};
use object_store_lake::path::Path;
use ranking::{Body, Event, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use store::{COMPARISON, ShadowRecord};

use crate::LakeError;
use crate::add::{Adding, Records, Sank};
use crate::place::Lake;
use crate::read::Reader;
use crate::tables::{Rejected, Tables};

/// Records that are taken at once, and their bytes.
const CHUNK: usize = 20_000;
const CHUNK_BYTES: usize = 128 << 20;

/// How far a partition was read.
#[derive(Debug, Serialize, Deserialize)]
struct Bookmark {
    /// The first record that was not.
    next: i64,
    /// One that was: the first of those that the brokers gave last, because not all give a part of what was sent together.
    #[serde(default)]
    known: Option<Known>,
}

/// What tells a record from another one at its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    offset: i64,
    /// Of the value, in hexadecimal.
    sha256: String,
}

impl Known {
    fn of(record: &bus::Received) -> Known {
        Known {
            offset: record.offset,
            sha256: hex::encode(Sha256::digest(&record.value)),
        }
    }
}

/// A sink that goes on where it ended.
pub struct TopicSink<'a> {
    lake: &'a Lake,
    reader: Reader<'a>,
    adding: Adding<'a>,
    /// Whether everything is read again, whatever the bookmarks say.
    from_start: bool,
}

/// What one record is.
#[expect(clippy::large_enum_variant, reason = "one at a time, and it is taken apart at once")]
enum Read {
    Event(Event),
    Comparison(ShadowRecord),
}

/// Records that are not in the lake yet, and how far they go.
#[derive(Default)]
struct Taken {
    days: BTreeMap<Option<NaiveDate>, Records>,
    next: BTreeMap<usize, Bookmark>,
    records: usize,
    bytes: usize,
}

impl<'a> TopicSink<'a> {
    /// `salt`: that of the pseudonyms, if this machine has it.
    ///
    /// # Errors
    /// A feature that has the name of another column.
    pub fn new(lake: &'a Lake, features: &Schema, salt: Option<&'a [u8]>) -> Result<TopicSink<'a>, LakeError> {
        let tables = Tables::new(features)?;
        Ok(TopicSink {
            lake,
            reader: Reader::new(&tables, salt),
            adding: Adding::new(lake, tables),
            from_start: false,
        })
    }

    /// Lets the next run read everything that the topic has, whatever the bookmarks say: after files of the lake were lost.
    pub fn from_start(&mut self) {
        self.from_start = true;
    }

    /// Takes what the topic has now. `progress` is told how many records were read, and how many there are to read.
    ///
    /// # Errors
    /// A bus or lake that cannot be used. What was written before stays, and the next run goes on behind it.
    pub async fn run(&mut self, topic: &Topic, mut progress: impl FnMut(u64, u64) + Send) -> Result<Sank, LakeError> {
        self.adding.sank = Sank::default();
        let mut parts = Vec::new();
        for partition in 0..topic.partitions() {
            let (from, to) = self.range(topic, partition).await?;
            parts.push((partition, from, to));
        }
        let all: i64 = parts.iter().map(|(_, from, to)| to - from).sum();
        let mut done = 0;
        let mut taken = Taken::default();
        for (partition, from, to) in parts {
            let mut at = from;
            while at < to {
                let batch = topic.fetch(partition, at).await?;
                if batch.next == at {
                    // Nothing but what the broker itself put there, or it has become shorter.
                    break;
                }
                let known = batch.records.first().map(Known::of);
                for record in batch.records {
                    self.take(topic, partition, record, &mut taken);
                }
                done += batch.next - at;
                at = batch.next;
                taken.next.insert(partition, Bookmark { next: at, known });
                progress(done.unsigned_abs(), all.unsigned_abs());
                if taken.records >= CHUNK || taken.bytes >= CHUNK_BYTES {
                    self.put(topic, std::mem::take(&mut taken)).await?;
                }
            }
        }
        self.put(topic, taken).await?;
        self.from_start = false;
        Ok(self.adding.sank.clone())
    }

    /// Where to begin in a partition, and where it ends now.
    async fn range(&self, topic: &Topic, partition: usize) -> Result<(i64, i64), LakeError> {
        let (earliest, end) = topic.range(partition).await?;
        let bytes = self.lake.get(&bookmark(topic, partition)).await?;
        // What cannot be read was not written to its end.
        let bookmark = bytes.and_then(|bytes| serde_json::from_slice::<Bookmark>(&bytes).ok());
        let Some(Bookmark { next, known }) = bookmark.filter(|_| !self.from_start) else {
            return Ok((earliest, end));
        };
        let (name, gone) = (topic.name(), earliest - next);
        if next > end {
            tracing::error!(
                topic = name,
                partition,
                next,
                end,
                "the topic is shorter than it was; it is read anew"
            );
            return Ok((earliest, end));
        }
        if gone > 0 {
            tracing::error!(
                topic = name,
                partition,
                gone,
                "the topic no longer has records that the lake has not: run the sink more often, or keep them longer"
            );
        }
        if let Some(known) = known.filter(|known| (earliest..end).contains(&known.offset)) {
            let batch = topic.fetch(partition, known.offset).await?;
            if batch.records.first().map(Known::of) != Some(known) {
                tracing::error!(
                    topic = name,
                    partition,
                    "the topic is another one than it was; it is read anew"
                );
                return Ok((earliest, end));
            }
        }
        Ok((next.max(earliest), end))
    }

    fn take(&self, topic: &Topic, partition: usize, received: bus::Received, taken: &mut Taken) {
        taken.records += 1;
        taken.bytes += received.value.len();
        let place = format!("{}/{partition}/{}", topic.name(), received.offset);
        match self.read(&received) {
            Ok(Read::Event(event)) => {
                let of_day = taken.days.entry(Some(event.ts_utc.date_naive())).or_default();
                match event.body {
                    Body::Action(_) => of_day.actions.push(event),
                    Body::Impression(_) => of_day.impressions.push(event),
                }
            }
            Ok(Read::Comparison(comparison)) => {
                let of_day = taken.days.entry(Some(comparison.ts_utc.date_naive())).or_default();
                of_day.comparisons.push(comparison);
            }
            Err(reason) => taken.days.entry(None).or_default().rejected.push(Rejected {
                key: place,
                reason,
                payload: String::from_utf8_lossy(&received.value).into_owned(),
            }),
        }
    }

    fn read(&self, received: &bus::Received) -> Result<Read, String> {
        let mut value: Value = serde_json::from_slice(&received.value).map_err(|error| error.to_string())?;
        let is_comparison = value.get("event").is_some_and(|event| event == COMPARISON);
        let (read, ts_utc) = if is_comparison {
            value.as_object_mut().and_then(|fields| fields.remove("event"));
            let comparison = ShadowRecord::deserialize(value).map_err(|error| error.to_string())?;
            let ts_utc = comparison.ts_utc;
            (Read::Comparison(comparison), ts_utc)
        } else {
            let event = self.reader.event(value, received.id)?;
            let ts_utc = event.ts_utc;
            (Read::Event(event), ts_utc)
        };
        let year = ts_utc.year();
        let is_of_the_calendar = (1..=9999).contains(&year);
        is_of_the_calendar
            .then_some(read)
            .ok_or_else(|| format!("ts_utc: the year {year}; allowed: 1 to 9999"))
    }

    async fn put(&mut self, topic: &Topic, taken: Taken) -> Result<(), LakeError> {
        for (day, records) in &taken.days {
            self.adding.add(*day, records).await?;
        }
        for (partition, read) in taken.next {
            let text = serde_json::to_vec(&read).expect("a number and a text are always valid JSON");
            self.lake.put(&bookmark(topic, partition), text.into()).await?;
        }
        Ok(())
    }
}

fn bookmark(topic: &Topic, partition: usize) -> Path {
    Path::from(format!("ltr/sink/{}/{partition}.json", topic.name()))
}

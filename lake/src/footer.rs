//! How many records a file has, from its end, without reading the rest.

use std::ops::Range;

use bytes::Bytes;
use object_store_lake::path::Path;
use object_store_lake::{Error, GetOptions, GetRange, ObjectStore};
use parquet::file::metadata::{FooterTail, KeyValue, ParquetMetaDataReader};

/// The name of the number among the file's own facts. Rows may be several a record.
const RECORDS: &str = "ltr.records";
/// What is read at first: the whole footer, unless a file has very many columns.
const FIRST: u64 = 32 << 10;
/// The footer and the eight bytes behind it, at most.
const MOST: u64 = 16 << 20;
const TAIL: usize = 8;

/// Why it cannot be said.
pub(crate) enum Failure {
    Store(Error),
    Damaged(String),
}

/// The fact, for the writer of a file.
pub(crate) fn fact(records: u64) -> KeyValue {
    KeyValue::new(RECORDS.to_owned(), records.to_string())
}

/// Reads the fact of a file of `size` bytes.
pub(crate) async fn records(store: &dyn ObjectStore, path: &Path, size: u64) -> Result<u64, Failure> {
    let damaged = |problem: &dyn std::fmt::Display| Failure::Damaged(problem.to_string());
    if size < TAIL as u64 {
        return Err(damaged(&format!("it has {size} bytes, and a Parquet file more")));
    }
    let mut end = last(store, path, size, FIRST).await?;
    let tail: &[u8; TAIL] = end.last_chunk().ok_or_else(|| damaged(&"it is no Parquet file"))?;
    let tail = FooterTail::try_new(tail).map_err(|error| damaged(&error))?;
    let wanted = (tail.metadata_length() + TAIL) as u64;
    if wanted > size.min(MOST) {
        return Err(damaged(&format!("its footer would have {wanted} of its {size} bytes")));
    }
    if wanted > end.len() as u64 {
        end = last(store, path, size, wanted).await?;
    }
    let start = end.len().checked_sub(wanted as usize);
    let start = start.ok_or_else(|| damaged(&"it became shorter"))?;
    let metadata = ParquetMetaDataReader::decode_metadata(&end[start..end.len() - TAIL]);
    let metadata = metadata.map_err(|error| damaged(&error))?;
    let facts = metadata.file_metadata().key_value_metadata();
    let fact = facts.and_then(|facts| facts.iter().find(|fact| fact.key == RECORDS));
    let records = fact.and_then(|fact| fact.value.as_deref()?.parse().ok());
    records
        .filter(|records| *records > 0)
        .ok_or_else(|| damaged(&format!("it does not say how many records it has ({RECORDS})")))
}

/// The last bytes of an object, as many as asked for or all.
async fn last(store: &dyn ObjectStore, path: &Path, size: u64, wanted: u64) -> Result<Bytes, Failure> {
    let range: Range<u64> = size.saturating_sub(wanted)..size;
    let options = GetOptions {
        range: Some(GetRange::Bounded(range)),
        ..GetOptions::default()
    };
    let found = store.get_opts(path, options).await.map_err(Failure::Store)?;
    found.bytes().await.map_err(Failure::Store)
}

//! How many records a file has, from its end, without reading the rest.

use std::ops::Range;

use bytes::Bytes;
use object_store_lake::path::Path;
use object_store_lake::{Error, GetOptions, GetRange, ObjectStore};
use parquet::file::metadata::{FooterTail, KeyValue, ParquetMetaData, ParquetMetaDataReader};

/// Among the file's own facts: the number of its records. Rows may be several a record.
const RECORDS: &str = "ltr.records";
/// Of a merged file: how many of them were late.
const LATE: &str = "ltr.late";
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

/// The number of records, for the writer of a file.
pub(crate) fn fact(records: u64) -> KeyValue {
    KeyValue::new(RECORDS.to_owned(), records.to_string())
}

/// The number of late ones, for the writer of a merged file.
pub(crate) fn late_fact(late: u64) -> KeyValue {
    KeyValue::new(LATE.to_owned(), late.to_string())
}

/// Reads the number of records of a file of `size` bytes.
pub(crate) async fn records(store: &dyn ObjectStore, path: &Path, size: u64) -> Result<u64, Failure> {
    let metadata = metadata(store, path, size).await?;
    let records = number(&metadata, RECORDS).filter(|records| *records > 0);
    records.ok_or_else(|| Failure::Damaged(format!("it does not say how many records it has ({RECORDS})")))
}

/// Reads how many records of a merged file of `size` bytes were late.
pub(crate) async fn late(store: &dyn ObjectStore, path: &Path, size: u64) -> Result<u64, Failure> {
    let metadata = metadata(store, path, size).await?;
    Ok(number(&metadata, LATE).unwrap_or(0))
}

fn number(metadata: &ParquetMetaData, name: &str) -> Option<u64> {
    let facts = metadata.file_metadata().key_value_metadata()?;
    let fact = facts.iter().find(|fact| fact.key == name)?;
    fact.value.as_deref()?.parse().ok()
}

async fn metadata(store: &dyn ObjectStore, path: &Path, size: u64) -> Result<ParquetMetaData, Failure> {
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
    ParquetMetaDataReader::decode_metadata(&end[start..end.len() - TAIL]).map_err(|error| damaged(&error))
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

//! Makes few files of many, so that scans open few and statistics say much.
//!
//! A merged file is put beside those that it replaces. Whoever lists the table from then on reads it in their place; whoever
//! listed it before still finds them, for a day. So no reader sees a part twice, or not at all.

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Duration, NaiveDate, Utc};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::LakeError;
use crate::error::never;
use crate::footer;
use crate::layout::{RawFile, cover};
use crate::place::{Lake, damaged};
use crate::tables::properties;

/// A merged file has at most so many bytes of smaller ones: it is made in memory.
const LARGEST: u64 = 256 << 20;
/// A day that still grows is compacted from so many files on.
const MANY: usize = 8;
/// How long a replaced file stays, for those who listed it.
const GRACE: Duration = Duration::hours(24);

/// What was compacted.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Compacted {
    /// New files.
    pub merged: u64,
    /// Files that they replace.
    pub replaced: u64,
    /// Replaced files that were removed.
    pub removed: u64,
}

/// Compacts every day before `open_from` to as few files as there can be, and the others where they have many. Removes what
/// was replaced a day before `now`.
///
/// # Errors
/// A lake that cannot be read or written, or holds a damaged file. What was done stays, and the next run goes on.
pub async fn compact(lake: &Lake, open_from: NaiveDate, now: DateTime<Utc>) -> Result<Compacted, LakeError> {
    let mut done = Compacted::default();
    let folders = ["ltr/raw".to_owned(), "ltr/rejected".to_owned()];
    let (files, mut broken) = lake.all_raw_files(&folders).await?;
    for (key, files) in files {
        let chosen = match cover(files.clone()) {
            Ok(chosen) => chosen,
            // The others are compacted first.
            Err(error) => {
                broken.insert(key, error);
                continue;
            }
        };
        remove_replaced(lake, &files, &chosen, now, &mut done).await?;
        merge_some(lake, &chosen, key.1.is_some_and(|day| day >= open_from), &mut done).await?;
    }
    broken.pop_first().map_or(Ok(done), |(_, error)| Err(error))
}

/// Compacts what has many files of a day that still grows. Removes nothing.
pub(crate) async fn compact_open(lake: &Lake, day: Option<NaiveDate>) -> Result<Compacted, LakeError> {
    let mut done = Compacted::default();
    for (_, files) in lake.raw_files_of(day).await? {
        if files.len() >= MANY {
            merge_some(lake, &files, true, &mut done).await?;
        }
    }
    Ok(done)
}

/// Removes those of a table's files that were replaced a while ago.
async fn remove_replaced(
    lake: &Lake,
    all: &[RawFile],
    chosen: &[RawFile],
    now: DateTime<Utc>,
    done: &mut Compacted,
) -> Result<(), LakeError> {
    for file in all.iter().filter(|file| !chosen.contains(file)) {
        let mut larger = chosen.iter().filter(|larger| larger.is_merged);
        let replacement = larger.find(|larger| larger.from <= file.from && file.from < larger.to);
        if replacement.is_some_and(|larger| now - larger.written.max(file.written) > GRACE) {
            lake.remove(&file.path()).await?;
            done.removed += 1;
        }
    }
    Ok(())
}

async fn merge_some(lake: &Lake, chosen: &[RawFile], is_open: bool, done: &mut Compacted) -> Result<(), LakeError> {
    let worth_it = if is_open { MANY } else { 2 };
    let mut rest = chosen;
    // A large file of a day that still grows is written again only once as much has followed: what is written grows with
    // what is added.
    while is_open
        && let Some((first, others)) = rest.split_first()
        && first.size > others.iter().map(|file| file.size).sum()
    {
        rest = others;
    }
    if rest.len() < worth_it {
        return Ok(());
    }
    let mut run: Vec<RawFile> = Vec::new();
    for file in rest {
        if run.iter().map(|file| file.size).sum::<u64>() + file.size > LARGEST {
            merge(lake, std::mem::take(&mut run), done).await?;
        }
        run.push(file.clone());
    }
    merge(lake, run, done).await
}

/// Puts the rows of files that follow each other into one. Those with other columns stay as they are.
async fn merge(lake: &Lake, files: Vec<RawFile>, done: &mut Compacted) -> Result<(), LakeError> {
    let mut open: Option<Merging> = None;
    for file in files {
        let bytes = lake.get(&file.path()).await?;
        let bytes = bytes.ok_or_else(|| damaged(&file, "it is gone".to_owned()))?;
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| damaged(&file, error.to_string()))?;
        let schema = reader.schema().clone();
        if open
            .as_ref()
            .is_some_and(|open| open.schema.fields() != schema.fields())
        {
            close(lake, open.take(), done).await?;
        }
        let reader = reader.build().map_err(|error| damaged(&file, error.to_string()))?;
        let mut merging = match open.take() {
            Some(merging) => merging,
            None => Merging::new(&file, schema)?,
        };
        merging.late += lake.late(&file).await?;
        merging.take(file, reader)?;
        open = Some(merging);
    }
    close(lake, open, done).await
}

async fn close(lake: &Lake, merging: Option<Merging>, done: &mut Compacted) -> Result<(), LakeError> {
    let Some(merging) = merging.filter(|merging| merging.files > 1) else {
        return Ok(());
    };
    let replaced = merging.files;
    let (file, bytes) = merging.finish()?;
    // One that is there already was made by somebody else, of the same records.
    if lake.put_new(&file.path(), bytes.into()).await? {
        done.merged += 1;
        done.replaced += replaced;
    }
    Ok(())
}

/// A file that is being made of others.
struct Merging {
    file: RawFile,
    files: u64,
    /// Records that were late.
    late: u64,
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
}

impl Merging {
    fn new(first: &RawFile, schema: SchemaRef) -> Result<Merging, LakeError> {
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties()));
        Ok(Merging {
            file: RawFile {
                to: first.from,
                is_merged: true,
                ..first.clone()
            },
            files: 0,
            late: 0,
            schema,
            writer: writer.map_err(|error| fault(first, error))?,
        })
    }

    fn take(&mut self, file: RawFile, reader: ParquetRecordBatchReader) -> Result<(), LakeError> {
        for batch in reader {
            let batch = batch.map_err(|error| damaged(&file, error.to_string()))?;
            self.writer.write(&batch).map_err(|error| fault(&file, error))?;
        }
        self.file.to = file.to;
        self.files += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<(RawFile, Vec<u8>), LakeError> {
        let records = self.file.to - self.file.from;
        self.writer.append_key_value_metadata(footer::fact(records));
        self.writer.append_key_value_metadata(footer::late_fact(self.late));
        let bytes = self.writer.into_inner().map_err(|error| fault(&self.file, error))?;
        Ok((self.file, bytes))
    }
}

fn fault(file: &RawFile, error: impl std::fmt::Display) -> LakeError {
    LakeError::File {
        path: file.to_string(),
        problem: never(error),
        remedy: "this is a fault of the program",
    }
}

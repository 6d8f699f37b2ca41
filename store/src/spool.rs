//! Where records wait while the database is away: files in a folder, written to disk before they count, read back in
//! order, bounded.
//!
//! A file has a line for each [`Spool::append`]: a checksum, the number of records, and the records as a JSON array.
//! The line is the unit of a crash: it is there whole, or it was never acknowledged.

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Record;

/// Bytes after which a file is followed by a new one. A file is what is replayed in one transaction and then removed.
const FILE_BYTES: u64 = 1 << 20;
const EXTENSION: &str = "spool";
/// What a crash left behind a file's last whole line is set aside under this one.
const TORN: &str = "torn";

/// Where records go that the database refuses for what they are.
const REFUSED: &str = "refused.ndjson";

/// Why the spool did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Nothing of the call was taken.
    #[error("the spool {} is full: {bytes} bytes", dir.display())]
    Full { dir: PathBuf, bytes: u64 },
    #[error("database.spool_dir: {} is used by another program", dir.display())]
    Taken { dir: PathBuf },
    #[error("the spool: {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// Records that this program did not write as they stand.
    #[error("the spool: {}: {reason}", path.display())]
    Foreign { path: PathBuf, reason: String },
}

/// A queue of records on disk. One program at a time has it.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    max_bytes: u64,
    /// Oldest first.
    files: VecDeque<Spooled>,
    /// The last of `files`, while it may grow.
    open: Option<File>,
    next: u64,
    /// Held as long as the spool is in use.
    _lock: File,
}

#[derive(Debug)]
struct Spooled {
    path: PathBuf,
    bytes: u64,
    records: u64,
}

impl Spool {
    /// Opens the spool in `dir`, which is made where it is missing, with what an earlier run left in it. It takes
    /// `max_bytes` at most.
    ///
    /// # Errors
    /// [`SpoolError::Taken`], and [`SpoolError::Io`] for a folder that cannot be used.
    pub fn open(dir: &Path, max_bytes: u64) -> Result<Spool, SpoolError> {
        std::fs::create_dir_all(dir).map_err(|source| io_at(dir, source))?;
        let lock_path = dir.join("lock");
        let lock = File::create(&lock_path).map_err(|source| io_at(&lock_path, source))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => SpoolError::Taken { dir: dir.to_owned() },
            TryLockError::Error(source) => io_at(&lock_path, source),
        })?;
        let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = entries.map_err(|source| io_at(dir, source))?;
        let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == EXTENSION));
        // Names are numbers of fixed width.
        paths.sort();
        let next = paths
            .last()
            .and_then(|path| path.file_stem()?.to_str()?.parse::<u64>().ok());
        let mut files = VecDeque::new();
        for path in paths {
            files.extend(recovered(path)?);
        }
        Ok(Spool {
            dir: dir.to_owned(),
            max_bytes,
            files,
            open: None,
            next: next.map_or(0, |last| last + 1),
            _lock: lock,
        })
    }

    /// How many records wait.
    pub fn records(&self) -> u64 {
        self.files.iter().map(|file| file.records).sum()
    }

    /// How many files wait; each is a transaction of the replay.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Keeps all of `records`, or none of them; they are on disk when this returns.
    ///
    /// # Errors
    /// [`SpoolError::Full`] or [`SpoolError::Io`].
    pub fn append(&mut self, records: &[Record]) -> Result<(), SpoolError> {
        let line = line(records);
        let bytes: u64 = self.files.iter().map(|file| file.bytes).sum();
        if bytes + line.len() as u64 > self.max_bytes {
            return Err(SpoolError::Full {
                dir: self.dir.clone(),
                bytes,
            });
        }
        if self.files.back().is_some_and(|file| file.bytes >= FILE_BYTES) {
            self.open = None;
        }
        if self.open.is_none() {
            self.begin_file()?;
        }
        let (Some(open), Some(file)) = (&mut self.open, self.files.back_mut()) else {
            unreachable!("a file was begun just above if none was open");
        };
        let written = open.write_all(line.as_bytes()).and_then(|()| open.sync_data());
        if let Err(source) = written {
            // A later line must not follow half of this one.
            let _ = open.set_len(file.bytes);
            let path = file.path.clone();
            self.open = None;
            return Err(SpoolError::Io { path, source });
        }
        file.bytes += line.len() as u64;
        file.records += records.len() as u64;
        Ok(())
    }

    /// The records of the oldest file, in order; `None` when nothing waits. What is appended later goes to another
    /// file.
    ///
    /// # Errors
    /// [`SpoolError::Io`] or [`SpoolError::Foreign`].
    pub fn oldest(&mut self) -> Result<Option<Vec<Record>>, SpoolError> {
        let Some(file) = self.files.front() else {
            return Ok(None);
        };
        if self.files.len() == 1 {
            self.open = None;
        }
        let text = std::fs::read(&file.path).map_err(|source| io_at(&file.path, source))?;
        let foreign = |reason: String| SpoolError::Foreign {
            path: file.path.clone(),
            reason,
        };
        let mut records = Vec::new();
        for line in whole_lines(&text) {
            let values: Vec<serde_json::Value> =
                serde_json::from_slice(line.json).map_err(|error| foreign(error.to_string()))?;
            for value in &values {
                records.push(Record::from_json(value).map_err(|error| foreign(error.to_string()))?);
            }
        }
        Ok(Some(records))
    }

    /// Removes what [`Spool::oldest`] gave; to be called once it is in the database.
    ///
    /// # Errors
    /// [`SpoolError::Io`].
    pub fn remove_oldest(&mut self) -> Result<(), SpoolError> {
        if self.files.len() == 1 {
            self.open = None;
        }
        let Some(file) = self.files.pop_front() else {
            return Ok(());
        };
        std::fs::remove_file(&file.path).map_err(|source| io_at(&file.path, source))
    }

    /// Keeps a record that no database will take where an operator finds it: a line of JSON with the reason, on disk when
    /// this returns, in the file `refused.ndjson` beside the spool's own.
    ///
    /// # Errors
    /// [`SpoolError::Io`].
    pub fn set_aside(&mut self, record: &Record, reason: &str) -> Result<(), SpoolError> {
        let path = self.dir.join(REFUSED);
        let json = serde_json::json!({ "reason": reason, "record": record });
        let file = File::options().create(true).append(true).open(&path);
        let written = file.and_then(|mut file| {
            file.write_all(format!("{json}\n").as_bytes())?;
            file.sync_all()?;
            File::open(&self.dir)?.sync_all()
        });
        written.map_err(|source| io_at(&path, source))
    }

    fn begin_file(&mut self) -> Result<(), SpoolError> {
        let path = self.dir.join(format!("{:020}.{EXTENSION}", self.next));
        let begun = File::create_new(&path).and_then(|file| {
            // Else a crash could take the file's name, and its lines with it.
            File::open(&self.dir)?.sync_all()?;
            Ok(file)
        });
        self.next += 1;
        self.open = Some(begun.map_err(|source| io_at(&path, source))?);
        self.files.push_back(Spooled {
            path,
            bytes: 0,
            records: 0,
        });
        Ok(())
    }
}

/// A file that an earlier run left, cut behind its last whole line; `None` where it has none.
fn recovered(path: PathBuf) -> Result<Option<Spooled>, SpoolError> {
    let failed = |source| io_at(&path, source);
    let text = std::fs::read(&path).map_err(failed)?;
    let (mut bytes, mut records) = (0, 0);
    for line in whole_lines(&text) {
        records += line.records;
        bytes += line.bytes;
    }
    if bytes < text.len() {
        tracing::warn!(path = %path.display(), bytes = text.len() - bytes, "a line that a crash tore is set aside");
        std::fs::write(path.with_extension(TORN), &text[bytes..]).map_err(failed)?;
        let file = File::options().write(true).open(&path).map_err(failed)?;
        file.set_len(bytes as u64)
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
    }
    if bytes == 0 {
        std::fs::remove_file(&path).map_err(failed)?;
        return Ok(None);
    }
    Ok(Some(Spooled {
        path,
        bytes: bytes as u64,
        records,
    }))
}

fn line(records: &[Record]) -> String {
    let json = serde_json::to_string(records).expect("records have texts and finite numbers alone");
    let body = format!("{} {json}", records.len());
    format!("{} {body}\n", checksum(body.as_bytes()))
}

struct Line<'a> {
    records: u64,
    json: &'a [u8],
    /// All of the line, its end included.
    bytes: usize,
}

/// The lines up to the first that is not whole.
fn whole_lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines.map_while(|line| {
        let bytes = line.len();
        let (sum, body) = line.strip_suffix(b"\n")?.split_at_checked(CHECKSUM_DIGITS)?;
        let body = body.strip_prefix(b" ")?;
        let space = body.iter().position(|byte| *byte == b' ')?;
        let records = std::str::from_utf8(&body[..space]).ok()?.parse().ok()?;
        let json = &body[space + 1..];
        (sum == checksum(body).as_bytes()).then_some(Line { records, json, bytes })
    })
}

const CHECKSUM_DIGITS: usize = 16;

/// The first 64 bits of the SHA-256, against accidents.
fn checksum(body: &[u8]) -> String {
    let mut sum = [0; CHECKSUM_DIGITS / 2];
    sum.copy_from_slice(&Sha256::digest(body)[..CHECKSUM_DIGITS / 2]);
    format!("{:016x}", u64::from_be_bytes(sum))
}

fn io_at(path: &Path, source: io::Error) -> SpoolError {
    SpoolError::Io {
        path: path.to_owned(),
        source,
    }
}

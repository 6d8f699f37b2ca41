//! Where records wait while the database is away: files in a folder, written to disk before they count, read back in
//! order, bounded.
//!
//! Each record has its own frame, with its length and its checksum, so that damage to a file loses the records that it
//! touches and no other. Whatever of a file is no record is kept: once the others are in the database, the file is
//! renamed, and an operator finds it.
//!
//! This is our own code. Queues on disk (yaque, queue-file) have no checksum per record, so they
//! cannot tell damage from a record.

mod folder;
mod frame;

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use regular_file::Links;
use serde_json::{Value, json};

pub use self::folder::{BUS_OWNER, FOLLOWED_RECORD, PENDING_ROLLBACK};
use self::folder::{DAMAGED, Folder, LOCK, MOST_NAMED, REFUSED, name};
use self::frame::Part;
use crate::Record;

/// Bytes after which a file is followed by a new one. A file is what is replayed in one transaction and then removed.
const FILE_BYTES: usize = 1 << 20;
/// Most that is read of a file. Version 0.1 wrote a batch as a line, whatever its size.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// The largest record.
const MAX_RECORD_BYTES: usize = 128 << 20;

/// Why the spool did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The records would make the spool larger than it may be; none was written.
    #[error("the spool {} is full: {bytes} bytes", dir.display())]
    Full {
        /// The spool's folder, or the file of refused records in it.
        dir: PathBuf,
        /// Its size now, bytes.
        bytes: u64,
    },
    /// A record is larger than the spool takes (128 MiB); none was written.
    #[error("a record of {bytes} bytes cannot be spooled; allowed: at most {MAX_RECORD_BYTES}")]
    TooLarge {
        /// The record's size as JSON, bytes.
        bytes: usize,
    },
    /// Another program, or another [`Spool`] of this one, holds the folder's lock.
    #[error("database.spool_dir: {} is used by another program", dir.display())]
    Taken {
        /// The folder.
        dir: PathBuf,
    },
    /// The file system failed.
    #[error("the spool: {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
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
    /// Files that could not be read, which may be a matter of time.
    unreadable: Vec<PathBuf>,
    /// Files that are done with and could not be removed.
    staying: Vec<PathBuf>,
    /// Files that appeared in the folder, as they were at the last look.
    appeared: HashMap<PathBuf, Seen>,
    /// Damaged parts that were found.
    damaged: u64,
    /// Held as long as the spool is in use.
    _lock: File,
}

/// What changes while somebody writes to a file: its inode, its length and when it was written.
type Seen = (u64, u64, i64, i64);

#[derive(Debug)]
struct Spooled {
    path: PathBuf,
    bytes: u64,
    records: u64,
    /// Damaged parts that are known.
    damaged: u64,
    /// Whether it has been left for later before.
    is_deferred: bool,
}

/// The records of a file.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records in the order they were appended.
    pub records: Vec<Record>,
    /// Those that are whole and that this program cannot read.
    pub refused: Vec<Refused>,
    /// Whether [`Spool::defer_oldest`] has left them for later before.
    pub is_deferred: bool,
}

/// A record that no database will take, and why.
#[derive(Debug)]
pub struct Refused {
    record: Value,
    reason: String,
}

impl Refused {
    /// A record that was refused, with the reason in words.
    pub fn new(record: &Record, reason: String) -> Refused {
        Refused {
            record: serde_json::to_value(record).expect("records have texts and finite numbers alone"),
            reason,
        }
    }

    /// Why no database takes the record, in words.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// JSON that is none, as text.
    fn unreadable(json: &[u8], reason: String) -> Refused {
        Refused {
            record: Value::from(String::from_utf8_lossy(json)),
            reason,
        }
    }
}

impl Spool {
    /// Opens the spool in `dir`, which is made where it is missing, with what an earlier run left in it. It takes
    /// `max_bytes` at most. A file that cannot be read is left to [`Spool::take_up_others`], and keeps no other from
    /// being read.
    ///
    /// # Errors
    /// [`SpoolError::Taken`], and [`SpoolError::Io`] for a folder that cannot be used.
    pub fn open(dir: &Path, max_bytes: u64) -> Result<Spool, SpoolError> {
        std::fs::create_dir_all(dir).map_err(|source| io_at(dir, source))?;
        let lock_path = dir.join(LOCK);
        let lock = own_file(File::options().write(true).create(true), &lock_path)
            .map_err(|source| io_at(&lock_path, source))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => SpoolError::Taken { dir: dir.to_owned() },
            TryLockError::Error(source) => io_at(&lock_path, source),
        })?;
        let folder = Folder::read(dir).map_err(|source| io_at(dir, source))?;
        folder.name_others(dir);
        let mut spool = Spool {
            dir: dir.to_owned(),
            max_bytes,
            files: VecDeque::new(),
            open: None,
            next: folder.next,
            unreadable: Vec::new(),
            staying: Vec::new(),
            appeared: HashMap::new(),
            damaged: 0,
            _lock: lock,
        };
        for number in folder.spooled {
            let path = dir.join(name(number));
            match read(&path) {
                Ok(bytes) => spool.take_up(path, &bytes),
                Err(error) => spool.leave(path, &error),
            }
        }
        Ok(spool)
    }

    /// How many records wait.
    pub fn records(&self) -> u64 {
        self.files.iter().map(|file| file.records).sum()
    }

    /// How many files wait; each is a transaction of the replay.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// How many damaged parts were found since [`Spool::open`], files that cannot be read among them.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Keeps `records`; all of them are on disk when this returns. After an error some of them may be, too, and will be
    /// replayed: whoever sends them again writes the same records a second time, which changes nothing.
    ///
    /// # Errors
    /// [`SpoolError::Full`], [`SpoolError::TooLarge`] or [`SpoolError::Io`].
    pub fn append(&mut self, records: &[Record]) -> Result<(), SpoolError> {
        let mut frames = Vec::new();
        let mut ends = Vec::with_capacity(records.len());
        for record in records {
            let json = serde_json::to_vec(record).expect("records have texts and finite numbers alone");
            if json.len() > MAX_RECORD_BYTES {
                return Err(SpoolError::TooLarge { bytes: json.len() });
            }
            frame::write(&mut frames, &json);
            ends.push(frames.len());
        }
        let bytes: u64 = self.files.iter().map(|file| file.bytes).sum();
        if bytes + frames.len() as u64 > self.max_bytes {
            return Err(SpoolError::Full {
                dir: self.dir.clone(),
                bytes,
            });
        }
        let (mut start, mut ends) = (0, ends.as_slice());
        while let Some(first) = ends.first() {
            let fitting = ends.partition_point(|end| end - start <= FILE_BYTES).max(1);
            let end = ends[fitting - 1].max(*first);
            self.write(&frames[start..end], fitting as u64)?;
            (start, ends) = (end, &ends[fitting..]);
        }
        Ok(())
    }

    /// Appends to the last file, or to a new one.
    fn write(&mut self, frames: &[u8], records: u64) -> Result<(), SpoolError> {
        if self.files.back().is_some_and(|file| file.bytes >= FILE_BYTES as u64) {
            self.open = None;
        }
        if self.open.is_none() {
            self.begin_file()?;
        }
        let (Some(open), Some(file)) = (&mut self.open, self.files.back_mut()) else {
            unreachable!("a file was begun just above if none was open");
        };
        if let Err(source) = open.write_all(frames).and_then(|()| open.sync_data()) {
            let path = file.path.clone();
            // The next attempt is made with the same file, as if this one had not been.
            if open.set_len(file.bytes).is_err() {
                self.open = None;
                if let Some(empty) = self.files.pop_back_if(|file| file.bytes == 0) {
                    self.staying.extend(empty.finish());
                }
            }
            return Err(SpoolError::Io { path, source });
        }
        file.bytes += frames.len() as u64;
        file.records += records;
        let is_there = is_at(open, &file.path);
        if is_there { Ok(()) } else { self.rescue() }
    }

    /// Writes what the last file holds into a new one: the file was deleted or moved away while it was written, and nobody
    /// would find in it what was acknowledged.
    fn rescue(&mut self) -> Result<(), SpoolError> {
        let (Some(open), Some(gone)) = (self.open.take(), self.files.pop_back()) else {
            return Ok(());
        };
        let (path, records) = (gone.path.clone(), gone.records);
        tracing::error!(path = %path.display(), records, "a spool file is gone; what it held goes to a new one");
        let rescued = self.copied(&open, records);
        if rescued.is_err() {
            // The next attempt finds it as it was.
            (self.open, _) = (Some(open), self.files.push_back(gone));
        }
        rescued
    }

    fn copied(&mut self, from: &File, records: u64) -> Result<(), SpoolError> {
        let failed = |source| io_at(&self.dir, source);
        std::fs::create_dir_all(&self.dir).map_err(failed)?;
        let (mut from, mut bytes) = (from, Vec::new());
        from.rewind()
            .and_then(|()| from.read_to_end(&mut bytes))
            .map_err(failed)?;
        self.begin_file()?;
        let (Some(open), Some(file)) = (&mut self.open, self.files.back_mut()) else {
            unreachable!("a file was begun just above");
        };
        if let Err(source) = open.write_all(&bytes).and_then(|()| open.sync_data()) {
            let path = file.path.clone();
            self.open = None;
            if let Some(empty) = self.files.pop_back() {
                let _ = std::fs::remove_file(empty.path);
            }
            return Err(SpoolError::Io { path, source });
        }
        (file.bytes, file.records) = (bytes.len() as u64, records);
        Ok(())
    }

    /// What the oldest file holds, in order; `None` when nothing waits. What is appended later goes to another file. A
    /// file that cannot be read any more is left to [`Spool::take_up_others`], and named in the log.
    pub fn oldest(&mut self) -> Option<Batch> {
        loop {
            if self.files.len() == 1 {
                self.open = None;
            }
            let file = self.files.front_mut()?;
            match read(&file.path) {
                Ok(bytes) => {
                    let (mut batch, damage) = batch(&bytes);
                    batch.is_deferred = file.is_deferred;
                    if damage.len() as u64 > file.damaged {
                        self.damaged += damage.len() as u64 - file.damaged;
                        file.damaged = damage.len() as u64;
                        report(&file.path, &damage);
                    }
                    let held = (batch.records.len() + batch.refused.len()) as u64;
                    if held < file.records && damage.is_empty() {
                        let (path, missing) = (file.path.display(), file.records - held);
                        tracing::error!(%path, missing, "a spool file holds fewer records than were written to it");
                        self.damaged += missing;
                    }
                    file.records = file.records.min(held);
                    if !batch.records.is_empty() || !batch.refused.is_empty() {
                        return Some(batch);
                    }
                    self.done_with_oldest();
                }
                Err(error) => {
                    let file = self.files.pop_front()?;
                    self.leave(file.path, &error);
                }
            }
        }
    }

    /// Removes what [`Spool::oldest`] gave; to be called once it is in the database. A file with damage is renamed
    /// instead.
    pub fn done_with_oldest(&mut self) {
        if self.files.len() == 1 {
            self.open = None;
        }
        if let Some(file) = self.files.pop_front() {
            self.staying.extend(file.finish());
        }
    }

    /// Leaves the oldest file for later, behind all others.
    pub fn defer_oldest(&mut self) {
        self.open = None;
        if let Some(mut file) = self.files.pop_front() {
            file.is_deferred = true;
            self.files.push_back(file);
        }
    }

    /// Keeps records that no database will take where an operator finds them: each as a line of JSON with the reason, on
    /// disk when this returns, in the file `refused.ndjson` beside the spool's own, which may become as large as the spool.
    ///
    /// # Errors
    /// [`SpoolError::Full`] or [`SpoolError::Io`].
    pub fn set_aside(&mut self, refused: &[Refused]) -> Result<(), SpoolError> {
        let path = self.dir.join(REFUSED);
        let mut lines = String::new();
        for Refused { record, reason } in refused {
            lines += &format!("{}\n", json!({ "reason": reason, "record": record }));
        }
        let opened = own_file(File::options().read(true).append(true).create(true), &path);
        let mut file = opened.map_err(|source| io_at(&path, source))?;
        let bytes = file.metadata().map_err(|source| io_at(&path, source))?.len();
        if bytes + lines.len() as u64 > self.max_bytes {
            return Err(SpoolError::Full { dir: path, bytes });
        }
        let mut write = || {
            if bytes > 0 {
                // A crash may have torn the last line.
                file.seek(SeekFrom::End(-1))?;
                let mut last = [0];
                file.read_exact(&mut last)?;
                if last != *b"\n" {
                    lines.insert(0, '\n');
                }
            }
            file.write_all(lines.as_bytes())?;
            file.sync_all()?;
            regular_file::sync_folder(&self.dir)
        };
        write().map_err(|source| {
            // Nothing of it counts; if this fails, too, a line is there twice one day.
            let _ = file.set_len(bytes);
            io_at(&path, source)
        })
    }

    fn begin_file(&mut self) -> Result<(), SpoolError> {
        let path = self.dir.join(name(self.next));
        // Somebody may have tidied the folder up while it was empty.
        std::fs::create_dir_all(&self.dir).map_err(|source| io_at(&self.dir, source))?;
        let begun = own_file(File::options().read(true).append(true).create_new(true), &path);
        if !matches!(&begun, Err(error) if error.kind() != io::ErrorKind::AlreadyExists) {
            self.next += 1;
        }
        // Without the folder on disk, a crash could take the file's name, and its records with it.
        let synced = begun.and_then(|file| match regular_file::sync_folder(&self.dir) {
            Ok(()) => Ok(file),
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        });
        self.open = Some(synced.map_err(|source| io_at(&path, source))?);
        self.files.push_back(Spooled {
            path,
            bytes: 0,
            records: 0,
            damaged: 0,
            is_deferred: false,
        });
        Ok(())
    }

    /// Leaves a file that cannot be read now, and holds nothing up by it.
    fn leave(&mut self, path: PathBuf, error: &io::Error) {
        tracing::error!(path = %path.display(), %error, "a spool file cannot be read; it is left as it is and tried again");
        self.damaged += 1;
        self.unreadable.push(path);
    }

    /// Takes up, behind all others, files that could not be read and now can, and those that were not in the folder
    /// before: a disk or a right may be back, and with them what was acknowledged. A file must be as it was at the last
    /// look, because somebody may still be copying it. Whether there are any.
    pub fn take_up_others(&mut self) -> bool {
        let Ok(folder) = Folder::read(&self.dir) else {
            return false;
        };
        let (mut is_any, mut appeared) = (false, HashMap::new());
        for number in folder.spooled {
            let path = self.dir.join(name(number));
            if self.staying.contains(&path) || self.files.iter().any(|file| file.path == path) {
                continue;
            }
            let seen = seen(&path);
            let before = self.appeared.remove(&path);
            if let Some(seen) = seen
                && before != Some(seen)
            {
                appeared.insert(path, seen);
                continue;
            }
            match read(&path) {
                Ok(bytes) => {
                    tracing::info!(path = %path.display(), "a spool file is there again");
                    self.unreadable.retain(|unreadable| *unreadable != path);
                    self.open = None;
                    self.take_up(path, &bytes);
                    is_any = true;
                }
                Err(error) if !self.unreadable.contains(&path) => self.leave(path, &error),
                Err(_) => {}
            }
        }
        self.next = self.next.max(folder.next);
        self.appeared = appeared;
        is_any
    }

    /// Takes up a file that was written before.
    fn take_up(&mut self, path: PathBuf, bytes: &[u8]) {
        let (mut records, mut damage) = (0, Vec::new());
        for part in frame::parts(bytes) {
            match part {
                Part::Record(_) => records += 1,
                Part::List(_, more) => records += more,
                Part::Damage { offset, bytes } => damage.push((offset, bytes)),
            }
        }
        report(&path, &damage);
        self.damaged += damage.len() as u64;
        let file = Spooled {
            path,
            bytes: bytes.len() as u64,
            records,
            damaged: damage.len() as u64,
            is_deferred: false,
        };
        match records {
            0 => self.staying.extend(file.finish()),
            _ => self.files.push_back(file),
        }
    }
}

impl Spooled {
    /// Removes the file, of which every record is in the database. With damage in it, it is renamed and left to an
    /// operator. The path, if it stays there.
    fn finish(self) -> Option<PathBuf> {
        let done = match self.damaged {
            0 => std::fs::remove_file(&self.path),
            _ => std::fs::rename(&self.path, self.path.with_extension(DAMAGED)),
        };
        if let Err(error) = done {
            // The next start replays it once more, which changes nothing.
            tracing::warn!(path = %self.path.display(), %error, "a spool file that was replayed stays");
            return Some(self.path);
        }
        None
    }
}

/// Opens a file that the spool alone makes: never through a link, and for its owner's eyes alone.
fn own_file(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    const OWNER_ALONE: u32 = 0o600;
    let file = regular_file::open_with(options.mode(OWNER_ALONE), path, Links::Refuse)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & !OWNER_ALONE != 0 {
        let (path, mode) = (path.display(), format!("{mode:o}"));
        match file.set_permissions(Permissions::from_mode(OWNER_ALONE)) {
            Ok(()) => {
                tracing::warn!(%path, mode, "others could read or write a file of the spool; now its owner alone can")
            }
            Err(error) => tracing::warn!(%path, mode, %error, "others can read or write a file of the spool"),
        }
    }
    Ok(file)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    regular_file::read_all(&own_file(File::options().read(true), path)?, MAX_FILE_BYTES)
}

/// The records in a file, and where it is damaged.
fn batch(file: &[u8]) -> (Batch, Vec<(usize, usize)>) {
    let (mut batch, mut damage) = (Batch::default(), Vec::new());
    for part in frame::parts(file) {
        match part {
            Part::Record(json) => match serde_json::from_slice(json) {
                Ok(value) => batch.take(value),
                Err(error) => batch.refused.push(Refused::unreadable(json, error.to_string())),
            },
            Part::List(json, _) => match serde_json::from_slice::<Vec<Value>>(json) {
                Ok(values) => values.into_iter().for_each(|value| batch.take(value)),
                Err(error) => batch.refused.push(Refused::unreadable(json, error.to_string())),
            },
            Part::Damage { offset, bytes } => damage.push((offset, bytes)),
        }
    }
    (batch, damage)
}

impl Batch {
    fn take(&mut self, record: Value) {
        match Record::from_json(&record) {
            Ok(record) => self.records.push(record),
            Err(error) => self.refused.push(Refused {
                record,
                reason: error.to_string(),
            }),
        }
    }
}

/// Names what is damaged, of which the end of a file may be what a crash left of records that nobody was told of.
fn report(path: &Path, damage: &[(usize, usize)]) {
    for (offset, bytes) in damage.iter().take(MOST_NAMED) {
        tracing::error!(
            path = %path.display(), offset, bytes,
            "a part of a spool file is damaged; the file is kept as .damaged, and the records around it are not lost"
        );
    }
    if damage.len() > MOST_NAMED {
        tracing::error!(path = %path.display(), parts = damage.len(), "more parts of a spool file are damaged");
    }
}

fn io_at(path: &Path, source: io::Error) -> SpoolError {
    SpoolError::Io {
        path: path.to_owned(),
        source,
    }
}

/// How a regular file is now.
fn seen(path: &Path) -> Option<Seen> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    let file = metadata.is_file().then_some(metadata)?;
    Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
}

/// Whether an open file is the one that is found at a path.
fn is_at(open: &File, path: &Path) -> bool {
    let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (open.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(open), Ok(there)) => id(open) == id(there),
        _ => false,
    }
}

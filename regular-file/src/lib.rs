//! Opens and reads files by a configured name: regular files only, and never more bytes than the caller allows. Replaces
//! them whole.
//!
//! A name in a configuration, or in a folder that others can write to, may belong to anything. Opening a FIFO waits for
//! a writer that never comes, a device never ends, and a sparse file claims to be terabytes. Each of these would hold
//! up whoever reads it; here each is an error that says what the file is.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests make, read and time what they like"
    )
)]

mod draft;

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub use draft::{Draft, replace, sync_folder};

/// What a symbolic link in the last place of a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// The file that it leads to: for paths that an operator chose. Kubernetes mounts secrets and configurations
    /// as links.
    Follow,
    /// An error: for names in a folder where the program itself is the only one that makes files.
    Refuse,
}

/// Opens a regular file for reading, without waiting for anybody.
///
/// # Errors
/// What the system says, and [`io::ErrorKind::InvalidInput`] for anything that is not a regular file.
pub fn open(path: &Path, links: Links) -> io::Result<File> {
    open_with(OpenOptions::new().read(true), path, links)
}

/// As [`open`], with the caller's options. They must not truncate: what the file is can be told only once it is open.
///
/// # Errors
/// As [`open`].
pub fn open_with(options: &mut OpenOptions, path: &Path, links: Links) -> io::Result<File> {
    let no_follow = match links {
        Links::Follow => 0,
        Links::Refuse => libc::O_NOFOLLOW,
    };
    // Without O_NONBLOCK, opening a FIFO waits for its other end. It changes nothing for regular files.
    let opened = options.custom_flags(libc::O_NONBLOCK | no_follow).open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) if links == Links::Refuse => refused("a symbolic link"),
        Some(libc::ENXIO) => refused("a FIFO or a socket"),
        _ => error,
    })?;
    check(file.metadata()?.file_type())?;
    Ok(file)
}

fn check(kind: FileType) -> io::Result<()> {
    if kind.is_file() {
        return Ok(());
    }
    Err(refused(if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else {
        "a special file"
    }))
}

/// The bytes of a regular file.
///
/// # Errors
/// As [`open`], and [`io::ErrorKind::FileTooLarge`] for a file of more than `max_bytes`, of which nothing is read then
/// if its size says so.
pub fn read(path: &Path, links: Links, max_bytes: u64) -> io::Result<Vec<u8>> {
    read_all(&open(path, links)?, max_bytes)
}

/// The text of a regular file in UTF-8.
///
/// # Errors
/// As [`read`], and [`io::ErrorKind::InvalidData`] for other bytes.
pub fn read_to_string(path: &Path, links: Links, max_bytes: u64) -> io::Result<String> {
    let bytes = read(path, links, max_bytes)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Where a new file is to be renamed to, so that it replaces what `path` names: for a link, what it leads to.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] where a directory, a FIFO or a device is there, which a rename would do away with.
pub fn replaceable(path: &Path) -> io::Result<PathBuf> {
    let is_link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
    let target = if is_link { path.canonicalize()? } else { path.to_owned() };
    match target.metadata() {
        Ok(metadata) => check(metadata.file_type()).map(|()| target),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(target),
        Err(error) => Err(error),
    }
}

/// Whatever an open file still holds.
///
/// # Errors
/// As [`read`].
pub fn read_all(file: &File, max_bytes: u64) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    if size > max_bytes {
        return Err(too_large(max_bytes));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // It may have grown since, so the size alone bounds nothing.
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        Err(too_large(max_bytes))
    } else {
        Ok(bytes)
    }
}

fn refused(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("it is {what}; allowed: a regular file"),
    )
}

fn too_large(max_bytes: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("it is larger than {max_bytes} bytes"),
    )
}

#[cfg(test)]
mod tests;

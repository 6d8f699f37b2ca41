use std::ffi::OsString;
use std::fs::{File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// A new file that takes its name only when it is complete. A reader, or a crash, sees the old file
/// or the new one. Until then it is a hidden sibling, so that the rename stays within one file
/// system. Dropped before that, it leaves nothing.
#[derive(Debug)]
pub struct Draft {
    file: NamedTempFile,
    path: PathBuf,
}

impl Draft {
    /// A draft of `path`, with the permissions `mode` less the process's umask from its first byte on.
    ///
    /// # Errors
    /// What the system says of a new file in that folder, and [`io::ErrorKind::InvalidInput`] for a path without a name.
    pub fn create(path: &Path, mode: u32) -> io::Result<Draft> {
        let no_name = || io::Error::new(io::ErrorKind::InvalidInput, "it names no file");
        let mut prefix = OsString::from(".");
        prefix.push(path.file_name().ok_or_else(no_name)?);
        prefix.push(".");
        let file = Builder::new()
            .prefix(&prefix)
            .suffix(".tmp")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(folder(path))?;
        Ok(Draft {
            file,
            path: path.to_owned(),
        })
    }

    /// What the system knows of the draft.
    ///
    /// # Errors
    /// What the system says.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.as_file().metadata()
    }

    /// Puts the file in its place, over one that is there, on disk.
    ///
    /// # Errors
    /// What the system says. Unless it was the last step, syncing the folder, what was there is as it was.
    pub fn commit(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(&self.path)?;
        sync_folder(folder(&self.path))
    }

    /// As [`Draft::commit`], where no file is there: of programs that do so together, one succeeds.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] where one is there, and as [`Draft::commit`].
    pub fn commit_new(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist_noclobber(&self.path)?;
        sync_folder(folder(&self.path))
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a whole file by a [`Draft`].
///
/// # Errors
/// As [`Draft::create`] and [`Draft::commit`].
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut draft = Draft::create(path, mode)?;
    draft.write_all(bytes)?;
    draft.commit()
}

/// Waits until the names of a folder's files are on disk.
///
/// # Errors
/// What the system says.
#[expect(
    clippy::disallowed_methods,
    reason = "with a slash at its end, the name is a folder's or an error"
)]
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.join(""))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

//! What may lie in a folder in place of a file, made on a real file system.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// One kind of entry. None of them is a file that anybody should wait for or read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A named pipe that nobody writes to.
    Fifo,
    /// A Unix socket that nobody listens on; a [`Entry::Fifo`] where the path is too long for one.
    Socket,
    /// A folder with nothing in it.
    Folder,
    /// A folder with each other kind in it.
    FullFolder,
    /// A file of 0 bytes.
    Empty,
    /// A file of 500 bytes that mean nothing.
    Noise,
    /// 20 GB that take no room.
    SparseGiant,
    /// A symbolic link to a name that is not there.
    DanglingLink,
    /// A symbolic link to its own path.
    LinkToItself,
    /// A symbolic link to `/dev/zero`, which has no end.
    LinkToDevice,
    /// A symbolic link to `/tmp`.
    LinkToFolder,
}

impl Entry {
    /// One of each kind, in the order of their declaration.
    pub const ALL: [Entry; 11] = [
        Entry::Fifo,
        Entry::Socket,
        Entry::Folder,
        Entry::FullFolder,
        Entry::Empty,
        Entry::Noise,
        Entry::SparseGiant,
        Entry::DanglingLink,
        Entry::LinkToItself,
        Entry::LinkToDevice,
        Entry::LinkToFolder,
    ];

    /// Makes it there, in place of what was.
    ///
    /// # Panics
    /// Where the file system does not take it.
    pub fn make(self, path: &Path) {
        let _ = fs::remove_file(path);
        let _ = fs::remove_dir_all(path);
        match self {
            Entry::Fifo => {
                let name = CString::new(path.as_os_str().as_bytes()).expect("a path has no zero");
                // SAFETY: `name` is a C string that lives until the call returns.
                assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
            }
            // The name stays when the listener goes. A path that is too long for a socket gets another kind.
            Entry::Socket => drop(UnixListener::bind(path).or_else(|_| {
                Entry::Fifo.make(path);
                UnixListener::bind(path.with_extension("s"))
            })),
            Entry::Folder => fs::create_dir(path).expect("a folder"),
            Entry::FullFolder => {
                fs::create_dir(path).expect("a folder");
                let others = Entry::ALL.iter().filter(|entry| **entry != Entry::FullFolder);
                for (at, entry) in others.enumerate() {
                    entry.make(&path.join(at.to_string()));
                }
            }
            Entry::Empty => drop(File::create(path).expect("a file")),
            Entry::Noise => fs::write(path, crate::raw::noise(500, 7)).expect("a file"),
            Entry::SparseGiant => {
                let file = File::create(path).expect("a file");
                file.set_len(20 << 30).expect("a file system with sparse files");
            }
            Entry::DanglingLink => symlink("nowhere", path).expect("a link"),
            Entry::LinkToItself => symlink(path, path).expect("a link"),
            Entry::LinkToDevice => symlink("/dev/zero", path).expect("a link"),
            Entry::LinkToFolder => symlink("/tmp", path).expect("a link"),
        }
    }
}

/// Names that people, tools and accidents give: none is a version's of today. Not all are text.
pub fn odd_names() -> Vec<&'static OsStr> {
    let names: [&[u8]; 24] = [
        b"old",
        b"zz",
        b"latest",
        b"ltr_current",
        b"lost+found",
        b"@eaDir",
        b"#recycle",
        b"~",
        b".DS_Store",
        b".download.1",
        b"99999999T999999Z",
        b"20991231T235959Z",
        b"20261001T021500Z.bak",
        b"20261001T021500Z (copy)",
        b"20261001T021500z",
        b"2026-10-01T02:15:00Z",
        b" ",
        b"a b",
        b"new\nline",
        b"\\",
        "\u{202e}rtl".as_bytes(),
        "\u{10ffff}".as_bytes(),
        b"\xff\xfe",
        b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ];
    names.into_iter().map(OsStr::from_bytes).collect()
}

//! A small disk of its own, where the tests may make one.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A tmpfs; unmounted when dropped.
pub struct Tmpfs {
    folder: TempDir,
    bytes: usize,
}

impl Tmpfs {
    /// `None` where the tests do not run as root: only root mounts.
    pub fn mount(bytes: usize) -> Option<Tmpfs> {
        if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
            eprintln!("not root: what needs a disk of its own is left out");
            return None;
        }
        let disk = Tmpfs {
            folder: tempfile::tempdir().unwrap(),
            bytes,
        };
        disk.call_mount(0);
        Some(disk)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes so much room, or all that there is.
    pub fn fill(&self, bytes: usize) {
        let mut file = File::options().append(true).create(true).open(self.filler()).unwrap();
        for _ in 0..bytes.min(self.bytes) {
            if file.write_all(&[0]).is_err() {
                return;
            }
        }
    }

    /// Ends every [`Tmpfs::fill`].
    pub fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    #[allow(dead_code, reason = "each test program uses its part")]
    pub fn read_only(&self, is_read_only: bool) {
        let flags = if is_read_only { libc::MS_RDONLY } else { 0 };
        self.call_mount(libc::MS_REMOUNT | flags);
    }

    fn call_mount(&self, flags: libc::c_ulong) {
        let path = CString::new(self.path().as_os_str().as_bytes()).unwrap();
        let options = CString::new(format!("size={}", self.bytes)).unwrap();
        // SAFETY: all are C strings that live until the call returns.
        let mounted = unsafe {
            libc::mount(
                c"tmpfs".as_ptr(),
                path.as_ptr(),
                c"tmpfs".as_ptr(),
                flags,
                options.as_ptr().cast(),
            )
        };
        let error = std::io::Error::last_os_error();
        assert_eq!(mounted, 0, "root that may not mount a tmpfs: {error}");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let path = CString::new(self.path().as_os_str().as_bytes()).unwrap();
        // SAFETY: `path` is a C string that lives until the call returns.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A small disk in memory, unmounted when dropped.
pub struct Tmpfs {
    folder: TempDir,
    bytes: usize,
}

impl Tmpfs {
    /// Only root may mount; others do so by `sudo`, as `make test` installs packages.
    ///
    /// # Panics
    /// Where that is not possible.
    pub fn mount(bytes: usize) -> Tmpfs {
        let disk = Tmpfs {
            folder: tempfile::tempdir().unwrap(),
            bytes,
        };
        let options = format!("size={bytes},mode=0777");
        let mounted = disk.call("mount", &["-t", "tmpfs", "-o", &options, "tmpfs"]);
        let said = String::from_utf8_lossy(&mounted.stderr);
        assert!(
            mounted.status.success(),
            "a test needs a small disk of its own: run it as root, or where `sudo mount` asks for no password: {said}"
        );
        disk
    }

    /// The folder that the disk is mounted on.
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
        fs::remove_file(self.filler()).unwrap();
    }

    /// Makes the disk larger.
    ///
    /// # Panics
    /// Where that is not possible.
    pub fn grow(&mut self, bytes: usize) {
        self.bytes = bytes;
        let grown = self.call("mount", &["-o", &format!("remount,size={bytes}")]);
        assert!(grown.status.success(), "{}", String::from_utf8_lossy(&grown.stderr));
    }

    /// Lets nobody write, or everybody again; whether that could be done: not while a file is open for writing.
    pub fn read_only(&self, is_read_only: bool) -> bool {
        let options = if is_read_only { "remount,ro" } else { "remount,rw" };
        self.call("mount", &["-o", options]).status.success()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    fn call(&self, program: &str, arguments: &[&str]) -> Output {
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let mut command = Command::new(if is_root { program } else { "sudo" });
        if !is_root {
            command.args(["--non-interactive", program]);
        }
        command.args(arguments).arg(self.path()).output().unwrap()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        self.call("umount", &["--lazy"]);
    }
}

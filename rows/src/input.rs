//! An opened file whose first bytes are known and not lost.

use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::os::fd::AsFd;
use std::path::Path;

use crate::error::ReadError;
use crate::foreign::Kind;

/// What is looked at to tell what the file is.
const HEAD_BYTES: u64 = 16 << 10;
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// A file, a pipe or standard input: read once, from the first byte to the last.
pub(crate) struct Input {
    head: Vec<u8>,
    rest: File,
}

/// Text from its first byte.
pub(crate) type Text = BufReader<Chain<Cursor<Vec<u8>>, File>>;

impl Input {
    #[expect(clippy::disallowed_methods, reason = "a pipe is welcome here: `<(zcat FILE)`")]
    pub(crate) fn open(path: &Path) -> Result<Input, ReadError> {
        let rest = if path.as_os_str() == "-" {
            File::from(io::stdin().as_fd().try_clone_to_owned()?)
        } else {
            File::open(path)?
        };
        if rest.metadata()?.is_dir() {
            return Err(ReadError::OtherKind(Kind {
                what: "a directory, as Spark writes tables",
                remedy: "pass the files in it one by one",
            }));
        }
        let mut head = Vec::new();
        (&rest).take(HEAD_BYTES).read_to_end(&mut head)?;
        Ok(Input { head, rest })
    }

    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Without the mark that some programs put before UTF-8.
    pub(crate) fn into_text(self) -> Text {
        let start = if self.head.starts_with(UTF8_MARK) {
            UTF8_MARK.len() as u64
        } else {
            0
        };
        let mut head = Cursor::new(self.head);
        head.set_position(start);
        BufReader::with_capacity(1 << 18, head.chain(self.rest))
    }

    /// For what is not read from its first byte to its last.
    pub(crate) fn into_file(self) -> Result<File, ReadError> {
        if self.rest.metadata()?.is_file() {
            return Ok(self.rest);
        }
        Err(ReadError::OtherKind(Kind {
            what: "a pipe, and Parquet is read from its end",
            remedy: "write it to a file and pass that",
        }))
    }
}

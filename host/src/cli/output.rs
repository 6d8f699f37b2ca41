//! Writes scores as text, and a file atomically.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Appends one line per row: `outputs` scores separated by commas.
pub(super) fn push_lines(text: &mut String, scores: &[f64], outputs: usize) {
    for row in scores.chunks(outputs.max(1)) {
        for (class, score) in row.iter().enumerate() {
            if class > 0 {
                text.push(',');
            }
            push_number(text, *score);
        }
        text.push('\n');
    }
}

/// Appends the fewest digits that read back to the same bits, or `nan`, `inf` or `-inf`.
pub(super) fn push_number(text: &mut String, number: f64) {
    if number.is_nan() {
        text.push_str("nan");
    } else {
        // Debug, unlike Display, has exponents: 1e300 is not written as 301 digits.
        write!(text, "{number:?}").expect("a String takes every write");
    }
}

/// Treats a closed pipe as success: a reader such as `head` closes standard output early.
pub(super) fn ignore_broken_pipe(written: anyhow::Result<()>) -> anyhow::Result<()> {
    written.or_else(|error| match error.downcast_ref::<io::Error>() {
        Some(io) if io.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

/// A new file that gets its name only when it is complete. Until then it is a hidden file in the
/// same directory, so that the rename stays within one file system. Dropped before
/// [`Destination::commit`], it leaves nothing behind.
pub(super) struct Destination {
    file: Option<BufWriter<File>>,
    hidden: PathBuf,
    path: PathBuf,
}

impl Destination {
    pub fn create(path: &Path) -> io::Result<Destination> {
        let path = regular_file::replaceable(path)?;
        let Some(name) = path.file_name() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it names no file"));
        };
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.tmp", std::process::id()));
        let hidden = path.with_file_name(hidden);
        let file = OpenOptions::new().write(true).create_new(true).open(&hidden)?;
        Ok(Destination {
            file: Some(BufWriter::new(file)),
            hidden,
            path,
        })
    }

    /// Syncs the file to disk and renames it.
    pub fn commit(mut self) -> io::Result<()> {
        if let Some(file) = self.file.take() {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fs::rename(&self.hidden, &self.path)?;
        }
        Ok(())
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        // After a commit the hidden name no longer exists, and this does nothing.
        let _ = fs::remove_file(&self.hidden);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_line_with_commas_between_classes() {
        let mut text = String::new();
        push_lines(&mut text, &[0.1, -0.0, 1e300, f64::INFINITY, f64::NAN, 5e-324], 3);
        assert_eq!(text, "0.1,-0.0,1e300\ninf,nan,5e-324\n");
        text.clear();
        push_lines(&mut text, &[f64::NEG_INFINITY, 2.0], 1);
        assert_eq!(text, "-inf\n2.0\n");
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scores.txt");
        fs::write(&path, "before").unwrap();
        let mut lost = Destination::create(&path).unwrap();
        lost.write_all(b"half").unwrap();
        drop(lost);
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        let mut kept = Destination::create(&path).unwrap();
        kept.write_all(b"whole").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        kept.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(Destination::create(&dir.path().join("absent/scores.txt")).is_err());
    }

    #[test]
    fn a_score_reads_back_to_the_same_bits() {
        // Every sign and exponent, with mantissas spread over their range.
        for exponent in 0..4096u64 {
            for seed in 1..20u64 {
                let mantissa = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 12;
                let number = f64::from_bits(exponent << 52 | mantissa);
                let mut text = String::new();
                push_number(&mut text, number);
                let read: f64 = text.parse().unwrap();
                assert!(
                    read.to_bits() == number.to_bits() || (read.is_nan() && number.is_nan()),
                    "{text}"
                );
            }
        }
    }
}

//! The files that LightGBM loads with a data file, by their names alone: FILE.query, FILE.weight, FILE.position and
//! FILE.init (`src/io/metadata.cpp`).

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use regular_file::Links;

use crate::RowsError;
use crate::error::ReadError;

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 30;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A file beside `data`, line by line.
pub(super) struct Beside<'d> {
    pub path: PathBuf,
    data: &'d Path,
    bytes: Vec<u8>,
}

/// The name of a file beside `data`.
pub(super) fn name(data: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(data);
    name.push(ending);
    name.into()
}

impl<'d> Beside<'d> {
    /// Reads `data` with `ending` put to its name; `None` where there is no such file.
    pub(super) fn read(data: &'d Path, ending: &str) -> Result<Option<Beside<'d>>, RowsError> {
        let path = name(data, ending);
        match regular_file::read(&path, Links::Follow, MAX_BYTES) {
            Ok(bytes) => Ok(Some(Beside { path, data, bytes })),
            // A link to nowhere was put there for a reason.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => Ok(None),
            Err(error) => Err(ReadError::from(error).in_file(&path)),
        }
    }

    /// The lines with their numbers, from 1. As in LightGBM, blank ones do not count.
    fn lines(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let text = self.bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.bytes);
        let lines = text
            .split(|&byte| byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        (1..).zip(lines).filter(|(_, line)| !line.trim_ascii().is_empty())
    }

    /// One value for each line, `rows` of them.
    fn each<T>(
        &self,
        rows: usize,
        allowed: &str,
        mut value: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, RowsError> {
        let mut values = Vec::new();
        for (number, line) in self.lines() {
            let value = value(line).ok_or_else(|| self.refused(number, &String::from_utf8_lossy(line), allowed))?;
            values.push(value);
        }
        if values.len() == rows {
            return Ok(values);
        }
        let data = self.data.display();
        let expected = format!("{rows}, one for each row of {data}; blank lines do not count");
        Err(self.refused(0, &format!("{} lines", values.len()), expected))
    }

    /// Sizes of the queries, each with its line; they sum to `rows`.
    pub(super) fn queries(&self, rows: usize) -> Result<Vec<(u64, u32)>, RowsError> {
        let mut sizes = Vec::new();
        let mut sum = 0;
        for (number, line) in self.lines() {
            let size: Option<u32> = number_in(line).filter(|size| *size > 0);
            let allowed = "the size of a query, an integer of at least 1";
            let size = size.ok_or_else(|| self.refused(number, &String::from_utf8_lossy(line), allowed))?;
            sizes.push((number, size));
            sum += u64::from(size);
        }
        if sum == rows as u64 {
            return Ok(sizes);
        }
        let expected = format!("a sum of {rows}, the rows of {}", self.data.display());
        Err(self.refused(0, &format!("sizes that sum to {sum}"), expected))
    }

    /// A weight for each of `rows`.
    pub(super) fn weights(&self, rows: usize) -> Result<Vec<f32>, RowsError> {
        self.each(rows, "a weight, a number of at least 0", |line| {
            let weight = number_in::<f64>(line)? as f32;
            (weight >= 0.0 && weight.is_finite()).then_some(weight)
        })
    }

    /// A position for each of `rows`. Any text names a position, and equal ones the same: they are numbered as they
    /// come.
    pub(super) fn positions(&self, rows: usize) -> Result<Vec<u32>, RowsError> {
        let mut numbers: HashMap<Vec<u8>, u32> = HashMap::new();
        // LightGBM would take "1" and "1 " for two positions.
        let allowed = "a position without blanks around it";
        self.each(rows, allowed, |line| {
            let next = u32::try_from(numbers.len()).ok()?;
            (line.trim_ascii() == line).then(|| *numbers.entry(line.to_vec()).or_insert(next))
        })
    }

    /// Initial scores for each of `rows`: those of the first output, row by row, then those of the next.
    pub(super) fn initial_scores(&self, rows: usize) -> Result<Vec<f64>, RowsError> {
        let outputs = self.lines().next().map_or(1, |(_, line)| fields(line).count());
        let allowed = match outputs {
            1 => "an initial score, a finite number".to_owned(),
            _ => format!("{outputs} initial scores with tabs between them, as on the first line, each a finite number"),
        };
        let scores = self.each(rows, &allowed, |line| {
            let scores: Option<Vec<f64>> = fields(line).map(number_in).collect();
            scores.filter(|scores| scores.len() == outputs && scores.iter().all(|score| score.is_finite()))
        })?;
        Ok((0..outputs)
            .flat_map(|output| scores.iter().map(move |scores| scores[output]))
            .collect())
    }

    pub(super) fn refused(&self, line: u64, value: &str, allowed: impl Into<String>) -> RowsError {
        ReadError::refused(line, None, value, allowed).in_file(&self.path)
    }
}

fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b'\t')
}

fn number_in<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

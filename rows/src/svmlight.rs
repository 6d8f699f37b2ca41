//! SVMlight/LETOR: `label [qid:N] index:value ... [# comment]`, read as LightGBM reads it. The index as written is
//! the column (`1:0.5` is column 1, and column 0 exists), what a row does not mention is 0.0.

mod beside;
mod line;
mod ranking;

use std::io::{BufRead, BufReader, Read};

use crate::categories::{Codes, Number};
use crate::error::ReadError;
use crate::{Expect, MAX_COLUMNS, MAX_LINE_BYTES, MAX_VALUES, Table};
use line::Parsed;

pub use ranking::{Ranking, read_ranking};

/// Rows as they stand in the file, before they are spread out.
#[derive(Default)]
struct Sparse {
    /// Column and value, row after row.
    entries: Vec<(u32, f64)>,
    /// Where each row's entries end.
    ends: Vec<usize>,
    labels: Vec<Option<f64>>,
    qids: Vec<Option<u64>>,
    /// Line of each row, from 1.
    lines: Vec<u64>,
    /// One more than the largest column.
    width: usize,
}

/// A column beyond the expected ones is refused, as LightGBM does: mostly it is a file that counts from 1, all of whose
/// values would be taken for their neighbours'.
pub(crate) fn read(input: impl Read, expect: &Expect) -> Result<Table, ReadError> {
    let codes = Codes::of(expect)?;
    let width = expect.names.len();
    let sparse = parse(input, Some(width))?;
    let labels = all_or_none(&sparse.labels, &sparse.lines, "a label")?;
    let qids = all_or_none(&sparse.qids, &sparse.lines, "a qid:")?;
    let mut values = sparse.dense(width)?;
    for (column, codes) in codes.iter().enumerate() {
        let Some(codes) = codes else { continue };
        for (row, line) in values.chunks_exact_mut(width).zip(&sparse.lines) {
            row[column] = code(row[column], codes).ok_or_else(|| {
                let name = Some(expect.names[column].clone());
                ReadError::refused(*line, name, &row[column].to_string(), codes.allowed())
            })?;
        }
    }
    Ok(Table {
        width,
        values,
        labels,
        qids,
        rows: sparse.ends.len(),
    })
}

/// `None`: the list has no numbers, and SVMlight has nothing else.
fn code(value: f64, codes: &Codes) -> Option<f64> {
    if value.is_nan() {
        Some(value)
    } else {
        codes.number(Number::from(value)).ok()
    }
}

/// `width`: columns from it on are refused; `None` takes as many as the file mentions.
fn parse(input: impl Read, width: Option<usize>) -> Result<Sparse, ReadError> {
    let most = width.unwrap_or(MAX_COLUMNS);
    let mut input = BufReader::with_capacity(1 << 18, input);
    let mut sparse = Sparse::default();
    let mut seen = line::Seen::default();
    let mut buffer = Vec::new();
    for number in 1.. {
        buffer.clear();
        let read = input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut buffer)?;
        if read == 0 {
            break;
        }
        if read as u64 == MAX_LINE_BYTES && buffer.last() != Some(&b'\n') {
            let allowed = format!("lines of less than {MAX_LINE_BYTES} bytes");
            return Err(ReadError::refused(number, None, "a longer line", allowed));
        }
        let text = text_of(&buffer, number)?;
        let entries = &mut sparse.entries;
        let Some(parsed) = line::parse(text, most, entries, &mut seen).map_err(|error| error.at(number))? else {
            continue;
        };
        sparse.end_row(parsed, number)?;
    }
    if sparse.ends.is_empty() {
        return Err(ReadError::refused(1, None, "", "at least one row"));
    }
    Ok(sparse)
}

/// A line without its end, its comment and the file's byte order mark.
fn text_of(line: &[u8], number: u64) -> Result<&str, ReadError> {
    if let Some(kind) = kind(line).filter(|_| number == 1) {
        return Err(ReadError::refused(number, None, kind, "SVMlight as text in UTF-8"));
    }
    let line = match number {
        1 => line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line),
        _ => line,
    };
    // Comments are often in another encoding than the rows.
    let end = line.iter().position(|&byte| byte == b'#').unwrap_or(line.len());
    let row = line[..end].trim_ascii();
    check_bytes(row, number)?;
    std::str::from_utf8(row)
        .map_err(|_| ReadError::refused(number, None, &String::from_utf8_lossy(line), "text in UTF-8"))
}

/// What a file that begins like this is, where it is nothing to be read line by line.
fn kind(start: &[u8]) -> Option<&'static str> {
    match start {
        [0x1F, 0x8B, ..] => Some("a file compressed by gzip"),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => Some("a file compressed by zstd"),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => Some("text in UTF-16"),
        _ => None,
    }
}

/// A carriage return that ends no line would join two rows.
fn check_bytes(row: &[u8], number: u64) -> Result<(), ReadError> {
    let (value, allowed) = match memchr::memchr2(0, b'\r', row).map(|at| row[at]) {
        None => return Ok(()),
        Some(0) => ("a zero byte", "text, which has no zero bytes"),
        Some(_) => (
            "a carriage return within the line",
            "lines that end with a line feed, or a carriage return and a line feed",
        ),
    };
    Err(ReadError::refused(number, None, value, allowed))
}

impl Sparse {
    fn end_row(&mut self, parsed: Parsed, line: u64) -> Result<(), ReadError> {
        if self.entries.len() > MAX_VALUES || self.ends.len() >= MAX_VALUES {
            let allowed = format!("at most {MAX_VALUES} values in a file");
            return Err(ReadError::refused(line, None, "a further row", allowed));
        }
        self.width = self.width.max(parsed.width);
        self.ends.push(self.entries.len());
        self.labels.push(parsed.label);
        self.qids.push(parsed.qid);
        self.lines.push(line);
        Ok(())
    }

    fn dense(&self, width: usize) -> Result<Vec<f64>, ReadError> {
        let rows = self.ends.len();
        let size = rows
            .checked_mul(width)
            .filter(|size| *size <= MAX_VALUES)
            .ok_or_else(|| {
                let allowed = format!("at most {MAX_VALUES} values in a table, absent ones counted");
                ReadError::refused(0, None, &format!("{rows} rows of {width} columns"), allowed)
            })?;
        let mut values = vec![0.0; size];
        let mut start = 0;
        for (row, &end) in self.ends.iter().enumerate() {
            for &(column, value) in &self.entries[start..end] {
                values[row * width + column as usize] = value;
            }
            start = end;
        }
        Ok(values)
    }
}

/// What either every row has or none.
fn all_or_none<T: Copy>(values: &[Option<T>], lines: &[u64], what: &str) -> Result<Option<Vec<T>>, ReadError> {
    let first = values.first().is_some_and(Option::is_some);
    if let Some(other) = values.iter().position(|v| v.is_some() != first) {
        let value = if first {
            format!("a row without {what}")
        } else {
            format!("a row with {what}")
        };
        let allowed = format!("{what} on every row or on none");
        return Err(ReadError::refused(lines[other], None, &value, allowed));
    }
    Ok(values.iter().copied().collect())
}

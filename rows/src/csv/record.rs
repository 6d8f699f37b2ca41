//! Records and their places: lines are counted as an editor counts them, whatever their ends and whatever is quoted.

use std::io::{self, BufRead, Read};

use crate::error::ReadError;
use crate::{MAX_COLUMNS, MAX_LINE_BYTES};

/// What comes next in a file.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    Record,
    /// A line of nothing but blanks.
    Blank,
    End,
}

/// Why there is no further record.
#[derive(Debug)]
pub(super) enum Error {
    Io(io::Error),
    Refused {
        line: u64,
        /// From 0.
        field: Option<usize>,
        value: String,
        allowed: String,
    },
}

impl Error {
    fn refused(line: u64, field: Option<usize>, value: &str, allowed: impl Into<String>) -> Error {
        Error::Refused {
            line,
            field,
            value: value.to_owned(),
            allowed: allowed.into(),
        }
    }

    /// With the column's name for its number.
    pub(super) fn named(self, name: impl FnOnce(usize) -> String) -> ReadError {
        match self {
            Error::Io(error) => ReadError::Io(error),
            Error::Refused {
                line,
                field,
                value,
                allowed,
            } => ReadError::refused(line, field.map(name), &value, allowed),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

/// A field: where its text ends, and the line that it begins in.
struct Field {
    end: usize,
    line: u64,
}

/// One record after the other, in a buffer.
pub(super) struct Records<R> {
    input: R,
    /// Line of the record, from 1; 0 before the first.
    line: u64,
    /// Lines read so far.
    lines: u64,
    /// The physical line that is looked at, without its end.
    raw: Vec<u8>,
    /// Whether `raw` is still to be read.
    peeked: bool,
    /// The fields' texts, one after the other.
    text: Vec<u8>,
    fields: Vec<Field>,
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(input: R) -> Records<R> {
        Records {
            input,
            line: 0,
            lines: 0,
            raw: Vec::new(),
            peeked: false,
            text: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// The next line, which stays the next one. Empty at the end.
    pub(super) fn peek_line(&mut self) -> Result<&[u8], Error> {
        if !self.peeked {
            self.peeked = self.read_line()?;
            if self.peeked {
                self.lines -= 1;
            }
        }
        Ok(&self.raw)
    }

    pub(super) fn next_line_is_blank(&mut self) -> Result<bool, Error> {
        let blank = self.peek_line()?.trim_ascii().is_empty();
        // A line of tabs is a record of missing values where tabs stand between fields.
        Ok(blank && self.peeked && !self.raw.contains(&b'\t'))
    }

    /// Leaves a line out, and says which.
    pub(super) fn skip_line(&mut self) -> Result<u64, Error> {
        self.peek_line()?;
        self.peeked = false;
        self.lines += 1;
        self.line = self.lines;
        Ok(self.lines)
    }

    /// Reads a record into the buffer.
    pub(super) fn next(&mut self, separator: u8) -> Result<Next, Error> {
        self.text.clear();
        self.fields.clear();
        self.peek_line()?;
        if !std::mem::take(&mut self.peeked) {
            return Ok(Next::End);
        }
        self.lines += 1;
        self.line = self.lines;
        let blank = |byte: &u8| *byte != separator && byte.is_ascii_whitespace();
        if self.raw.iter().all(blank) {
            return Ok(Next::Blank);
        }
        match memchr::memchr(b'"', &self.raw) {
            None => self.split(separator)?,
            Some(_) => self.unquote(separator)?,
        }
        Ok(Next::Record)
    }

    /// Line of the record in the buffer, or of the line that was last left out.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// How many fields the record has.
    pub(super) fn fields(&self) -> usize {
        self.fields.len()
    }

    /// # Panics
    /// If the record has fewer fields.
    pub(super) fn field(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.fields[before].end);
        &self.text[start..self.fields[at].end]
    }

    /// The line that a field begins in.
    pub(super) fn line_of(&self, at: usize) -> u64 {
        self.fields[at].line
    }

    /// The fields as texts; what is not UTF-8 becomes a replacement character, which no feature's name has.
    pub(super) fn texts(&self) -> Vec<String> {
        let text = |at| String::from_utf8_lossy(self.field(at)).into_owned();
        (0..self.fields()).map(text).collect()
    }

    /// `false`: the file is at its end.
    fn read_line(&mut self) -> Result<bool, Error> {
        self.raw.clear();
        let read = self
            .input
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut self.raw)?;
        if read == 0 {
            return Ok(false);
        }
        self.lines += 1;
        if self.raw.last() == Some(&b'\n') {
            self.raw.pop();
        } else if read as u64 == MAX_LINE_BYTES {
            return Err(self.too_long(self.lines));
        }
        if self.raw.last() == Some(&b'\r') {
            self.raw.pop();
        }
        match memchr::memchr2(0, b'\r', &self.raw).map(|at| self.raw[at]) {
            None => Ok(true),
            Some(0) => {
                let allowed = "text, which has no zero bytes";
                Err(Error::refused(self.lines, None, "a zero byte", allowed))
            }
            Some(_) => {
                let allowed = "lines that end with a line feed, or a carriage return and a line feed";
                Err(Error::refused(
                    self.lines,
                    None,
                    "a carriage return within the line",
                    allowed,
                ))
            }
        }
    }

    fn too_long(&self, line: u64) -> Error {
        let allowed = format!("records of less than {MAX_LINE_BYTES} bytes");
        Error::refused(line, None, "a longer one", allowed)
    }

    fn end_field(&mut self, line: u64) -> Result<(), Error> {
        if self.fields.len() > MAX_COLUMNS {
            let allowed = format!("at most {MAX_COLUMNS} columns");
            return Err(Error::refused(self.line, None, "more fields", allowed));
        }
        let end = self.text.len();
        self.fields.push(Field { end, line });
        Ok(())
    }

    /// A record without quotes.
    fn split(&mut self, separator: u8) -> Result<(), Error> {
        let raw = std::mem::take(&mut self.raw);
        let fields = raw.split(|byte| *byte == separator).try_for_each(|field| {
            self.text.extend_from_slice(field);
            self.end_field(self.line)
        });
        self.raw = raw;
        fields
    }

    /// A record with quotes, over as many lines as they hold together.
    fn unquote(&mut self, separator: u8) -> Result<(), Error> {
        let mut at = 0;
        loop {
            let line = self.lines;
            if self.raw.get(at) == Some(&b'"') {
                at = self.quoted(at + 1, separator)?;
            } else {
                let rest = &self.raw[at..];
                let length = rest.iter().position(|byte| *byte == separator).unwrap_or(rest.len());
                let field = &rest[..length];
                if field.contains(&b'"') {
                    let value = String::from_utf8_lossy(field).into_owned();
                    return Err(self.stray_quote(line, &value));
                }
                self.text.extend_from_slice(field);
                at += length;
            }
            self.end_field(line)?;
            if at == self.raw.len() {
                return Ok(());
            }
            at += 1;
        }
    }

    /// A quoted field from behind its first quote; gives where the line goes on behind its last.
    fn quoted(&mut self, mut at: usize, separator: u8) -> Result<usize, Error> {
        let (opened, start) = (self.lines, self.text.len());
        loop {
            let rest = &self.raw[at..];
            let Some(length) = memchr::memchr(b'"', rest) else {
                self.text.extend_from_slice(rest);
                self.text.push(b'\n');
                if self.text.len() as u64 > MAX_LINE_BYTES {
                    return Err(self.open_quote(opened, start, format!("within {MAX_LINE_BYTES} bytes")));
                }
                if !self.read_line()? {
                    return Err(self.open_quote(opened, start, "before the file ends".to_owned()));
                }
                at = 0;
                continue;
            };
            self.text.extend_from_slice(&rest[..length]);
            at += length + 1;
            match self.raw.get(at) {
                Some(b'"') => {
                    self.text.push(b'"');
                    at += 1;
                }
                None => return Ok(at),
                Some(byte) if *byte == separator => return Ok(at),
                Some(_) => {
                    let field = String::from_utf8_lossy(&self.text[start..]).into_owned();
                    let behind = self.raw[at..]
                        .split(|byte| *byte == separator)
                        .next()
                        .unwrap_or_default();
                    let behind = String::from_utf8_lossy(behind);
                    let value = if opened == self.lines {
                        format!("\"{field}\"{behind}")
                    } else {
                        format!("{behind} behind the quotes that open in line {opened}")
                    };
                    return Err(self.stray_quote(self.lines, &value));
                }
            }
        }
    }

    fn open_quote(&self, line: u64, start: usize, by: String) -> Error {
        let text = String::from_utf8_lossy(&self.text[start..]).into_owned();
        let value = format!("\"{}", text.lines().next().unwrap_or_default());
        Error::refused(
            line,
            Some(self.fields.len()),
            &value,
            format!("a quote that is closed {by}"),
        )
    }

    fn stray_quote(&self, line: u64, value: &str) -> Error {
        let allowed = "quotes around a whole field, and doubled within it";
        Error::refused(line, Some(self.fields.len()), value, allowed)
    }
}

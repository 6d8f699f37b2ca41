//! The formats that rows are read from, and how a file's format is told.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::error::ReadError;
use crate::input::Input;
use crate::{Header, Options, foreign};

/// How rows are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Fields with commas between. Where nothing but the file's ending says so, it may also be tabs.
    Csv,
    /// Fields with tabs between.
    Tsv,
    /// Lines of `label [qid:N] index:value ...`: SVMlight, LIBSVM, LETOR. What is absent is 0.
    SvmLight,
    /// Apache Parquet. It needs a regular file, not a pipe.
    Parquet,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Format, String> {
        match name {
            "csv" => Ok(Format::Csv),
            "tsv" => Ok(Format::Tsv),
            "svm" => Ok(Format::SvmLight),
            "parquet" => Ok(Format::Parquet),
            other => Err(format!("{other:?} is no format; allowed: csv, tsv, svm, parquet")),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Csv => "csv",
            Format::Tsv => "tsv",
            Format::SvmLight => "svm",
            Format::Parquet => "parquet",
        })
    }
}

/// As told, else by Parquet's magic, else by the file's ending (`.csv`; `.tsv`, `.tab`; `.svm`, `.svmlight`, `.libsvm`,
/// `.letor`; `.parquet`), else by its first lines: `index:value` pairs, and otherwise CSV. A file that is something else
/// is refused by what it is.
pub(crate) fn of(path: &Path, input: &Input, options: &Options) -> Result<Format, ReadError> {
    let head = input.head();
    let format = match options.format {
        Some(told) => told,
        None if head.starts_with(b"PAR1") && !foreign::is_text(head) => Format::Parquet,
        None => by_ending(path).unwrap_or_else(|| by_lines(head)),
    };
    if let Some(kind) = foreign::kind(head)
        && !(format == Format::Parquet && kind.is_parquet())
        // Markup and JSON are text, and may be one that was told to be a table.
        && !(options.format.is_some() && format != Format::Parquet && foreign::is_text(head))
    {
        return Err(ReadError::OtherKind(kind));
    }
    if options.header != Header::Unknown && !matches!(format, Format::Csv | Format::Tsv) {
        let allowed = "that only for csv and tsv";
        let value = format!("whether {format} has a header");
        return Err(ReadError::refused(0, None, &value, allowed));
    }
    Ok(format)
}

fn by_ending(path: &Path) -> Option<Format> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    match ending.as_str() {
        "csv" => Some(Format::Csv),
        "tsv" | "tab" => Some(Format::Tsv),
        "svm" | "svmlight" | "libsvm" | "letor" => Some(Format::SvmLight),
        "parquet" => Some(Format::Parquet),
        _ => None,
    }
}

fn by_lines(head: &[u8]) -> Format {
    let pair = |token: &[u8]| {
        let colon = token.iter().position(|byte| *byte == b':');
        colon.is_some_and(|at| &token[..at] == b"qid" || (at > 0 && token[..at].iter().all(u8::is_ascii_digit)))
    };
    let sparse = |line: &[u8]| {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        // A label, which is no pair, may come first, and only there: `12:30` in a table is not an entry.
        let mut tokens = line.split(u8::is_ascii_whitespace).filter(|token| !token.is_empty());
        let first = tokens.next().is_some_and(pair);
        let others = tokens.map(pair).collect::<Vec<_>>();
        (first || !others.is_empty()) && others.iter().all(|pair| *pair)
    };
    let mut lines = head.split(|byte| *byte == b'\n').take(100);
    if lines.any(|line| !line.contains(&b',') && sparse(line)) {
        Format::SvmLight
    } else {
        Format::Csv
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_telling_name_goes_by_its_first_lines() {
        for (head, format) in [
            ("# LETOR\n\n0 qid:1 3:0.5\n", Format::SvmLight),
            ("0\n1 2:0.5\n", Format::SvmLight),
            ("0:1\n", Format::SvmLight),
            ("a,b:c\n1,2\n", Format::Csv),
            ("0.25\t0.125\n", Format::Csv),
            ("ns:price\n0.5\n", Format::Csv),
            ("0.5\n0.7\n", Format::Csv),
            ("", Format::Csv),
        ] {
            assert_eq!(by_lines(head.as_bytes()), format, "{head}");
        }
    }
}

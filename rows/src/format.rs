use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use crate::RowsError;
use crate::error::Trouble;

/// How rows are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Csv,
    SvmLight,
    Parquet,
}

impl Format {
    /// By the file's ending (`.csv`; `.svm`, `.svmlight`, `.libsvm`, `.letor`; `.parquet`), else by its first bytes:
    /// Parquet's magic, `index:value` pairs, and otherwise CSV.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn of(path: &Path) -> Result<Format, RowsError> {
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        match ending.to_ascii_lowercase().as_str() {
            "csv" => Ok(Format::Csv),
            "svm" | "svmlight" | "libsvm" | "letor" => Ok(Format::SvmLight),
            "parquet" => Ok(Format::Parquet),
            _ => head(path).map(|head| sniff(&head)),
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Format, String> {
        match name {
            "csv" => Ok(Format::Csv),
            "svm" => Ok(Format::SvmLight),
            "parquet" => Ok(Format::Parquet),
            other => Err(format!("{other:?} is no format; allowed: csv, svm, parquet")),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Csv => "csv",
            Format::SvmLight => "svm",
            Format::Parquet => "parquet",
        })
    }
}

fn head(path: &Path) -> Result<Vec<u8>, RowsError> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head));
    read.map_err(|e| Trouble::from(e).in_file(path))?;
    Ok(head)
}

fn sniff(head: &[u8]) -> Format {
    if head.starts_with(b"PAR1") {
        return Format::Parquet;
    }
    let written = |line: &&[u8]| !line.trim_ascii().is_empty() && !line.starts_with(b"#");
    let line = head.split(|b| *b == b'\n').find(written).unwrap_or_default();
    match (line.contains(&b','), line.contains(&b':')) {
        (false, true) => Format::SvmLight,
        _ => Format::Csv,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_telling_name_goes_by_its_first_line() {
        assert_eq!(sniff(b"PAR1\0\0"), Format::Parquet);
        assert_eq!(sniff(b"# LETOR\n\n0 qid:1 3:0.5\n"), Format::SvmLight);
        assert_eq!(sniff(b"a,b:c\n1,2\n"), Format::Csv);
        assert_eq!(sniff(b"0.5\n0.7\n"), Format::Csv);
        assert_eq!(sniff(b""), Format::Csv);
    }
}

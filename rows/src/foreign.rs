//! Files that are no table of ours, told by their first bytes.

use std::fmt;

/// What a file is, and what to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub what: &'static str,
    pub remedy: &'static str,
}

const UNPACK: &str = "unpack it and pass the rows through a pipe, with --input -";
const EXPORT: &str = "export it as CSV or Parquet";
const UTF8: &str = "convert it to UTF-8, for example with iconv";
const PARQUET: &str = "a Parquet file";

const MAGIC: &[(&[u8], &str, &str)] = &[
    (b"PAR1", PARQUET, "read it with --format parquet, or without --format"),
    (b"PARE", "an encrypted Parquet file", "decrypt it first"),
    (b"\x1f\x8b", "compressed with gzip", UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", UNPACK),
    (b"\xfd7zXZ\0", "compressed with xz", UNPACK),
    (b"\x04\x22\x4d\x18", "compressed with lz4", UNPACK),
    (b"\xff\x06\0\0sNaPpY", "compressed with snappy", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
    (
        b"PK\x03\x04",
        "a ZIP archive, as Excel's .xlsx is one",
        "export the sheet as CSV, or unpack the archive",
    ),
    (b"PK\x05\x06", "an empty ZIP archive", EXPORT),
    (
        b"\xd0\xcf\x11\xe0",
        "an old Office document, such as Excel's .xls",
        "export the sheet as CSV",
    ),
    (b"\xff\xfe\0\0", "text in UTF-32", UTF8),
    (b"\0\0\xfe\xff", "text in UTF-32", UTF8),
    (b"\xff\xfe", "text in UTF-16", UTF8),
    (b"\xfe\xff", "text in UTF-16", UTF8),
    (b"ARROW1", "an Arrow IPC (Feather) file", EXPORT),
    (b"FEA1", "a Feather file", EXPORT),
    (b"\xff\xff\xff\xff", "an Arrow IPC stream", EXPORT),
    (b"Obj\x01", "an Avro file", EXPORT),
    (b"ORC", "an ORC file", EXPORT),
    (b"SQLite format 3\0", "an SQLite database", EXPORT),
    (b"\x89HDF", "an HDF5 file", EXPORT),
    (b"\x93NUMPY", "a NumPy array", EXPORT),
    (b"\x80\x02", "a Python pickle", EXPORT),
    (b"\x80\x03", "a Python pickle", EXPORT),
    (b"\x80\x04", "a Python pickle", EXPORT),
    (b"\x80\x05", "a Python pickle", EXPORT),
    (b"%PDF", "a PDF document", EXPORT),
    (b"\x7fELF", "a program", EXPORT),
    (
        b"\0asm",
        "a WebAssembly file",
        "pass the file of rows to --input, and the component before it",
    ),
    (b"tree\nversion=", "a LightGBM model", "pass a file of rows"),
    (b"tree\r\nversion=", "a LightGBM model", "pass a file of rows"),
    (
        b"______LightGBM_Binary_File_Token______",
        "a binary LightGBM data set",
        "pass the file that it was made from",
    ),
];

/// Markup begins like this, in any case, after blanks.
const MARKUP: &[(&str, &str)] = &[
    ("<!doctype", "an HTML page"),
    ("<html", "an HTML page"),
    ("<head", "an HTML page"),
    ("<table", "an HTML page"),
    ("<?xml", "an XML document"),
];

impl Kind {
    pub(crate) fn is_parquet(&self) -> bool {
        self.what == PARQUET
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

/// What a file that begins so is; `None`: perhaps text.
pub(crate) fn kind(head: &[u8]) -> Option<Kind> {
    let of = |what, remedy| Some(Kind { what, remedy });
    // A column may be called as a magic that is made of letters.
    let text = |magic: &[u8]| magic.iter().all(u8::is_ascii_alphanumeric) && is_text(head);
    if let Some((_, what, remedy)) = MAGIC.iter().find(|(magic, ..)| head.starts_with(magic) && !text(magic)) {
        return of(what, remedy);
    }
    if head.starts_with(b"BZh") && head.get(4..10) == Some(b"1AY&SY") {
        return of("compressed with bzip2", UNPACK);
    }
    if head.get(8..12) == Some(b"DUCK") {
        return of("a DuckDB database", EXPORT);
    }
    if head.get(257..262) == Some(b"ustar") {
        return of("a tar archive", UNPACK);
    }
    if head.contains(&0) {
        return if wide(head) {
            of("text in UTF-16", UTF8)
        } else {
            of("binary data, with zero bytes", EXPORT)
        };
    }
    let start = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let begins = |tag: &str| {
        start
            .get(..tag.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(tag.as_bytes()))
    };
    if let Some((_, what)) = MARKUP.iter().find(|(tag, _)| begins(tag)) {
        return of(what, EXPORT);
    }
    json(start).then_some(Kind {
        what: "JSON",
        remedy: EXPORT,
    })
}

/// Whether a file that begins so is text: UTF-8 without control characters, but for those that end and part lines.
pub(crate) fn is_text(head: &[u8]) -> bool {
    let is_odd = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r');
    let is_utf8 = match std::str::from_utf8(head) {
        Ok(_) => true,
        // Its last character may go on behind it.
        Err(error) => error.error_len().is_none(),
    };
    is_utf8 && !head.iter().any(is_odd)
}

/// Every other byte is zero: ASCII in UTF-16 without its mark.
fn wide(head: &[u8]) -> bool {
    let zeros = |from: usize| head.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    even.max(odd) * 10 >= head.len() / 2 * 9 && even.min(odd) == 0
}

fn json(start: &[u8]) -> bool {
    let mut bytes = start.iter().filter(|byte| !byte.is_ascii_whitespace());
    match (bytes.next(), bytes.next()) {
        (Some(b'{'), Some(b'"' | b'}')) => true,
        (Some(b'['), Some(next)) => matches!(next, b'{' | b'[' | b'"' | b'-' | b']') || next.is_ascii_digit(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_kinds_of_files_are_told_from_text() {
        for (head, what) in [
            (&b"\x1f\x8b\x08\0"[..], "gzip"),
            (b"\xff\xfea\0,\0b\0", "UTF-16"),
            (b"a\0,\0b\0\n\0", "UTF-16"),
            (b"a,b\n1,2\0\n", "zero bytes"),
            (b"BZh91AY&SY..", "bzip2"),
            (b"PK\x03\x04..", "xlsx"),
            (b"  <!DOCTYPE html>", "HTML"),
            (b"\xef\xbb\xbf[{\"a\": 1}]", "JSON"),
            (b"{\"a\": 1}\n{\"a\": 2}\n", "JSON"),
            (b"tree\nversion=v4\n", "LightGBM model"),
            (b"ORC\0\x11", "ORC"),
        ] {
            let kind = kind(head).unwrap_or_else(|| panic!("{what} is taken for text"));
            assert!(kind.what.contains(what), "{kind}");
        }
        for text in [
            "a,b\n1,2\n",
            "",
            "ORC,b\n",
            "PARENT,a\n1,2\n",
            "PAR1,a\n",
            "FEA1,a\n",
            "ARROW1\n1\n",
            "tree,leaf\n",
            "<a>,b\n",
            "BZh9,b\n",
            "[a],b\n",
            "\u{feff}a\n",
        ] {
            assert_eq!(kind(text.as_bytes()), None, "{text}");
        }
    }
}

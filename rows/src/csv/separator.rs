//! What stands between the fields.

use crate::columns::has_all;
use crate::error::ReadError;
use crate::foreign::Kind;
use crate::{Expect, number};

/// A comma or a tab, by the first line. Other tables are refused by what they are.
pub(super) fn find(line: &[u8], number: u64, expect: &Expect) -> Result<u8, ReadError> {
    let outside = outside_quotes(line);
    let count = |separator: u8| outside.iter().filter(|byte| **byte == separator).count();
    let [commas, tabs, semicolons, bars] = [b',', b'\t', b';', b'|'].map(count);
    let fits = [b',', b'\t'].map(|separator| Fit::of(line, separator, expect));
    match (commas, tabs) {
        _ if fits[0] == Fit::Exact && fits[1] != Fit::Exact => Ok(b','),
        _ if fits[1] == Fit::Exact && fits[0] != Fit::Exact => Ok(b'\t'),
        (0, 0) if semicolons > 0 => Err(other("a table with semicolons between its fields")),
        (0, 0) if bars > 0 => Err(other("a table with vertical bars between its fields")),
        (0, 0) if expect.names.len() > 1 && of_numbers(line, b' ') => {
            Err(other("a table with blanks between its fields"))
        }
        (_, 0) if semicolons > 0 && (fits[0] == Fit::None || of_numbers(&with_points(line), b';')) => {
            Err(other("a table with semicolons between its fields"))
        }
        (_, 0) => Ok(b','),
        (0, _) => Ok(b'\t'),
        _ if fits[0] != Fit::None && fits[1] == Fit::None => Ok(b','),
        _ if fits[1] != Fit::None && fits[0] == Fit::None => Ok(b'\t'),
        _ => {
            let value = String::from_utf8_lossy(line);
            let allowed = "either commas or tabs between the fields; --format csv or tsv says which";
            Err(ReadError::refused(number, None, &value, allowed))
        }
    }
}

fn other(what: &'static str) -> ReadError {
    ReadError::OtherKind(Kind {
        what,
        remedy: "write commas or tabs between them, and decimal points in numbers",
    })
}

/// How well a line fits what is wanted.
#[derive(Clone, Copy, PartialEq)]
enum Fit {
    None,
    /// As many fields.
    Width,
    /// All names, or as many values.
    Exact,
}

impl Fit {
    fn of(line: &[u8], separator: u8, expect: &Expect) -> Fit {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == separator).collect();
        let name = |field: &&[u8]| {
            let field = field.trim_ascii();
            let bare = field.strip_prefix(b"\"").and_then(|field| field.strip_suffix(b"\""));
            String::from_utf8_lossy(bare.unwrap_or(field)).into_owned()
        };
        let names: Vec<String> = fields.iter().map(name).collect();
        let width = fields.len() == expect.names.len();
        if has_all(&names, expect.names) || (width && of_numbers(line, separator)) {
            return Fit::Exact;
        }
        if width { Fit::Width } else { Fit::None }
    }
}

/// Several fields, and all of them numbers.
fn of_numbers(line: &[u8], separator: u8) -> bool {
    let mut fields = line.trim_ascii().split(|byte| *byte == separator).peekable();
    let several = line.trim_ascii().contains(&separator);
    several && fields.all(|field| number::parse(field).is_some())
}

/// Decimal commas as points.
pub(super) fn with_points(line: &[u8]) -> Vec<u8> {
    let point = |byte: &u8| if *byte == b',' { b'.' } else { *byte };
    line.iter().map(point).collect()
}

fn outside_quotes(line: &[u8]) -> Vec<u8> {
    let mut quoted = false;
    let outside = line.iter().filter(|byte| {
        quoted ^= **byte == b'"';
        !quoted
    });
    outside.copied().collect()
}

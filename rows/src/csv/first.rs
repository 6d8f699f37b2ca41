//! The first line: the columns' names, or a row?

use std::collections::HashSet;
use std::io::BufRead;

use super::record::Records;
use crate::categories::Codes;
use crate::columns::has_all;
use crate::error::{ReadError, few};
use crate::{Expect, Header, number};

/// By the names that are wanted, and by whether the fields can be values. What could be either is refused: a name is
/// never scored, and a row never lost.
pub(super) fn is_header(
    records: &Records<impl BufRead>,
    header: Header,
    expect: &Expect,
    codes: &[Option<Codes>],
) -> Result<bool, ReadError> {
    match header {
        Header::Present => return Ok(true),
        Header::Absent => return Ok(false),
        Header::Unknown => {}
    }
    let texts = records.texts();
    let fits = texts.len() == expect.names.len();
    let code = |at: usize| codes.get(at).and_then(Option::as_ref).filter(|_| fits);
    let no_value = (0..texts.len()).find(|at| !is_value(records.field(*at), code(*at)));
    let like_value = |at: usize| {
        let field = records.field(at).trim_ascii();
        !field.is_empty() && (is_value(field, code(at)) || begins_as_a_number(field))
    };
    let either = || Err(either(records.line(), &texts));
    match (has_all(&texts, expect.names), no_value) {
        (true, Some(_)) => Ok(true),
        (true, None) if are_seldom_values(expect.names) => Ok(true),
        (true, None) => either(),
        (false, None) if fits && like_names(&texts, expect.names) => either(),
        (false, None) => Ok(false),
        (false, Some(_)) if !(0..texts.len()).any(like_value) => Ok(true),
        (false, Some(at)) => {
            let header = if expect.by_position {
                "--header if this is the header"
            } else {
                "every feature of the model in a header"
            };
            let allowed = format!("{}; {header}", super::allowed(records.field(at), code(at)));
            Err(ReadError::refused(
                records.line(),
                Some(at.to_string()),
                &texts[at],
                allowed,
            ))
        }
    }
}

/// A first line that may be names or a row.
pub(super) fn either(line: u64, texts: &[String]) -> ReadError {
    let allowed = "--header if these are the columns' names, --no-header if they are a row";
    ReadError::refused(line, None, &few(texts), allowed)
}

/// The largest number that is taken for a name.
const LARGEST_NAME: f64 = 1e9;

/// Whether a line is of whole numbers, each another, as a table has for names that was made without any.
pub(super) fn counts(records: &Records<impl BufRead>) -> bool {
    let mut seen = HashSet::new();
    (0..records.fields()).all(|at| {
        let whole =
            number::parse(records.field(at)).filter(|number| number.fract() == 0.0 && number.abs() < LARGEST_NAME);
        whole.is_some_and(|number| seen.insert(number.to_bits()))
    })
}

fn is_value(field: &[u8], code: Option<&Codes>) -> bool {
    match code {
        // Any text is a category, if perhaps one that the model has not seen; a header is not to be taken for these.
        Some(codes) => codes.knows(field),
        None => super::cell(field, None).is_some(),
    }
}

/// As `1,5`, `12%` and `2026-11-29` do, which are no values, and no names either.
fn begins_as_a_number(field: &[u8]) -> bool {
    let field = field.strip_prefix(b"-").or(field.strip_prefix(b"+")).unwrap_or(field);
    let field = field.strip_prefix(b".").unwrap_or(field);
    field.first().is_some_and(u8::is_ascii_digit)
}

/// Whether a row that reads like these names, all of them values, would be a strange coincidence. One number is none,
/// and 0 and 1 are what half of all columns hold.
fn are_seldom_values(names: &[String]) -> bool {
    names.len() > 1 && names.iter().any(|name| name != "0" && name != "1")
}

/// Whether a first line of values, which lacks some of the wanted names, may yet be a header: where the model's names
/// are numbers, where one of them is in the line, and where the line counts upwards, as pandas names columns.
fn like_names(texts: &[String], wanted: &[String]) -> bool {
    let numbers = wanted.iter().all(|name| number::parse(name.as_bytes()).is_some());
    let one_of_them = texts
        .iter()
        .any(|text| wanted.iter().any(|name| name == text.trim_ascii()));
    let counted: Option<Vec<i64>> = texts.iter().map(|text| text.trim_ascii().parse().ok()).collect();
    let upwards =
        |counted: Vec<i64>| counted.len() > 2 && counted.windows(2).all(|two| two[0].checked_add(1) == Some(two[1]));
    numbers || one_of_them || counted.is_some_and(upwards)
}

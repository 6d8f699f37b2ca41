//! CSV (RFC 4180), with or without a header. Blank lines are no rows.

use std::collections::HashMap;
use std::io::Read;

use csv::{ByteRecord, ReaderBuilder};

use crate::error::Trouble;
use crate::{Expect, MAX_COLUMNS, MAX_VALUES, Table};

const CELL: &str = "a number, or empty or nan where the value is missing";

pub(crate) fn read(input: impl Read, expect: Option<&Expect>) -> Result<Table, Trouble> {
    // Lengths are checked below, with a message that says where.
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(input);
    let mut record = ByteRecord::new();
    if !next(&mut reader, &mut record)? {
        return Err(Trouble::refused(1, None, "", "at least one row"));
    }
    let columns = record.len();
    if columns > MAX_COLUMNS {
        let allowed = format!("at most {MAX_COLUMNS}");
        return Err(Trouble::refused(1, None, &format!("{columns} columns"), allowed));
    }
    let header = is_header(&record).then(|| names(&record)).transpose()?;
    let chosen = choose(header.as_deref(), columns, expect, line(&record))?;
    let mut table = Table {
        width: chosen.len(),
        ..Table::default()
    };
    let named = |at: usize| {
        header
            .as_ref()
            .map_or_else(|| at.to_string(), |names| names[at].clone())
    };
    let mut waiting = header.is_none();
    while waiting || next(&mut reader, &mut record)? {
        waiting = false;
        let line = line(&record);
        if record.len() != columns {
            let allowed = format!("{columns} fields, as in the first line");
            return Err(Trouble::refused(
                line,
                None,
                &format!("{} fields", record.len()),
                allowed,
            ));
        }
        if table.values.len() + table.width > MAX_VALUES {
            let allowed = format!("at most {MAX_VALUES} values in a table");
            return Err(Trouble::refused(line, None, "a further row", allowed));
        }
        for &at in &chosen {
            let value = cell(&record[at])
                .ok_or_else(|| Trouble::refused(line, Some(named(at)), &String::from_utf8_lossy(&record[at]), CELL))?;
            table.values.push(value);
        }
        table.rows += 1;
    }
    table.names = header.map(|names| chosen.iter().map(|&at| names[at].clone()).collect());
    Ok(table)
}

fn next(reader: &mut csv::Reader<impl Read>, record: &mut ByteRecord) -> Result<bool, Trouble> {
    reader
        .read_byte_record(record)
        .map_err(|error| Trouble::Io(std::io::Error::other(error)))
}

fn line(record: &ByteRecord) -> u64 {
    record.position().map_or(0, csv::Position::line)
}

/// The first line is a header when one of its fields cannot be a value.
fn is_header(first: &ByteRecord) -> bool {
    first.iter().any(|field| cell(field).is_none())
}

fn names(header: &ByteRecord) -> Result<Vec<String>, Trouble> {
    let names = header.iter().enumerate().map(|(at, name)| {
        let name = std::str::from_utf8(name.trim_ascii()).map_err(|_| {
            Trouble::refused(
                1,
                Some(at.to_string()),
                &String::from_utf8_lossy(name),
                "a name in UTF-8",
            )
        })?;
        Ok(name.to_owned())
    });
    names.collect()
}

/// Which of the file's columns make the table's, in order.
pub(crate) fn choose(
    header: Option<&[String]>,
    columns: usize,
    expect: Option<&Expect>,
    line: u64,
) -> Result<Vec<usize>, Trouble> {
    let Some(expect) = expect else {
        return Ok((0..columns).collect());
    };
    match (header, expect.names) {
        (Some(header), Some(wanted)) => by_name(header, wanted, line),
        _ if columns == expect.width => Ok((0..columns).collect()),
        _ => {
            let allowed = format!("exactly {} columns", expect.width);
            Err(Trouble::refused(line, None, &format!("{columns} columns"), allowed))
        }
    }
}

fn by_name(header: &[String], wanted: &[String], line: u64) -> Result<Vec<usize>, Trouble> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, name) in header.iter().enumerate() {
        places.entry(name).or_default().push(at);
    }
    let missing: Vec<String> = wanted
        .iter()
        .filter(|name| !places.contains_key(name.as_str()))
        .cloned()
        .collect();
    if !missing.is_empty() {
        return Err(Trouble::MissingColumns {
            missing,
            found: header.len(),
        });
    }
    let one = |name: &String| match places[name.as_str()][..] {
        [at] => Ok(at),
        ref at => {
            let value = format!("{} columns of this name", at.len());
            Err(Trouble::refused(
                line,
                Some(name.clone()),
                &value,
                "each needed column once",
            ))
        }
    };
    wanted.iter().map(one).collect()
}

/// A field as a value; `None`: it is none.
fn cell(field: &[u8]) -> Option<f64> {
    let field = field.trim_ascii();
    if field.is_empty() {
        return Some(f64::NAN);
    }
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len()
            && a.iter()
                .zip(b)
                .all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
    }

    fn message(text: &str, expect: Option<&Expect>) -> String {
        let error = read(text.as_bytes(), expect).unwrap_err();
        error.in_file("f.csv".as_ref()).to_string()
    }

    #[test]
    fn a_header_is_told_from_values() {
        let with = read("a,b\n1,2\n3,\n".as_bytes(), None).unwrap();
        assert_eq!(with.names, Some(vec!["a".into(), "b".into()]));
        assert!(same(&with.values, &[1.0, 2.0, 3.0, f64::NAN]));
        let without = read("1,nan\n,-inf\r\n\n 5 ,1e-400\n".as_bytes(), None).unwrap();
        assert_eq!((without.names.as_ref(), without.rows()), (None, 3));
        let inf = f64::NEG_INFINITY;
        assert!(same(&without.values, &[1.0, f64::NAN, f64::NAN, inf, 5.0, 0.0]));
        assert_eq!(read("a,b\n".as_bytes(), None).unwrap().rows(), 0);
    }

    #[test]
    fn needed_columns_are_found_by_name_and_others_ignored() {
        let names = ["b".to_owned(), "a".to_owned()];
        let expect = Expect {
            width: 2,
            names: Some(&names),
        };
        let table = read("\"a\",note,b\n1,x,2\n".as_bytes(), Some(&expect)).unwrap();
        assert_eq!((table.width, table.values), (2, vec![2.0, 1.0]));
        let missing = message("a,c\n1,2\n", Some(&expect));
        assert_eq!(missing, "f.csv lacks 1 needed columns: b; it has 2 columns");
        let doubled = message("a,b,a\n1,2,3\n", Some(&expect));
        assert!(doubled.contains("f.csv:1, column a"), "{doubled}");
        // By position the header does not matter, the number of columns does.
        let position = Expect { width: 2, names: None };
        assert_eq!(
            read("x,y\n1,2\n".as_bytes(), Some(&position)).unwrap().values,
            [1.0, 2.0]
        );
        let width = message("1,2,3\n", Some(&position));
        assert_eq!(width, "f.csv:1: \"3 columns\" is refused; allowed: exactly 2 columns");
    }

    #[test]
    fn a_bad_cell_is_refused_with_line_and_column() {
        let bad = message("a,b\n1,2\n3,x\n", None);
        assert!(
            bad.starts_with("f.csv:3, column b: \"x\" is refused; allowed: a number"),
            "{bad}"
        );
        let bad = message("1,2\n3,0x10\n", None);
        assert!(bad.starts_with("f.csv:2, column 1: \"0x10\""), "{bad}");
        let ragged = message("1,2\n3\n", None);
        assert!(ragged.starts_with("f.csv:2: \"1 fields\""), "{ragged}");
        assert!(message("", None).contains("at least one row"));
    }

    proptest! {
        #[test]
        fn what_is_written_comes_back_to_the_last_bit(
            rows in proptest::collection::vec(proptest::collection::vec(proptest::num::f64::ANY, 3), 1..20)
        ) {
            let text: String = rows.iter().map(|r| format!("{},{},{}\n", r[0], r[1], r[2])).collect();
            let table = read(text.as_bytes(), None).unwrap();
            prop_assert!(same(&table.values, &rows.concat()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(table) = read(&bytes[..], None) {
                prop_assert_eq!(table.values.len(), table.rows() * table.width);
            }
        }
    }
}

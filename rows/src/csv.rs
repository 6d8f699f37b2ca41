//! CSV (RFC 4180) and the same with tabs, with or without a header.
//!
//! Empty lines are no rows, except in a file of one column: there each is a row whose value is missing.

mod first;
mod record;
mod separator;

use std::io::BufRead;

use crate::categories::Codes;
use crate::columns::{Column, choose, has_all};
use crate::error::{ReadError, few};
use crate::{Expect, Format, Header, MAX_COLUMNS, MAX_VALUES, Options, Table, number};
use record::{Next, Records};

pub(crate) fn read(input: impl BufRead, options: &Options, expect: &Expect) -> Result<Table, ReadError> {
    let mut records = Records::new(input);
    let mut before = Blanks::default();
    while records.next_line_is_blank()? {
        before.add(records.skip_line()?);
    }
    let separator = match options.format {
        Some(Format::Csv) => b',',
        Some(Format::Tsv) => b'\t',
        _ => {
            let number = records.line() + 1;
            separator::find(records.peek_line()?, number, expect)?
        }
    };
    let Next::Record = records.next(separator)? else {
        return Err(ReadError::refused(1, None, "", "at least one row"));
    };
    let columns = bounded_columns(&records)?;
    let codes = Codes::of(expect)?;
    let header = first::is_header(&records, options.header, expect, &codes)?.then(|| records.texts());
    let chosen = choose(header.as_deref(), columns, expect, records.line())?;
    let like_a_header = header.is_none() && options.header == Header::Unknown && first::counts(&records);
    let mut reading = Reading {
        cells: chosen.into_iter().zip(codes).collect(),
        columns,
        header,
        table: Table {
            width: expect.names.len(),
            ..Table::default()
        },
        blanks: Blanks::default(),
        first: like_a_header.then(|| (records.line(), records.texts())),
    };
    if reading.header.is_none() {
        reading.blanks = before;
        reading.row(&records)?;
    }
    loop {
        match records.next(separator).map_err(|error| reading.name(error))? {
            Next::Record => reading.row(&records)?,
            Next::Blank => reading.blanks.add(records.line()),
            Next::End => break,
        }
    }
    let guessed = options.header == Header::Unknown && expect.by_position;
    if let Some(header) = reading
        .header
        .as_ref()
        .filter(|header| guessed && !has_all(header, expect.names))
        && reading.table.rows == 0
    {
        let allowed = "at least one row, or --header for a table without rows";
        return Err(ReadError::refused(records.line(), None, &few(header), allowed));
    }
    reading.end()
}

/// The number of columns of the first record.
fn bounded_columns(records: &Records<impl BufRead>) -> Result<usize, ReadError> {
    let columns = records.fields();
    if columns > MAX_COLUMNS {
        let found = format!("{columns} columns");
        let allowed = format!("at most {MAX_COLUMNS}");
        return Err(ReadError::refused(records.line(), None, &found, allowed));
    }
    Ok(columns)
}

/// Empty lines in a row.
#[derive(Default)]
struct Blanks {
    count: usize,
    /// Line of the first of them.
    first: u64,
}

impl Blanks {
    fn add(&mut self, line: u64) {
        if self.count == 0 {
            self.first = line;
        }
        self.count += 1;
    }
}

/// A table that is being read.
struct Reading<'a> {
    cells: Vec<(Column<'a>, Option<Codes>)>,
    /// Fields of every record.
    columns: usize,
    header: Option<Vec<String>>,
    table: Table,
    /// Since the last row.
    blanks: Blanks,
    /// The first line and its number, where it was taken for a row and may be the columns' names.
    first: Option<(u64, Vec<String>)>,
}

impl Reading<'_> {
    fn row(&mut self, records: &Records<impl BufRead>) -> Result<(), ReadError> {
        if records.fields() != self.columns {
            let value = format!("{} fields", records.fields());
            let allowed = format!("{} fields, as in the first line", self.columns);
            return Err(ReadError::refused(records.line(), None, &value, allowed));
        }
        let blanks = self.rows_without_text()?;
        let more = (blanks + 1).saturating_mul(self.table.width);
        if self.table.values.len() + more > MAX_VALUES {
            let allowed = format!("at most {MAX_VALUES} values in a table");
            return Err(ReadError::refused(records.line(), None, "a further row", allowed));
        }
        self.table
            .values
            .extend(std::iter::repeat_n(f64::NAN, blanks * self.table.width));
        for (column, codes) in &self.cells {
            let field = records.field(column.at);
            let value = cell(field, codes.as_ref()).ok_or_else(|| {
                let line = records.line_of(column.at);
                ReadError::refused(
                    line,
                    Some(self.column(column.at)),
                    &String::from_utf8_lossy(field),
                    allowed(field, codes.as_ref()),
                )
            })?;
            self.table.values.push(value);
        }
        self.table.rows += blanks + 1;
        self.compare_with_first()
    }

    /// Names of columns may be whole numbers; values that stand below them seldom all are.
    fn compare_with_first(&self) -> Result<(), ReadError> {
        let Some((line, texts)) = &self.first else {
            return Ok(());
        };
        let row = &self.table.values[self.table.values.len() - self.table.width..];
        if row.iter().any(|value| value.fract() != 0.0 && value.is_finite()) {
            Err(first::either(*line, texts))
        } else {
            Ok(())
        }
    }

    /// The empty lines before this row, where they are rows.
    fn rows_without_text(&mut self) -> Result<usize, ReadError> {
        if self.columns != 1 {
            return Ok(0);
        }
        let Blanks { count, first } = std::mem::take(&mut self.blanks);
        let mut codes = self.cells.iter().filter_map(|(_, codes)| codes.as_ref());
        if count > 0 && codes.any(Codes::have_a_blank) {
            let allowed = "a category of blanks in quotes, and nan where a value is missing";
            return Err(ReadError::refused(first, Some(self.column(0)), "", allowed));
        }
        Ok(count)
    }

    /// What the file calls a column, else its number.
    fn column(&self, at: usize) -> String {
        let name = self.header.as_ref().and_then(|names| names.get(at));
        name.map_or_else(|| at.to_string(), |name| few(&[name.trim_ascii()]))
    }

    fn name(&self, error: record::Error) -> ReadError {
        error.named(|at| self.column(at))
    }

    fn end(self) -> Result<Table, ReadError> {
        if self.columns == 1 && self.blanks.count > 0 {
            // A row whose value is missing, or the end of the file: some programs write one, some the other.
            let allowed = "nan where a value is missing, and no empty line at the end";
            return Err(ReadError::refused(self.blanks.first, Some(self.column(0)), "", allowed));
        }
        Ok(self.table)
    }
}

/// A field as a value; `None`: it is none.
fn cell(field: &[u8], codes: Option<&Codes>) -> Option<f64> {
    match codes {
        Some(codes) => codes.field(field).ok(),
        None => number::parse(field).or_else(|| number::boolean(field).map(f64::from)),
    }
}

/// What could stand in the place of a field that is no value.
fn allowed(field: &[u8], codes: Option<&Codes>) -> String {
    let comma = |field: &[u8]| field.contains(&b',') && number::parse(&separator::with_points(field)).is_some();
    match codes {
        Some(codes) => codes.allowed(),
        None if comma(field) => "a number with a decimal point and no commas".to_owned(),
        None => number::ALLOWED.to_owned(),
    }
}

impl From<record::Error> for ReadError {
    fn from(error: record::Error) -> ReadError {
        error.named(|at| at.to_string())
    }
}

#[cfg(test)]
mod tests;

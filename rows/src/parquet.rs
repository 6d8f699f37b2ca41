//! Parquet: columns of numbers, booleans and categories, by name; null is missing.

mod pages;

use std::fs::File;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Decimal128Type, Field, Float64Type, Int64Type, Schema, UInt64Type};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_schema};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use crate::categories::{Codes, Number};
use crate::columns::{Column, choose};
use crate::error::{ReadError, few};
use crate::{Expect, MAX_VALUES, Table};

const BATCH_ROWS: usize = 8192;
/// With texts in them: some encodings let each repeat nearly all of the one before.
const TEXT_BATCH_ROWS: usize = 64;
/// Digits of the widest decimal that is read.
const DECIMAL_DIGITS: u8 = 38;

pub(crate) fn read(file: File, expect: &Expect) -> Result<Table, ReadError> {
    // By Parquet's own types, and not by those that Arrow's writers note beside them: dictionaries among these are only
    // how the writer held a column, and of numbers the reader cannot make one.
    let options = || {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        options.with_page_index_policy(PageIndexPolicy::Skip)
    };
    let metadata = ArrowReaderMetadata::load(&file, options()).map_err(unreadable)?;
    let header: Vec<String> = metadata.schema().fields().iter().map(|f| f.name().clone()).collect();
    let columns = choose(Some(&header), header.len(), expect, 0)?;
    let codes = Codes::of(expect)?;
    let kinds = columns
        .iter()
        .map(|column| Kind::of(column, metadata.schema().field(column.at).data_type()));
    let kinds = kinds.collect::<Result<Vec<Kind>, ReadError>>()?;
    refuse_durations(metadata.metadata(), &columns)?;
    for (column, (kind, codes)) in columns.iter().zip(kinds.iter().zip(&codes)) {
        if *kind == Kind::Text && codes.is_none() {
            return Err(Kind::refused(column, metadata.schema().field(column.at).data_type()));
        }
    }
    let declared = pages::check(&file, metadata.metadata(), &columns)?;
    let cells: Vec<Cell> = columns
        .into_iter()
        .zip(kinds.into_iter().zip(codes))
        .map(|(column, (kind, codes))| Cell { column, kind, codes })
        .collect();
    // Texts stay where they are decoded: a long one in a dictionary is not copied for every row that has it.
    let viewed = viewed(metadata.schema(), &cells);
    let metadata = if cells.iter().any(|cell| cell.kind == Kind::Text) {
        ArrowReaderMetadata::try_new(metadata.metadata().clone(), options().with_schema(viewed))
    } else {
        Ok(metadata)
    };
    let mut table = Table {
        width: cells.len(),
        ..Table::default()
    };
    let batches = batches(file, metadata.map_err(unreadable)?, &cells)?;
    // Batches have the columns in the file's order.
    let mut order: Vec<usize> = (0..cells.len()).collect();
    order.sort_by_key(|wanted| cells[*wanted].column.at);
    for batch in batches {
        append(&mut table, &batch.map_err(unreadable)?, &cells, &order)?;
    }
    if table.rows == declared {
        Ok(table)
    } else {
        Err(ReadError::Parquet(format!(
            "it has {} rows, and says that it has {declared}",
            table.rows
        )))
    }
}

/// Parquet has no type for a span of time: it holds bare integers, and only what Arrow's writers note beside them says in
/// which unit.
fn refuse_durations(metadata: &ParquetMetaData, columns: &[Column]) -> Result<(), ReadError> {
    let file = metadata.file_metadata();
    // A note that cannot be read says nothing.
    let Ok(noted) = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata()) else {
        return Ok(());
    };
    let span = |column: &&Column| {
        let kind = noted.fields().get(column.at).map(|field| field.data_type());
        kind.filter(|kind| matches!(kind, DataType::Duration(_)))
    };
    match columns.iter().find_map(|column| Some((column, span(&column)?))) {
        Some((column, kind)) => Err(Kind::refused(column, kind)),
        None => Ok(()),
    }
}

fn unreadable(error: impl std::fmt::Display) -> ReadError {
    ReadError::Parquet(error.to_string())
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Integers,
    Unsigned,
    Floats,
    Decimals,
    Booleans,
    Text,
    /// Null in every row.
    Nothing,
}

impl Kind {
    fn of(column: &Column, kind: &DataType) -> Result<Kind, ReadError> {
        match kind {
            DataType::UInt64 => Ok(Kind::Unsigned),
            kind if kind.is_integer() => Ok(Kind::Integers),
            kind if kind.is_floating() => Ok(Kind::Floats),
            DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) => Ok(Kind::Decimals),
            DataType::Decimal256(digits, _) if *digits <= DECIMAL_DIGITS => Ok(Kind::Decimals),
            DataType::Boolean => Ok(Kind::Booleans),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(Kind::Text),
            DataType::Null => Ok(Kind::Nothing),
            _ => Err(Kind::refused(column, kind)),
        }
    }

    fn refused(column: &Column, kind: &DataType) -> ReadError {
        let name = Some(few(&[column.wanted]));
        let allowed = "a column of an integer, float, decimal or boolean type";
        ReadError::refused(0, name, &kind.to_string(), allowed)
    }
}

/// A column that is read, and how.
struct Cell<'a> {
    column: Column<'a>,
    kind: Kind,
    codes: Option<Codes>,
}

fn viewed(schema: &Schema, cells: &[Cell]) -> Arc<Schema> {
    let texts = |at: usize| cells.iter().any(|cell| cell.column.at == at && cell.kind == Kind::Text);
    let field = |(at, field): (usize, &Arc<Field>)| {
        if texts(at) {
            Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View))
        } else {
            field.clone()
        }
    };
    let fields: Vec<Arc<Field>> = schema.fields().iter().enumerate().map(field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn batches(
    file: File,
    metadata: ArrowReaderMetadata,
    cells: &[Cell],
) -> Result<impl Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>>, ReadError> {
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    let mask = ProjectionMask::roots(builder.parquet_schema(), cells.iter().map(|cell| cell.column.at));
    let rows = if cells.iter().any(|cell| cell.kind == Kind::Text) {
        TEXT_BATCH_ROWS
    } else {
        BATCH_ROWS
    };
    builder
        .with_projection(mask)
        .with_batch_size(rows)
        .build()
        .map_err(unreadable)
}

/// `order`: which of the cells each of the batch's columns is for.
fn append(table: &mut Table, batch: &RecordBatch, cells: &[Cell], order: &[usize]) -> Result<(), ReadError> {
    let (rows, width, start) = (batch.num_rows(), table.width, table.values.len());
    if start + rows * width > MAX_VALUES {
        return Err(too_many(table.rows + rows, width));
    }
    table.values.resize(start + rows * width, f64::NAN);
    for (column, &wanted) in batch.columns().iter().zip(order) {
        let cell = &cells[wanted];
        let values = cell.values(column, table.rows)?;
        for (row, value) in values.into_iter().enumerate() {
            table.values[start + row * width + wanted] = value;
        }
    }
    table.rows += rows;
    Ok(())
}

fn too_many(rows: usize, width: usize) -> ReadError {
    let allowed = format!("at most {MAX_VALUES} values in a table");
    ReadError::refused(0, None, &format!("{rows} rows of {width} columns"), allowed)
}

impl Cell<'_> {
    /// One per row; NaN is missing. `before`: rows of earlier batches.
    fn values(&self, column: &ArrayRef, before: usize) -> Result<Vec<f64>, ReadError> {
        match (self.kind, &self.codes) {
            (Kind::Nothing, _) => Ok(vec![f64::NAN; column.len()]),
            (Kind::Decimals, None) => {
                let (column, scale) = decimals(column)?;
                let values = column.as_primitive::<Decimal128Type>().iter();
                Ok(values
                    .map(|value| value.map_or(f64::NAN, |value| decimal(value, scale)))
                    .collect())
            }
            (_, None) => {
                let column = cast(column, &DataType::Float64)?;
                let values = column.as_primitive::<Float64Type>().iter();
                Ok(values.map(|value| value.unwrap_or(f64::NAN)).collect())
            }
            (kind, Some(codes)) => {
                let refused = |row: usize, value: String| {
                    let value = format!("{value} in row {}", before + row + 1);
                    ReadError::refused(0, Some(self.column.wanted.to_owned()), &value, codes.allowed())
                };
                coded(column, kind, codes).map_err(|error| match error {
                    Coded::Cast(error) => error,
                    Coded::Value(row, value) => refused(row, value),
                })
            }
        }
    }
}

/// Why a column has no codes.
enum Coded {
    Cast(ReadError),
    /// Row of the batch, and what stands there.
    Value(usize, String),
}

impl From<ReadError> for Coded {
    fn from(error: ReadError) -> Coded {
        Coded::Cast(error)
    }
}

fn coded(column: &ArrayRef, kind: Kind, codes: &Codes) -> Result<Vec<f64>, Coded> {
    fn each<T: ToString + Copy>(
        values: impl Iterator<Item = Option<T>>,
        code: impl Fn(T) -> Result<f64, crate::categories::NoCode>,
    ) -> Result<Vec<f64>, Coded> {
        let code = |(row, value): (usize, Option<T>)| match value {
            None => Ok(f64::NAN),
            Some(value) => code(value).map_err(|_| Coded::Value(row, value.to_string())),
        };
        values.enumerate().map(code).collect()
    }
    let float = |number: f64| {
        if number.is_nan() {
            Ok(number)
        } else {
            codes.number(Number::from(number))
        }
    };
    match kind {
        Kind::Nothing => Ok(vec![f64::NAN; column.len()]),
        Kind::Integers => {
            let column = cast(column, &DataType::Int64)?;
            each(column.as_primitive::<Int64Type>().iter(), |value| {
                codes.number(Number::Integer(value.into()))
            })
        }
        Kind::Unsigned => {
            let column = cast(column, &DataType::UInt64)?;
            each(column.as_primitive::<UInt64Type>().iter(), |value| {
                codes.number(Number::Integer(value.into()))
            })
        }
        Kind::Floats => {
            let column = cast(column, &DataType::Float64)?;
            each(column.as_primitive::<Float64Type>().iter(), float)
        }
        Kind::Decimals => {
            let (column, scale) = decimals(column)?;
            let values = column.as_primitive::<Decimal128Type>().iter();
            each(values.map(|value| value.map(|value| decimal(value, scale))), float)
        }
        Kind::Booleans => {
            let column = cast(column, &DataType::Boolean)?;
            each(column.as_boolean().iter(), |truth| codes.boolean(truth))
        }
        Kind::Text => {
            let column = cast(column, &DataType::Utf8View)?;
            each(column.as_string_view().iter(), |text| codes.text(text))
        }
    }
}

/// What does not fit is an error, and not null.
fn cast(column: &ArrayRef, kind: &DataType) -> Result<ArrayRef, ReadError> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, kind, &strict).map_err(unreadable)
}

fn decimals(column: &ArrayRef) -> Result<(ArrayRef, i8), ReadError> {
    let (DataType::Decimal32(_, scale)
    | DataType::Decimal64(_, scale)
    | DataType::Decimal128(_, scale)
    | DataType::Decimal256(_, scale)) = *column.data_type()
    else {
        let found = column.data_type();
        return Err(ReadError::Parquet(format!(
            "a column of decimals turned out to be of {found}"
        )));
    };
    Ok((cast(column, &DataType::Decimal128(DECIMAL_DIGITS, scale))?, scale))
}

/// Rounded once, which a division of two floats would not be.
fn decimal(value: i128, scale: i8) -> f64 {
    let text = format!("{value}e{}", -i32::from(scale));
    text.parse().expect("an integer and an exponent are a number")
}

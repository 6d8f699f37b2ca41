//! Parquet: columns of any integer or float type, by name; null is missing.

use std::fs::File;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::csv::choose;
use crate::error::Trouble;
use crate::{Expect, MAX_VALUES, Table};

const BATCH_ROWS: usize = 8192;

pub(crate) fn read(file: File, expect: Option<&Expect>) -> Result<Table, Trouble> {
    let unreadable = |error: &dyn std::fmt::Display| Trouble::Parquet(error.to_string());
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| unreadable(&e))?;
    let fields = builder.schema().fields().clone();
    let header: Vec<String> = fields.iter().map(|f| f.name().clone()).collect();
    let chosen = choose(Some(&header), fields.len(), expect, 0)?;
    for &at in &chosen {
        let kind = fields[at].data_type();
        if !(kind.is_integer() || kind.is_floating()) {
            let allowed = "a column of an integer or float type";
            return Err(Trouble::refused(
                0,
                Some(header[at].clone()),
                &kind.to_string(),
                allowed,
            ));
        }
    }
    let mask = ProjectionMask::roots(builder.parquet_schema(), chosen.iter().copied());
    let batches = builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|e| unreadable(&e))?;
    let names: Vec<String> = chosen.iter().map(|&at| header[at].clone()).collect();
    let mut table = Table {
        width: names.len(),
        ..Table::default()
    };
    for batch in batches {
        append(&mut table, &batch.map_err(|e| unreadable(&e))?, &names)?;
    }
    table.names = Some(names);
    Ok(table)
}

fn append(table: &mut Table, batch: &RecordBatch, names: &[String]) -> Result<(), Trouble> {
    let (rows, width, start) = (batch.num_rows(), table.width, table.values.len());
    if start + rows * width > MAX_VALUES {
        let allowed = format!("at most {MAX_VALUES} values in a table");
        return Err(Trouble::refused(0, None, "more", allowed));
    }
    table.values.resize(start + rows * width, f64::NAN);
    for (at, name) in names.iter().enumerate() {
        let lost = || Trouble::Parquet(format!("column {name} is not in every batch"));
        let column = batch.column_by_name(name).ok_or_else(lost)?;
        let column = cast(column, &DataType::Float64).map_err(|e| Trouble::Parquet(e.to_string()))?;
        let column = column.as_primitive::<Float64Type>();
        for (row, value) in column.iter().enumerate() {
            // Null stays the NaN that is there.
            if let Some(value) = value {
                table.values[start + row * width + at] = value;
            }
        }
    }
    table.rows += rows;
    Ok(())
}

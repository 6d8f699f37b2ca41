//! Reads rows from Arrow IPC streams, and writes scores as one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use ranking::Schema;

use super::ipc;
use crate::http::error::{ApiError, Invalid};

/// The media type of an Arrow IPC stream.
pub(super) const ARROW: &str = "application/vnd.apache.arrow.stream";

/// The rows of an Arrow IPC stream, one value per feature in the schema's order. A null is a
/// missing value (NaN).
///
/// # Errors
/// Those of `ipc::check`, and 400 for faults that only reading the data reveals.
pub fn arrow_rows(bytes: &[u8], schema: &Schema, max_rows: usize) -> Result<Vec<Vec<f64>>, ApiError> {
    ipc::check(bytes, schema, max_rows)?;
    let malformed = |e: ArrowError| ApiError::malformed("invalid_arrow", e.to_string());
    let reader = StreamReader::try_new(bytes, None).map_err(malformed)?;
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.map_err(malformed)?;
        let columns = arrow_columns(&batch, schema)?;
        for at in 0..batch.num_rows() {
            rows.push(
                columns
                    .iter()
                    .map(|c| if c.is_null(at) { f64::NAN } else { c.value(at) })
                    .collect(),
            );
        }
    }
    Ok(rows)
}

fn arrow_columns<'a>(batch: &'a RecordBatch, schema: &Schema) -> Result<Vec<&'a Float64Array>, Invalid> {
    let columns = schema.names().iter().map(|name| {
        let column = batch
            .column_by_name(name)
            .ok_or_else(|| Invalid::missing().under(name))?;
        match column.data_type() {
            DataType::Float64 => Ok(column.as_primitive::<Float64Type>()),
            other => Err(Invalid::new(other, "a Float64 column").under(name)),
        }
    });
    columns.collect()
}

/// The scores as a stream with one column, `score`.
pub(super) fn arrow_stream(scores: Vec<f64>) -> Result<Vec<u8>, ArrowError> {
    let column: ArrayRef = Arc::new(Float64Array::from(scores));
    let batch = RecordBatch::try_from_iter([("score", column)])?;
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(&batch)?;
    writer.finish()?;
    writer.into_inner()
}

//! Writes a matrix as Parquet.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Float32Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, NaiveDate, Utc};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::{Case, Matrix, Shown, columns};

/// Encodes a matrix as a Parquet file. The same matrix gives the same bytes.
///
/// # Errors
/// A failure of the Parquet writer.
pub fn encode(matrix: &Matrix) -> anyhow::Result<Vec<u8>> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns(&matrix.schema)
            .zip(arrays(matrix))
            .map(|(name, (array, nullable))| (name, array, nullable)),
    )?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(bytes)
}

/// The columns in order, each with whether it is nullable.
fn arrays(matrix: &Matrix) -> Vec<(ArrayRef, bool)> {
    let rows = || {
        matrix
            .cases
            .iter()
            .flat_map(|case| case.rows.iter().map(move |row| (case, row)))
    };
    let text = |value: fn(&Case, &Shown) -> String| -> ArrayRef {
        Arc::new(
            rows()
                .map(|(case, row)| Some(value(case, row)))
                .collect::<StringArray>(),
        )
    };
    let count = |value: fn(&Shown) -> Option<u32>| -> ArrayRef {
        let values = rows().map(|(_, row)| value(row).map(i64::from));
        Arc::new(values.collect::<Int64Array>())
    };
    let mut arrays: Vec<(ArrayRef, bool)> = vec![
        (text(|case, _| case.qid.hyphenated().to_string()), false),
        (text(|_, row| row.lawyer_id.clone()), false),
        (
            Arc::new(Float32Array::from_iter_values(
                rows().map(|(_, row)| row.grade.label() as f32),
            )),
            false,
        ),
        (count(|row| Some(u32::from(row.grade.value()))), false),
    ];
    for at in 0..matrix.schema.len() {
        let present = |row: &Shown| Some(row.features[at]).filter(|x| !x.is_nan());
        let values: Float64Array = rows().map(|(_, row)| present(row)).collect();
        arrays.push((Arc::new(values), true));
    }
    let scores: Float64Array = rows().map(|(_, row)| row.legacy_score).collect();
    arrays.push((count(|row| Some(row.position)), false));
    arrays.push((Arc::new(scores), true));
    arrays.push((text(|_, row| groups_json(row)), false));
    arrays.push((count(|row| row.cases_30d), true));
    arrays.push((count(|row| row.monthly_capacity), true));
    arrays.push((instants(rows().map(|(_, row)| row.last_offered_at)), true));
    arrays.push((text(|case, _| case.source.name().to_owned()), false));
    let dates = rows().map(|(case, _)| days_since_1970(case.ts.date_naive()));
    arrays.push((Arc::new(Date32Array::from_iter_values(dates)), false));
    arrays.push((instants(rows().map(|(case, _)| Some(case.ts))), false));
    arrays
}

fn instants(values: impl Iterator<Item = Option<DateTime<Utc>>>) -> ArrayRef {
    let micros = values.map(|ts| ts.map(|ts| ts.timestamp_micros()));
    Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn days_since_1970(date: NaiveDate) -> i32 {
    date.signed_duration_since(NaiveDate::default()).num_days() as i32
}

fn groups_json(row: &Shown) -> String {
    serde_json::to_string(&row.groups).expect("a map of texts is always valid JSON")
}

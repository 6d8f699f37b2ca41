//! What is known of lawyers beside what impressions say: a file that others put into the lake.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{
    DataType, Field, Int64Type, Schema as ArrowSchema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use object_store_lake::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::LakeError;
use crate::place::Lake;

/// Where it is in the lake.
pub(crate) const LAWYERS: &str = "ltr/lawyers.parquet";

/// The columns as SQL sees them; those of the file have `from_utc`, a time, in the place of `from_us`.
fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    ArrowSchema::new(vec![
        Field::new("lawyer_id", DataType::Utf8, false),
        Field::new("from_us", DataType::Int64, false),
        Field::new("groups", DataType::Utf8, true),
        Field::new("cases_30d", DataType::Int64, true),
        Field::new("monthly_capacity", DataType::Int64, true),
        Field::new("last_offered_at", time, true),
    ])
    .into()
}

/// The file's rows: what holds of a lawyer from a time on. None if there is no file.
pub(crate) async fn lawyers(lake: &Lake) -> Result<RecordBatch, LakeError> {
    let Some(bytes) = lake.get(&Path::from(LAWYERS)).await? else {
        return Ok(RecordBatch::new_empty(schema()));
    };
    let failed = |problem: String| LakeError::File {
        path: LAWYERS.to_owned(),
        problem,
        remedy: "columns: lawyer_id and from_utc, without nulls; groups, cases_30d, monthly_capacity and \
                 last_offered_at, each or none; remove the file, or write it anew",
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(ParquetRecordBatchReaderBuilder::build);
    let reader = reader.map_err(|error| failed(error.to_string()))?;
    let batches = reader
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(error.to_string()))?;
    let fitted = batches
        .iter()
        .map(|batch| fitted(batch).map_err(failed))
        .collect::<Result<Vec<_>, _>>()?;
    concat_batches(&schema(), &fitted).map_err(|error| failed(error.to_string()))
}

fn fitted(batch: &RecordBatch) -> Result<RecordBatch, String> {
    let schema = schema();
    let time = schema.field(5).data_type().clone();
    let as_type = |name: &str, wanted: &DataType| -> Result<Option<ArrayRef>, String> {
        let column = batch.column_by_name(name);
        let cast = column.map(|column| cast(column, wanted).map_err(|error| format!("{name}: {error}")));
        cast.transpose()
    };
    let needed = |name: &str, wanted: &DataType| -> Result<ArrayRef, String> {
        let column = as_type(name, wanted)?.ok_or_else(|| format!("there is no column {name}"))?;
        match column.null_count() {
            0 => Ok(column),
            nulls => Err(format!("{name} is null in {nulls} rows")),
        }
    };
    let from = needed("from_utc", &time)?;
    let from = from.as_primitive::<TimestampMicrosecondType>();
    let from: Int64Array = from.reinterpret_cast::<Int64Type>();
    let mut columns: Vec<ArrayRef> = vec![needed("lawyer_id", &DataType::Utf8)?, std::sync::Arc::new(from)];
    for field in &schema.fields()[2..] {
        let column = as_type(field.name(), field.data_type())?;
        columns.push(column.unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows())));
    }
    check_groups(columns[2].as_string())?;
    RecordBatch::try_new(schema, columns).map_err(|error| error.to_string())
}

/// Groups are a JSON object of texts, as impressions have them.
fn check_groups(groups: &StringArray) -> Result<(), String> {
    let wrong = groups
        .iter()
        .flatten()
        .find(|text| serde_json::from_str::<std::collections::BTreeMap<String, String>>(text).is_err());
    match wrong {
        None => Ok(()),
        Some(text) => Err(format!("groups: {text:.64?} is no JSON object of texts")),
    }
}

//! `POST /ltr/score`: the model's own scores, as JSON or as an Arrow IPC stream.

use std::sync::Arc;
use std::time::Instant;

pub use api::score::json_rows;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use ranking::Schema;

use crate::answer::{self, Response};
use crate::errors::{ApiError, Invalid};
use crate::gateway::Gateway;
use crate::models::Model;
use crate::routes::Call;
use crate::telemetry::part;
use crate::{body, ipc};

const ARROW: &str = "application/vnd.apache.arrow.stream";

/// Scores rows with the champion, or the challenger where nothing was promoted.
///
/// # Errors
/// 422 for a missing or unknown feature, 503 without a model, when it fails, or while the kill switch is on.
pub async fn score(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let Call { head, body, .. } = call;
    let bytes = body::read(body, &gateway.settings.host).await?;
    if gateway.flags.in_force().killed {
        return Err(ApiError::unavailable(
            "kill_switch",
            "an operator has stopped the models",
        ));
    }
    let serving = gateway.models.serving();
    let Some(model) = serving.serves() else {
        return Err(ApiError::unavailable(gateway.models.absence(), "no model is loaded"));
    };
    if head
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes() == ARROW.as_bytes())
    {
        let max_rows = gateway.settings.host.max_rows;
        let rows = body::reading(bytes.len(), || arrow_rows(&bytes, &gateway.schema, max_rows))?;
        let scores = scores(gateway, model, rows).await?;
        let stream = arrow_stream(scores)
            .map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "arrow", e.to_string()))?;
        return Ok(answer::with_type(HeaderValue::from_static(ARROW), stream));
    }
    let max_depth = gateway.settings.host.max_json_depth;
    let (rows, one) = body::reading(bytes.len(), || json_rows(&bytes, &gateway.schema, max_depth))?;
    let scores = scores(gateway, model, rows).await?;
    Ok(answer::with_type(answer::JSON, api::score::answer(&scores, one)))
}

async fn scores(gateway: &Gateway, model: &Arc<Model>, rows: Vec<Vec<f64>>) -> Result<Vec<f64>, ApiError> {
    let most = gateway.settings.host.max_rows;
    if rows.len() > most {
        return Err(Invalid::new(rows.len(), format!("at most {most} rows (host.max_rows)"))
            .under("rows")
            .into());
    }
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let until = Instant::now() + gateway.settings.host.deadline();
    let scoring = gateway.models.score(model, rows.iter().map(Vec::as_slice), until);
    let scored = part("score", scoring).await;
    let scored = scored.map_err(|reason| ApiError::unavailable(reason, "the model did not give scores"))?;
    Ok(scored.scores)
}

/// The rows of an Arrow IPC stream, one value a feature in the schema's order; a null is missing (NaN).
///
/// # Errors
/// As [`ipc::check`], and 400 for what only shows when it is read.
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

fn arrow_stream(scores: Vec<f64>) -> Result<Vec<u8>, ArrowError> {
    let column: ArrayRef = Arc::new(Float64Array::from(scores));
    let batch = RecordBatch::try_from_iter([("score", column)])?;
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(&batch)?;
    writer.finish()?;
    writer.into_inner()
}

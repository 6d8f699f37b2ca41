//! `POST /ltr/score`: the model's scores without the re-rank, as JSON or as an Arrow IPC stream.

pub mod arrow;
mod ipc;

use std::sync::Arc;
use std::time::Duration;

pub use api::score::json_rows;
use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};
use ranking::Fallback;

use self::arrow::{ARROW, arrow_rows, arrow_stream};
use crate::http::body::Content;
use crate::http::call::Call;
use crate::http::error::{ApiError, Invalid};
use crate::http::response::{self, Response};
use crate::models::{BatchError, Model, Serving};
use crate::state::Gateway;
use crate::telemetry::child_span;

/// The version of the model that scored.
const X_LTR_MODEL: HeaderName = HeaderName::from_static(api::headers::MODEL);

/// Scores rows with the model that serves LTR traffic. With `host.score_challenger` also with a model
/// that serves none. The answer names the model.
///
/// # Errors
/// 422 for a missing or unknown feature; 503 without such a model, if the model fails, or while the
/// kill switch is on.
pub async fn score(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let Call { head, body, .. } = call;
    let content = gateway.bodies.read(body).await?;
    if gateway.flags.in_force().killed {
        let code = Fallback::KillSwitch.as_str();
        return Err(ApiError::unavailable(
            code,
            "an operator has stopped the models (kill switch)",
        ));
    }
    let serving = gateway.models().serving();
    let Some(model) = serving.scorer(gateway.settings.host.score_challenger) else {
        return Err(no_scorer(gateway, &serving));
    };
    if head
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes() == ARROW.as_bytes())
    {
        let max_rows = gateway.settings.host.max_rows;
        let read = |text: &[u8]| arrow_rows(text, &gateway.schema, max_rows);
        let rows = content.decode(read).await?;
        let scores = scores(gateway, model, content, rows).await?;
        let stream = arrow_stream(scores)
            .map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "arrow", e.to_string()))?;
        return Ok(named(
            model,
            response::with_type(HeaderValue::from_static(ARROW), stream),
        ));
    }
    let max_depth = gateway.settings.host.max_json_depth;
    let read = |text: &[u8]| json_rows(text, &gateway.schema, max_depth);
    let (rows, one) = content.decode(read).await?;
    let scores = scores(gateway, model, content, rows).await?;
    let answer = api::score::answer(&scores, one, &model.version);
    Ok(named(model, response::with_type(response::JSON, answer)))
}

/// The same answer with the version of the model that scored.
fn named(model: &Model, mut answer: Response) -> Response {
    let version = HeaderValue::from_str(&model.version).expect("a version is plain ASCII");
    answer.headers_mut().insert(X_LTR_MODEL, version);
    answer
}

/// Why no model may score.
fn no_scorer(gateway: &Gateway, serving: &Serving) -> ApiError {
    if serving.any() {
        return ApiError::unavailable(
            Fallback::NoModel.as_str(),
            "no model serves; to get the scores of a model that serves no traffic, such as the challenger, set host.score_challenger = true",
        );
    }
    let code = gateway.models().fallback_reason().as_str();
    ApiError::unavailable(code, "no model is loaded")
}

/// Scores `rows`, which were decoded from `content` and replace it in the memory budget.
async fn scores(
    gateway: &Gateway,
    model: &Arc<Model>,
    content: Content<'_>,
    rows: Vec<Vec<f64>>,
) -> Result<Vec<f64>, ApiError> {
    let host = &gateway.settings.host;
    let most = host.max_rows;
    if rows.len() > most {
        return Err(Invalid::new(rows.len(), format!("at most {most} rows (host.max_rows)"))
            .under("rows")
            .into());
    }
    // Twice: the decoded rows, and their copy for the component.
    let bytes_per_row = size_of::<Vec<f64>>() + 2 * gateway.schema.len() * size_of::<f64>();
    let _claim = content.replaced_by(rows.len() * bytes_per_row)?;
    let scoring = gateway.models().score_batch(model, &rows, host.deadline());
    match child_span("score", scoring).await {
        Ok(scored) => Ok(scored.scores),
        Err(BatchError::Unscored(reason)) => Err(ApiError::unavailable(
            reason.as_str(),
            "the model failed to score the rows",
        )),
        Err(BatchError::TooMany { fit, per_row }) => Err(too_many_rows(rows.len(), fit, per_row, host.deadline_ms)),
    }
}

fn too_many_rows(rows: usize, fit: usize, per_row: Duration, deadline_ms: u64) -> ApiError {
    let allowed = format!(
        "at most {fit} rows per call: the model needs {per_row:.1?} per row, within {deadline_ms} ms (host.deadline_ms)"
    );
    let message = format!("rows is {rows}; allowed: {allowed}; split them over several calls");
    ApiError {
        allowed: Some(allowed),
        field: Some("rows".to_owned()),
        value: Some(rows.to_string()),
        ..ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "too_many_rows", message)
    }
}

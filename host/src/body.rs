//! Reading a request body within its limits.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::errors::ApiError;

/// A sender that takes longer holds a connection for nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// The whole body.
///
/// # Errors
/// 413 beyond `limit` bytes, 408 when it takes longer than ten seconds to arrive, 400 when it breaks off.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let collected = tokio::time::timeout(PATIENCE, Limited::new(body, limit).collect()).await;
    match collected {
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow_body",
            format!("the body did not arrive within {} s", PATIENCE.as_secs()),
        )),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError {
            allowed: Some(format!("at most {limit} bytes (host.max_body_bytes)")),
            ..ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                format!("the body is larger than {limit} bytes"),
            )
        }),
        Ok(Err(error)) => Err(ApiError::malformed(
            "broken_body",
            format!("the body broke off: {error}"),
        )),
    }
}

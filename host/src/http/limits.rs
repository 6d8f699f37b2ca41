//! Limits of a single request: the size of its head and the time to its response.

use hyper::{HeaderMap, StatusCode};
use settings::Host;

use super::error::ApiError;

/// Runs `answer` with the time limit `host.request_timeout_ms`.
///
/// # Errors
/// 503 after the limit, with its key; and the errors of `answer`.
pub async fn in_time<T>(host: &Host, answer: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    let answer = tokio::time::timeout(host.request_timeout(), answer).await;
    answer.unwrap_or_else(|_| {
        let message = format!(
            "no response within {} ms (host.request_timeout_ms)",
            host.request_timeout_ms
        );
        Err(ApiError::unavailable("request_timeout", message))
    })
}

/// Checks the number and the size of the headers.
///
/// # Errors
/// 431 beyond a limit, with the limit and its key.
pub fn check_head(headers: &HeaderMap, host: &Host) -> Result<(), ApiError> {
    let refused = |found: usize, what: &str, allowed: usize, key: &str| ApiError {
        value: Some(found.to_string()),
        allowed: Some(format!("at most {allowed} ({key})")),
        ..ApiError::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers_too_large",
            format!("the request has {found} {what}; allowed: at most {allowed} ({key})"),
        )
    };
    if headers.len() > host.max_headers {
        return Err(refused(headers.len(), "headers", host.max_headers, "host.max_headers"));
    }
    let bytes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if bytes > host.max_header_bytes {
        Err(refused(
            bytes,
            "bytes of headers",
            host.max_header_bytes,
            "host.max_header_bytes",
        ))
    } else {
        Ok(())
    }
}

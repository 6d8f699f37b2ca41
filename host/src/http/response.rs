//! Responses. Each is complete before its first byte is sent.

use bytes::Bytes;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use serde::Serialize;

/// A response whose whole body is in memory.
pub type Response = hyper::Response<Full<Bytes>>;

/// The content type of JSON responses.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON response.
///
/// # Panics
/// For a value without a JSON form, such as a map whose keys are not strings. No response is one.
pub fn json(body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("every response has a JSON form");
    with_type(JSON, body)
}

/// A plain-text response in UTF-8.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let answer = with_type(HeaderValue::from_static("text/plain; charset=utf-8"), body);
    with_status(status, answer)
}

/// A response with status 200 and this content type.
pub fn with_type(content_type: HeaderValue, body: impl Into<Bytes>) -> Response {
    let mut answer = Response::new(Full::new(body.into()));
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// The same response with another status.
pub fn with_status(status: StatusCode, mut answer: Response) -> Response {
    *answer.status_mut() = status;
    answer
}

/// Closes the connection after this response.
pub fn closing(mut answer: Response) -> Response {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(CONNECTION, close);
    answer
}

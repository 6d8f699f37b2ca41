//! The error response: one JSON form for all refused calls.

pub use api::Invalid;
use api::{Malformed, Refusal};
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use store::StoreError;

use super::request_id::{self, RequestId};
use super::response::{self, Response};
use crate::telemetry::scrub;

/// A refused call. The body is `{"error": {"code", "message", "field", "value", "allowed",
/// "request_id"}}`; absent values are `null`.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// The HTTP status, 4xx or 5xx.
    pub status: StatusCode,
    /// Short, snake_case, stays the same across versions.
    pub code: &'static str,
    /// One sentence for people: what is wrong, and what is allowed.
    pub message: String,
    /// The place in the body, for example `lawyers[3].features.geo`.
    pub field: Option<String>,
    /// The refused value, shortened.
    pub value: Option<String>,
    /// The values that are allowed there; for 405, the allowed methods.
    pub allowed: Option<String>,
    /// Seconds after which a retry may succeed.
    pub retry_after: Option<u32>,
    /// Whether the connection closes after the response, because the rest of the request was not
    /// read.
    pub closes: bool,
    /// Fields that explain the refusal; they stand beside `error` in the body.
    pub detail: Option<serde_json::Value>,
}

impl ApiError {
    /// An error with only a status, a code and a message. The connection stays open.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            code,
            message: message.into(),
            field: None,
            value: None,
            allowed: None,
            retry_after: None,
            closes: false,
            detail: None,
        }
    }

    /// 400: the body cannot be parsed.
    pub fn malformed(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 503: nothing was acknowledged, so a retry is safe.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            retry_after: Some(1),
            ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
        }
    }

    /// Adds fields beside `error`. Only a JSON object has an effect.
    pub fn with_detail(self, detail: serde_json::Value) -> ApiError {
        ApiError {
            detail: Some(detail),
            ..self
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        let status = StatusCode::from_u16(refusal.status).expect("a refusal has a valid HTTP status");
        ApiError {
            field: refusal.field,
            value: refusal.value,
            allowed: refusal.allowed,
            ..ApiError::new(status, refusal.code, refusal.message)
        }
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> ApiError {
        Refusal::from(invalid).into()
    }
}

impl From<Malformed> for ApiError {
    fn from(malformed: Malformed) -> ApiError {
        Refusal::from(malformed).into()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        if error.is_busy() {
            return ApiError::unavailable("busy", "too many calls wait for the database; nothing was changed");
        }
        tracing::error!(error = scrub(&error.to_string()), "the database failed");
        ApiError::unavailable("database", "the database cannot answer; nothing was changed")
    }
}

impl ApiError {
    /// The response in the JSON form, with the id of the current request. It adds the headers that
    /// the status needs: `Allow` (405), `WWW-Authenticate` (401), `Retry-After`.
    pub fn into_response(self) -> Response {
        let allow = self
            .allowed
            .as_deref()
            .filter(|_| self.status == StatusCode::METHOD_NOT_ALLOWED);
        let allow = allow.and_then(|methods| HeaderValue::from_str(methods).ok());
        let refusal = Refusal {
            status: self.status.as_u16(),
            code: self.code,
            message: self.message,
            field: self.field,
            value: self.value,
            allowed: self.allowed,
        };
        let id = request_id::with_current(RequestId::clone);
        let mut body = refusal.body(id.as_ref().map(RequestId::as_str));
        if let (Some(serde_json::Value::Object(detail)), Some(body)) = (self.detail, body.as_object_mut()) {
            body.extend(detail);
        }
        let mut response = response::with_status(self.status, response::json(&body));
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"ltr\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.closes {
            response::closing(response)
        } else {
            response
        }
    }
}

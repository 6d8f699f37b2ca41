//! What a caller is told when a call is refused: one JSON form for all of them.

use std::fmt::Display;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use store::StoreError;

use crate::request;
use crate::telemetry::scrub;

/// A refused call. The body is
/// `{"error": {"code", "message", "field", "value", "allowed", "request_id"}}`, `null` where there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    pub status: StatusCode,
    /// Short, snake_case, stays the same across versions.
    pub code: &'static str,
    pub message: String,
    /// Where in the body, for example `lawyers[3].features.geo`.
    pub field: Option<String>,
    pub value: Option<String>,
    pub allowed: Option<String>,
    /// Seconds after which the same call may succeed.
    pub retry_after: Option<u32>,
    /// Numbers that explain the refusal, merged beside `error`.
    pub detail: Option<serde_json::Value>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            code,
            message: message.into(),
            field: None,
            value: None,
            allowed: None,
            retry_after: None,
            detail: None,
        }
    }

    /// 400: the body cannot be read at all.
    pub fn malformed(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 503: nothing was acknowledged, and sending the same again later is safe.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            retry_after: Some(1),
            ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
        }
    }

    pub fn with_detail(self, detail: serde_json::Value) -> ApiError {
        ApiError {
            detail: Some(detail),
            ..self
        }
    }
}

/// A value of the body that is not allowed. Built where the value is read, and told its place on the way up.
#[derive(Clone, Debug, PartialEq)]
pub struct Invalid {
    pub field: String,
    pub value: String,
    pub allowed: String,
    code: &'static str,
}

impl Invalid {
    pub fn new(value: impl Display, allowed: impl Into<String>) -> Invalid {
        Invalid {
            field: String::new(),
            value: value.to_string(),
            allowed: allowed.into(),
            code: "invalid_value",
        }
    }

    pub fn missing() -> Invalid {
        Invalid {
            field: String::new(),
            value: "absent".into(),
            allowed: "present".into(),
            code: "missing_field",
        }
    }

    /// Puts a name, or an index in brackets, before the place.
    pub fn under(mut self, outer: impl Display) -> Invalid {
        let dot = if self.field.is_empty() || self.field.starts_with('[') {
            ""
        } else {
            "."
        };
        self.field = format!("{outer}{dot}{}", self.field);
        self
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> ApiError {
        let Invalid {
            field,
            value,
            allowed,
            code,
        } = invalid;
        let place = if field.is_empty() { "the body" } else { &field };
        ApiError {
            field: Some(field.clone()),
            value: Some(value.clone()),
            allowed: Some(allowed.clone()),
            ..ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                code,
                format!("{place} is {value}; allowed: {allowed}"),
            )
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        tracing::error!(error = scrub(&error.to_string()), "the database failed");
        ApiError::unavailable("database", "the database cannot answer; nothing was changed")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({"error": {
            "code": self.code,
            "message": self.message,
            "field": self.field,
            "value": self.value,
            "allowed": self.allowed,
            "request_id": request::with_current(|request| request.id.as_str().to_owned()),
        }});
        if let (Some(serde_json::Value::Object(detail)), Some(body)) = (self.detail, body.as_object_mut()) {
            body.extend(detail);
        }
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"ltr\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

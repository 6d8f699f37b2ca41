//! Copies of requests that the Envoy filter sends: what they say of themselves, and all that they may do.

use api::headers::{EDGE_COPY, REQUEST_ID, USER_UNDER};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use ranking::{pseudonym, salt_id};
use uuid::Uuid;

use crate::errors::ApiError;

/// Whether a request is a copy, whose answer nobody reads.
pub fn is_copy(headers: &HeaderMap) -> bool {
    headers.get(EDGE_COPY).is_some_and(|value| value.as_bytes() == b"1")
}

/// What a copy says its original is called, so that a request that is copied twice, or compared here as well, is one
/// record.
pub fn original_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(REQUEST_ID).filter(|_| is_copy(headers))
}

/// Lets no copy change anything: what the original has done must not be done twice.
///
/// # Errors
/// 403 for a copy of a call that does something.
pub fn check(headers: &HeaderMap, method: &Method, path: &str) -> Result<(), ApiError> {
    match method.is_safe() || matches!(path, "/rank" | "/ltr/score") || !is_copy(headers) {
        true => Ok(()),
        false => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "edge_copy",
            format!("this is a copy ({EDGE_COPY}), which may be ranked and scored and nothing else; nothing was done"),
        )),
    }
}

/// The pseudonym of a request's user. A copy may have it instead of the user's id, if it was made under our salt; one
/// that was made under another is like any other id.
pub fn user_pseudonym(headers: &HeaderMap, salt: &[u8], user_id: Uuid) -> Uuid {
    let under = headers.get(USER_UNDER).filter(|_| is_copy(headers));
    let under = under.and_then(|salt| Uuid::try_parse_ascii(salt.as_bytes()).ok());
    match under == Some(salt_id(salt)) {
        true => user_id,
        false => pseudonym(salt, user_id),
    }
}

//! Edge copies: requests that the Envoy filter sends to a shadow cluster, fire and forget.

use api::headers::{EDGE_COPY, REQUEST_ID, USER_UNDER};
use hyper::Method;
use hyper::header::{HeaderMap, HeaderValue};
use ranking::{pseudonym, salt_id};
use uuid::Uuid;

/// Whether a request is a copy, whose answer nobody reads.
pub fn is_copy(headers: &HeaderMap) -> bool {
    headers.get(EDGE_COPY).is_some_and(|value| value.as_bytes() == b"1")
}

/// The id of a copy's original, so that a request that is copied twice, or compared here as well, is one record.
pub fn original_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(REQUEST_ID).filter(|_| is_copy(headers))
}

/// Whether a request is allowed as far as copies go: they may only be ranked and scored, because anything else was
/// done by the original already.
pub fn is_allowed(headers: &HeaderMap, method: &Method, path: &str) -> bool {
    method.is_safe() || matches!(path, "/rank" | "/ltr/score") || !is_copy(headers)
}

/// The pseudonym of a request's user. A copy may carry it in place of the user's id, if it was made under our salt; a
/// pseudonym made under another salt is treated as any other id.
pub fn user_pseudonym(headers: &HeaderMap, salt: &[u8], user_id: Uuid) -> Uuid {
    let under = headers.get(USER_UNDER).filter(|_| is_copy(headers));
    let under = under.and_then(|salt| Uuid::try_parse_ascii(salt.as_bytes()).ok());
    if under == Some(salt_id(salt)) {
        user_id
    } else {
        pseudonym(salt, user_id)
    }
}

//! Edge copies: requests that the Envoy filter sends to a shadow cluster without waiting for the
//! response.

use api::headers::{EDGE_COPY, REQUEST_ID, USER_UNDER};
use hyper::Method;
use hyper::header::{HeaderMap, HeaderValue};
use ranking::{pseudonym, salt_id};
use uuid::Uuid;

/// Whether a request is an edge copy. Nobody reads its response.
pub fn is_copy(headers: &HeaderMap) -> bool {
    headers.get(EDGE_COPY).is_some_and(|value| value.as_bytes() == b"1")
}

/// The id of a copy's original request. Under it, a request that is copied twice, or also compared
/// here, is one record.
pub fn original_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(REQUEST_ID).filter(|_| is_copy(headers))
}

/// Whether a request may be a copy: copies may only be ranked and scored, because the original
/// already did the rest. A request that is not a copy is always allowed.
pub fn is_allowed(headers: &HeaderMap, method: &Method, path: &str) -> bool {
    method.is_safe() || matches!(path, "/rank" | "/ltr/score") || !is_copy(headers)
}

/// The pseudonym of a request's user. A copy may carry a pseudonym instead of the user's id. It is
/// used if it was made with this gateway's salt; otherwise it is treated like any id.
pub fn user_pseudonym(headers: &HeaderMap, salt: &[u8], user_id: Uuid) -> Uuid {
    let under = headers.get(USER_UNDER).filter(|_| is_copy(headers));
    let under = under.and_then(|salt| Uuid::try_parse_ascii(salt.as_bytes()).ok());
    if under == Some(salt_id(salt)) {
        user_id
    } else {
        pseudonym(salt, user_id)
    }
}

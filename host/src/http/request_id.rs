//! The id of a request: in the header `x-request-id` of request and response, in errors and in the
//! log.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use super::edge_copy;

/// The header with the id.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Maximum length of a caller's id, in bytes.
pub const MAX_ID_BYTES: usize = 128;

/// The id of a request: 1 to 128 bytes of visible ASCII.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's id if it is valid, else a new UUID of version 7. An edge copy has the id of its
    /// original.
    pub fn of(headers: &HeaderMap) -> RequestId {
        let is_valid = |id: &&HeaderValue| {
            (1..=MAX_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        let given = edge_copy::original_id(headers).or_else(|| headers.get(X_REQUEST_ID));
        match given.filter(is_valid) {
            Some(given) => RequestId(given.clone()),
            None => {
                let fresh = Uuid::now_v7().hyphenated().to_string();
                RequestId(HeaderValue::try_from(fresh).expect("a UUID is visible ASCII"))
            }
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("`of` takes visible ASCII only")
    }

    /// The id as a UUID, if it is one.
    pub fn uuid(&self) -> Option<Uuid> {
        Uuid::try_parse_ascii(self.0.as_bytes()).ok()
    }

    /// The id as the value of a header.
    pub fn into_header(self) -> HeaderValue {
        self.0
    }
}

tokio::task_local! {
    static CURRENT: RequestId;
}

/// Runs `answering` under the request id: its errors and log lines carry the id.
pub async fn scope<T>(id: RequestId, answering: impl Future<Output = T>) -> T {
    CURRENT.scope(id, answering).await
}

/// Applies `look` to the id of the current task's request; `None` outside of requests.
pub fn with_current<T>(look: impl FnOnce(&RequestId) -> T) -> Option<T> {
    CURRENT.try_with(look).ok()
}

//! Reading a request body within its limits.

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Body as HttpBody, Incoming};
use settings::Host;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::errors::ApiError;

/// What a request carries: it is on its way, or it is here.
pub type Body = Either<Incoming, Full<Bytes>>;

/// A body whose reading takes longer than other requests should wait for, in bytes.
const LARGE: u64 = 256 << 10;

/// Whether a body may be one that keeps a thread busy.
pub fn may_be_large(body: &impl HttpBody) -> bool {
    body.size_hint().upper().is_none_or(|bytes| bytes > LARGE)
}

/// Reads what a body of so many bytes says. While it reads a large one, this thread's other requests are served by
/// another.
pub fn reading<T>(bytes: usize, read: impl FnOnce() -> T) -> T {
    match bytes as u64 > LARGE && Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        true => tokio::task::block_in_place(read),
        false => read(),
    }
}

/// The whole body.
///
/// # Errors
/// 413 beyond `host.max_body_bytes`, 408 when it takes longer than `host.body_timeout_ms`, 400 when it breaks off.
pub async fn read(body: Body, host: &Host) -> Result<Bytes, ApiError> {
    let limit = host.max_body_bytes;
    let collected = tokio::time::timeout(host.body_timeout(), Limited::new(body, limit).collect()).await;
    match collected {
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow_body",
            format!(
                "the body did not arrive within {} ms (host.body_timeout_ms)",
                host.body_timeout_ms
            ),
        )),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError {
            allowed: Some(format!("at most {limit} bytes (host.max_body_bytes)")),
            ..ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                format!("the body is larger than {limit} bytes (host.max_body_bytes)"),
            )
        }),
        Ok(Err(error)) => Err(ApiError::malformed(
            "broken_body",
            format!("the body broke off: {error}"),
        )),
    }
}

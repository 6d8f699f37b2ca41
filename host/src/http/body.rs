//! Reads request bodies within two limits: one per body, and one for all bodies together.

mod budget;

use std::time::Duration;

use api::json::{Document, Json};
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::StatusCode;
use hyper::body::{Body as HttpBody, Incoming};
use metrics::gauge;
use settings::Host;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;

use super::error::{ApiError, Invalid};
use budget::{Budget, LARGE, UNCOUNTED};

pub use budget::Claim;

/// A request body: still arriving, or complete.
pub type Body = Either<Incoming, Full<Bytes>>;

/// How long the rest of a refused body is read and dropped.
const LINGER: Duration = Duration::from_secs(1);

/// Whether decoding a body may block a thread for long: it is large, or its size is unknown.
pub fn may_be_large(body: &impl HttpBody) -> bool {
    body.size_hint().upper().is_none_or(|bytes| bytes > LARGE as u64)
}

/// Reads the request bodies of a gateway.
pub struct Bodies {
    budget: Budget,
    /// Limits how many large bodies are decoded at once: one per processor. More would only slow
    /// each other down, and each takes several times the memory of its text.
    decoding: Semaphore,
    max_bytes: usize,
    timeout: Duration,
}

impl Bodies {
    /// Limits by the settings: bytes per body, bytes of all bodies together, and time per body.
    pub fn new(host: &Host) -> Bodies {
        let processors = std::thread::available_parallelism().map_or(2, |n| n.get());
        Bodies {
            budget: Budget::new(host.max_body_total()),
            decoding: Semaphore::new(processors),
            max_bytes: host.max_body_bytes,
            timeout: host.body_timeout(),
        }
    }

    /// Reads the whole body.
    ///
    /// # Errors
    /// - 413 beyond `host.max_body_bytes`, at once if the request announces the size
    /// - 503 while other bodies fill `host.max_body_total_mb`
    /// - 408 after `host.body_timeout_ms`
    /// - 400 if the body breaks off
    pub async fn read(&self, mut body: Body) -> Result<Content<'_>, ApiError> {
        let read = match tokio::time::timeout(self.timeout, self.collect(&mut body)).await {
            Ok(read) => read,
            Err(_) => return Err(self.timed_out()),
        };
        match read {
            Ok((bytes, claim)) => Ok(Content {
                bytes,
                decoding: &self.decoding,
                claim,
            }),
            Err(error) => {
                linger(body);
                Err(error)
            }
        }
    }

    /// Reads a body that is a JSON object with the single field `name`.
    ///
    /// # Errors
    /// Those of [`Bodies::read`]; 400 if the body is not JSON; 422 for any other object, or if
    /// `read` refuses the value.
    pub async fn member<T>(
        &self,
        body: Body,
        max_json_depth: usize,
        name: &'static str,
        read: impl FnOnce(Json) -> Result<T, Invalid>,
    ) -> Result<T, ApiError> {
        let content = self.read(body).await?;
        let read = |text: &[u8]| {
            let document = Document::parse(text, max_json_depth)?;
            let [member] = document.root().fields(&[name])?;
            Ok(member.read(read)?)
        };
        content.decode(read).await
    }

    /// Bytes that bodies hold now.
    pub fn held(&self) -> usize {
        self.budget.held()
    }

    /// Updates the metric of the bytes held.
    pub fn show(&self) {
        gauge!("ltr_body_bytes").set(self.held() as f64);
    }

    async fn collect(&self, body: &mut Body) -> Result<(Bytes, Claim<'_>), ApiError> {
        let mut claim = Claim::new(&self.budget);
        let announced = body.size_hint().lower();
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        if announced > self.max_bytes {
            return Err(self.too_large());
        }
        claim.check(announced)?;
        let Some(first) = next(body).await? else {
            return Ok((Bytes::new(), claim));
        };
        if body.is_end_stream() {
            return self.whole(first, claim);
        }
        let mut whole: Vec<u8> = Vec::new();
        let mut chunk = first;
        loop {
            let length = whole.len() + chunk.len();
            if length > self.max_bytes {
                return Err(self.too_large());
            }
            if length > whole.capacity() {
                // The buffer grows with the received data, not to the announced size at once. So a
                // client that stops sending holds little memory.
                let most = if announced == 0 { self.max_bytes } else { announced };
                let capacity = length.max((2 * whole.capacity()).max(UNCOUNTED).min(most));
                claim.resize(capacity)?;
                whole.reserve_exact(capacity - whole.len());
            }
            whole.extend_from_slice(&chunk);
            chunk = match next(body).await? {
                Some(chunk) => chunk,
                None => return Ok((whole.into(), claim)),
            };
        }
    }

    /// A body that arrived in one piece needs no copy.
    fn whole<'b>(&self, bytes: Bytes, mut claim: Claim<'b>) -> Result<(Bytes, Claim<'b>), ApiError> {
        if bytes.len() > self.max_bytes {
            return Err(self.too_large());
        }
        claim.resize(bytes.len())?;
        Ok((bytes, claim))
    }

    fn too_large(&self) -> ApiError {
        let limit = self.max_bytes;
        ApiError {
            allowed: Some(format!("at most {limit} bytes (host.max_body_bytes)")),
            closes: true,
            ..ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                format!("the body is larger than {limit} bytes (host.max_body_bytes)"),
            )
        }
    }

    fn timed_out(&self) -> ApiError {
        let milliseconds = self.timeout.as_millis();
        ApiError {
            closes: true,
            ..ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "slow_body",
                format!("the body did not arrive within {milliseconds} ms (host.body_timeout_ms)"),
            )
        }
    }
}

/// A complete body. Its part of the budget is released when it is dropped.
pub struct Content<'b> {
    bytes: Bytes,
    decoding: &'b Semaphore,
    claim: Claim<'b>,
}

impl<'b> Content<'b> {
    /// Decodes the text with `read`. A large text waits for a permit, and is decoded in blocking
    /// mode, so that another thread takes over this thread's other tasks.
    pub async fn decode<T>(&self, read: impl FnOnce(&[u8]) -> T) -> T {
        if self.bytes.len() <= LARGE {
            return read(&self.bytes);
        }
        let _permit = self.decoding.acquire().await.expect("the semaphore is never closed");
        match Handle::current().runtime_flavor() {
            RuntimeFlavor::MultiThread => tokio::task::block_in_place(|| read(&self.bytes)),
            _ => read(&self.bytes),
        }
    }

    /// Drops the text, and claims `bytes` of the budget for the data decoded from it instead.
    ///
    /// # Errors
    /// 503 if the budget has no room.
    pub fn replaced_by(self, bytes: usize) -> Result<Claim<'b>, ApiError> {
        let Content {
            bytes: text, mut claim, ..
        } = self;
        drop(text);
        claim.resize(bytes)?;
        Ok(claim)
    }
}

/// The next chunk of the body; `None` at its end.
async fn next(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError {
            closes: true,
            ..ApiError::malformed("broken_body", format!("the body broke off: {error}"))
        })?;
        // Trailers are ignored.
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Reads and drops the rest of a refused body. Closing the connection with unread data could reset
/// it before the client has read the response.
fn linger(mut body: Body) {
    tokio::spawn(async move {
        let rest = async { while let Ok(Some(_)) = next(&mut body).await {} };
        let _ = tokio::time::timeout(LINGER, rest).await;
    });
}

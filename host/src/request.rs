//! A request from its first byte to its answer: what it is called, and what is said of it.

use std::time::Instant;

use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use crate::answer::Response;
use crate::body::Body;
use crate::gateway::Gateway;
use crate::telemetry::{REQUESTS, Trace};
use crate::{copies, observe};

pub type Request = hyper::Request<Body>;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a caller, in bytes.
pub const MAX_ID_BYTES: usize = 128;

/// What a request is called: in the header `x-request-id` of the call and of the answer, in errors and in the log.
/// 1 to 128 bytes of visible ASCII.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's, where it is acceptable, else a fresh UUID, in the order of time. A copy is called as its original.
    pub fn of(headers: &HeaderMap) -> RequestId {
        let acceptable = |id: &&HeaderValue| {
            (1..=MAX_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        let given = copies::original_id(headers).or_else(|| headers.get(X_REQUEST_ID));
        match given.filter(acceptable) {
            Some(given) => RequestId(given.clone()),
            None => {
                let fresh = Uuid::now_v7().hyphenated().to_string();
                RequestId(HeaderValue::try_from(fresh).expect("a UUID is visible ASCII"))
            }
        }
    }

    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("`of` takes visible ASCII only")
    }

    /// The id as a UUID, where it is one.
    pub fn uuid(&self) -> Option<Uuid> {
        Uuid::try_parse_ascii(self.0.as_bytes()).ok()
    }
}

/// The request that a task is answering, for those who speak of it from deep inside: errors and the log.
pub struct Current {
    pub id: RequestId,
    /// `None` while no traces are exported.
    pub trace: Option<Trace>,
}

tokio::task_local! {
    static CURRENT: Current;
}

/// Whatever `look` sees in the request that this task is answering; `None` outside of requests.
pub fn with_current<T>(look: impl FnOnce(&Current) -> T) -> Option<T> {
    CURRENT.try_with(look).ok()
}

/// Sees a request through: names it, times it, and gives its answer the name. `route` is what metrics call its path.
pub async fn follow<F: Future<Output = Response>>(
    gateway: &Gateway,
    request: Request,
    route: &'static str,
    answer: impl FnOnce(RequestId, Request) -> F,
) -> Response {
    let start = Instant::now();
    let id = RequestId::of(request.headers());
    // Strangers can invent methods; each would be a series of its own.
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        _ => "other",
    };
    let traces = gateway.traces.as_ref();
    let trace = traces.map(|traces| traces.begin(request.headers(), method, route, &id));
    let called = id.clone();
    let answering = async {
        let response = answer(called, request).await;
        let (status, took) = (response.status(), start.elapsed());
        observe::answered(route, method, status, took);
        tracing::info!(
            target: REQUESTS,
            method,
            route,
            status = status.as_u16(),
            milliseconds = took.as_secs_f64() * 1e3,
            "answered"
        );
        with_current(|request| request.trace.as_ref().map(|trace| trace.answered(status)));
        response
    };
    let mut response = CURRENT.scope(Current { id: id.clone(), trace }, answering).await;
    response.headers_mut().insert(X_REQUEST_ID, id.0);
    response
}

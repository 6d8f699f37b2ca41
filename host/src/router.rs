//! The way of every request to its route: it gets a name and a span, is checked and admitted, and is timed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use api::headers::EDGE_COPY;
use hyper::{Method, StatusCode};

use crate::http::call::{Call, Request};
use crate::http::error::ApiError;
use crate::http::request_id::{self, RequestId, X_REQUEST_ID};
use crate::http::response::{self, Response};
use crate::http::{edge_copy, host_check, limits};
use crate::routes::{self, Route, Side};
use crate::state::Gateway;
use crate::telemetry::{self, REQUESTS, Trace, metrics};

/// Answers requests on one address.
#[derive(Clone)]
pub struct Router {
    gateway: Arc<Gateway>,
    side: Side,
}

impl Router {
    /// All routes, for one address.
    pub fn whole(gateway: &Arc<Gateway>) -> Router {
        Router::of(gateway, Side::Both)
    }

    /// What front ends call, where operators call another address.
    pub fn data(gateway: &Arc<Gateway>) -> Router {
        Router::of(gateway, Side::Data)
    }

    /// What operators call, on that address.
    pub fn admin(gateway: &Arc<Gateway>) -> Router {
        Router::of(gateway, Side::Admin)
    }

    fn of(gateway: &Arc<Gateway>, side: Side) -> Router {
        Router {
            gateway: gateway.clone(),
            side,
        }
    }

    /// Answers a request from `peer`, whatever it asks for.
    pub async fn answer(&self, peer: Option<IpAddr>, request: Request) -> Response {
        let path = request.uri().path();
        let known = routes::find(path);
        let name = known.map_or("unmatched", |route| route.path);
        // Metrics know the paths of the other side, too.
        let route = known.filter(|route| route.is_on(self.side));
        let answer = follow(&self.gateway, request, name, async |id, request| {
            let answer = self.admit(peer, route, id, request).await;
            answer.unwrap_or_else(ApiError::into_response)
        })
        .await;
        // The client's next request goes where there is a future.
        match self.gateway.readiness.is_draining() {
            true => response::closing(answer),
            false => answer,
        }
    }

    /// Refuses a head beyond its limits, a client beyond its rate and a caller who may not, and gives up on what takes
    /// too long.
    async fn admit(
        &self,
        peer: Option<IpAddr>,
        route: Option<&'static Route>,
        id: RequestId,
        request: Request,
    ) -> Result<Response, ApiError> {
        let gateway = &self.gateway;
        let (head, body) = request.into_parts();
        limits::check_head(&head.headers, &gateway.settings.host)?;
        host_check::check_host(&head)?;
        let is_open = gateway.access.is_open();
        if is_open {
            host_check::check_local(&head)?;
        }
        let caller = gateway.access.identify(&head.headers);
        gateway.rate.admit(&caller, peer)?;
        if !edge_copy::is_allowed(&head.headers, &head.method, head.uri.path()) {
            return Err(copy_refused());
        }
        let route = route.ok_or_else(|| routes::no_such_path(head.uri.path()))?;
        route.check_method(&head.method)?;
        if let Some(need) = route.need {
            gateway.access.check(&caller, need)?;
        }
        if is_open {
            host_check::check_content_type(&head)?;
        }
        let call = Call {
            id,
            caller,
            peer,
            head,
            body,
        };
        limits::in_time(&gateway.settings.host, route.answer(gateway, call)).await
    }
}

fn copy_refused() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "edge_copy",
        format!("edge copies ({EDGE_COPY}) may only call /rank and /ltr/score; nothing was changed"),
    )
}

/// Sees a request through: names it, times it, and gives its answer the name. `route` is what metrics call its path.
async fn follow<F: Future<Output = Response>>(
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
        metrics::answered(route, method, status, took);
        tracing::info!(
            target: REQUESTS,
            method,
            route,
            status = status.as_u16(),
            milliseconds = took.as_secs_f64() * 1e3,
            "answered"
        );
        telemetry::with_current(|trace: &Trace| trace.answered(status));
        response
    };
    let mut response = request_id::scope(id.clone(), telemetry::scope(trace, answering)).await;
    response.headers_mut().insert(X_REQUEST_ID, id.into_header());
    response
}

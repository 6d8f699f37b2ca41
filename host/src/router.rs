//! Routes each request: gives it an id and a span, checks and admits it, and measures its time.

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

/// Answers the requests of one address.
#[derive(Clone)]
pub struct Router {
    gateway: Arc<Gateway>,
    side: Side,
}

impl Router {
    /// All routes, on a single address.
    pub fn whole(gateway: &Arc<Gateway>) -> Router {
        Router::of(gateway, Side::Both)
    }

    /// The routes for front ends, if operators have a separate address.
    pub fn data(gateway: &Arc<Gateway>) -> Router {
        Router::of(gateway, Side::Data)
    }

    /// The routes for operators, on their separate address.
    pub fn admin(gateway: &Arc<Gateway>) -> Router {
        Router::of(gateway, Side::Admin)
    }

    fn of(gateway: &Arc<Gateway>, side: Side) -> Router {
        Router {
            gateway: gateway.clone(),
            side,
        }
    }

    /// Answers any request from `peer`; a refused one gets an error response.
    pub async fn answer(&self, peer: Option<IpAddr>, request: Request) -> Response {
        let path = request.uri().path();
        let known = routes::find(path);
        let name = known.map_or("unmatched", |route| route.path);
        // Metrics name the path even if this address does not have the route.
        let route = known.filter(|route| route.is_on(self.side));
        let answer = follow(&self.gateway, request, name, async |id, request| {
            let answer = self.admit(peer, route, id, request).await;
            answer.unwrap_or_else(ApiError::into_response)
        })
        .await;
        // While draining, the client's next request must go to another gateway.
        if self.gateway.readiness.is_draining() {
            response::closing(answer)
        } else {
            answer
        }
    }

    /// Checks a request and runs its route, with a time limit. Refuses a head or a rate beyond its
    /// limit, and a caller without permission.
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
            return Err(edge_copy_refused());
        }
        let route = route.ok_or_else(|| routes::no_such_path(head.uri.path()))?;
        route.check_method(&head.method)?;
        if let Some(permission) = route.permission {
            gateway.access.check(&caller, permission)?;
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

fn edge_copy_refused() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "edge_copy",
        format!("edge copies ({EDGE_COPY}) may only call /rank and /ltr/score; nothing was changed"),
    )
}

/// Runs `answer` with an id and a trace, records its time, and puts the id on the response. `route`
/// is the path's label in metrics.
async fn follow<F: Future<Output = Response>>(
    gateway: &Gateway,
    request: Request,
    route: &'static str,
    answer: impl FnOnce(RequestId, Request) -> F,
) -> Response {
    let start = Instant::now();
    let id = RequestId::of(request.headers());
    // A client can send any method, and each label value becomes a time series.
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

//! The routes, with the permission and the address of each. Each file answers one route, or a few
//! of a kind.

pub mod events;
mod health;
mod models;
pub mod rank;
mod rollout;
pub mod score;

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;

use api::shortened;
use hyper::{Method, StatusCode};
use settings::Role;

use crate::http::auth::Permission;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::response::Response;
use crate::state::Gateway;

#[derive(Clone, Copy)]
enum Endpoint {
    Rank,
    Score,
    Events,
    Metrics,
    Health,
    Ready,
    Models,
    Notify,
    Rollout,
    Evidence,
    Promote,
    Rollback,
    Hold,
    Pin,
    Weight,
    Drill,
}

/// A response that is being computed.
pub type Answering<'g> = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send + 'g>>;

/// The callers of a route, if operators have a separate address (`host.admin_listen`).
#[derive(Clone, Copy, PartialEq)]
pub enum Side {
    /// Front ends.
    Data,
    /// Operators, the trainer and the monitoring.
    Admin,
    /// Callers of both kinds; such a route is on both addresses.
    Both,
}

/// A path, its method and its callers.
pub struct Route {
    /// The exact path, such as `/rank`.
    pub path: &'static str,
    method: Method,
    side: Side,
    /// `None`: everybody may call it.
    pub permission: Option<Permission>,
    endpoint: Endpoint,
}

const fn route(
    method: Method,
    path: &'static str,
    side: Side,
    permission: Option<Permission>,
    endpoint: Endpoint,
) -> Route {
    Route {
        path,
        method,
        side,
        permission,
        endpoint,
    }
}

/// Open to everybody while no token is configured.
const fn open(role: Role) -> Option<Permission> {
    Some(Permission {
        role,
        open_without_tokens: true,
    })
}

/// Closed to everybody while no token is configured.
const ADMIN: Option<Permission> = Some(Permission {
    role: Role::Admin,
    open_without_tokens: false,
});

/// The most frequent paths come first.
static ROUTES: [Route; 16] = {
    use Endpoint::*;
    use Side::*;
    [
        route(Method::POST, "/rank", Data, open(Role::Rank), Rank),
        route(Method::POST, "/ltr/score", Data, open(Role::Rank), Score),
        route(Method::POST, "/events", Data, open(Role::Ingest), Events),
        route(Method::GET, "/metrics", Admin, None, Metrics),
        route(Method::GET, "/healthz", Both, None, Health),
        route(Method::GET, "/readyz", Both, None, Ready),
        route(Method::GET, "/models", Admin, None, Models),
        // Open without tokens: it loads only models that the key ring trusts, and does not let them
        // serve.
        route(Method::POST, "/models/notify", Admin, open(Role::Admin), Notify),
        route(Method::GET, "/rollout", Admin, open(Role::Admin), Rollout),
        route(Method::GET, "/rollout/evidence", Admin, open(Role::Admin), Evidence),
        route(Method::POST, "/rollout/promote", Admin, ADMIN, Promote),
        route(Method::POST, "/rollout/rollback", Admin, ADMIN, Rollback),
        route(Method::POST, "/rollout/hold", Admin, ADMIN, Hold),
        route(Method::POST, "/rollout/pin", Admin, ADMIN, Pin),
        route(Method::POST, "/rollout/weight", Admin, ADMIN, Weight),
        route(Method::POST, "/rollout/drill", Admin, ADMIN, Drill),
    ]
};

impl Endpoint {
    /// Answers a request. The future of each route is boxed by itself: one future for all would have
    /// the size of the largest.
    fn answer(self, gateway: &Arc<Gateway>, call: Call) -> Answering<'_> {
        match self {
            Endpoint::Rank => Box::pin(rank::rank(gateway, call)),
            Endpoint::Score => Box::pin(score::score(gateway, call)),
            Endpoint::Events => Box::pin(events::events(gateway, call)),
            Endpoint::Metrics => Box::pin(ready(Ok(health::metrics(gateway)))),
            Endpoint::Health => Box::pin(ready(Ok(health::health()))),
            Endpoint::Ready => Box::pin(ready(Ok(health::ready(gateway)))),
            Endpoint::Models => Box::pin(ready(Ok(models::show(gateway)))),
            Endpoint::Notify => Box::pin(models::notify(gateway, call)),
            Endpoint::Rollout => Box::pin(rollout::status(gateway, call)),
            Endpoint::Evidence => Box::pin(rollout::evidence(gateway, call)),
            Endpoint::Promote => Box::pin(rollout::promote(gateway, call)),
            Endpoint::Rollback => Box::pin(rollout::rollback(gateway, call)),
            Endpoint::Hold => Box::pin(rollout::hold(gateway, call)),
            Endpoint::Pin => Box::pin(rollout::pin(gateway, call)),
            Endpoint::Weight => Box::pin(rollout::weight(gateway, call)),
            Endpoint::Drill => Box::pin(rollout::drill(gateway, call)),
        }
    }
}

/// The route at this path.
pub fn find(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.path == path)
}

impl Route {
    /// Whether an address of this side serves the route.
    pub fn is_on(&self, side: Side) -> bool {
        side == Side::Both || [side, Side::Both].contains(&self.side)
    }

    /// Answers an admitted call.
    pub fn answer<'g>(&self, gateway: &'g Arc<Gateway>, call: Call) -> Answering<'g> {
        self.endpoint.answer(gateway, call)
    }
}

/// 404, with the existing paths.
pub fn no_such_path(path: &str) -> ApiError {
    let path = shortened(path);
    let paths: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
    ApiError {
        value: Some(path),
        allowed: Some(paths.join(", ")),
        ..ApiError::new(StatusCode::NOT_FOUND, "no_such_path", "this address has no such path")
    }
}

impl Route {
    /// Checks the method. HEAD counts as GET; its response has no body.
    ///
    /// # Errors
    /// 405 for another method, with the allowed ones.
    pub fn check_method(&self, method: &Method) -> Result<(), ApiError> {
        if *method == self.method || (*method == Method::HEAD && self.method == Method::GET) {
            return Ok(());
        }
        let allowed = if self.method == Method::GET {
            "GET, HEAD"
        } else {
            "POST"
        };
        Err(ApiError {
            allowed: Some(allowed.to_owned()),
            ..ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "wrong_method",
                format!(
                    "the method of {} is {}; allowed: {allowed}",
                    self.path,
                    shortened(method.as_str())
                ),
            )
        })
    }
}

//! The routes: what can be called, by whom and on which address. Each file answers one of them, or a few of a kind.

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

use crate::http::auth::Need;
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
    Promote,
    Rollback,
    Weight,
}

/// An answer on its way.
pub type Answering<'g> = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send + 'g>>;

/// Who calls a route, where operators have an address of their own (`host.admin_listen`).
#[derive(Clone, Copy, PartialEq)]
pub enum Side {
    /// Front ends.
    Data,
    /// Operators, the trainer and the monitoring.
    Admin,
    Both,
}

/// A path and who may call it.
pub struct Route {
    pub path: &'static str,
    method: Method,
    side: Side,
    pub need: Option<Need>,
    endpoint: Endpoint,
}

const fn route(method: Method, path: &'static str, side: Side, need: Option<Need>, endpoint: Endpoint) -> Route {
    Route {
        path,
        method,
        side,
        need,
        endpoint,
    }
}

/// Open to all as long as no token is configured.
const fn open(role: Role) -> Option<Need> {
    Some(Need {
        role,
        open_by_default: true,
    })
}

/// Closed to all as long as no token is configured.
const ADMIN: Option<Need> = Some(Need {
    role: Role::Admin,
    open_by_default: false,
});

/// The paths that are called most come first.
static ROUTES: [Route; 12] = {
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
        // It can only load what the key ring trusts, and never lets it serve.
        route(Method::POST, "/models/notify", Admin, open(Role::Admin), Notify),
        route(Method::GET, "/rollout", Admin, None, Rollout),
        route(Method::POST, "/rollout/promote", Admin, ADMIN, Promote),
        route(Method::POST, "/rollout/rollback", Admin, ADMIN, Rollback),
        route(Method::POST, "/rollout/weight", Admin, ADMIN, Weight),
    ]
};

impl Endpoint {
    /// In a box of its own size each: the largest would be moved with every request.
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
            Endpoint::Promote => Box::pin(rollout::promote(gateway, call)),
            Endpoint::Rollback => Box::pin(rollout::rollback(gateway, call)),
            Endpoint::Weight => Box::pin(rollout::weight(gateway, call)),
        }
    }
}

/// The route at this path.
pub fn find(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.path == path)
}

impl Route {
    /// Whether an address of this side has the route.
    pub fn is_on(&self, side: Side) -> bool {
        side == Side::Both || [side, Side::Both].contains(&self.side)
    }

    /// Answers a call that was admitted.
    pub fn answer<'g>(&self, gateway: &'g Arc<Gateway>, call: Call) -> Answering<'g> {
        self.endpoint.answer(gateway, call)
    }
}

/// 404, with the paths there are.
pub fn no_such_path(path: &str) -> ApiError {
    let path = shortened(path);
    let paths: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
    ApiError {
        value: Some(path),
        allowed: Some(paths.join(", ")),
        ..ApiError::new(
            StatusCode::NOT_FOUND,
            "no_such_path",
            "nothing answers at this path on this address",
        )
    }
}

impl Route {
    /// HEAD is as good as GET; nobody is sent a body then.
    ///
    /// # Errors
    /// 405 for another method, with those that are allowed.
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
                format!("{} is called with {allowed}", self.path),
            )
        })
    }
}

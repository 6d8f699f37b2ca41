//! What can be called, by whom and on which address, and what every request meets before it is answered.

use std::future::ready;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use api::shortened;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use settings::Role;

use crate::access::{Caller, Need};
use crate::answer::{self, Response};
use crate::body::Body;
use crate::errors::ApiError;
use crate::gateway::Gateway;
use crate::request::{self, Request, RequestId};
use crate::{authority, copies, events, limits, probes, rank, rollout, score};

/// A request that was let in.
pub struct Call {
    pub id: RequestId,
    pub caller: Caller,
    /// `None`: it came from this process.
    pub peer: Option<IpAddr>,
    pub head: Parts,
    pub body: Body,
}

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

type Answering<'g> = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send + 'g>>;

/// Who calls a route, where operators have an address of their own.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    /// Front ends.
    Data,
    /// Operators, the trainer and the monitoring.
    Admin,
    Both,
}

struct Route {
    path: &'static str,
    method: Method,
    side: Side,
    need: Option<Need>,
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

/// What answers on one address.
#[derive(Clone)]
pub struct Front {
    gateway: Arc<Gateway>,
    side: Side,
}

impl Front {
    /// All routes, for one address.
    pub fn whole(gateway: &Arc<Gateway>) -> Front {
        Front::of(gateway, Side::Both)
    }

    /// What front ends call, where operators call another address.
    pub fn data(gateway: &Arc<Gateway>) -> Front {
        Front::of(gateway, Side::Data)
    }

    /// What operators call, on that address.
    pub fn admin(gateway: &Arc<Gateway>) -> Front {
        Front::of(gateway, Side::Admin)
    }

    fn of(gateway: &Arc<Gateway>, side: Side) -> Front {
        Front {
            gateway: gateway.clone(),
            side,
        }
    }

    /// Answers a request from `peer`, whatever it asks for.
    pub async fn answer(&self, peer: Option<IpAddr>, request: Request) -> Response {
        let path = request.uri().path();
        let known = ROUTES.iter().find(|route| route.path == path);
        let name = known.map_or("unmatched", |route| route.path);
        // Metrics know the paths of the other side, too.
        let route = known.filter(|route| self.side == Side::Both || [self.side, Side::Both].contains(&route.side));
        let answer = request::follow(&self.gateway, request, name, async |id, request| {
            let answer = self.admit(peer, route, id, request).await;
            answer.unwrap_or_else(ApiError::into_response)
        })
        .await;
        // The client's next request goes where there is a future.
        match self.gateway.is_draining() {
            true => answer::closing(answer),
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
        authority::check_host(&head)?;
        let is_open = gateway.access.is_open();
        if is_open {
            authority::check_local(&head)?;
        }
        let caller = gateway.access.identify(&head.headers);
        gateway.rate.admit(&caller, peer)?;
        copies::check(&head.headers, &head.method, head.uri.path())?;
        let route = route.ok_or_else(|| no_such_path(head.uri.path()))?;
        check_method(route, &head.method)?;
        if let Some(need) = route.need {
            gateway.access.check(&caller, need)?;
        }
        if is_open {
            authority::check_content_type(&head)?;
        }
        let call = Call {
            id,
            caller,
            peer,
            head,
            body,
        };
        limits::in_time(&gateway.settings.host, route.endpoint.answer(gateway, call)).await
    }
}

impl Endpoint {
    /// In a box of its own size each: the largest would be moved with every request.
    fn answer(self, gateway: &Arc<Gateway>, call: Call) -> Answering<'_> {
        match self {
            Endpoint::Rank => Box::pin(rank::rank(gateway, call)),
            Endpoint::Score => Box::pin(score::score(gateway, call)),
            Endpoint::Events => Box::pin(events::events(gateway, call)),
            Endpoint::Metrics => Box::pin(ready(Ok(probes::metrics(gateway)))),
            Endpoint::Health => Box::pin(ready(Ok(probes::health()))),
            Endpoint::Ready => Box::pin(ready(Ok(probes::ready(gateway)))),
            Endpoint::Models => Box::pin(ready(Ok(rollout::models(gateway)))),
            Endpoint::Notify => Box::pin(rollout::notify(gateway, call)),
            Endpoint::Rollout => Box::pin(rollout::status(gateway, call)),
            Endpoint::Promote => Box::pin(rollout::promote(gateway, call)),
            Endpoint::Rollback => Box::pin(rollout::rollback(gateway, call)),
            Endpoint::Weight => Box::pin(rollout::weight(gateway, call)),
        }
    }
}

fn no_such_path(path: &str) -> ApiError {
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

/// HEAD is as good as GET; nobody is sent a body then.
fn check_method(route: &Route, method: &Method) -> Result<(), ApiError> {
    if *method == route.method || (*method == Method::HEAD && route.method == Method::GET) {
        return Ok(());
    }
    let allowed = if route.method == Method::GET {
        "GET, HEAD"
    } else {
        "POST"
    };
    Err(ApiError {
        allowed: Some(allowed.to_owned()),
        ..ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "wrong_method",
            format!("{} is called with {allowed}", route.path),
        )
    })
}

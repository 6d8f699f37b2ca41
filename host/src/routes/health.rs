//! Routes for orchestrators and monitoring.

use hyper::StatusCode;

use crate::http::response::{self, Response};
use crate::state::Gateway;
use crate::telemetry::metrics;

/// `GET /metrics`.
pub(super) fn metrics(gateway: &Gateway) -> Response {
    gateway.models().show_breakers();
    gateway.bodies.show();
    response::text(StatusCode::OK, metrics::recorder().render())
}

/// `GET /healthz`: the process answers.
pub(super) fn health() -> Response {
    response::text(StatusCode::OK, "ok\n")
}

/// `GET /readyz`: whether a load balancer should send requests here.
pub(super) fn ready(gateway: &Gateway) -> Response {
    if gateway.readiness.is_draining() {
        return response::text(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    if !gateway.readiness.is_ready() {
        return response::text(StatusCode::SERVICE_UNAVAILABLE, "starting\n");
    }
    let database = gateway.writer.health();
    if gateway.models().is_unknown() {
        let spooled = database.spooled();
        let text = format!(
            "ready; the database has been unavailable since the start, legacy answers, {spooled} records are spooled\n"
        );
        return response::text(StatusCode::OK, text);
    }
    // Rankings do not need the database, so a gateway stays ready during an outage.
    let text = match (database.is_unavailable(), database.spooled()) {
        (true, spooled) => format!("ready; the database is unavailable, {spooled} records are spooled\n"),
        (false, 0) => "ready\n".to_owned(),
        (false, spooled) => format!("ready; {spooled} spooled records are being replayed\n"),
    };
    response::text(StatusCode::OK, text)
}

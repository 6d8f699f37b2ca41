//! What orchestrators and the monitoring ask.

use std::sync::atomic::Ordering;

use hyper::StatusCode;

use crate::answer::{self, Response};
use crate::gateway::Gateway;
use crate::observe;

/// `GET /metrics`.
pub fn metrics(gateway: &Gateway) -> Response {
    gateway.models.show_breakers();
    gateway.bodies.show();
    answer::text(StatusCode::OK, observe::recorder().render())
}

/// `GET /healthz`: the process answers.
pub fn health() -> Response {
    answer::text(StatusCode::OK, "ok\n")
}

/// `GET /readyz`: whether requests are to be sent here.
pub fn ready(gateway: &Gateway) -> Response {
    if gateway.is_draining() {
        return answer::text(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    if !gateway.is_ready() {
        return answer::text(StatusCode::SERVICE_UNAVAILABLE, "starting\n");
    }
    let outage = gateway.writer.outage();
    if gateway.models.unknown.load(Ordering::Relaxed) {
        let spooled = outage.spooled();
        let said = format!(
            "ready; the database has been unavailable since the start, legacy answers, {spooled} records are spooled\n"
        );
        return answer::text(StatusCode::OK, said);
    }
    // Rankings do without the database, so that an outage is no reason to send requests elsewhere.
    let said = match (outage.away(), outage.spooled()) {
        (true, spooled) => format!("ready; the database is unavailable, {spooled} records are spooled\n"),
        (false, 0) => "ready\n".to_owned(),
        (false, spooled) => format!("ready; {spooled} spooled records are being replayed\n"),
    };
    answer::text(StatusCode::OK, said)
}

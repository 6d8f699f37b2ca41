//! `POST /rank`: a ranking within the deadline, whatever LTR does.
//!
//! Five steps: [`request::read`] the case, `decide` who ranks it, score it, build the
//! `response`, and `record` what was shown and compared.

mod case;
mod decide;
mod record;
pub mod request;
mod response;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use ranking::{Candidate, Trigger, rank_legacy, rank_ltr};
use uuid::Uuid;

use self::case::{Case, LtrRanking, Outcome, Rankings};
use self::decide::Decision;
use crate::http::call::Call;
use crate::http::edge_copy::is_copy;
use crate::http::error::ApiError;
use crate::http::response::Response;
use crate::models::{GRACE, Model, Scored};
use crate::state::Gateway;
use crate::telemetry::{child_span, metrics};

/// Part of the deadline that is reserved for writing the response.
const RESPONSE_RESERVE: Duration = Duration::from_millis(5);

/// Ranks a case.
///
/// # Errors
/// An invalid request. A failure of LTR or the database is never an error here.
pub async fn rank(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let case = read(gateway, call).await?;
    let decision = decide::decide(gateway, &case);
    let rankings = score(gateway, &case, &decision).await;
    let shown = response::shown(gateway, &case, &decision, &rankings);
    if let Some(served) = &decision.served {
        let took = rankings.served.as_ref().and_then(|outcome| outcome.as_ref().ok());
        gateway
            .release
            .health
            .record(served, took.map(|ltr| ltr.took), Instant::now());
    }
    count_drift(gateway, &decision, &rankings);
    let mut response = response::build(&case, &shown);
    let records = record::records(gateway, &case, &decision, &rankings, &shown);
    let timeout = case
        .deadline
        .saturating_duration_since(Instant::now() + RESPONSE_RESERVE);
    let logged = record::submit(gateway, records, timeout).await;
    metrics::ranked(decision.compared.is_some(), case.start.elapsed());
    response
        .headers_mut()
        .insert(response::X_LTR_LOGGED, HeaderValue::from_static(logged.as_str()));
    Ok(response)
}

/// Counts how the challenger ranks what the champion answers, unless the client chose that it is compared.
fn count_drift(gateway: &Gateway, decision: &Decision, rankings: &Rankings) {
    let compared = decision
        .compared
        .as_ref()
        .filter(|compared| compared.trigger != Trigger::Forced);
    if let (Some(compared), Some(server)) = (compared, &decision.server)
        && let (Some(Ok(served)), Some(shadow)) = (&rankings.served, &rankings.shadow)
    {
        let challenger = shadow.as_ref().ok().map(|ltr| (&*ltr.ranked, ltr.took));
        let versions = [&*server.version, &*compared.model.version];
        gateway.release.drift.record(versions, &served.ranked, challenger);
    }
}

async fn read(gateway: &Gateway, call: Call) -> Result<Case, ApiError> {
    let by_edge = gateway.access.is_edge(&call.caller, call.peer);
    let Call { id, head, body, .. } = call;
    let headers = head.headers;
    let is_copy = is_copy(&headers);
    if !is_copy {
        metrics::rank_requested();
    }
    let now = gateway.clock.now(&headers)?;
    // Not events: they may be posted days after they happened.
    gateway.release.saw(now);
    let content = gateway.bodies.read(body).await?;
    // The time that the client takes to send the body does not count.
    let start = Instant::now();
    let host = &gateway.settings.host;
    let read = |text: &[u8]| request::read(text, &gateway.schema, &gateway.presets, host);
    let request = content.decode(read).await?;
    Ok(Case {
        request,
        id: id.uuid().unwrap_or_else(Uuid::now_v7),
        headers,
        is_copy,
        by_edge,
        now,
        start,
        deadline: start + host.deadline(),
    })
}

/// Ranks the case by the weights, and by the models of the decision.
async fn score(gateway: &Gateway, case: &Case, decision: &Decision) -> Rankings {
    let request = &case.request;
    let legacy = rank_legacy(
        &request.candidates,
        &request.weights,
        &gateway.settings.ranking.fairness,
    );
    let server = decision.server.as_ref();
    // If the model that answers is also the one compared, it scores once.
    let compared = decision.compared.as_ref().map(|compared| &compared.model);
    let compared = compared.filter(|model| !server.is_some_and(|server| Arc::ptr_eq(server, model)));
    let until = (Instant::now() + gateway.settings.host.ltr_budget()).min(case.deadline - RESPONSE_RESERVE - GRACE);
    let (served, shadow) = tokio::join!(
        ltr(gateway, server, &request.candidates, until),
        ltr(gateway, compared, &request.candidates, until),
    );
    Rankings { legacy, served, shadow }
}

/// The ranking of the case by `model`; `None` if there is no model.
async fn ltr(gateway: &Gateway, model: Option<&Arc<Model>>, candidates: &[Candidate], until: Instant) -> Outcome {
    let rows = candidates.iter().map(|candidate| candidate.features.as_slice());
    let scored = child_span("score", gateway.models().score(model?, rows, until)).await;
    Some(scored.map(|Scored { scores, took }| LtrRanking {
        ranked: rank_ltr(candidates, &scores, &gateway.settings.ranking.fairness),
        scores,
        took,
    }))
}

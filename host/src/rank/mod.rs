//! `POST /rank`: a ranking within the deadline, whatever LTR does.

mod record;
pub mod request;

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::headers::{OPT_OUT, SHADOW};
use hyper::header::{HeaderMap, HeaderValue};
use metrics::counter;
use ranking::{Candidate, Policy, Ranked, Sampler, Source, Trigger, rank_legacy, rank_ltr};
use serde::Serialize;
use uuid::Uuid;

use crate::answer::{self, Response};
use crate::copies::{is_copy, user_pseudonym};
use crate::errors::ApiError;
use crate::gateway::Gateway;
use crate::models::{GRACE, Model, Scored};
use crate::observe;
use crate::routes::Call;
use crate::telemetry::part;

/// Left of the deadline for writing the answer itself.
const ANSWER: Duration = Duration::from_millis(5);

/// An LTR ranking and the time its scores took.
struct LtrRanking {
    ranked: Vec<Ranked>,
    /// Of each candidate, as it came out of the model.
    scores: Vec<f64>,
    took: Duration,
}

/// A comparison in shadow: with which model, and what came of it.
struct Comparison {
    version: String,
    outcome: Result<LtrRanking, &'static str>,
}

/// Ranks a case.
///
/// # Errors
/// What is wrong with the request. Nothing about LTR or the database is ever an error here.
pub async fn rank(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let by_edge = gateway.access.is_edge(&call.caller, call.peer);
    let Call { id, head, body, .. } = call;
    let headers = head.headers;
    let edge_copy = is_copy(&headers);
    if !edge_copy {
        counter!("api_requests_total").increment(1);
    }
    let now = gateway.clock.now(&headers)?;
    let content = gateway.bodies.read(body).await?;
    // The client's time to send the body is not ours to account for.
    let start = Instant::now();
    let deadline = start + gateway.settings.host.deadline();
    let read = |text: &[u8]| request::read(text, &gateway.schema, &gateway.presets, &gateway.settings.host);
    let request = content.decode(read).await?;
    drop(content);
    // The caller's where it is a UUID, so that a retry is recognised.
    let request_id = id.uuid().unwrap_or_else(Uuid::now_v7);

    let legacy = rank_legacy(
        &request.candidates,
        &request.weights,
        &gateway.settings.ranking.fairness,
    );
    let serving = gateway.models.serving();
    let flags = gateway.flags.in_force();
    let serves = !edge_copy && in_rollout(&gateway.settings.rollout.salt, serving.weight, request_id);
    let server = if serves && !flags.killed {
        serving.serves()
    } else {
        None
    };
    let trigger = match flags.killed || headers.contains_key(OPT_OUT) {
        true => None,
        false => trigger(&headers, by_edge, || flags.shadow.selects(request_id)),
    };
    let compared = serving.challenger.as_ref().filter(|_| trigger.is_some());

    let until = (Instant::now() + gateway.settings.host.ltr_budget()).min(deadline - ANSWER - GRACE);
    let (served, shadow) = tokio::join!(
        ltr(gateway, server, &request.candidates, until),
        // Where the same model answers, its answer is the comparison.
        ltr(
            gateway,
            compared.filter(|model| !server.is_some_and(|s| Arc::ptr_eq(s, model))),
            &request.candidates,
            until
        ),
    );
    let fallback = match &served {
        Some(Ok(_)) => None,
        Some(Err(reason)) => Some(*reason),
        None if flags.killed => Some("kill_switch"),
        None => (serves || !serving.any()).then(|| gateway.models.absence()),
    };
    if let Some(reason) = fallback.filter(|_| !edge_copy) {
        observe::fallback(reason);
    }
    let (ranked, source) = match &served {
        Some(Ok(ltr)) => (&ltr.ranked, Source::Ltr),
        _ => (&legacy, Source::Legacy),
    };
    let model_version = server
        .filter(|_| source == Source::Ltr)
        .map(|model| model.version.clone());
    let shown = &ranked[..request.top_n.unwrap_or(ranked.len()).min(ranked.len())];
    let answer = Answer {
        request_id,
        case_id: request.case_id,
        source: source.name(),
        model_version: model_version.as_deref(),
        fallback,
        ranking: places(shown, &request.candidates),
    };
    let mut response = answer::json(&answer);

    let mut records = Vec::new();
    let log = record::Ranking {
        gateway,
        request: &request,
        request_id,
        now,
        legacy: &legacy,
    };
    if !edge_copy {
        // Whose scores there are, whoever was displayed.
        let ltr = [(&served, server), (&shadow, compared)];
        let ltr = ltr.into_iter().find_map(|(outcome, model)| {
            let ranking = outcome.as_ref()?.as_ref().ok()?;
            Some((ranking, model?.version.as_str()))
        });
        records.push(log.impression(record::Displayed {
            source,
            model_version,
            // Only between the two a sampler has a choice.
            policy: match (1..100).contains(&serving.weight) {
                true => Policy::Rung,
                false => Policy::None,
            },
            shown,
            ltr,
        }));
    }
    let shadowed = compared.is_some();
    if let (Some(model), Some(trigger), Some(outcome)) = (compared, trigger, shadow.or(served)) {
        observe::shadow(
            outcome
                .as_ref()
                .map_or_else(|reason| *reason, |_| ranking::verdict::SCORED),
        );
        let comparison = Comparison {
            version: model.version.clone(),
            outcome,
        };
        let pseudonym = user_pseudonym(&headers, &gateway.salt, request.user_id);
        records.push(log.shadow(pseudonym, trigger, comparison));
    }
    let logged = keep(
        gateway,
        records,
        deadline.saturating_duration_since(Instant::now() + ANSWER),
    )
    .await;
    observe::ranked(shadowed, start.elapsed());
    response
        .headers_mut()
        .insert("x-ltr-logged", HeaderValue::from_static(logged));
    Ok(response)
}

/// Why a request is to be compared, if it is.
fn trigger(headers: &HeaderMap, by_edge: bool, sampled: impl FnOnce() -> bool) -> Option<Trigger> {
    let asked = is_copy(headers) || headers.get(SHADOW).is_some_and(|value| value.as_bytes() == b"1");
    match (asked, by_edge) {
        (true, true) if is_copy(headers) => Some(Trigger::EdgeCopy),
        (true, true) => Some(Trigger::EdgeMark),
        _ if sampled() => Some(Trigger::Sampled),
        (true, false) => Some(Trigger::Forced),
        (false, _) => None,
    }
}

/// The case as `model` ranks it; `None` without a model to ask.
async fn ltr(
    gateway: &Gateway,
    model: Option<&Arc<Model>>,
    candidates: &[Candidate],
    until: Instant,
) -> Option<Result<LtrRanking, &'static str>> {
    let rows = candidates.iter().map(|candidate| candidate.features.as_slice());
    let scored = part("score", gateway.models.score(model?, rows, until)).await;
    Some(scored.map(|Scored { scores, took }| LtrRanking {
        ranked: rank_ltr(candidates, &scores, &gateway.settings.ranking.fairness),
        scores,
        took,
    }))
}

/// Hands the records over. What the answer may say of it: `queued`, they are being written; `committed`, they survive
/// any crash; `dropped`, they are lost; `nothing` was to be kept. With `database.rank_waits`, and when the database
/// cannot keep up, it waits for the disk while `patience` lasts.
async fn keep(gateway: &Gateway, records: Vec<store::Record>, patience: Duration) -> &'static str {
    if records.is_empty() {
        return "nothing";
    }
    let writer = &gateway.writer;
    let kept = match gateway.settings.database.rank_waits || writer.is_behind() {
        true => match writer.hand_over(records) {
            Ok(receipt) => part("commit", receipt.committed_within(patience)).await,
            Err(full) => Some(Err(full)),
        },
        false => writer.leave(records).err().map(Err),
    };
    match kept {
        Some(Ok(_)) => "committed",
        None => "queued",
        Some(Err(_)) => {
            counter!("ltr_log_dropped_total").increment(1);
            "dropped"
        }
    }
}

/// Whether LTR answers this request at this weight. The same request gets the same answer, and a request that
/// is in at one weight is in at every higher one.
fn in_rollout(salt: &str, weight: u8, id: Uuid) -> bool {
    weight > 0 && Sampler::new(salt, f64::from(weight) / 100.0).is_ok_and(|sampler| sampler.selects(id))
}

/// What `/rank` says.
#[derive(Serialize)]
struct Answer<'a> {
    request_id: Uuid,
    case_id: Uuid,
    source: &'static str,
    model_version: Option<&'a str>,
    /// Why legacy answers where LTR should have.
    fallback: Option<&'static str>,
    ranking: Vec<Place<'a>>,
}

#[derive(Serialize)]
struct Place<'a> {
    lawyer_id: &'a str,
    rank_pos: usize,
    score: f64,
    fair: f64,
}

fn places<'a>(shown: &[Ranked], candidates: &'a [Candidate]) -> Vec<Place<'a>> {
    let place = |(at, ranked): (usize, &Ranked)| Place {
        lawyer_id: &candidates[ranked.index].lawyer_id,
        rank_pos: at + 1,
        score: ranked.score,
        fair: ranked.fair,
    };
    shown.iter().enumerate().map(place).collect()
}

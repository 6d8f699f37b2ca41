//! The response of `/rank`.

use hyper::header::HeaderName;
use ranking::{Candidate, Fallback, Ranked, Source};
use serde::Serialize;
use uuid::Uuid;

use super::case::{Case, Rankings};
use super::decide::Decision;
use crate::http::response::{self, Response};
use crate::telemetry::metrics;

/// The response header that says what became of the records.
pub(super) const X_LTR_LOGGED: HeaderName = HeaderName::from_static("x-ltr-logged");

/// The ranking that the client gets to see.
pub(super) struct Shown<'a> {
    /// Best first, at most `top_n`.
    pub ranked: &'a [Ranked],
    pub source: Source,
    /// The model's version, if LTR answers.
    pub model_version: Option<&'a str>,
    /// Why legacy answers although LTR should.
    pub fallback: Option<Fallback>,
}

/// Chooses LTR's ranking if it was to answer and could, else legacy's. Counts the fallbacks.
pub(super) fn shown<'a>(case: &Case, decision: &'a Decision, rankings: &'a Rankings) -> Shown<'a> {
    let (ranked, source, fallback) = match &rankings.served {
        Some(Ok(ltr)) => (&ltr.ranked, Source::Ltr, None),
        Some(Err(reason)) => (&rankings.legacy, Source::Legacy, Some(Fallback::Unscored(*reason))),
        None => (&rankings.legacy, Source::Legacy, decision.fallback),
    };
    if let Some(reason) = fallback.filter(|_| !case.is_copy) {
        metrics::fallback(reason);
    }
    let server = decision.server.as_ref().filter(|_| source == Source::Ltr);
    Shown {
        ranked: &ranked[..case.request.top_n.unwrap_or(ranked.len()).min(ranked.len())],
        source,
        model_version: server.map(|model| model.version.as_str()),
        fallback,
    }
}

/// The body of the response.
#[derive(Serialize)]
struct Body<'a> {
    request_id: Uuid,
    case_id: Uuid,
    source: &'static str,
    model_version: Option<&'a str>,
    fallback: Option<Fallback>,
    ranking: Vec<Place<'a>>,
}

#[derive(Serialize)]
struct Place<'a> {
    lawyer_id: &'a str,
    rank_pos: usize,
    score: f64,
    fair: f64,
}

/// Builds the response.
pub(super) fn build(case: &Case, shown: &Shown) -> Response {
    response::json(&Body {
        request_id: case.id,
        case_id: case.request.case_id,
        source: shown.source.name(),
        model_version: shown.model_version,
        fallback: shown.fallback,
        ranking: places(shown.ranked, &case.request.candidates),
    })
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

//! The response of `/rank`.

use std::borrow::Cow;

use hyper::header::HeaderName;
use ranking::interleaving::{Coins, Draft, draft};
use ranking::{Candidate, Coin, Fallback, Policy, Ranked, Source};
use serde::Serialize;
use uuid::Uuid;

use super::case::{Case, LtrRanking, Rankings};
use super::decide::Decision;
use crate::http::response::{self, Response};
use crate::state::Gateway;
use crate::telemetry::metrics;

/// The response header that says what became of the records.
pub(super) const X_LTR_LOGGED: HeaderName = HeaderName::from_static("x-ltr-logged");

/// The ranking that the client gets to see.
pub(super) struct Shown<'a> {
    /// Best first, at most `top_n`.
    pub ranked: Cow<'a, [Ranked]>,
    pub source: Source,
    /// The model's version, if LTR answers.
    pub model_version: Option<&'a str>,
    /// Why legacy answers although LTR should.
    pub fallback: Option<Fallback>,
    /// Which sampler chose this ranking.
    pub policy: Policy,
    /// Of an interleaved ranking: who brought each lawyer in, in shown order.
    pub drafted_by: Option<Vec<Source>>,
    /// The coin that was tossed over two neighbours.
    pub coin: Option<Coin>,
}

/// Chooses LTR's ranking, or both drafted in turn, if LTR was to answer and could, else legacy's. Tosses the coin over two
/// neighbours where one is to be tossed. Counts the fallbacks.
pub(super) fn shown<'a>(gateway: &Gateway, case: &Case, decision: &'a Decision, rankings: &'a Rankings) -> Shown<'a> {
    let salt = &gateway.pseudonyms.salt;
    let (ranked, source, fallback) = match &rankings.served {
        Some(Ok(ltr)) if decision.interleaves => return interleaved(salt, case, decision, &rankings.legacy, ltr),
        Some(Ok(ltr)) => (&ltr.ranked, Source::Ltr, None),
        Some(Err(reason)) => (&rankings.legacy, Source::Legacy, Some(Fallback::Unscored(*reason))),
        None => (&rankings.legacy, Source::Legacy, decision.fallback),
    };
    if let Some(reason) = fallback.filter(|_| !case.is_copy) {
        metrics::fallback(reason);
    }
    let ranked = &ranked[..case.places(ranked.len())];
    let coin = decision.swaps.then(|| {
        let mut coins = Coins::of_swap(salt, case.id, case.request.case_id);
        gateway.swaps.toss(&mut coins, &case.request.candidates, ranked)
    });
    let coin = coin.flatten();
    Shown {
        ranked: coin.map_or(Cow::Borrowed(ranked), |coin| Cow::Owned(coin.applied(ranked))),
        source,
        model_version: decision.version().filter(|_| source == Source::Ltr),
        fallback,
        policy: decision.policy,
        drafted_by: None,
        coin,
    }
}

/// Both rankings, drafted in turn. Where a draft could break a promise of the re-rank, legacy's.
fn interleaved<'a>(
    salt: &[u8],
    case: &Case,
    decision: &'a Decision,
    legacy: &'a [Ranked],
    ltr: &LtrRanking,
) -> Shown<'a> {
    let places = case.places(legacy.len());
    let order = |ranked: &[Ranked]| -> Vec<usize> { ranked.iter().map(|ranked| ranked.index).collect() };
    let mut coins = Coins::new(salt, case.id, case.request.case_id);
    let drafted = draft(
        &case.request.candidates,
        &order(legacy),
        &order(&ltr.ranked),
        &mut coins,
    );
    let Some(Draft { order, mut drafted_by }) = drafted else {
        // No coin was tossed: nobody could have been shown anything else, so that chance did not choose an arm for this
        // case. As the policy of the share it would count as the legacy arm, which has other kinds of cases.
        return Shown {
            ranked: Cow::Borrowed(&legacy[..places]),
            source: Source::Legacy,
            model_version: None,
            fallback: None,
            policy: Policy::None,
            drafted_by: None,
            coin: None,
        };
    };
    drafted_by.truncate(places);
    let mut scored: Vec<Option<&Ranked>> = vec![None; ltr.ranked.len()];
    for ranked in &ltr.ranked {
        scored[ranked.index] = Some(ranked);
    }
    let ranked = order.iter().take(places).filter_map(|&at| scored[at].cloned());
    Shown {
        ranked: ranked.collect(),
        source: Source::Interleaved,
        model_version: decision.version(),
        fallback: None,
        policy: decision.policy,
        drafted_by: Some(drafted_by),
        coin: None,
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
        ranking: places(&shown.ranked, &case.request.candidates),
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

//! What a ranking leaves behind: the impression that training reads, and the comparison that the verdict reads.

use chrono::{DateTime, Utc};
use ranking::events::impression_id;
use ranking::{Body, Event, Impression, Ranked, ShadowRow, Source, unrewritten};
use store::{Record, ShadowRecord};
use uuid::Uuid;

use super::Comparison;
use super::request::RankRequest;
use crate::gateway::Gateway;

/// What was shown, with the features as served. The id follows from the request's, so that a retry is kept once.
#[expect(clippy::too_many_arguments, reason = "each is one column of the record")]
pub(super) fn impression(
    request: &RankRequest,
    gateway: &Gateway,
    request_id: Uuid,
    now: DateTime<Utc>,
    source: Source,
    model_version: Option<String>,
    shown: &[Ranked],
    legacy: &[Ranked],
) -> Record {
    let candidates = || shown.iter().map(|ranked| &request.candidates[ranked.index]);
    let mut legacy_scores = vec![0.0; request.candidates.len()];
    for ranked in legacy {
        legacy_scores[ranked.index] = ranked.score;
    }
    let impression = Impression {
        request_id,
        lawyer_ids: candidates().map(|c| c.lawyer_id.clone()).collect(),
        weights_used: request.weights.named(&gateway.schema),
        features: candidates()
            .map(|c| {
                c.features
                    .iter()
                    .map(|&value| (!value.is_nan()).then_some(value))
                    .collect()
            })
            .collect(),
        source,
        model_version,
        legacy_scores: Some(shown.iter().map(|ranked| legacy_scores[ranked.index]).collect()),
        groups: Some(candidates().map(|c| c.groups.clone()).collect()),
        cases_30d: Some(candidates().map(|c| c.cases_30d).collect()),
        monthly_capacity: Some(candidates().map(|c| c.monthly_capacity).collect()),
        last_offered_at: Some(candidates().map(|c| c.last_offered_at).collect()),
    };
    Record::Event(Event {
        event_id: impression_id(request_id),
        ts_utc: now,
        case_id: request.case_id,
        user_id: request.user_id,
        body: Body::Impression(impression),
    })
}

/// Both rankings of every lawyer in one record, which copies of a request share whether Envoys on the way trace them or not.
pub(super) fn shadow(
    request: &RankRequest,
    user_pseudonym: Uuid,
    request_id: Uuid,
    now: DateTime<Utc>,
    legacy: &[Ranked],
    comparison: Comparison,
) -> Record {
    let mut ltr = vec![None; request.candidates.len()];
    if let Ok(ranking) = &comparison.outcome {
        for (at, ranked) in ranking.ranked.iter().enumerate() {
            ltr[ranked.index] = Some((rank(at), ranked.fair));
        }
    }
    let rows = legacy.iter().enumerate().map(|(at, ranked)| ShadowRow {
        lawyer_id: request.candidates[ranked.index].lawyer_id.clone(),
        rank_legacy: rank(at),
        rank_ltr: ltr[ranked.index].map(|(rank, _)| rank),
        label: None,
        fair_legacy: ranked.fair,
        fair_ltr: ltr[ranked.index].map(|(_, fair)| fair),
        groups: request.candidates[ranked.index].groups.clone(),
    });
    let took = comparison.outcome.as_ref().ok().map(|ltr| ltr.took.as_micros());
    Record::Shadow(ShadowRecord {
        request_id: unrewritten(request_id),
        ts_utc: now,
        case_id: request.case_id,
        user_pseudonym,
        model_version: comparison.version,
        outcome: comparison
            .outcome
            .map_or_else(|reason| reason, |_| ranking::verdict::SCORED)
            .to_owned(),
        score_us: took.map(|us| u32::try_from(us).unwrap_or(u32::MAX)),
        rows: rows.collect(),
    })
}

/// Rank of the candidate at `at`, from 1. The schema of the log has 16 bits for it.
fn rank(at: usize) -> u16 {
    u16::try_from(at + 1).unwrap_or(u16::MAX)
}

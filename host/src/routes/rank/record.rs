//! Builds and submits the records of a ranking: the impression for training, and the comparison for
//! the verdict.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ranking::events::impression_id;
use ranking::{Body, Candidate, Event, Impression, Origin, Ranked, ShadowOutcome, ShadowRow, Unscored, unrewritten};
use store::{Record, ShadowRecord};

use super::case::{Case, LtrRanking, Rankings};
use super::decide::{Compared, Decision};
use super::request::RankRequest;
use super::response::Shown;
use crate::http::edge_copy::user_pseudonym;
use crate::state::Gateway;
use crate::telemetry::{child_span, metrics};

/// The records of a ranking: the impression, unless the request is a copy, and the comparison, if
/// there is one.
pub(super) fn records(
    gateway: &Gateway,
    case: &Case,
    decision: &Decision,
    rankings: &Rankings,
    shown: &Shown,
) -> Vec<Record> {
    let ranking = Ranking {
        gateway,
        case,
        request: &case.request,
        legacy: &rankings.legacy,
    };
    let mut records = Vec::new();
    if !case.is_copy {
        records.push(ranking.impression(decision, shown, scores(decision, rankings)));
    }
    if let Some(compared) = &decision.compared
        && let Some(outcome) = rankings.shadow.as_ref().or(rankings.served.as_ref())
    {
        records.push(ranking.comparison(compared, outcome));
    }
    records
}

/// LTR's ranking and the model's version, if a model ranked. LTR's ranking need not be the one
/// shown.
fn scores<'a>(decision: &'a Decision, rankings: &'a Rankings) -> Option<(&'a LtrRanking, &'a str)> {
    let compared = decision.compared.as_ref().map(|compared| &compared.model);
    let ranked = [
        (&rankings.served, decision.server.as_ref()),
        (&rankings.shadow, compared),
    ];
    ranked.into_iter().find_map(|(outcome, model)| {
        let ranking = outcome.as_ref()?.as_ref().ok()?;
        Some((ranking, model?.version.as_str()))
    })
}

/// What became of the records of a ranking.
#[derive(Clone, Copy)]
pub(super) enum Logged {
    /// There were none.
    Nothing,
    /// They are queued for writing, but not safe from a crash yet.
    Queued,
    /// They survive any crash.
    Committed,
    /// They are lost.
    Dropped,
}

impl Logged {
    /// The value of the response's header.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Logged::Nothing => "nothing",
            Logged::Queued => "queued",
            Logged::Committed => "committed",
            Logged::Dropped => "dropped",
        }
    }
}

/// Submits the records to the writer. With `database.rank_waits`, or if the database cannot keep
/// up, it waits until they are on disk, for at most `timeout`.
pub(super) async fn submit(gateway: &Gateway, records: Vec<Record>, timeout: Duration) -> Logged {
    if records.is_empty() {
        return Logged::Nothing;
    }
    let writer = &gateway.writer;
    let outcome = if gateway.settings.database.rank_waits || writer.is_behind() {
        match writer.submit(records) {
            Ok(receipt) => child_span("commit", receipt.committed_within(timeout)).await,
            Err(full) => Some(Err(full)),
        }
    } else {
        writer.submit_unacked(records).err().map(Err)
    };
    match outcome {
        Some(Ok(_)) => Logged::Committed,
        None => Logged::Queued,
        Some(Err(_)) => {
            metrics::log_dropped();
            Logged::Dropped
        }
    }
}

/// What all records of a ranking are made from.
struct Ranking<'a> {
    gateway: &'a Gateway,
    case: &'a Case,
    request: &'a RankRequest,
    /// All candidates, best first.
    legacy: &'a [Ranked],
}

impl Ranking<'_> {
    /// The impression: what was shown, with the features that were used. Its id is derived from the
    /// request and the case, so that a retry is stored once.
    fn impression(&self, decision: &Decision, displayed: &Shown, ltr: Option<(&LtrRanking, &str)>) -> Record {
        let (request, settings) = (self.request, &self.gateway.settings);
        let shown = &*displayed.ranked;
        let candidates = || shown.iter().map(|ranked| &request.candidates[ranked.index]);
        let mut legacy_scores = vec![None; request.candidates.len()];
        for ranked in self.legacy {
            legacy_scores[ranked.index] = Some(ranked.score);
        }
        let features = |candidate: &Candidate| {
            let values = candidate.features.iter();
            values.map(|&value| (!value.is_nan()).then_some(value)).collect()
        };
        let consents = shown.iter().map(|ranked| request.consents[ranked.index]);
        let consents: Vec<Option<DateTime<Utc>>> = consents.collect();
        let impression = Impression {
            weights_used: request.weights.named(&self.gateway.schema),
            source: displayed.source,
            model_version: displayed.model_version.map(str::to_owned),
            legacy_scores: Some(shown.iter().map(|ranked| legacy_scores[ranked.index]).collect()),
            groups: Some(shown.iter().map(|ranked| self.groups(ranked.index)).collect()),
            cases_30d: Some(candidates().map(|c| c.cases_30d).collect()),
            monthly_capacity: Some(candidates().map(|c| c.monthly_capacity).collect()),
            last_offered_at: Some(candidates().map(|c| c.last_offered_at).collect()),
            groups_consented_at: consents.iter().any(Option::is_some).then_some(consents),
            origin: Some(Origin::Gateway),
            policy: Some(displayed.policy),
            order_before: self.order_before(displayed),
            coin: displayed.coin,
            drafted_by: displayed.drafted_by.clone(),
            state_version: (decision.state_version > 0).then_some(decision.state_version),
            ltr_version: ltr.map(|(_, version)| version.to_owned()),
            ltr_ranks: ltr.map(|(ltr, _)| ltr.ranks_of(shown)),
            ltr_scores: ltr.map(|(ltr, _)| shown.iter().map(|ranked| ltr.scores[ranked.index]).collect()),
            fairness: Some(settings.ranking.fairness.clone()),
            features_id: Some(self.gateway.schema.id()),
            ..Impression::new(
                self.case.id,
                candidates().map(|c| c.lawyer_id.clone()).collect(),
                candidates().map(features).collect(),
            )
        };
        let mut event = Event::new(
            impression_id(&self.gateway.pseudonyms.salt, self.case.id, request.case_id),
            self.case.now,
            request.case_id,
            request.user_id,
            Body::Impression(impression),
        );
        self.gateway.pseudonyms.apply(&mut event);
        Record::Event(event)
    }

    /// What would have been shown without coins: the ranking before its swap, and the legacy one without a draft. LTR's
    /// order is logged as its ranks. `None`: no coin was tossed.
    fn order_before(&self, displayed: &Shown) -> Option<Vec<String>> {
        let before = match (&displayed.coin, &displayed.drafted_by) {
            (Some(coin), _) => Cow::Owned(coin.applied(&displayed.ranked)),
            (None, Some(_)) => Cow::Borrowed(&self.legacy[..displayed.ranked.len()]),
            (None, None) => return None,
        };
        let ids = before
            .iter()
            .map(|ranked| &self.request.candidates[ranked.index].lawyer_id);
        Some(ids.cloned().collect())
    }

    /// The groups of a candidate that may be stored.
    fn groups(&self, candidate: usize) -> BTreeMap<String, String> {
        let agreed = self.request.consents[candidate].is_some();
        if agreed || self.gateway.settings.privacy.groups_without_consent {
            self.request.candidates[candidate].groups.clone()
        } else {
            BTreeMap::new()
        }
    }

    /// The comparison: both ranks of every lawyer. All copies of a request have the same record id,
    /// also if Envoy marked the request id for tracing.
    fn comparison(&self, compared: &Compared, ltr: &Result<LtrRanking, Unscored>) -> Record {
        let (request, pseudonyms) = (self.request, &self.gateway.pseudonyms);
        let outcome = match ltr {
            Ok(_) => ShadowOutcome::Scored,
            Err(reason) => ShadowOutcome::Unscored(*reason),
        };
        metrics::shadow(&outcome);
        let mut places = vec![None; request.candidates.len()];
        if let Ok(ltr) = ltr {
            for (at, ranked) in ltr.ranked.iter().enumerate() {
                places[ranked.index] = Some((rank(at), ranked.fair));
            }
        }
        let rows = self.legacy.iter().enumerate().map(|(at, ranked)| ShadowRow {
            lawyer_id: request.candidates[ranked.index].lawyer_id.clone(),
            rank_legacy: rank(at),
            rank_ltr: places[ranked.index].map(|(rank, _)| rank),
            label: None,
            fair_legacy: ranked.fair,
            fair_ltr: places[ranked.index].map(|(_, fair)| fair),
            groups: self.groups(ranked.index),
        });
        let took = ltr.as_ref().ok().map(|ltr| ltr.took.as_micros());
        Record::Shadow(ShadowRecord {
            request_id: unrewritten(self.case.id),
            ts_utc: self.case.now,
            case_id: request.case_id,
            user_pseudonym: user_pseudonym(&self.case.headers, &pseudonyms.salt, request.user_id),
            model_version: compared.model.version.clone(),
            outcome,
            score_us: took.map(|us| u32::try_from(us).unwrap_or(u32::MAX)),
            trigger: Some(compared.trigger.name().to_owned()),
            salt_id: Some(pseudonyms.salt_id),
            rows: rows.collect(),
            unknown: Default::default(),
        })
    }
}

impl LtrRanking {
    /// The ranks of these lawyers in LTR's own order, from 1.
    fn ranks_of(&self, shown: &[Ranked]) -> Vec<u32> {
        let mut ranks = vec![0; self.ranked.len()];
        for (at, ranked) in (1..).zip(&self.ranked) {
            ranks[ranked.index] = at;
        }
        shown.iter().map(|ranked| ranks[ranked.index]).collect()
    }
}

/// The rank at index `at`, from 1. The database schema has 16 bits for it.
fn rank(at: usize) -> u16 {
    u16::try_from(at + 1).unwrap_or(u16::MAX)
}

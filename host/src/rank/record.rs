//! What a ranking leaves behind: the impression that training reads, and the comparison that the verdict reads.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use ranking::events::impression_id;
use ranking::{Body, Candidate, Event, Impression, Origin, Policy, Ranked, ShadowRow, Source, Trigger, unrewritten};
use store::{Record, ShadowRecord};
use uuid::Uuid;

use super::request::RankRequest;
use super::{Comparison, LtrRanking};
use crate::gateway::Gateway;

/// What all records of a ranking say.
pub(super) struct Ranking<'a> {
    pub gateway: &'a Gateway,
    pub request: &'a RankRequest,
    pub request_id: Uuid,
    pub now: DateTime<Utc>,
    /// Of every candidate, best first.
    pub legacy: &'a [Ranked],
}

/// What was displayed, and how it came about.
pub(super) struct Displayed<'a> {
    pub source: Source,
    pub model_version: Option<String>,
    pub policy: Policy,
    /// The lawyers that were shown, in order.
    pub shown: &'a [Ranked],
    /// The ranking of LTR and the model's version, if one ranked, whoever was displayed.
    pub ltr: Option<(&'a LtrRanking, &'a str)>,
}

impl Ranking<'_> {
    /// What was shown, with the features as served. The id follows from request and case, so that a retry is kept once.
    pub fn impression(&self, displayed: Displayed) -> Record {
        let (request, settings) = (self.request, &self.gateway.settings);
        let Displayed { shown, ltr, .. } = displayed;
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
            model_version: displayed.model_version,
            legacy_scores: Some(shown.iter().map(|ranked| legacy_scores[ranked.index]).collect()),
            groups: Some(shown.iter().map(|ranked| self.groups(ranked.index)).collect()),
            cases_30d: Some(candidates().map(|c| c.cases_30d).collect()),
            monthly_capacity: Some(candidates().map(|c| c.monthly_capacity).collect()),
            last_offered_at: Some(candidates().map(|c| c.last_offered_at).collect()),
            groups_consented_at: consents.iter().any(Option::is_some).then_some(consents),
            origin: Some(Origin::Gateway),
            policy: Some(displayed.policy),
            ltr_version: ltr.map(|(_, version)| version.to_owned()),
            ltr_ranks: ltr.map(|(ltr, _)| ltr.ranks_of(shown)),
            ltr_scores: ltr.map(|(ltr, _)| shown.iter().map(|ranked| ltr.scores[ranked.index]).collect()),
            fairness: Some(settings.ranking.fairness.clone()),
            ..Impression::new(
                self.request_id,
                candidates().map(|c| c.lawyer_id.clone()).collect(),
                candidates().map(features).collect(),
            )
        };
        let mut event = Event::new(
            impression_id(&self.gateway.salt, self.request_id, request.case_id),
            self.now,
            request.case_id,
            request.user_id,
            Body::Impression(impression),
        );
        self.gateway.pseudonymise(&mut event);
        Record::Event(event)
    }

    /// The groups of a candidate that may be kept.
    fn groups(&self, candidate: usize) -> BTreeMap<String, String> {
        let agreed = self.request.consents[candidate].is_some();
        match agreed || self.gateway.settings.privacy.groups_without_consent {
            true => self.request.candidates[candidate].groups.clone(),
            false => BTreeMap::new(),
        }
    }

    /// Both rankings of every lawyer in one record, which copies of a request share whether Envoys on the way trace them
    /// or not.
    pub fn shadow(&self, user_pseudonym: Uuid, trigger: Trigger, comparison: Comparison) -> Record {
        let request = self.request;
        let mut ltr = vec![None; request.candidates.len()];
        if let Ok(ranking) = &comparison.outcome {
            for (at, ranked) in ranking.ranked.iter().enumerate() {
                ltr[ranked.index] = Some((rank(at), ranked.fair));
            }
        }
        let rows = self.legacy.iter().enumerate().map(|(at, ranked)| ShadowRow {
            lawyer_id: request.candidates[ranked.index].lawyer_id.clone(),
            rank_legacy: rank(at),
            rank_ltr: ltr[ranked.index].map(|(rank, _)| rank),
            label: None,
            fair_legacy: ranked.fair,
            fair_ltr: ltr[ranked.index].map(|(_, fair)| fair),
            groups: self.groups(ranked.index),
        });
        let took = comparison.outcome.as_ref().ok().map(|ltr| ltr.took.as_micros());
        Record::Shadow(ShadowRecord {
            request_id: unrewritten(self.request_id),
            ts_utc: self.now,
            case_id: request.case_id,
            user_pseudonym,
            model_version: comparison.version,
            outcome: comparison
                .outcome
                .map_or_else(|reason| reason, |_| ranking::verdict::SCORED)
                .to_owned(),
            score_us: took.map(|us| u32::try_from(us).unwrap_or(u32::MAX)),
            trigger: Some(trigger.name().to_owned()),
            salt_id: Some(self.gateway.salt_id),
            rows: rows.collect(),
            unknown: Default::default(),
        })
    }
}

impl LtrRanking {
    /// Where these lawyers stand in LTR's own order, from 1.
    fn ranks_of(&self, shown: &[Ranked]) -> Vec<u32> {
        let mut ranks = vec![0; self.ranked.len()];
        for (at, ranked) in (1..).zip(&self.ranked) {
            ranks[ranked.index] = at;
        }
        shown.iter().map(|ranked| ranks[ranked.index]).collect()
    }
}

/// Rank of the candidate at `at`, from 1. The schema of the log has 16 bits for it.
fn rank(at: usize) -> u16 {
    u16::try_from(at + 1).unwrap_or(u16::MAX)
}

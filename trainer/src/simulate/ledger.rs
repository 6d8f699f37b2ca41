//! The marketplace's records of each lawyer: when they signed contracts and were last offered.

use std::collections::VecDeque;

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use ranking::features::DEFAULT_FEATURES;
use serde_json::{Map, Value, json};

use super::market::{Case, Features, Market};

pub(super) struct Ledger {
    /// Times at which each lawyer signed a contract.
    signed: Vec<VecDeque<DateTime<Utc>>>,
    /// Time at which each lawyer was last offered.
    offered: Vec<Option<DateTime<Utc>>>,
}

impl Ledger {
    pub(super) fn new(market: &Market) -> Ledger {
        Ledger {
            signed: vec![VecDeque::new(); market.lawyers.len()],
            offered: vec![None; market.lawyers.len()],
        }
    }

    pub(super) fn sign(&mut self, lawyer: usize, at: DateTime<Utc>) {
        self.signed[lawyer].push_back(at);
    }

    pub(super) fn offer(&mut self, lawyer: usize, at: DateTime<Utc>) {
        let last = &mut self.offered[lawyer];
        *last = (*last).max(Some(at));
    }

    /// The body of a `/rank` call. The loads are as of `midnight`, as in a directory that is
    /// refreshed daily.
    pub(super) fn request(&self, market: &Market, case: &Case, midnight: DateTime<Utc>) -> String {
        let lawyers: Vec<Value> = case
            .offers
            .iter()
            .map(|offer| {
                let lawyer = &market.lawyers[offer.lawyer];
                json!({
                    "lawyer_id": lawyer.id,
                    "features": named(&offer.features),
                    "cases_30d": lawyer.other_cases + self.cases_30d(offer.lawyer, midnight),
                    "monthly_capacity": lawyer.capacity,
                    "groups": lawyer.groups,
                    // All lawyers consented before the first case.
                    "groups_consented_at": "2026-01-01T00:00:00Z",
                    "last_offered_at": self.offered[offer.lawyer]
                        .map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)),
                })
            })
            .collect();
        json!({
            "case": {"case_id": case.case_id, "user_id": case.user_id},
            "top_n": lawyers.len(),
            "lawyers": lawyers,
        })
        .to_string()
    }

    fn cases_30d(&self, lawyer: usize, now: DateTime<Utc>) -> u32 {
        let from = now - Duration::days(30);
        let recent = self.signed[lawyer].iter().filter(|&&at| at >= from && at < now);
        recent.count() as u32
    }
}

fn named(features: &Features) -> Value {
    // serde_json writes NaN as null, which is how a missing feature is sent.
    let pairs = DEFAULT_FEATURES.iter().zip(features);
    Value::Object(
        pairs
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect::<Map<_, _>>(),
    )
}

//! What the marketplace knows of its lawyers as time goes on: who took how many cases, who was offered when.

use std::collections::VecDeque;

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use ranking::features::DEFAULT_FEATURES;
use serde_json::{Map, Value, json};

use super::market::{Case, Features, Market};

pub struct Ledger {
    /// When each lawyer signed, oldest first within a day.
    signed: Vec<VecDeque<DateTime<Utc>>>,
    offered: Vec<Option<DateTime<Utc>>>,
}

impl Ledger {
    pub fn new(market: &Market) -> Ledger {
        Ledger {
            signed: vec![VecDeque::new(); market.lawyers.len()],
            offered: vec![None; market.lawyers.len()],
        }
    }

    pub fn sign(&mut self, lawyer: usize, at: DateTime<Utc>) {
        self.signed[lawyer].push_back(at);
    }

    pub fn offer(&mut self, lawyer: usize, at: DateTime<Utc>) {
        let last = &mut self.offered[lawyer];
        *last = (*last).max(Some(at));
    }

    /// The body of a `/rank` call. The lawyers' loads are those of the night before (`midnight`), as a directory that is
    /// refreshed daily has them.
    pub fn request(&self, market: &Market, case: &Case, midnight: DateTime<Utc>) -> String {
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
                    // All have agreed before the market opened.
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
    // JSON has no NaN: serde_json writes one as null, which is how a missing feature is sent.
    let pairs = DEFAULT_FEATURES.iter().zip(features);
    Value::Object(
        pairs
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect::<Map<_, _>>(),
    )
}

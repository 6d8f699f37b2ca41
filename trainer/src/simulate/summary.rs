//! The summary of a run: counted during the run, printed as a table or as JSON.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use ranking::ActionKind;
use ranking::statistics::quantile;
use serde::Serialize;
use uuid::Uuid;

use super::Args;
use super::client::{Act, Truth};
use super::conditions::Conditions;
use super::gateway::{Ranking, Receipt};
use crate::console;
use crate::publish::Published;

#[derive(Serialize)]
pub(super) struct Summary {
    pub truth: Truth,
    pub seed: u64,
    pub from: DateTime<Utc>,
    pub days: u32,
    pub conditions: Conditions,
    /// The model of known quality that was published first.
    pub published: Option<Published>,
    pub cases: u64,
    /// Distinct clients.
    pub users: u64,
    pub clicks: u64,
    pub contacts: u64,
    pub contracts: u64,
    pub late: u64,
    /// Events that were sent a second time.
    pub sent_twice: u64,
    /// Events the gateway stored.
    pub accepted: u64,
    /// Events the gateway recognised as duplicates.
    pub duplicates: u64,
    /// Cases by the source of their ranking.
    pub sources: BTreeMap<String, Served>,
    /// Cases by the reason why the intended source did not rank them.
    pub fallbacks: BTreeMap<String, u64>,
    pub shadow_scored: u64,
    pub rank_p50_ms: f64,
    pub rank_p95_ms: f64,
    pub elapsed_s: f64,
    #[serde(skip)]
    latencies: Vec<Duration>,
    #[serde(skip)]
    seen: HashSet<Uuid>,
}

/// The cases that one source ranked.
#[derive(Default, Serialize)]
pub(super) struct Served {
    pub cases: u64,
    pub contracts: u64,
    /// Share of the contracts with a lawyer at one of the first three positions.
    pub hit3: Option<f64>,
    #[serde(skip)]
    within_3: u64,
}

impl Summary {
    pub(super) fn new(args: &Args) -> Summary {
        Summary {
            truth: args.truth,
            seed: args.seed,
            from: args.from,
            days: args.days,
            conditions: args.conditions.clone(),
            published: None,
            cases: 0,
            users: 0,
            clicks: 0,
            contacts: 0,
            contracts: 0,
            late: 0,
            sent_twice: 0,
            accepted: 0,
            duplicates: 0,
            sources: BTreeMap::new(),
            fallbacks: BTreeMap::new(),
            shadow_scored: 0,
            rank_p50_ms: 0.0,
            rank_p95_ms: 0.0,
            elapsed_s: 0.0,
            latencies: Vec::new(),
            seen: HashSet::new(),
        }
    }

    pub(super) fn count(&mut self, user: Uuid, answer: &Ranking, acts: &[Act]) {
        self.cases += 1;
        self.users += u64::from(self.seen.insert(user));
        self.latencies.push(answer.took);
        if let Some(reason) = &answer.fallback {
            *self.fallbacks.entry(reason.clone()).or_default() += 1;
        }
        let served = self.sources.entry(answer.source.clone()).or_default();
        served.cases += 1;
        for act in acts {
            match act.kind {
                ActionKind::ClickProfile => self.clicks += 1,
                ActionKind::ContactMade => self.contacts += 1,
                ActionKind::ContractSigned => {
                    self.contracts += 1;
                    served.contracts += 1;
                    served.within_3 += u64::from(act.rank_pos <= 3);
                }
            }
            self.late += u64::from(act.delivered_at > act.ts);
            self.sent_twice += u64::from(act.repeated_at.is_some());
        }
    }

    pub(super) fn receive(&mut self, receipt: &Receipt) {
        self.accepted += receipt.accepted;
        self.duplicates += receipt.duplicates;
    }

    pub(super) fn finish(&mut self, elapsed: Duration) {
        let mut ms: Vec<f64> = self.latencies.iter().map(|took| took.as_secs_f64() * 1e3).collect();
        ms.sort_by(f64::total_cmp);
        self.rank_p50_ms = quantile(&ms, 0.50).unwrap_or_default();
        self.rank_p95_ms = quantile(&ms, 0.95).unwrap_or_default();
        self.elapsed_s = elapsed.as_secs_f64();
        for served in self.sources.values_mut() {
            served.hit3 = (served.contracts > 0).then(|| served.within_3 as f64 / served.contracts as f64);
        }
    }

    pub(super) fn print(&self) {
        let mut table = console::table(&["simulated", ""]);
        let mut row = |name: &str, value: String| {
            table.add_row([name.to_owned(), value]);
        };
        row(
            "cases",
            format!("{} of {} clients over {} days", self.cases, self.users, self.days),
        );
        row(
            "clicks, contacts, contracts",
            format!("{}, {}, {}", self.clicks, self.contacts, self.contracts),
        );
        row("events late, sent twice", format!("{}, {}", self.late, self.sent_twice));
        row(
            "events accepted, duplicates",
            format!("{}, {}", self.accepted, self.duplicates),
        );
        for (source, served) in &self.sources {
            let share = 100.0 * served.cases as f64 / self.cases as f64;
            let hit3 = served
                .hit3
                .map_or("none signed".to_owned(), |hit3| format!("Hit@3 {hit3:.3}"));
            row(
                &format!("ranked by {source}"),
                format!("{} ({share:.1} %), {hit3}", served.cases),
            );
        }
        row("scored in shadow", self.shadow_scored.to_string());
        let reasons: Vec<String> = self
            .fallbacks
            .iter()
            .map(|(reason, n)| format!("{reason} {n}"))
            .collect();
        row(
            "fallbacks",
            if reasons.is_empty() {
                "none".into()
            } else {
                reasons.join(", ")
            },
        );
        row(
            "/rank p50, p95",
            format!("{:.1} ms, {:.1} ms", self.rank_p50_ms, self.rank_p95_ms),
        );
        row("took", format!("{:.1} s", self.elapsed_s));
        println!("{table}");
    }
}

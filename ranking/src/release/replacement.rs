//! What a pipeline's nightly model must show before it takes the place of the one that is live.
//!
//! Its predecessors earned the traffic, by months of evidence; it has one night. So it must be no worse by the offline gate
//! on the same cases, rank much alike, and answer as fast and as surely. It is named as what it is
//! ([`super::Grounds::Replacement`]), and the watch on relevance goes on over the change.

use serde::{Deserialize, Serialize};

use super::ModelId;
use super::watch::{Counts, Limits};
use crate::criterion::{Criterion, failed};
use crate::fairness::Ranked;
use crate::interleaving::TOP;

/// When a nightly model may take the place of the one that is live.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReplacementRules {
    /// Least requests that both models ranked.
    pub min_requests: u64,
    /// Least share of the first [`TOP`] that both have in common.
    pub top3_overlap: f64,
    /// Largest mean shift of a lawyer's score, both scaled to [0, 1] within the case.
    pub score_shift: f64,
}

/// How the challenger ranked the requests that the champion ranked, too. Whole numbers, so that the counts of several
/// gateways may be added in any order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// The challenger's requests, fallbacks and times.
    pub counts: Counts,
    /// Requests that both ranked.
    pub requests: u64,
    /// Lawyers among the champion's first [`TOP`] of these.
    pub top: u64,
    /// Those of them who are among the challenger's.
    pub shared: u64,
    /// Lawyers of these requests.
    pub lawyers: u64,
    /// Sum of how far their scaled scores lie apart, in millionths.
    pub shift: u64,
}

impl Drift {
    /// A request that the challenger did not rank.
    pub fn fell_back(&mut self) {
        self.counts.fell_back();
    }

    /// A request that the challenger ranked in so many microseconds; `is_slow`: longer than the watch allows. Both rank the
    /// same candidates.
    pub fn ranked(&mut self, champion: &[Ranked], challenger: &[Ranked], micros: u64, is_slow: bool) {
        self.counts.scored(micros, is_slow);
        self.requests += 1;
        let top = |ranked: &[Ranked]| ranked.iter().take(TOP).map(|place| place.index).collect::<Vec<_>>();
        let (of_champion, of_challenger) = (top(champion), top(challenger));
        self.top += of_champion.len() as u64;
        self.shared += of_champion.iter().filter(|at| of_challenger.contains(at)).count() as u64;
        let mut scores = vec![0.0; champion.len()];
        for place in champion {
            scores[place.index] = place.score;
        }
        let shift: f64 = challenger
            .iter()
            .map(|place| (place.score - scores[place.index]).abs())
            .sum();
        self.lawyers += champion.len() as u64;
        self.shift += (shift * 1e6).round() as u64;
    }

    /// Adds another gateway's.
    pub fn add(&mut self, other: &Drift) {
        self.counts.add(&other.counts);
        self.requests = self.requests.saturating_add(other.requests);
        self.top = self.top.saturating_add(other.top);
        self.shared = self.shared.saturating_add(other.shared);
        self.lawyers = self.lawyers.saturating_add(other.lawyers);
        self.shift = self.shift.saturating_add(other.shift);
    }

    /// Share of the champion's first [`TOP`] who are among the challenger's, too; 0 without requests.
    pub fn overlap(&self) -> f64 {
        self.shared as f64 / self.top.max(1) as f64
    }

    /// Mean distance of a lawyer's two scores, each scaled to [0, 1] within the case.
    pub fn mean_shift(&self) -> f64 {
        self.shift as f64 / 1e6 / self.lawyers.max(1) as f64
    }
}

/// The offline gate's comparison with a champion, as the trainer writes it into a model's manifest (`gate.champion`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateAgainst {
    /// The champion that the model was to be compared with, with the content that was found, or else that on record.
    #[serde(flatten)]
    pub champion: ModelId,
    /// Whether all criteria hold.
    pub passed: bool,
    /// One by one.
    #[serde(default)]
    pub criteria: Vec<Criterion>,
}

/// Judges tonight's model beside the champion: `gate`, `top3`, `scores`, `latency` and `fallbacks`.
pub fn guards(
    champion: &ModelId,
    gate: Option<&GateAgainst>,
    drift: &Drift,
    rules: &ReplacementRules,
    limits: &Limits,
) -> Vec<Criterion> {
    let is_enough = drift.requests >= rules.min_requests;
    let is_counted = drift.counts.requests >= rules.min_requests;
    let basis = format!(
        "{} requests of both; a decision needs {}",
        drift.requests, rules.min_requests
    );
    let measured = |name: &'static str, holds: bool, is_enough: bool, value: String, required: String| Criterion {
        name: name.into(),
        passed: is_enough && holds,
        undecided: !is_enough,
        value,
        required,
        reason: Some(basis.clone()),
        ..Criterion::default()
    };
    let (overlap, shift) = (drift.overlap(), drift.mean_shift());
    let p95 = drift.counts.p95_ms();
    vec![
        of_gate(champion, gate),
        measured(
            "top3",
            overlap >= rules.top3_overlap,
            is_enough,
            format!("{:.1} % of the champion's first {TOP}", overlap * 100.0),
            format!(">= {:.1} %", rules.top3_overlap * 100.0),
        ),
        measured(
            "scores",
            shift <= rules.score_shift,
            is_enough,
            format!("a shift of {shift:.4} in the mean"),
            format!("<= {}", rules.score_shift),
        ),
        measured(
            "latency",
            p95.is_some_and(|p95| p95 <= limits.latency_p95_ms),
            is_enough,
            p95.map_or_else(|| "nothing scored".to_owned(), |p95| format!("p95 {p95:.1} ms")),
            format!("p95 <= {} ms", limits.latency_p95_ms),
        ),
        measured(
            "fallbacks",
            drift.counts.fallback_rate() <= limits.fallback_rate,
            is_counted,
            format!("{:.2} %", drift.counts.fallback_rate() * 100.0),
            format!("<= {} %", limits.fallback_rate * 100.0),
        ),
    ]
}

/// What the offline gate said of tonight's model beside this champion. A comparison with another champion, or with other
/// content of this version, is none.
fn of_gate(champion: &ModelId, gate: Option<&GateAgainst>) -> Criterion {
    let of_this = gate.filter(|gate| gate.champion.is(champion));
    let value = match (gate, of_this) {
        (None, _) => "not compared with any champion".to_owned(),
        (Some(GateAgainst { champion: other, .. }), None) => format!(
            "compared with {} (SHA-256 {})",
            other.version,
            other.sha256.as_deref().unwrap_or("unknown")
        ),
        (_, Some(gate)) if gate.passed => "no worse on the same test cases".to_owned(),
        (_, Some(gate)) => format!("failed: {}", failed(&gate.criteria).join(", ")),
    };
    Criterion {
        name: "gate".into(),
        passed: of_this.is_some_and(|gate| gate.passed),
        value,
        required: format!("no worse than {} on the same test cases", champion.version),
        reason: Some("the offline gate of the night, as its manifest says".to_owned()),
        ..Criterion::default()
    }
}

#[cfg(test)]
mod tests;

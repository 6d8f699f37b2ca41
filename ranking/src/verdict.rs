//! From shadow evidence to a verdict: may the challenger take the traffic?

mod cases;
mod days;
mod decide;
mod evidence;
mod latencies;
mod plan;
mod sorted;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bootstrap::Interval;
use crate::criterion::Criterion;
use crate::fallback::ShadowOutcome;

pub use days::{ContractDay, Sequencing, Sequential};
pub use decide::{Futility, decide};
pub use evidence::{Gathering, gather};
pub use plan::{Plan, Planned, plan};

/// Why a request was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The gateway's own sampler chose it.
    Sampled,
    /// A configured edge marked it.
    EdgeMark,
    /// A configured edge sent a copy.
    EdgeCopy,
    /// Somebody else asked for it: whoever chooses what is compared can choose what comes out.
    Forced,
}

impl Trigger {
    /// As the log spells it.
    pub fn name(self) -> &'static str {
        match self {
            Trigger::Sampled => "sampled",
            Trigger::EdgeMark => "edge_mark",
            Trigger::EdgeCopy => "edge_copy",
            Trigger::Forced => "forced",
        }
    }
}

/// One lawyer of a shadow request, with both rankings' view of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowRow {
    /// The marketplace's id, not a pseudonym; joins the row to the case's actions.
    pub lawyer_id: String,
    /// 1-based.
    pub rank_legacy: u16,
    /// 1-based; `None` where the challenger did not answer.
    pub rank_ltr: Option<u16>,
    /// 0, 0.3, 0.6 or 1.0; `None` until the attribution window has closed.
    pub label: Option<f32>,
    /// The legacy re-rank's score; see [`Ranked::fair`](crate::fairness::Ranked::fair).
    pub fair_legacy: f64,
    /// The same of the challenger's re-rank; `None` where it did not answer.
    pub fair_ltr: Option<f64>,
    /// Attribute to group. Empty: none known, or none may be stored.
    pub groups: BTreeMap<String, String>,
}

/// One shadow request: both rankings, computed in one place from one payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowCase {
    /// The request's id as all hops see it; see [`unrewritten`](crate::sampling::unrewritten).
    pub request_id: Uuid,
    /// The client's case; several requests may share it.
    pub case_id: Uuid,
    /// The user's pseudonym; `None`: it is not known.
    pub user: Option<Uuid>,
    /// The gateway's time when it ranked the request.
    pub ts_utc: DateTime<Utc>,
    /// How long the challenger took to score, in microseconds; `None` where it did not answer.
    pub score_us: Option<u32>,
    /// Whether the challenger scored the request, else why not.
    pub outcome: ShadowOutcome,
    /// One row per candidate, in legacy order.
    pub rows: Vec<ShadowRow>,
}

/// What the evidence must show before LTR may be promoted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Criteria {
    /// Days between the first and the last case; this or `min_cases` is enough.
    pub min_days: f64,
    /// Least number of distinct cases; this or `min_days` is enough.
    pub min_cases: u64,
    /// Least number of users with a contract: no single one, and no handful, decides.
    pub min_users: u64,
    /// Least gain in Hit@3 over legacy, as a share (0.05 is five points).
    pub hit3_gain: f64,
    /// Level of the intervals.
    pub confidence: f64,
    /// Most that the fair gap may exceed legacy's.
    pub fair_gap_worsening: f64,
    /// The 95th percentile of scoring time must lie below this.
    pub latency_p95_ms: f64,
    /// Draws of the [`bootstrap`](crate::bootstrap::bootstrap); 0 leaves intervals without width.
    pub resamples: usize,
    /// Seed of the bootstrap: the same cases and seed give the same intervals.
    pub seed: u64,
    /// Groups with fewer rows are left out of the fair gap.
    pub fair_min_rows: usize,
}

impl Default for Criteria {
    fn default() -> Criteria {
        Criteria {
            min_days: 14.0,
            min_cases: 3000,
            min_users: 30,
            hit3_gain: 0.05,
            confidence: 0.95,
            fair_gap_worsening: 0.02,
            latency_p95_ms: 15.0,
            resamples: 2000,
            seed: 42,
            fair_min_rows: 30,
        }
    }
}

/// What the shadow log shows. Every number is finite.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Distinct cases.
    pub cases: u64,
    /// Days between the first and the last case.
    pub days: f64,
    /// The time of the last case.
    pub until: Option<DateTime<Utc>>,
    /// Cases with a signed contract: those that Hit@3 and MRR are taken over.
    pub contracts: u64,
    /// Distinct users of these cases.
    pub users: u64,
    /// Requests the challenger did not score; they count with the legacy order, which would have been served.
    pub fallbacks: u64,
    /// Share of `contracts` whose lawyer legacy ranked in the first 3; 0 without contracts.
    pub hit3_legacy: f64,
    /// Share of `contracts` whose lawyer LTR ranked in the first 3; 0 without contracts.
    pub hit3_ltr: f64,
    /// LTR minus legacy, paired by case.
    pub hit3_gain: Interval,
    /// The same with each user's first contract alone, so that no user has two votes.
    #[serde(default)]
    pub hit3_gain_of_users: f64,
    /// Mean of 1 / legacy rank of the contracted lawyer, at any rank; 0 without contracts.
    pub mrr_legacy: f64,
    /// Mean of 1 / LTR rank of the contracted lawyer, at any rank; 0 without contracts.
    pub mrr_ltr: f64,
    /// LTR minus legacy, paired by case, with the interval of a look at a number of cases that was fixed beforehand: it is
    /// shown, and decides nothing, because who looks at it daily finds it above 0 sooner or later.
    pub mrr_gap: Interval,
    /// The same by closed day and user, which may be looked at daily.
    pub mrr_sequence: Sequential,
    /// [`FairGap::gap`](crate::metrics::FairGap::gap) of legacy's `fair` scores.
    pub fair_gap_legacy: f64,
    /// The same of LTR's `fair` scores; legacy's count where the challenger did not answer.
    pub fair_gap_ltr: f64,
    /// 95th percentile of the challenger's scoring time; `None` where nothing was scored.
    pub latency_p95_ms: Option<f64>,
}

/// The decision: promote only where every criterion passed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Whether every criterion passed.
    pub promote: bool,
    /// `duration`, `users`, `hit3`, `mrr_gap`, `fair_gap` and `latency`, each with its reason.
    pub criteria: Vec<Criterion>,
}

#[cfg(test)]
mod tests;

//! What is shown beside the verdict, by closed day: the value of both rankings on clicks, who stands how high, what the log
//! does not cover, and whether the samplers choose as they should.
//!
//! As with [`crate::outcomes`], a day is counted once and its sums are kept, so that a report costs the days and not the
//! cases. Counting again from the same log gives the same integers, and floats that differ by rounding at most.

mod count;
mod exposure;
mod samplers;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::events::{Coin, Policy, Source};
use crate::outcomes::{Arm, OutcomeDay};

pub use count::count_day;
pub use exposure::{GroupPlaces, GroupShare, Places, Ranking, shares};
pub use samplers::{MISMATCH_ALPHA, SamplerTest, samplers};
pub use values::{Estimate, Judged, ValueSums, judge};

/// A closed case of which both rankings are known, as it was displayed.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedCase {
    /// The client's case.
    pub case_id: Uuid,
    /// The user's pseudonym.
    pub user: Uuid,
    /// When it was first displayed.
    pub ts_utc: DateTime<Utc>,
    /// The model that was compared with legacy. Another one, or legacy itself, may have been displayed.
    pub model_version: String,
    /// Which sampler chose what was displayed.
    pub policy: Policy,
    /// How the case came to be displayed as it was; see [`crate::outcomes::Displayed::arm`].
    pub arm: Option<Arm>,
    /// The coins that were tossed over displayed places.
    pub coins: Vec<Coin>,
    /// The lawyers whom the display or one of the two rankings has.
    pub lawyers: Vec<RankedLawyer>,
    /// Whether they are all who were ranked, because a sampler chose the case to be compared. Else it is a draft, whose log
    /// has the lists as far as they were displayed, and no groups.
    pub has_all: bool,
}

/// A lawyer of such a case. Ranks are from 1; `None`: behind what is known of the list.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedLawyer {
    /// Where the lawyer was displayed; `None`: nowhere.
    pub displayed: Option<u32>,
    /// In the legacy ranking.
    pub legacy: Option<u32>,
    /// In LTR's ranking.
    pub ltr: Option<u32>,
    /// Whether the client clicked, or did more.
    pub is_clicked: bool,
    /// Attribute to group. Cases share maps that are equal.
    pub groups: Arc<BTreeMap<String, String>>,
}

/// What the log of a day covers, in numbers of cases and actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Cases that the gateway displayed.
    pub cases: u64,
    /// Those of them that were compared because a sampler chose them.
    pub compared: u64,
    /// Actions on the day's cases.
    pub actions: u64,
    /// Those of them that fit no impression: another place, user or request.
    pub actions_unbound: u64,
    /// Those of them on lawyers whom no impression of the case displayed.
    pub actions_never_displayed: u64,
    /// Actions of the day whose case has no impression.
    pub actions_without_impression: u64,
}

/// How often samplers chose what. A user counts once a day for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampled {
    /// Users by policy and displayed ranking, ascending.
    pub shown: Vec<(Policy, Source, u64)>,
    /// Users whose first tossed neighbours changed places, and did not.
    pub swaps: [u64; 2],
    /// Coins of users' first drafts that let LTR pick first, and legacy.
    pub drafts: [u64; 2],
    /// Users whose first case was compared, and was not.
    pub compared: [u64; 2],
}

/// What a model's compared cases of a day say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelDay {
    /// The value of both rankings.
    pub values: ValueSums,
    /// By attribute and group: where each ranking has its lawyers.
    pub exposure: BTreeMap<String, BTreeMap<String, GroupPlaces>>,
}

/// The evidence of a closed day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EvidenceDay {
    /// By the version of the model that was compared.
    pub models: BTreeMap<String, ModelDay>,
    /// What the log covers.
    pub coverage: Coverage,
    /// What the samplers chose.
    pub sampled: Sampled,
}

/// A closed day as it is stored: outcomes, and the evidence beside them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClosedDay {
    /// What decides.
    #[serde(flatten)]
    pub outcomes: OutcomeDay,
    /// What is shown; `None`: a former program counted the day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceDay>,
}

/// The log behind the last closed day, as the last night found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The time that counted as now.
    pub as_of: DateTime<Utc>,
    /// Cases whose windows were still open.
    pub cases: u64,
}

impl Waiting {
    /// Under which it is kept beside the evidence on models.
    pub const KEY: &'static str = "cases that wait";
}

impl ModelDay {
    /// Adds other cases, as of another day or model.
    pub fn merge(&mut self, other: &ModelDay) {
        self.values.merge(&other.values);
        exposure::merge(&mut self.exposure, &other.exposure);
    }
}

impl Coverage {
    /// Adds another day.
    pub fn merge(&mut self, other: &Coverage) {
        self.cases += other.cases;
        self.compared += other.compared;
        self.actions += other.actions;
        self.actions_unbound += other.actions_unbound;
        self.actions_never_displayed += other.actions_never_displayed;
        self.actions_without_impression += other.actions_without_impression;
    }
}

#[cfg(test)]
mod tests;

//! What gateways tell each other through the database: their reports, and the evidence that one of
//! them has gathered.

use chrono::{DateTime, TimeDelta, Utc};
use ranking::Evidence;
use ranking::release::watch::{Condition, Stretch};
use ranking::verdict::ContractDay;
use serde::{Deserialize, Serialize};

use super::drift::Compared;

/// Evidence on the same labels is gathered again after this time, because labels of programs of the
/// version before announce themselves by nothing.
const STALE_EVIDENCE: TimeDelta = TimeDelta::hours(6);

/// What the log shows of a model, as the database keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Gathered {
    /// The model that is judged.
    pub version: String,
    /// Whose comparisons these are: the model's version, or what stands for the pipeline.
    pub of: String,
    /// How many models were compared.
    pub models: u64,
    /// When it was gathered, by the clock that decides.
    pub as_of: DateTime<Utc>,
    /// Comparisons up to this time were closed.
    pub closed: DateTime<Utc>,
    /// The labels that it is made from: see [`store::Store::label_generation`].
    pub generation: u64,
    /// The first comparison after `closed` that has its labels already; from then on there is more.
    pub next: Option<DateTime<Utc>>,
    /// The numbers.
    pub evidence: Evidence,
    /// The days that were counted: each once, so that labels which come later change no bet that was made.
    pub days: Vec<ContractDay>,
}

impl Gathered {
    /// Whether gathering it again would give the same.
    pub(super) fn is_current(&self, generation: u64, closed: DateTime<Utc>) -> bool {
        let older = closed.signed_duration_since(self.closed);
        let has_more = self.next.is_some_and(|next| next <= closed);
        let same_day = closed.date_naive() == self.closed.date_naive();
        self.generation == generation && same_day && older >= TimeDelta::zero() && older < STALE_EVIDENCE && !has_more
    }
}

/// What a gateway says of itself to the others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Said {
    /// The version of the state that it follows.
    pub follows: u64,
    /// Whether LTR answers a share of its requests.
    pub serves: bool,
    /// Whether a rollback acts there that is not on record.
    #[serde(default)]
    pub rollback_pending: bool,
    /// Whether it does not follow the record, which was replaced or cannot be read.
    #[serde(default)]
    pub problem: bool,
    /// How it stands to the champion; `None`: LTR answers nobody.
    pub condition: Option<Condition>,
    /// `loaded`, `loading`, or why it is missing; `None`: there is none.
    pub champion: Option<String>,
    /// The same of the challenger.
    pub challenger: Option<String>,
    /// The model that was counted.
    #[serde(default)]
    pub model: String,
    /// Since which version of the state.
    #[serde(default)]
    pub serving_since: u64,
    /// The counts, the latest first.
    #[serde(default)]
    pub stretches: Vec<Stretch>,
    /// The challenger beside the champion.
    #[serde(default)]
    pub compared: Compared,
}

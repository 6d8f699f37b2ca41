//! Outcomes of what was displayed, by closed day, and what they say: which ranking do clients prefer, and does the one that
//! serves still do as well as it did?
//!
//! A day is counted once, by the first night after its windows have closed, and is whole numbers from then on. Everything
//! that decides follows from these. An event that comes later than that night changes nothing.

mod count;
mod examination;
mod trial;
mod watch;

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::events::{Coin, Policy, Source};
use crate::labels::Grade;
use crate::propensities::Swaps;

pub use count::count_day;
pub use examination::{Examination, ExaminationRules, examination};
pub use trial::{LEAST_DECIDED, Trial, TrialRules, Verdict, trial};
pub use watch::{Alarm, Reference, WatchRules, confirm, suspect};

/// A closed case as it was displayed by the gateway that ranked it.
#[derive(Clone, Debug, PartialEq)]
pub struct Displayed {
    /// The client's case.
    pub case_id: Uuid,
    /// The user's pseudonym.
    pub user: Uuid,
    /// When it was first displayed.
    pub ts_utc: DateTime<Utc>,
    /// Which sampler chose what was displayed.
    pub policy: Policy,
    /// Which ranking it was.
    pub source: Source,
    /// The model's version, where one ranked.
    pub model_version: Option<String>,
    /// Of an interleaved ranking: who brought each lawyer in, in shown order.
    pub drafted_by: Vec<Source>,
    /// The coin that was tossed over two neighbours, whichever way it fell.
    pub coin: Option<Coin>,
    /// Places, from 1, of the lawyers that the client acted on, with the strongest action.
    pub acted: Vec<(u32, Grade)>,
    /// Whether the user was displayed a ranking of the same arm on one of the [`REST_DAYS`] days before.
    pub came_before: bool,
}

/// A user counts in an arm if they were not displayed a ranking of it on so many days before: once in a trial of that
/// length, however often they come. With one vote a day, a single user who comes daily would be most of the evidence where
/// there are few others.
pub const REST_DAYS: u64 = 60;

/// How a case came to be displayed as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// LTR's ranking as it is.
    Ltr,
    /// The legacy ranking, to users of a share beside LTR's.
    Legacy,
    /// The legacy ranking, to users who are held out for good.
    HoldOut,
    /// The legacy ranking, to everybody: what was usual before LTR. Beside other arms it is no evidence, because chance did
    /// not choose who is in it.
    Everybody,
    /// Both, drafted in turn.
    Interleaved,
}

/// What one arm of a day came to. A user counts with the first case, and not again for [`REST_DAYS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArmCounts {
    /// Users.
    pub users: u64,
    /// Those of them who signed a contract.
    pub contracts: u64,
    /// Sum of the strongest actions' values, in tenths: contract 10, contact 6, click 3.
    pub tenths: u64,
}

/// Preferences of the users who were shown an interleaved ranking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// Users who signed with lawyers whom LTR brought in.
    pub ltr: u64,
    /// Users who signed with nobody, or with whom both wanted.
    pub neither: u64,
    /// Users who signed with lawyers whom legacy brought in.
    pub legacy: u64,
}

/// Clicks by place on rankings that were shown as they are. A user counts once a day and arm, with the first case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceClicks {
    /// Users.
    pub users: u64,
    /// Those of them who clicked, contacted or signed at each place, from 1 to the lowest one where somebody did.
    pub clicks: Vec<u64>,
}

/// A closed day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeDay {
    /// In UTC, of the cases' first display.
    pub date: NaiveDate,
    /// By arm.
    pub arms: BTreeMap<Arm, ArmCounts>,
    /// By the model's version.
    pub credit: BTreeMap<String, Credit>,
    /// Of users in the order of their cases: for each of the legacy arm a block with the next one of the interleaved arm,
    /// as (legacy signed, interleaved signed, how many). Two arms that are compared without a block would need each
    /// other's true mean.
    pub blocks: Vec<(bool, bool, u64)>,
    /// Coins that were tossed over neighbours, and clicks at their places: of each user the first case with a coin.
    #[serde(default)]
    pub swaps: Swaps,
    /// The same of drafts, whose coins arrange neighbours too: of each user the case that counts for the arm. Several coins
    /// of a draft have one client.
    #[serde(default)]
    pub drafts: Swaps,
    /// How often each place is clicked, for plans.
    #[serde(default)]
    pub places: PlaceClicks,
}

impl OutcomeDay {
    /// A day on which nothing was displayed.
    pub fn new(date: NaiveDate) -> OutcomeDay {
        OutcomeDay {
            date,
            arms: BTreeMap::new(),
            credit: BTreeMap::new(),
            blocks: Vec::new(),
            swaps: Swaps::default(),
            drafts: Swaps::default(),
            places: PlaceClicks::default(),
        }
    }
}

#[cfg(test)]
mod tests;

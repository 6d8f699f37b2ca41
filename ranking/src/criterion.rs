//! A criterion and how what was measured stands to it: of the offline gate and of the verdict alike.

use std::borrow::Cow;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

/// One criterion and how what was measured stands to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Criterion {
    /// Short, snake_case, the same across versions.
    pub name: Cow<'static, str>,
    /// Whether it holds.
    pub passed: bool,
    /// Whether it does not hold because there is too little data yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undecided: bool,
    /// The day on which it will be decided if all goes on as it does; `None`: it is, or nobody can say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decidable_on: Option<NaiveDate>,
    /// What was measured.
    pub value: String,
    /// What is required.
    pub required: String,
    /// One sentence for people; the offline gate has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The names of those that do not hold.
pub fn failed(criteria: &[Criterion]) -> Vec<&str> {
    let failed = criteria.iter().filter(|criterion| !criterion.passed);
    failed.map(|criterion| criterion.name.as_ref()).collect()
}

/// Whether every criterion holds.
pub fn all_passed(criteria: &[Criterion]) -> bool {
    criteria.iter().all(|criterion| criterion.passed)
}

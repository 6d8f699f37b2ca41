//! The parts of `GET /rollout` that are read in the background, so that reading costs nothing,
//! however many ask.

use std::collections::HashMap;

use chrono::NaiveDate;
use parking_lot::Mutex;
use ranking::Interval;
use ranking::criterion::Criterion;
use serde_json::Value;
use store::OutboxFacts;

use super::outcomes::Outcomes;
use super::reports::Gathered;

/// The parts that are read in the background.
#[derive(Default)]
pub(super) struct Snapshot(pub(super) Mutex<Parts>);

#[derive(Default)]
pub(super) struct Parts {
    /// The evidence of each model by version, as it was gathered last.
    pub gathered: HashMap<String, Gathered>,
    pub health: Option<Value>,
    /// What the newest model has to meet to replace the one that is live; `None`: it does not apply.
    pub guards: Option<Vec<Criterion>>,
    /// `None`: no model is judged by outcomes now.
    pub outcomes: Option<Outcomes>,
    /// What is known of position bias; `None`: it was not looked at yet.
    pub examined: Option<Examined>,
    /// `None`: the closed days were not read yet.
    pub evidence: Option<Beside>,
    pub holder: Option<String>,
    pub gateways: Vec<Value>,
    pub outbox: OutboxFacts,
    /// The version that `history` goes up to.
    pub version: u64,
    pub history: Vec<Value>,
}

/// What stands beside the verdict.
pub(super) struct Beside {
    /// The days and the state that it is made from (see [`store::Store::label_generation`]), and the day on which it was.
    pub made_from: (u64, u64, NaiveDate),
    /// The body of `GET /rollout/evidence`, without what is known of the models in shadow.
    pub shown: Value,
}

/// What the closed days say of position bias.
pub(super) struct Examined {
    /// The closed days that it is made from (see [`store::Store::label_generation`]), and the day on which it was.
    pub made_from: (u64, NaiveDate),
    /// The exponent that is found; `None`: none yet.
    pub eta: Option<Interval>,
    /// Whether it may be divided by.
    pub identified: bool,
    /// The member `propensities`.
    pub shown: Value,
}

impl Snapshot {
    pub(super) fn gathered(&self, version: &str) -> Option<Gathered> {
        self.0.lock().gathered.get(version).cloned()
    }

    pub(super) fn set_gathered(&self, gathered: Gathered) {
        self.0.lock().gathered.insert(gathered.version.clone(), gathered);
    }

    pub(super) fn outcomes(&self) -> Option<Outcomes> {
        self.0.lock().outcomes.clone()
    }

    pub(super) fn set_outcomes(&self, outcomes: Option<Outcomes>) {
        self.0.lock().outcomes = outcomes;
    }

    pub(super) fn set_guards(&self, guards: Option<Vec<Criterion>>) {
        self.0.lock().guards = guards;
    }

    pub(super) fn set_health(&self, health: Option<Value>) {
        self.0.lock().health = health;
    }
}

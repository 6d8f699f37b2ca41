//! The loaded models by role, and the outcome of the last loads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use metrics::{counter, gauge, histogram};
use parking_lot::Mutex;
use ranking::release::Exposure;
use ranking::{Fallback, Unscored};
use runtime::artefact::KeyId;
use serde::Serialize;

use super::breaker::{BreakerFacts, Position};
use super::lane::{Failure, Lane, Scored, TimeBudget};
use super::loader::{Load, Refusal};
use super::model::Model;

/// Number of refusals, and of loads, that `GET /models` shows.
const REMEMBERED: usize = 32;

/// What a loaded model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It was promoted, and answers.
    Champion,
    /// It is compared in shadow.
    Challenger,
}

impl Role {
    /// As metrics, logs and answers spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Champion => "champion",
            Role::Challenger => "challenger",
        }
    }
}

/// What serves. Replaced as a whole, so that each request sees one consistent set.
#[derive(Clone, Default)]
pub struct Serving {
    /// The version of the release state that this follows; 0: none was read yet.
    pub state_version: u64,
    /// Whom LTR answers.
    pub exposure: Exposure,
    /// The version of the model that should answer LTR's share, loaded or not.
    pub named: Option<String>,
    /// Since which version of the state it has answered; `None`: it answers nobody.
    pub serving_since: Option<u64>,
    /// The model that answers LTR's share; `None`: it is not loaded, and only legacy may answer in its
    /// place.
    pub champion: Option<Arc<Model>>,
    /// The newest model that is not promoted; `None`: none is loaded.
    pub challenger: Option<Arc<Model>>,
    /// The model that is compared in shadow.
    pub compared: Option<Arc<Model>>,
}

impl Serving {
    /// The model that answers LTR's share, if there is a share.
    pub fn serves(&self) -> Option<&Arc<Model>> {
        self.champion.as_ref().filter(|_| self.exposure.share > 0.0)
    }

    /// The model that answers `/ltr/score`: the champion, while it serves LTR traffic. With
    /// `challenger_too` (`host.score_challenger`) also the champion that serves none, or else the
    /// challenger.
    pub fn scorer(&self, challenger_too: bool) -> Option<&Arc<Model>> {
        if challenger_too {
            self.champion.as_ref().or(self.challenger.as_ref())
        } else {
            self.serves()
        }
    }

    /// Both models with their roles.
    pub fn slots(&self) -> [(Role, &Option<Arc<Model>>); 2] {
        [(Role::Champion, &self.champion), (Role::Challenger, &self.challenger)]
    }

    /// Whether any model is loaded.
    pub fn any(&self) -> bool {
        self.champion.is_some() || self.challenger.is_some()
    }
}

/// One loaded model as `GET /models` shows it.
#[derive(Debug, Serialize)]
pub struct LoadedModel {
    /// The version: the name of the folder it came from.
    pub version: String,
    /// `champion` or `challenger`.
    pub role: Role,
    /// SHA-256 of the component, lower-case hexadecimal.
    pub sha256: String,
    /// The id of the key that signed it; `null`: unsigned.
    pub signed_by: Option<KeyId>,
    /// Size of the component, in bytes.
    pub size_bytes: usize,
    /// The objective as LightGBM names it, such as `lambdarank`; empty if the model names none.
    pub objective: String,
    /// Number of trees.
    pub trees: u32,
    /// Names of the features that the model reads, in the order of its columns.
    pub features: Vec<String>,
    /// The time span of the events it was trained on; `null` if the model does not say.
    pub training_window: Option<runtime::Window>,
    /// The breaker of its `/rank` calls.
    pub breaker: BreakerFacts,
    /// The breaker of its `/ltr/score` calls.
    pub score_breaker: BreakerFacts,
    /// The pool of instances now.
    pub instances: runtime::Instances,
}

/// The models of this gateway.
#[derive(Default)]
pub struct Models {
    /// Whether the database has not said yet which models serve.
    unknown: AtomicBool,
    serving: ArcSwap<Serving>,
    refused: Mutex<VecDeque<(Refusal, DateTime<Utc>)>>,
    loads: Mutex<VecDeque<Load>>,
    /// What a drill adds to each scoring for `/rank`, in milliseconds.
    drill_ms: AtomicU64,
    /// Whether a drill turns the order of each scoring for `/rank` around.
    drill_reversed: AtomicBool,
}

impl Models {
    /// The set of models that serves now.
    pub fn serving(&self) -> Arc<Serving> {
        self.serving.load_full()
    }

    /// Sets whether the database has not said yet which models serve. Returns the previous value.
    pub fn set_unknown(&self, unknown: bool) -> bool {
        self.unknown.swap(unknown, Ordering::Relaxed)
    }

    /// Whether the database has not said yet which models serve.
    pub fn is_unknown(&self) -> bool {
        self.unknown.load(Ordering::Relaxed)
    }

    /// Replaces the serving set. Requests in progress keep the set they started with.
    pub fn swap(&self, serving: Serving) {
        for (role, model) in serving.slots() {
            for old in self.serving().slots().into_iter().filter_map(|(_, old)| old.as_ref()) {
                gauge!("ltr_model_info", "version" => old.version.clone(), "role" => role.as_str()).set(0);
            }
            if let Some(model) = model {
                gauge!("ltr_model_info", "version" => model.version.clone(), "role" => role.as_str()).set(1);
            }
        }
        gauge!("ltr_rollout_weight").set(serving.exposure.percent());
        self.serving.store(Arc::new(serving));
    }

    /// Logs a refusal and remembers it. It replaces an earlier one of the same version; the last 32
    /// are kept.
    pub fn record_refusal(&self, refusal: Refusal, now: DateTime<Utc>) {
        tracing::warn!(
            version = refusal.version,
            code = refusal.code,
            "model refused: {}",
            refusal.message
        );
        let mut refused = self.refused.lock();
        refused.retain(|(old, _)| old.version != refusal.version);
        refused.push_back((refusal, now));
        if refused.len() > REMEMBERED {
            refused.pop_front();
        }
    }

    /// The remembered refusals and their times, the newest last.
    pub fn refused(&self) -> Vec<(Refusal, DateTime<Utc>)> {
        self.refused.lock().iter().cloned().collect()
    }

    /// Remembers a load; the last 32 are kept.
    pub fn record_load(&self, load: Load) {
        let mut loads = self.loads.lock();
        loads.push_back(load);
        if loads.len() > REMEMBERED {
            loads.pop_front();
        }
    }

    /// The last loads, the newest last.
    pub fn loads(&self) -> Vec<Load> {
        let loads = self.loads.lock();
        loads.iter().cloned().collect()
    }

    /// The reason to report if no model can answer.
    pub fn fallback_reason(&self) -> Fallback {
        if self.is_unknown() {
            Fallback::Database
        } else if self.refused().is_empty() {
            Fallback::NoModel
        } else {
            Fallback::ModelRefused
        }
    }

    /// The loaded models, the champion first.
    pub fn loaded(&self) -> Vec<LoadedModel> {
        let serving = self.serving();
        serving
            .slots()
            .into_iter()
            .filter_map(|(role, model)| {
                let model = model.as_ref()?;
                let d = model.scorer.description();
                Some(LoadedModel {
                    version: model.version.clone(),
                    role,
                    sha256: model.scorer.sha256().to_owned(),
                    signed_by: model.signed_by,
                    size_bytes: model.scorer.size_bytes(),
                    objective: d.objective.clone(),
                    trees: d.trees,
                    features: d.feature_names.clone(),
                    training_window: d.training_window.clone(),
                    breaker: model.rank.breaker.facts(),
                    score_breaker: model.score.breaker.facts(),
                    instances: model.scorer.instances(),
                })
            })
            .collect()
    }

    /// Scores `rows` (schema order, one slice per row, NaN for missing) by the deadline `until`.
    ///
    /// # Errors
    /// Why there are no scores. After several failures in a row the breaker refuses calls at once,
    /// until a probe succeeds: see [`crate::models::Breaker`].
    pub async fn score(
        &self,
        model: &Arc<Model>,
        rows: impl Iterator<Item = &[f64]>,
        until: Instant,
    ) -> Result<Scored, Unscored> {
        let start = Instant::now();
        let call = model.rank.breaker.admit(start)?;
        let time = TimeBudget {
            until,
            total: until.saturating_duration_since(start),
        };
        let outcome = model.rank.call(&model.scorer, model.values(rows), time).await;
        let outcome = self.drilled(outcome, until).await;
        match &outcome {
            Ok(scored) => {
                call.succeeded();
                histogram!("ltr_score_seconds").record(scored.took);
            }
            // Says nothing about the component.
            Err(Failure::Busy | Failure::CutShort) => drop(call),
            Err(Failure::Fault(reason)) => {
                if call.failed(*reason, Instant::now()) {
                    self.report_opened(model, "ltr_breaker_opened_total", *reason);
                }
            }
        }
        outcome.map_err(Failure::reason)
    }

    /// Sets what a drill adds to each scoring for `/rank`, and whether it turns the model's order around; zero and
    /// false end it.
    pub fn set_drill(&self, delay: Duration, reversed: bool) {
        let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.drill_ms.store(ms, Ordering::Relaxed);
        self.drill_reversed.store(reversed, Ordering::Relaxed);
    }

    /// The outcome as it would be if the model were slower, or wrong, as a drill says.
    async fn drilled(&self, outcome: Result<Scored, Failure>, until: Instant) -> Result<Scored, Failure> {
        let delay = Duration::from_millis(self.drill_ms.load(Ordering::Relaxed));
        let outcome = outcome.map(|mut scored| {
            if self.drill_reversed.load(Ordering::Relaxed) {
                scored.scores.iter_mut().for_each(|score| *score = -*score);
            }
            scored
        });
        match outcome {
            Ok(scored) if !delay.is_zero() => {
                let left = until.saturating_duration_since(Instant::now());
                tokio::time::sleep(delay.min(left)).await;
                if delay > left {
                    return Err(Failure::Fault(Unscored::Timeout));
                }
                let took = scored.took + delay;
                Ok(Scored { took, ..scored })
            }
            outcome => outcome,
        }
    }

    /// Logs that the breaker of `model` opened, and counts it for each of the model's roles.
    pub(super) fn report_opened(&self, model: &Arc<Model>, counted: &'static str, reason: Unscored) {
        let is = |slot: &Option<Arc<Model>>| slot.as_ref().is_some_and(|held| Arc::ptr_eq(held, model));
        let serving = self.serving();
        for (role, _) in serving.slots().into_iter().filter(|(_, slot)| is(slot)) {
            tracing::warn!(
                role = role.as_str(),
                version = model.version,
                reason = reason.as_str(),
                "the component keeps failing; calls are stopped until a probe succeeds"
            );
            counter!(counted, "role" => role.as_str()).increment(1);
        }
    }

    /// Updates the metrics of the breakers. A role without a model counts as closed.
    pub fn show_breakers(&self) {
        for (role, slot) in self.serving().slots() {
            let show = |gauge: &'static str, lane: fn(&Model) -> &Lane| {
                let facts = slot.as_ref().map(|model| lane(model).breaker.facts());
                let position = facts.map_or(Position::Closed, |facts| facts.state);
                gauge!(gauge, "role" => role.as_str()).set(f64::from(position as u8));
            };
            show("ltr_breaker_state", |model| &model.rank);
            show("ltr_score_breaker_state", |model| &model.score);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_refusals_are_remembered() {
        let models = Models::default();
        for at in 0..3 * REMEMBERED {
            models.record_refusal(Refusal::new(&at.to_string(), "io", ""), Utc::now());
        }
        let versions: Vec<String> = models
            .refused()
            .into_iter()
            .map(|(refusal, _)| refusal.version)
            .collect();
        let last: Vec<String> = (2 * REMEMBERED..3 * REMEMBERED).map(|at| at.to_string()).collect();
        assert_eq!(versions, last);
    }
}

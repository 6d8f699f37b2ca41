//! The models that are loaded, and how a new one comes in under traffic.

mod breaker;
mod load;
mod pace;
mod revoke;
mod source;
pub mod watch;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use metrics::{counter, gauge, histogram};
use runtime::artefact::KeyId;
use runtime::{Output, Scorer};
use serde::Serialize;
use tokio::sync::Semaphore;

pub use breaker::{Breaker, BreakerFacts, Position};
pub use load::{Keys, Load, Loader, Refusal, Trigger};
use pace::{CUT_OFF, Pace};
pub use source::Source;

/// How long after its time a component call is still waited for: it stops by itself at the next tick.
pub const GRACE: Duration = Duration::from_millis(20);
/// Refusals, and loads, that are remembered for `GET /models`.
const REMEMBERED: usize = 32;

/// A verified model, ready to score.
pub struct Model {
    /// The folder it came from.
    pub version: String,
    pub scorer: Scorer,
    /// The key that vouches for it.
    pub signed_by: Option<KeyId>,
    /// For each column of the component, where in the schema it is.
    pub columns: Vec<usize>,
    breaker: Breaker,
    pace: Pace,
    /// Calls of this component that may run at once: more than the processors would only slow each other, and
    /// one model's calls never wait for another's.
    turns: Arc<Semaphore>,
}

impl Model {
    /// A model whose component reads `columns` of the schema.
    pub fn new(version: String, scorer: Scorer, columns: Vec<usize>) -> Model {
        let processors = std::thread::available_parallelism().map_or(2, |n| n.get());
        Model {
            version,
            scorer,
            signed_by: None,
            columns,
            breaker: Breaker::default(),
            pace: Pace::default(),
            turns: Arc::new(Semaphore::new(processors)),
        }
    }
}

/// Who serves. Replaced as a whole, so that a request sees one consistent set.
#[derive(Clone, Default)]
pub struct Serving {
    /// Per cent of requests that LTR answers.
    pub weight: u8,
    pub champion: Option<Arc<Model>>,
    pub challenger: Option<Arc<Model>>,
    /// The version of a champion that was promoted but could not be loaded: nothing may serve in its place.
    pub lost: Option<String>,
}

impl Serving {
    /// The model that answers: the champion, or, while nothing was ever promoted, the challenger on an
    /// operator's word.
    pub fn serves(&self) -> Option<&Arc<Model>> {
        match (&self.champion, &self.lost) {
            (None, None) => self.challenger.as_ref(),
            (champion, _) => champion.as_ref(),
        }
    }

    /// Both slots by their role.
    pub fn slots(&self) -> [(&'static str, &Option<Arc<Model>>); 2] {
        [("champion", &self.champion), ("challenger", &self.challenger)]
    }

    /// Whether this version is loaded, in either slot.
    pub fn holds(&self, version: &str) -> bool {
        let mut loaded = self.slots().into_iter().filter_map(|(_, model)| model.as_ref());
        loaded.any(|model| model.version == version)
    }

    /// Whether any model is loaded.
    pub fn any(&self) -> bool {
        self.champion.is_some() || self.challenger.is_some()
    }
}

/// One loaded model as `GET /models` shows it.
#[derive(Debug, Serialize)]
pub struct LoadedModel {
    pub version: String,
    pub role: &'static str,
    pub sha256: String,
    /// The id of the key that signed it; `null`: nobody did.
    pub signed_by: Option<KeyId>,
    pub size_bytes: usize,
    pub objective: String,
    pub trees: u32,
    pub features: Vec<String>,
    pub training_window: Option<runtime::Window>,
    pub breaker: BreakerFacts,
    pub instances: runtime::Instances,
}

/// The models of this gateway.
#[derive(Default)]
pub struct Models {
    /// Whether the database has not said yet who is to serve.
    pub(crate) unknown: AtomicBool,
    serving: RwLock<Arc<Serving>>,
    refused: Mutex<VecDeque<(Refusal, DateTime<Utc>)>>,
    loads: Mutex<VecDeque<Load>>,
}

/// The scores of one case, and the time they took inside the component.
pub struct Scored {
    pub scores: Vec<f64>,
    pub took: Duration,
}

impl Models {
    pub fn serving(&self) -> Arc<Serving> {
        self.serving
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    /// Swaps the set of models; requests that are being answered keep the one they started with.
    pub fn swap(&self, serving: Serving) {
        for (role, model) in serving.slots() {
            for old in self.serving().slots().into_iter().filter_map(|(_, old)| old.as_ref()) {
                gauge!("ltr_model_info", "version" => old.version.clone(), "role" => role).set(0);
            }
            if let Some(model) = model {
                gauge!("ltr_model_info", "version" => model.version.clone(), "role" => role).set(1);
            }
        }
        gauge!("ltr_rollout_weight").set(serving.weight);
        let old = {
            let mut slot = self.serving.write().unwrap_or_else(|poisoned| poisoned.into_inner());
            std::mem::replace(&mut *slot, Arc::new(serving))
        };
        // After the lock, which every request takes: giving back a model's memory takes its time.
        drop(old);
    }

    pub fn refuse(&self, refusal: Refusal, now: DateTime<Utc>) {
        tracing::warn!(
            version = refusal.version,
            code = refusal.code,
            "model refused: {}",
            refusal.message
        );
        let mut refused = self.refused.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        refused.retain(|(old, _)| old.version != refusal.version);
        refused.push_back((refusal, now));
        if refused.len() > REMEMBERED {
            refused.pop_front();
        }
    }

    pub fn refused(&self) -> Vec<(Refusal, DateTime<Utc>)> {
        self.refused
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .iter()
            .cloned()
            .collect()
    }

    /// Remembers the story of a load.
    pub fn tell(&self, load: Load) {
        let mut loads = self.loads.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        loads.push_back(load);
        if loads.len() > REMEMBERED {
            loads.pop_front();
        }
    }

    /// The last loads, the newest last.
    pub fn loads(&self) -> Vec<Load> {
        let loads = self.loads.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        loads.iter().cloned().collect()
    }

    /// Why LTR cannot answer when no model is usable.
    pub fn absence(&self) -> &'static str {
        if self.unknown.load(Ordering::Relaxed) {
            "database"
        } else if self.refused().is_empty() {
            "no_model"
        } else {
            "model_refused"
        }
    }

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
                    breaker: model.breaker.facts(),
                    instances: model.scorer.instances(),
                })
            })
            .collect()
    }

    /// Scores `rows` (schema order, one slice a row, NaN missing) by `until`, off the reactor.
    ///
    /// # Errors
    /// The reason, as metrics and `/rank` name it. After several failures in a row the reason is given at
    /// once, without asking the component, until a probe succeeds: see [`Breaker`].
    pub async fn score(
        &self,
        model: &Arc<Model>,
        rows: impl Iterator<Item = &[f64]>,
        until: Instant,
    ) -> Result<Scored, &'static str> {
        let call = model.breaker.admit(Instant::now())?;
        let mut values = Vec::new();
        for row in rows {
            values.extend(model.columns.iter().map(|&column| row[column]));
        }
        let outcome = self.call(model, values, until).await;
        match &outcome {
            Ok(scored) => {
                call.succeeded();
                histogram!("ltr_score_seconds").record(scored.took);
            }
            // Nobody could ask the component; that says nothing about it.
            Err("busy") => drop(call),
            Err(reason) => {
                if call.failed(reason, Instant::now()) {
                    self.opened(model, reason);
                }
            }
        }
        outcome
    }

    /// Counts and reports that `model` is left alone from now on.
    fn opened(&self, model: &Arc<Model>, reason: &'static str) {
        let is = |slot: &Option<Arc<Model>>| slot.as_ref().is_some_and(|held| Arc::ptr_eq(held, model));
        let serving = self.serving();
        for (role, _) in serving.slots().into_iter().filter(|(_, slot)| is(slot)) {
            tracing::warn!(
                role,
                version = model.version,
                reason,
                "the component keeps failing and is left alone"
            );
            counter!("ltr_breaker_opened_total", "role" => role).increment(1);
        }
    }

    /// Shows the breakers as they stand now; a slot without a model has nothing that could be open.
    pub fn show_breakers(&self) {
        for (role, slot) in self.serving().slots() {
            let position = slot
                .as_ref()
                .map_or(Position::Closed, |model| model.breaker.facts().state);
            gauge!("ltr_breaker_state", "role" => role).set(f64::from(position as u8));
        }
    }

    /// In place where the component is known to be quick, else on a thread that may be kept busy.
    async fn call(&self, model: &Arc<Model>, values: Vec<f64>, until: Instant) -> Result<Scored, &'static str> {
        let rows = values.len() / model.columns.len().max(1);
        let outcome = match model.call_in_place(rows, &values, until) {
            Some(outcome) => outcome,
            None => model.call_elsewhere(values, until).await,
        };
        match &outcome {
            Ok(scored) => model.pace.took(rows, scored.took),
            Err("busy") => {}
            Err(_) => model.pace.failed(),
        }
        outcome
    }
}

impl Model {
    /// `None` where it may not be called here, or was cut off.
    fn call_in_place(&self, rows: usize, values: &[f64], until: Instant) -> Option<Result<Scored, &'static str>> {
        if !self.pace.is_quick(rows) {
            return None;
        }
        let _turn = self.turns.try_acquire().ok()?;
        let patience = CUT_OFF.min(until.saturating_duration_since(Instant::now()));
        let outcome = ask(&self.scorer, values, patience);
        match outcome {
            Err("timeout" | "busy") => {
                self.pace.failed();
                None
            }
            outcome => Some(outcome),
        }
    }

    async fn call_elsewhere(&self, values: Vec<f64>, until: Instant) -> Result<Scored, &'static str> {
        let turn = tokio::time::timeout_at(until.into(), self.turns.clone().acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Err("busy");
        };
        let scorer = self.scorer.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            ask(&scorer, &values, until.saturating_duration_since(Instant::now()))
        });
        // The component stops by itself at `until`; a little later nobody waits for it any more.
        match tokio::time::timeout_at((until + GRACE).into(), task).await {
            Err(_) => Err("timeout"),
            Ok(Err(_)) => Err("trap"),
            Ok(Ok(outcome)) => outcome,
        }
    }
}

/// Scores on this thread, within `patience`; a score that is no number is an error like any other.
fn ask(scorer: &Scorer, values: &[f64], patience: Duration) -> Result<Scored, &'static str> {
    let start = Instant::now();
    match scorer.score(values, Output::Converted, patience) {
        Err(error) => Err(error.reason()),
        Ok(scores) if scores.iter().all(|score| score.is_finite()) => Ok(Scored {
            scores,
            took: start.elapsed(),
        }),
        Ok(_) => Err("bad_output"),
    }
}

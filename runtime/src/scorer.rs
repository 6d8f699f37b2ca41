//! A loaded model: a pool of instances behind one blocking call.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::contract::bindings::ScorerPre;
use crate::inspect::ComponentFacts;
use crate::instance::{Failure, Instance, State};
use crate::{Description, Limits, Output, ScoreError};

/// A component that passed every check of [`crate::Engine::load`]. Cheap to clone; clones share the pool.
#[derive(Clone)]
pub struct Scorer {
    shared: Arc<Shared>,
}

struct Shared {
    pre: ScorerPre<State>,
    limits: Arc<Limits>,
    description: Description,
    facts: ComponentFacts,
    pool: Mutex<Pool>,
    returned: Condvar,
}

struct Pool {
    idle: Vec<Instance>,
    /// Instances in use and places taken by calls that are making one.
    busy: usize,
}

impl Scorer {
    pub(crate) fn new(
        pre: ScorerPre<State>,
        limits: Arc<Limits>,
        description: Description,
        facts: ComponentFacts,
        first: Instance,
    ) -> Scorer {
        let pool = Mutex::new(Pool {
            idle: vec![first],
            busy: 0,
        });
        Scorer {
            shared: Arc::new(Shared {
                pre,
                limits,
                description,
                facts,
                pool,
                returned: Condvar::new(),
            }),
        }
    }

    pub fn description(&self) -> &Description {
        &self.shared.description
    }

    /// Of the component as it was loaded, lower-case hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.shared.facts.sha256
    }

    pub fn size_bytes(&self) -> usize {
        self.shared.facts.size_bytes
    }

    /// Values a row: the number of feature names.
    pub fn width(&self) -> usize {
        self.shared.description.feature_names.len()
    }

    /// Scores `rows` (row-major, [`Scorer::width`] values each, NaN for missing) on the calling thread, which
    /// it blocks for `timeout` at most. Gives `outputs` scores a row, row-major, all rows or none.
    ///
    /// # Errors
    /// `Busy` when no instance came free in time, `Refused` when `rows` is not whole rows or the component
    /// declines, otherwise what the component did wrong. A failure costs its instance, nothing else.
    pub fn score(&self, rows: &[f64], output: Output, timeout: Duration) -> Result<Vec<f64>, ScoreError> {
        let width = self.width();
        if !rows.len().is_multiple_of(width) {
            return Err(ScoreError::Refused(format!(
                "{} values are not whole rows of {width}",
                rows.len()
            )));
        }
        let deadline = Instant::now() + timeout;
        let mut place = self.shared.place(deadline)?;
        let scores = self.score_in_pieces(place.instance(deadline)?, rows, output, deadline);
        // A refusal is an answer: the component is as healthy as before.
        if matches!(scores, Ok(_) | Err(ScoreError::Refused(_))) {
            place.keep();
        }
        scores
    }

    /// Big batches go piece by piece, so that an instance's memory stays small whatever the caller holds.
    fn score_in_pieces(
        &self,
        instance: &mut Instance,
        rows: &[f64],
        output: Output,
        deadline: Instant,
    ) -> Result<Vec<f64>, ScoreError> {
        let width = self.width();
        let outputs = self.shared.description.outputs as usize;
        let piece = (self.shared.limits.max_values_per_call / width).max(1) * width;
        if rows.len() <= piece {
            return instance.score(rows, output, rows.len() / width * outputs, deadline);
        }
        let mut scores = Vec::with_capacity(rows.len() / width * outputs);
        for rows in rows.chunks(piece) {
            scores.extend(instance.score(rows, output, rows.len() / width * outputs, deadline)?);
        }
        Ok(scores)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pool> {
        // The pool is whole after every statement, so that a panic elsewhere cannot have broken it.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place among the `max_instances`, with an idle instance if there is one.
    fn place(&self, deadline: Instant) -> Result<Place<'_>, ScoreError> {
        let full = |pool: &mut Pool| pool.idle.is_empty() && pool.busy >= self.limits.max_instances;
        let patience = deadline.saturating_duration_since(Instant::now());
        let (mut pool, _) = self
            .returned
            .wait_timeout_while(self.lock(), patience, full)
            .unwrap_or_else(PoisonError::into_inner);
        if full(&mut pool) {
            return Err(ScoreError::Busy);
        }
        pool.busy += 1;
        Ok(Place {
            shared: self,
            instance: pool.idle.pop(),
            keep: false,
        })
    }
}

/// The right to run one instance; given up on drop, however the call ends.
struct Place<'a> {
    shared: &'a Shared,
    instance: Option<Instance>,
    keep: bool,
}

impl Place<'_> {
    fn instance(&mut self, deadline: Instant) -> Result<&mut Instance, ScoreError> {
        match &mut self.instance {
            Some(instance) => Ok(instance),
            empty => {
                let made = Instance::new(&self.shared.pre, &self.shared.limits, deadline).map_err(Failure::on_score)?;
                Ok(empty.insert(made))
            }
        }
    }

    fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let max_growth = self.shared.limits.max_kept_growth_bytes;
        let kept = self
            .instance
            .take()
            .filter(|instance| self.keep && instance.growth() <= max_growth);
        let mut pool = self.shared.lock();
        pool.busy -= 1;
        pool.idle.extend(kept);
        drop(pool);
        self.shared.returned.notify_one();
    }
}

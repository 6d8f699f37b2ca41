//! A loaded model: a pool of instances behind one blocking call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use serde::Serialize;

use crate::cache::CodeOrigin;
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
    code: CodeOrigin,
    pool: Mutex<Pool>,
    returned: Condvar,
}

struct Pool {
    idle: Vec<Instance>,
    /// Instances in use and places taken by calls that are making one.
    busy: usize,
    /// Calls that wait for one of them.
    waiting: usize,
    /// Instances that were not kept after a call.
    dropped: u64,
}

/// The instances of a scorer at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Instances {
    /// Made and waiting for a call.
    pub idle: usize,
    /// In a call, or being made for one.
    pub busy: usize,
    /// Not kept after their call, because it failed or took too much memory, since the scorer was loaded.
    pub dropped: u64,
}

impl Scorer {
    pub(crate) fn new(
        pre: ScorerPre<State>,
        limits: Arc<Limits>,
        description: Description,
        facts: ComponentFacts,
        code: CodeOrigin,
        first: Instance,
    ) -> Scorer {
        let pool = Mutex::new(Pool {
            idle: vec![first],
            busy: 0,
            waiting: 0,
            dropped: 0,
        });
        Scorer {
            shared: Arc::new(Shared {
                pre,
                limits,
                description,
                facts,
                code,
                pool,
                returned: Condvar::new(),
            }),
        }
    }

    /// What the component said of its model when it was loaded.
    pub fn description(&self) -> &Description {
        &self.shared.description
    }

    /// Of the component as it was loaded, lower-case hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.shared.facts.sha256
    }

    /// Where its machine code came from.
    pub fn code(&self) -> CodeOrigin {
        self.shared.code
    }

    /// Size of the component as it was loaded, in bytes of WebAssembly.
    pub fn size_bytes(&self) -> usize {
        self.shared.facts.size_bytes
    }

    /// Values a row: the number of feature names.
    pub fn width(&self) -> usize {
        self.shared.description.feature_names.len()
    }

    /// The pool as it is now.
    pub fn instances(&self) -> Instances {
        let pool = self.shared.lock();
        Instances {
            idle: pool.idle.len(),
            busy: pool.busy,
            dropped: pool.dropped,
        }
    }

    /// Numbers an explained row gets: for each output a contribution a feature and the expected value.
    pub fn explained_width(&self) -> usize {
        self.shared.description.outputs as usize * (self.width() + 1)
    }

    /// Scores `rows` (row-major, [`Scorer::width`] values each, NaN for missing) on the calling thread, which
    /// it blocks for `timeout` at most. Gives `outputs` scores a row, row-major, all rows or none.
    ///
    /// # Errors
    /// `Busy` when no instance came free in time, `Refused` when `rows` is not whole rows or the component
    /// declines, otherwise what the component did wrong. A failure costs its instance, nothing else.
    pub fn score(&self, rows: &[f64], output: Output, timeout: Duration) -> Result<Vec<f64>, ScoreError> {
        let outputs = self.shared.description.outputs as usize;
        self.in_pieces(rows, outputs, timeout, |instance, rows, expected, deadline| {
            instance.score(rows, output, expected, deadline)
        })
    }

    /// Makes sure that `instances` (at most [`Limits::max_instances`]) are there and have scored `row` once, so that
    /// the first calls in service find memory and code in place.
    ///
    /// # Errors
    /// As [`Scorer::score`].
    pub fn warm(&self, row: &[f64], instances: usize, timeout: Duration) -> Result<(), ScoreError> {
        let deadline = Instant::now() + timeout;
        let outputs = self.shared.description.outputs as usize;
        // Held together, so that each is another one.
        let mut places = Vec::new();
        for _ in 0..instances.min(self.shared.limits.max_instances) {
            places.push(self.shared.place(deadline)?);
        }
        for place in &mut places {
            let instance = place.instance(deadline)?;
            instance.score(row, Output::Converted, outputs, deadline)?;
            place.keep();
        }
        Ok(())
    }

    /// Explains the raw scores of `rows`, which are as for [`Scorer::score`]: gives [`Scorer::explained_width`]
    /// finite numbers a row, row-major, all rows or none. They are LightGBM's `pred_contrib`: for each output one
    /// contribution a feature in the order of the names and then the expected value, which add up to the raw
    /// score but for rounding.
    ///
    /// # Errors
    /// As [`Scorer::score`]; `Refused`, too, for a model that cannot be explained, with what it lacks.
    pub fn explain(&self, rows: &[f64], timeout: Duration) -> Result<Vec<f64>, ScoreError> {
        self.in_pieces(rows, self.explained_width(), timeout, Instance::explain)
    }

    /// Calls a component for whole rows, each of which gets `answers` numbers. Big batches go piece by piece, so
    /// that an instance's memory stays small whatever the caller holds.
    fn in_pieces(
        &self,
        rows: &[f64],
        answers: usize,
        timeout: Duration,
        call: impl Fn(&mut Instance, &[f64], usize, Instant) -> Result<Vec<f64>, ScoreError>,
    ) -> Result<Vec<f64>, ScoreError> {
        let width = self.width();
        if !rows.len().is_multiple_of(width) {
            return Err(ScoreError::Refused(format!(
                "{} values are not whole rows of {width}",
                rows.len()
            )));
        }
        let deadline = Instant::now() + timeout;
        let mut place = self.shared.place(deadline)?;
        let instance = place.instance(deadline)?;
        let piece = (self.shared.limits.max_values_per_call / width.max(answers)).max(1) * width;
        let answer = if rows.len() <= piece {
            call(instance, rows, rows.len() / width * answers, deadline)
        } else {
            let mut pieces = rows
                .chunks(piece)
                .map(|rows| call(instance, rows, rows.len() / width * answers, deadline));
            let all = Vec::with_capacity(rows.len() / width * answers);
            pieces.try_fold(all, |mut all, piece| {
                all.extend(piece?);
                Ok(all)
            })
        };
        // A refusal is an answer: the component is as healthy as before.
        if matches!(answer, Ok(_) | Err(ScoreError::Refused(_))) {
            place.keep();
        }
        answer
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock()
    }

    /// A place among the `max_instances`, with an idle instance if there is one.
    fn place(&self, deadline: Instant) -> Result<Place<'_>, ScoreError> {
        let full = |pool: &mut Pool| pool.idle.is_empty() && pool.busy >= self.limits.max_instances;
        let mut pool = self.lock();
        if full(&mut pool) {
            pool.waiting += 1;
            self.returned.wait_while_until(&mut pool, full, deadline);
            pool.waiting -= 1;
            if full(&mut pool) {
                return Err(ScoreError::Busy);
            }
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
        let used = self.instance.take();
        let (kept, dropped) = match used {
            Some(instance) if self.keep && instance.growth() <= max_growth => (Some(instance), None),
            other => (None, other),
        };
        let mut pool = self.shared.lock();
        pool.busy -= 1;
        pool.dropped += u64::from(dropped.is_some());
        pool.idle.extend(kept);
        // Waking nobody would still be a system call.
        let awaited = pool.waiting > 0;
        drop(pool);
        if awaited {
            self.shared.returned.notify_one();
        }
    }
}

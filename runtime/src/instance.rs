//! One running component: a store with its limits, and calls under a deadline.

use std::time::{Duration, Instant};

use wasmtime::{ResourceLimiter, Store, Trap, UpdateDeadline};

use crate::contract::bindings::exports::ltr::scorer::scoring;
use crate::contract::bindings::{Scorer as Bindings, ScorerPre};
use crate::limits::MAX_TABLE_ENTRIES;
use crate::{Description, Limits, LoadError, Output, ScoreError};

/// What a description may take to copy, in bytes: room for 10,000 names of 100 bytes each.
const MAX_DESCRIPTION_BYTES: usize = 4 << 20;
/// What an answer may take to copy beyond its numbers, in bytes: the text of a refusal.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// Why a call ended without an answer. The instance is of no further use.
pub(crate) enum Failure {
    Deadline,
    Trap(String),
    /// The answer broke the component interface: out of bounds, not UTF-8, or more than was allowed.
    Data(String),
    /// The functions are not of the contract's types.
    World(String),
}

impl Failure {
    fn of(error: wasmtime::Error) -> Failure {
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Failure::Deadline,
            Some(trap) => Failure::Trap(trap.to_string()),
            None => Failure::Data(format!("{error:#}")),
        }
    }

    pub(crate) fn on_load(self, patience: Duration) -> LoadError {
        match self {
            Failure::Deadline => LoadError::Timeout(patience),
            Failure::Trap(message) | Failure::Data(message) => LoadError::Trap(message),
            Failure::World(message) => LoadError::WrongWorld(message),
        }
    }

    pub(crate) fn on_score(self) -> ScoreError {
        match self {
            Failure::Deadline => ScoreError::Timeout,
            Failure::Trap(message) => ScoreError::Trap(message),
            Failure::Data(message) | Failure::World(message) => ScoreError::BadOutput(message),
        }
    }
}

/// What belongs to one instance on the host's side.
pub(crate) struct State {
    deadline: Instant,
    max_memory_bytes: usize,
    memory_bytes: usize,
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes - current.min(self.memory_bytes) + desired;
        let allowed = total <= self.max_memory_bytes;
        if allowed {
            self.memory_bytes = total;
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired as u64 <= MAX_TABLE_ENTRIES)
    }

    fn instances(&self) -> usize {
        16
    }

    fn tables(&self) -> usize {
        16
    }

    fn memories(&self) -> usize {
        4
    }
}

pub(crate) struct Instance {
    store: Store<State>,
    bindings: Bindings,
    first_memory_bytes: usize,
}

impl Instance {
    pub(crate) fn new(pre: &ScorerPre<State>, limits: &Limits, deadline: Instant) -> Result<Instance, Failure> {
        let state = State {
            deadline,
            max_memory_bytes: limits.max_memory_bytes,
            memory_bytes: 0,
        };
        let mut store = Store::new(pre.engine(), state);
        store.limiter(|state| state);
        // Asked at every tick: the instant decides, not the number of ticks, which a busy machine may be late with.
        store.epoch_deadline_callback(|context| {
            if Instant::now() < context.data().deadline {
                Ok(UpdateDeadline::Continue(1))
            } else {
                Ok(UpdateDeadline::Interrupt)
            }
        });
        store.set_epoch_deadline(1);
        let started = pre.instance_pre().instantiate(&mut store).map_err(Failure::of)?;
        let bindings = Bindings::new(&mut store, &started).map_err(|e| Failure::World(format!("{e:#}")))?;
        let first_memory_bytes = store.data().memory_bytes;
        Ok(Instance {
            store,
            bindings,
            first_memory_bytes,
        })
    }

    pub(crate) fn describe(&mut self, deadline: Instant) -> Result<Description, Failure> {
        self.begin(deadline, MAX_DESCRIPTION_BYTES);
        let described = self.bindings.ltr_scorer_scoring().call_describe(&mut self.store);
        described.map(Description::from).map_err(Failure::of)
    }

    /// Scores whole rows; `expected` is how many scores they must get.
    pub(crate) fn score(
        &mut self,
        rows: &[f64],
        output: Output,
        expected: usize,
        deadline: Instant,
    ) -> Result<Vec<f64>, ScoreError> {
        self.begin(deadline, expected * size_of::<f64>() + MAX_REFUSAL_BYTES);
        let answer = self
            .bindings
            .ltr_scorer_scoring()
            .call_score(&mut self.store, rows, output.into());
        match answer.map_err(|e| Failure::of(e).on_score())? {
            Ok(scores) if scores.len() == expected => Ok(scores),
            Ok(scores) => Err(ScoreError::BadOutput(format!(
                "{} scores; expected {expected}",
                scores.len()
            ))),
            Err(refusal) => Err(ScoreError::Refused(score_refusal(refusal))),
        }
    }

    /// Explains whole rows; `expected` is how many numbers they must get, all of them finite.
    pub(crate) fn explain(&mut self, rows: &[f64], expected: usize, deadline: Instant) -> Result<Vec<f64>, ScoreError> {
        self.begin(deadline, expected * size_of::<f64>() + MAX_REFUSAL_BYTES);
        let answer = self.bindings.ltr_scorer_scoring().call_explain(&mut self.store, rows);
        let contributions = answer
            .map_err(|e| Failure::of(e).on_score())?
            .map_err(|refusal| ScoreError::Refused(explain_refusal(refusal)))?;
        if contributions.len() != expected {
            let found = contributions.len();
            return Err(ScoreError::BadOutput(format!(
                "{found} contributions; expected {expected}"
            )));
        }
        match contributions.iter().find(|x| !x.is_finite()) {
            Some(x) => Err(ScoreError::BadOutput(format!(
                "a contribution is {x}; expected finite numbers"
            ))),
            None => Ok(contributions),
        }
    }

    /// Memory this instance gained since it was made, in bytes.
    pub(crate) fn growth(&self) -> usize {
        self.store.data().memory_bytes - self.first_memory_bytes
    }

    fn begin(&mut self, deadline: Instant, max_answer_bytes: usize) {
        self.store.data_mut().deadline = deadline;
        self.store.set_epoch_deadline(1);
        self.store.set_hostcall_fuel(max_answer_bytes);
    }
}

fn score_refusal(refusal: scoring::ScoreError) -> String {
    match refusal {
        scoring::ScoreError::Ragged(width) => ragged(width),
        scoring::ScoreError::TooManyValues(limit) => too_many(limit),
        scoring::ScoreError::Model(message) => message,
    }
}

fn explain_refusal(refusal: scoring::ExplainError) -> String {
    match refusal {
        scoring::ExplainError::Ragged(width) => ragged(width),
        scoring::ExplainError::TooManyValues(limit) => too_many(limit),
        scoring::ExplainError::Model(message) | scoring::ExplainError::NotExplainable(message) => message,
    }
}

fn ragged(width: u32) -> String {
    format!("the number of values is not a multiple of {width}")
}

fn too_many(limit: u32) -> String {
    format!("more than {limit} values in one call")
}

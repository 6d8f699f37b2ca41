//! Calls of a component. Those for `/rank` and those for `/ltr/score` have a lane each: whatever one kind of caller asks
//! for, the other keeps its turns, its pace and its breaker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ranking::Unscored;
use runtime::{Output, ScoreError, Scorer};
use tokio::sync::Semaphore;

use super::breaker::Breaker;
use super::inline_policy::{CUT_OFF, Pace};

/// How long after its time a component call is still waited for: it stops by itself at the next tick.
pub const GRACE: Duration = Duration::from_millis(20);

/// How one kind of caller gets at a component.
pub(super) struct Lane {
    pub breaker: Breaker,
    pub pace: Pace,
    /// Calls that may run at once.
    turns: Arc<Semaphore>,
    /// Whether calls in place take a turn too.
    counts_in_place: bool,
}

/// The scores of whole rows, and the time they took inside the component.
#[derive(Debug)]
pub struct Scored {
    /// One score per row, in the order of the rows. All are finite.
    pub scores: Vec<f64>,
    /// Time in the calls of the component. Waiting for a turn does not count.
    pub took: Duration,
}

/// Why a call gave no scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody could ask the component.
    Busy,
    /// It was cut off before it had the time that so many rows may take.
    Hurried,
    /// The component's own fault.
    Fault(Unscored),
}

impl Failure {
    pub(super) fn reason(self) -> Unscored {
        match self {
            Failure::Busy => Unscored::Busy,
            Failure::Hurried => Unscored::Timeout,
            Failure::Fault(reason) => reason,
        }
    }
}

/// When a call must be over, and what its caller's whole time is: the measure of what it may take.
#[derive(Clone, Copy)]
pub(super) struct Time {
    pub until: Instant,
    pub whole: Duration,
}

impl Time {
    pub(super) fn left(self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

impl Lane {
    /// For `/rank`: as many turns as there are processors, more would only slow each other.
    pub(super) fn of_rank(processors: usize) -> Lane {
        Lane::new(processors, true)
    }

    /// For `/ltr/score`: a quarter of the processors, so that `/rank` finds one. Calls that are quick enough for the
    /// thread that serves take no turn; there are as many such threads as processors.
    pub(super) fn of_score(processors: usize) -> Lane {
        Lane::new((processors / 4).max(1), false)
    }

    fn new(turns: usize, counts_in_place: bool) -> Lane {
        Lane {
            breaker: Breaker::default(),
            pace: Pace::default(),
            turns: Arc::new(Semaphore::new(turns)),
            counts_in_place,
        }
    }

    /// Scores `values`, row-major: in place where the component is known to be quick, else on a thread that may be kept
    /// busy.
    pub(super) async fn call<V>(&self, scorer: &Scorer, values: V, time: Time) -> Result<Scored, Failure>
    where
        V: AsRef<[f64]> + Send + 'static,
    {
        let rows = values.as_ref().len() / scorer.width();
        let outcome = match self.call_in_place(scorer, values.as_ref(), rows, time) {
            Some(outcome) => outcome,
            None => self.call_elsewhere(scorer, values, rows, time).await,
        };
        match &outcome {
            Ok(scored) => self.pace.took(rows, scored.took),
            // It says nothing about the component.
            Err(Failure::Busy | Failure::Hurried) => {}
            Err(Failure::Fault(_)) => self.pace.failed(),
        }
        outcome
    }

    /// `None` where it may not be called here, or was cut off.
    fn call_in_place(
        &self,
        scorer: &Scorer,
        values: &[f64],
        rows: usize,
        time: Time,
    ) -> Option<Result<Scored, Failure>> {
        if !self.pace.is_quick(rows) {
            return None;
        }
        let _turn = if self.counts_in_place {
            Some(self.turns.try_acquire().ok()?)
        } else {
            None
        };
        // A call that is cut off here goes on elsewhere; only there it may fail by the time it takes.
        let outcome = ask(scorer, values, CUT_OFF.min(time.left()), Duration::MAX);
        match outcome {
            Err(Failure::Hurried | Failure::Busy) => {
                self.pace.failed();
                None
            }
            outcome => Some(outcome),
        }
    }

    async fn call_elsewhere<V>(&self, scorer: &Scorer, values: V, rows: usize, time: Time) -> Result<Scored, Failure>
    where
        V: AsRef<[f64]> + Send + 'static,
    {
        let turn = tokio::time::timeout_at(time.until.into(), self.turns.clone().acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Err(Failure::Busy);
        };
        let may_take = self.pace.may_take(rows, time.whole);
        let had = time.left();
        let scorer = scorer.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            ask(&scorer, values.as_ref(), time.left(), may_take)
        });
        // The component stops by itself at its time; a little later nobody waits for it any more.
        match tokio::time::timeout_at((time.until + GRACE).into(), task).await {
            Err(_) if had < may_take => Err(Failure::Hurried),
            Err(_) => Err(Failure::Fault(Unscored::Timeout)),
            Ok(Err(_)) => Err(Failure::Fault(Unscored::Trap)),
            Ok(Ok(outcome)) => outcome,
        }
    }
}

/// Scores on this thread, within `patience`. It is the component's fault if it takes all of that and has had `may_take`.
/// A score that is no number is an error like any other.
fn ask(scorer: &Scorer, values: &[f64], patience: Duration, may_take: Duration) -> Result<Scored, Failure> {
    let start = Instant::now();
    match scorer.score(values, Output::Converted, patience) {
        Err(ScoreError::Busy) => Err(Failure::Busy),
        Err(ScoreError::Timeout) if patience < may_take => Err(Failure::Hurried),
        Err(ScoreError::Timeout) => Err(Failure::Fault(Unscored::Timeout)),
        Err(ScoreError::Trap(_)) => Err(Failure::Fault(Unscored::Trap)),
        Err(ScoreError::BadOutput(_)) => Err(Failure::Fault(Unscored::BadOutput)),
        Err(ScoreError::Refused(_)) => Err(Failure::Fault(Unscored::Refused)),
        Ok(scores) if scores.iter().all(|score| score.is_finite()) => Ok(Scored {
            scores,
            took: start.elapsed(),
        }),
        Ok(_) => Err(Failure::Fault(Unscored::BadOutput)),
    }
}

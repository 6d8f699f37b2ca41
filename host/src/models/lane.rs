//! Calls of a component. `/rank` and `/ltr/score` have a lane each, with its own turns, pace and
//! breaker, so that neither kind of caller slows the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ranking::Unscored;
use runtime::{Output, ScoreError, Scorer};
use tokio::sync::Semaphore;

use super::breaker::Breaker;
use super::inline_policy::{INLINE_TIMEOUT, Pace};

/// How long a call is still awaited after its deadline. The component stops by itself at the next
/// tick of its clock.
pub const GRACE: Duration = Duration::from_millis(20);

/// The access of one kind of caller to a component.
pub(super) struct Lane {
    pub breaker: Breaker,
    pub pace: Pace,
    /// Limits how many calls run at once.
    turns: Arc<Semaphore>,
    /// Whether inline calls take a turn too.
    inline_takes_turn: bool,
}

/// The scores of whole rows, and the time they took.
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
    /// No turn or instance was free, so the component was not called.
    Busy,
    /// The call was stopped before it had the time that its rows may take.
    CutShort,
    /// The component's own fault.
    Fault(Unscored),
}

impl Failure {
    pub(super) fn reason(self) -> Unscored {
        match self {
            Failure::Busy => Unscored::Busy,
            Failure::CutShort => Unscored::Timeout,
            Failure::Fault(reason) => reason,
        }
    }
}

/// The deadline of a call, and the whole time that its caller has. That time bounds the
/// component's allowance.
#[derive(Clone, Copy)]
pub(super) struct TimeBudget {
    pub until: Instant,
    pub total: Duration,
}

impl TimeBudget {
    pub(super) fn left(self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

impl Lane {
    /// For `/rank`: one turn per processor. More calls would only slow each other down.
    pub(super) fn for_rank(processors: usize) -> Lane {
        Lane::new(processors, true)
    }

    /// For `/ltr/score`: turns for a quarter of the processors, so that `/rank` finds one free.
    /// Inline calls take no turn; the threads that serve bound their number, one per processor.
    pub(super) fn for_score(processors: usize) -> Lane {
        Lane::new((processors / 4).max(1), false)
    }

    fn new(turns: usize, inline_takes_turn: bool) -> Lane {
        Lane {
            breaker: Breaker::default(),
            pace: Pace::default(),
            turns: Arc::new(Semaphore::new(turns)),
            inline_takes_turn,
        }
    }

    /// Scores `values`, row-major: inline if the component is known to be fast, else on a blocking
    /// thread.
    pub(super) async fn call<V>(&self, scorer: &Scorer, values: V, time: TimeBudget) -> Result<Scored, Failure>
    where
        V: AsRef<[f64]> + Send + 'static,
    {
        let rows = values.as_ref().len() / scorer.width();
        let outcome = match self.call_inline(scorer, values.as_ref(), rows, time) {
            Some(outcome) => outcome,
            None => self.call_blocking(scorer, values, rows, time).await,
        };
        match &outcome {
            Ok(scored) => self.pace.record_success(rows, scored.took),
            // Says nothing about the component.
            Err(Failure::Busy | Failure::CutShort) => {}
            Err(Failure::Fault(_)) => self.pace.record_failure(),
        }
        outcome
    }

    /// `None` if the call may not be inline, or was cut off.
    fn call_inline(
        &self,
        scorer: &Scorer,
        values: &[f64],
        rows: usize,
        time: TimeBudget,
    ) -> Option<Result<Scored, Failure>> {
        if !self.pace.is_quick(rows) {
            return None;
        }
        let _turn = if self.inline_takes_turn {
            Some(self.turns.try_acquire().ok()?)
        } else {
            None
        };
        // A call that is cut off here starts again on a blocking thread. Only there can it time
        // out.
        let outcome = score_now(scorer, values, INLINE_TIMEOUT.min(time.left()), Duration::MAX);
        match outcome {
            Err(Failure::CutShort | Failure::Busy) => {
                self.pace.record_failure();
                None
            }
            outcome => Some(outcome),
        }
    }

    async fn call_blocking<V>(
        &self,
        scorer: &Scorer,
        values: V,
        rows: usize,
        time: TimeBudget,
    ) -> Result<Scored, Failure>
    where
        V: AsRef<[f64]> + Send + 'static,
    {
        let turn = tokio::time::timeout_at(time.until.into(), self.turns.clone().acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Err(Failure::Busy);
        };
        let allowance = self.pace.allowance(rows, time.total);
        let left = time.left();
        let scorer = scorer.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            score_now(&scorer, values.as_ref(), time.left(), allowance)
        });
        // The component stops by itself at the deadline. After the grace time the call is given up.
        match tokio::time::timeout_at((time.until + GRACE).into(), task).await {
            Err(_) if left < allowance => Err(Failure::CutShort),
            Err(_) => Err(Failure::Fault(Unscored::Timeout)),
            Ok(Err(_)) => Err(Failure::Fault(Unscored::Trap)),
            Ok(Ok(outcome)) => outcome,
        }
    }
}

/// Scores on this thread, within `timeout`. A timeout is the component's fault only if `timeout` is
/// at least `allowance`. Scores that are not finite are an error too.
fn score_now(scorer: &Scorer, values: &[f64], timeout: Duration, allowance: Duration) -> Result<Scored, Failure> {
    let start = Instant::now();
    match scorer.score(values, Output::Converted, timeout) {
        Err(ScoreError::Busy) => Err(Failure::Busy),
        Err(ScoreError::Timeout) if timeout < allowance => Err(Failure::CutShort),
        Err(error) => Err(Failure::Fault(reason_of(&error))),
        Ok(scores) if scores.iter().all(|score| score.is_finite()) => Ok(Scored {
            scores,
            took: start.elapsed(),
        }),
        Ok(_) => Err(Failure::Fault(Unscored::BadOutput)),
    }
}

fn reason_of(error: &ScoreError) -> Unscored {
    match error {
        ScoreError::Busy => Unscored::Busy,
        ScoreError::Timeout => Unscored::Timeout,
        ScoreError::Trap(_) => Unscored::Trap,
        ScoreError::BadOutput(_) => Unscored::BadOutput,
        ScoreError::Refused(_) => Unscored::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads are reported in the sandbox's words, rankings in the domain's.
    #[test]
    fn the_sandbox_and_the_domain_spell_a_reason_alike() {
        let text = String::new;
        for error in [
            ScoreError::Busy,
            ScoreError::Timeout,
            ScoreError::Trap(text()),
            ScoreError::BadOutput(text()),
            ScoreError::Refused(text()),
        ] {
            assert_eq!(reason_of(&error).as_str(), error.reason());
        }
    }
}

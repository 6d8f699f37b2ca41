//! The circuit breaker: stops calls to a component that keeps failing, so that it does not slow
//! other callers.
//!
//! No library serves: responses name the reason of the last failure, and a probe that never reached
//! the component passes its turn to the next call. The crates failsafe and recloser do neither.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use ranking::Unscored;
use serde::Serialize;

/// Failures in a row that open the breaker.
const FAILURES: u32 = 5;
/// How long the breaker stays open before one call may probe.
const PAUSE: Duration = Duration::from_secs(1);

/// Closed while calls succeed. Five failures in a row open it, and it remembers the reason. After
/// each pause of 1 s it is half-open while one call probes. The caller passes the time.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<Circuit>);

#[derive(Debug, Default)]
struct Circuit {
    state: State,
    /// Failures in a row.
    failures: u32,
    opened: u64,
}

/// The position of a breaker. The numbers are the values of the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// Calls go through.
    #[default]
    Closed = 0,
    /// One call probes the component; all others are refused.
    HalfOpen = 1,
    /// All calls are refused until the pause is over.
    Open = 2,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    HalfOpen {
        reason: Unscored,
    },
    Open {
        retry_at: Instant,
        /// The reason of the last failure.
        reason: Unscored,
    },
}

/// A breaker as `GET /models` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BreakerFacts {
    /// The position now.
    pub state: Position,
    /// Why it is not closed.
    pub reason: Option<Unscored>,
    /// How often it opened since the model was loaded.
    pub opened: u64,
}

impl Breaker {
    /// Admits a call.
    ///
    /// # Errors
    /// The reason of the last failure, if no call is admitted now.
    pub fn admit(&self, now: Instant) -> Result<Call<'_>, Unscored> {
        let mut circuit = self.circuit();
        let probe = match circuit.state {
            State::Closed => false,
            State::Open { retry_at, reason } if now >= retry_at => {
                circuit.state = State::HalfOpen { reason };
                true
            }
            State::Open { reason, .. } | State::HalfOpen { reason } => return Err(reason),
        };
        Ok(Call {
            breaker: self,
            probe,
            admitted: now,
        })
    }

    /// The breaker's position, reason and count now.
    pub fn facts(&self) -> BreakerFacts {
        let circuit = self.circuit();
        let (state, reason) = match circuit.state {
            State::Closed => (Position::Closed, None),
            State::HalfOpen { reason } => (Position::HalfOpen, Some(reason)),
            State::Open { reason, .. } => (Position::Open, Some(reason)),
        };
        BreakerFacts {
            state,
            reason,
            opened: circuit.opened,
        }
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.0.lock()
    }
}

/// An admitted call. Dropped without a result, it says nothing about the component, and the next call
/// may probe instead: its caller hung up, or it never reached the component.
#[derive(Debug)]
pub struct Call<'a> {
    breaker: &'a Breaker,
    probe: bool,
    admitted: Instant,
}

impl Call<'_> {
    /// Records a success.
    pub fn succeeded(mut self) {
        let mut circuit = self.breaker.circuit();
        // A call that started before the breaker opened does not outweigh the failures that opened
        // it.
        if self.probe || circuit.state == State::Closed {
            circuit.state = State::Closed;
            circuit.failures = 0;
        }
        self.probe = false;
    }

    /// Records a failure. Returns whether the breaker opened by it.
    pub fn failed(mut self, reason: Unscored, now: Instant) -> bool {
        let mut circuit = self.breaker.circuit();
        let counts = self.probe || circuit.state == State::Closed;
        if counts {
            circuit.failures = circuit.failures.saturating_add(1);
        }
        let opens = counts && circuit.failures >= FAILURES;
        if opens {
            circuit.state = State::Open {
                retry_at: now + PAUSE,
                reason,
            };
            circuit.opened += 1;
        }
        self.probe = false;
        opens
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.probe {
            return;
        }
        let mut circuit = self.breaker.circuit();
        if let State::HalfOpen { reason } = circuit.state {
            circuit.state = State::Open {
                retry_at: self.admitted,
                reason,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, times: u32, now: Instant) -> Vec<bool> {
        let failure = |_| breaker.admit(now).unwrap().failed(Unscored::Trap, now);
        (0..times).map(failure).collect()
    }

    fn state(breaker: &Breaker) -> Position {
        breaker.facts().state
    }

    /// An open breaker, and the time from which a call may probe.
    fn open() -> (Breaker, Instant) {
        let (breaker, start) = (Breaker::default(), Instant::now());
        fail(&breaker, FAILURES, start);
        (breaker, start + PAUSE)
    }

    #[test]
    fn failures_in_a_row_open_it_and_the_reason_is_kept() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        assert_eq!(fail(&breaker, FAILURES, start), [false, false, false, false, true]);
        let facts = BreakerFacts {
            state: Position::Open,
            reason: Some(Unscored::Trap),
            opened: 1,
        };
        assert_eq!(breaker.facts(), facts);
        let just_before = start + PAUSE - Duration::from_nanos(1);
        assert_eq!(breaker.admit(just_before).err(), Some(Unscored::Trap));
    }

    #[test]
    fn after_the_pause_one_call_probes_and_its_success_closes_it() {
        let (breaker, later) = open();
        let probe = breaker.admit(later).unwrap();
        assert_eq!(state(&breaker), Position::HalfOpen);
        assert_eq!(
            breaker.admit(later + 9 * PAUSE).err(),
            Some(Unscored::Trap),
            "one at a time"
        );
        probe.succeeded();
        assert_eq!((state(&breaker), breaker.facts().reason), (Position::Closed, None));
        assert_eq!(
            fail(&breaker, FAILURES - 1, later).last(),
            Some(&false),
            "a success resets the count"
        );
    }

    #[test]
    fn a_probe_that_fails_opens_it_for_another_pause() {
        let (breaker, later) = open();
        assert!(breaker.admit(later).unwrap().failed(Unscored::Timeout, later));
        assert_eq!(breaker.admit(later).err(), Some(Unscored::Timeout));
        assert_eq!(breaker.facts().opened, 2);
        assert!(breaker.admit(later + PAUSE).is_ok());
    }

    #[test]
    fn a_probe_that_never_reached_the_component_passes_its_turn_to_the_next_call() {
        let (breaker, later) = open();
        drop(breaker.admit(later).unwrap());
        assert_eq!(state(&breaker), Position::Open);
        breaker.admit(later).expect("another probe, at once").succeeded();
        assert_eq!(state(&breaker), Position::Closed);
    }

    #[test]
    fn calls_from_before_it_opened_change_nothing() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        let [slow, slower] = [(); 2].map(|()| breaker.admit(start).unwrap());
        fail(&breaker, FAILURES, start);
        slow.succeeded();
        assert_eq!(state(&breaker), Position::Open);
        assert!(!slower.failed(Unscored::Timeout, start + PAUSE));
        assert!(
            breaker.admit(start + PAUSE).is_ok(),
            "a late failure does not extend the pause"
        );
    }

    #[test]
    fn occasional_failures_do_not_open_it() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 * FAILURES {
            fail(&breaker, FAILURES - 1, now);
            breaker.admit(now).unwrap().succeeded();
        }
        assert_eq!(breaker.facts().opened, 0);
    }
}

//! Stops asking a component that keeps failing, so that it does not slow everybody else.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Failures in a row that open the breaker.
const FAILURES: u32 = 5;
/// How long it stays open before one request may try again.
const PAUSE: Duration = Duration::from_secs(1);

/// Closed while calls succeed; open, with the reason remembered, after [`FAILURES`] in a row; one probe at a
/// time after each pause.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    reason: &'static str,
    retry_at: Instant,
}

impl Breaker {
    /// Lets a call through, or says why not.
    pub fn admit(&self, now: Instant) -> Result<(), &'static str> {
        let mut state = self.state();
        match &mut state.open {
            None => Ok(()),
            Some(open) if now >= open.retry_at => {
                // The probe; others go on waiting, in case it takes long.
                open.retry_at = now + PAUSE;
                Ok(())
            }
            Some(open) => Err(open.reason),
        }
    }

    pub fn succeeded(&self) {
        *self.state() = State::default();
    }

    /// A call that was let through did not reach the component.
    pub fn not_asked(&self) {
        if let Some(open) = &mut self.state().open {
            open.retry_at = Instant::now();
        }
    }

    pub fn failed(&self, reason: &'static str, now: Instant) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            state.open = Some(Open {
                reason,
                retry_at: now + PAUSE,
            });
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_that_keeps_failing_is_left_alone_until_a_probe_succeeds() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES {
            assert_eq!(breaker.admit(start), Ok(()));
            breaker.failed("trap", start);
        }
        assert_eq!(breaker.admit(start), Err("trap"));
        let later = start + PAUSE;
        assert_eq!(breaker.admit(later), Ok(()), "one probe");
        assert_eq!(breaker.admit(later), Err("trap"), "and only one");
        breaker.succeeded();
        assert_eq!(breaker.admit(later), Ok(()));
    }

    #[test]
    fn a_failure_now_and_then_closes_nothing() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 * FAILURES {
            breaker.failed("timeout", now);
            breaker.succeeded();
        }
        assert_eq!(breaker.admit(now), Ok(()));
    }
}

//! Whether calls of a component are quick enough for the threads that serve.
//!
//! A thread that scores in place saves two switches of threads, which take longer than the scores of a case. But it
//! serves nobody else meanwhile, so that a component has to earn it, and loses it by a single call that overruns.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What a call in place may be expected to take.
const QUICK: Duration = Duration::from_micros(300);
/// When a call in place is cut off, to go on elsewhere from its beginning.
pub const CUT_OFF: Duration = Duration::from_millis(5);
/// Good calls elsewhere that a new component needs before it is called in place.
const PROBATION: u32 = 16;
/// Those that it needs after a call that failed, so that the time it can waste here is little whatever it does; and
/// little enough for one that was only interrupted by a busy machine.
const PENALTY: u32 = 1_000;

/// What calls of one component took.
#[derive(Debug)]
pub struct Pace {
    /// Nanoseconds a row: what a good recent call took. A call that was slow because the machine was busy raises it
    /// little.
    a_row: AtomicU32,
    /// Good calls that are still wanting.
    probation: AtomicU32,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            a_row: AtomicU32::new(u32::MAX),
            probation: AtomicU32::new(PROBATION),
        }
    }
}

impl Pace {
    /// Whether a call for so many rows may be made in place.
    pub fn is_quick(&self, rows: usize) -> bool {
        let expected = u128::from(self.a_row.load(Ordering::Relaxed)) * rows as u128;
        self.probation.load(Ordering::Relaxed) == 0 && expected <= QUICK.as_nanos()
    }

    /// Notes a call that gave scores.
    pub fn took(&self, rows: usize, took: Duration) {
        let a_row = u32::try_from(took.as_nanos() / rows.max(1) as u128).unwrap_or(u32::MAX);
        // Whoever comes second between load and store is forgotten, which these numbers can bear.
        let known = self.a_row.load(Ordering::Relaxed);
        let raised = known.saturating_add(known / 8 + 1);
        self.a_row.store(a_row.min(raised), Ordering::Relaxed);
        let wanting = self.probation.load(Ordering::Relaxed);
        if wanting > 0 {
            self.probation.store(wanting - 1, Ordering::Relaxed);
        }
    }

    /// Notes a call that gave none, or was cut off.
    pub fn failed(&self) {
        self.probation.store(PENALTY, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(pace: &Pace, calls: u32) {
        for _ in 0..calls {
            pace.took(10, Duration::from_micros(20));
        }
    }

    #[test]
    fn a_component_earns_it_by_good_calls_and_loses_it_by_one_that_fails() {
        let pace = Pace::default();
        assert!(!pace.is_quick(1));
        good(&pace, PROBATION - 1);
        assert!(!pace.is_quick(1));
        good(&pace, 1);
        assert!(pace.is_quick(1));
        pace.failed();
        good(&pace, PENALTY - 1);
        assert!(!pace.is_quick(1));
        good(&pace, 1);
        assert!(pace.is_quick(1));
    }

    #[test]
    fn a_large_case_is_not_quick_and_a_busy_moment_changes_little() {
        let pace = Pace::default();
        good(&pace, PROBATION);
        assert!(pace.is_quick(150));
        assert!(!pace.is_quick(151), "300 us at 2 us a row");
        pace.took(10, Duration::from_millis(50));
        assert!(pace.is_quick(100));
        for _ in 0..100 {
            pace.took(10, Duration::from_millis(50));
        }
        assert!(!pace.is_quick(1), "it is slow by now");
    }
}

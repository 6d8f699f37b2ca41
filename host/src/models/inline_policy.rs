//! Whether calls of a component are quick enough for the threads that serve.
//!
//! A thread that scores in place saves two switches of threads, which take longer than the scores of a case. But it
//! serves nobody else meanwhile, so that a component has to earn it, and loses it by a single call that overruns.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What a call in place may be expected to take.
const QUICK: Duration = Duration::from_micros(300);
/// When a call in place is cut off, to go on elsewhere from its beginning.
pub(super) const CUT_OFF: Duration = Duration::from_millis(5);
/// Good calls elsewhere that a new component needs before it is called in place.
const PROBATION: u32 = 16;
/// Those that it needs after a call that failed, so that the time it can waste here is little whatever it does; and
/// little enough for one that was only interrupted by a busy machine.
const PENALTY: u32 = 1_000;

/// A call may take so many times what the component's best calls took a row.
const SLACK: u32 = 8;
/// So many rows at least a component must score in half the time of its caller. The best that a slow one can do is no
/// measure for it.
const USUAL_ROWS: u32 = 100;
/// What a call may take beside its rows: the clock of the components ticks in milliseconds.
const OVERHEAD: Duration = Duration::from_millis(2);

/// What calls of one component took.
#[derive(Debug)]
pub(super) struct Pace {
    /// Nanoseconds a row: what a good recent call took. A call that was slow because the machine was busy raises it
    /// little.
    a_row: AtomicU32,
    /// Nanoseconds a row of the best call ever.
    best: AtomicU32,
    /// Good calls that are still wanting.
    probation: AtomicU32,
}

/// Before the first call.
const UNKNOWN: u32 = u32::MAX;

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            a_row: AtomicU32::new(UNKNOWN),
            best: AtomicU32::new(UNKNOWN),
            probation: AtomicU32::new(PROBATION),
        }
    }
}

impl Pace {
    /// Whether a call for so many rows may be made in place.
    pub(super) fn is_quick(&self, rows: usize) -> bool {
        let expected = u128::from(self.a_row.load(Ordering::Relaxed)) * rows as u128;
        self.probation.load(Ordering::Relaxed) == 0 && expected <= QUICK.as_nanos()
    }

    /// What a row takes now; `None` before the first call.
    pub(super) fn a_row(&self) -> Option<Duration> {
        let a_row = self.a_row.load(Ordering::Relaxed);
        (a_row != UNKNOWN).then(|| Duration::from_nanos(a_row.into()))
    }

    /// What a call for so many rows may take before it is the component's fault, where its caller has `whole` to wait.
    pub(super) fn may_take(&self, rows: usize, whole: Duration) -> Duration {
        let best = Duration::from_nanos(self.best.load(Ordering::Relaxed).into());
        let a_row = (best * SLACK).min(whole / 2 / USUAL_ROWS);
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        a_row.saturating_mul(rows) + OVERHEAD.min(whole / 4)
    }

    /// Notes a call that gave scores.
    pub(super) fn took(&self, rows: usize, took: Duration) {
        let a_row = u32::try_from(took.as_nanos() / rows.max(1) as u128).unwrap_or(UNKNOWN - 1);
        // Whoever comes second between load and store is forgotten, which these numbers can bear.
        let known = self.a_row.load(Ordering::Relaxed);
        let raised = known.saturating_add(known / 8 + 1);
        self.a_row.store(a_row.min(raised), Ordering::Relaxed);
        if a_row < self.best.load(Ordering::Relaxed) {
            self.best.store(a_row, Ordering::Relaxed);
        }
        let wanting = self.probation.load(Ordering::Relaxed);
        if wanting > 0 {
            self.probation.store(wanting - 1, Ordering::Relaxed);
        }
    }

    /// Notes a call that gave none, or was cut off.
    pub(super) fn failed(&self) {
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

    #[test]
    fn a_call_may_take_what_its_rows_take_and_no_component_is_too_slow_to_fail() {
        let whole = Duration::from_millis(100);
        let pace = Pace::default();
        // Whatever is known of it, a usual case that takes all the time is a failure.
        assert!(pace.may_take(100, whole) <= whole);
        good(&pace, 1);
        assert_eq!(pace.may_take(100, whole), Duration::from_micros(2_000 + 8 * 2 * 100));
        assert!(pace.may_take(20_000, whole) > whole, "too many rows are not its fault");
        let slow = Pace::default();
        for _ in 0..100 {
            slow.took(1, Duration::from_secs(1));
        }
        assert!(slow.may_take(100, whole) <= whole);
        for milliseconds in 1..200 {
            let whole = Duration::from_millis(milliseconds);
            assert!(slow.may_take(100, whole) <= whole, "{whole:?}");
        }
    }

    #[test]
    fn the_pace_of_the_best_call_stays_the_measure() {
        let pace = Pace::default();
        good(&pace, 1);
        let before = pace.may_take(1_000, Duration::from_secs(10));
        for _ in 0..1_000 {
            pace.took(10, Duration::from_secs(1));
        }
        assert_eq!(pace.may_take(1_000, Duration::from_secs(10)), before);
        assert_eq!(pace.a_row(), Some(Duration::from_millis(100)));
    }
}

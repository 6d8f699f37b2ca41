//! Decides whether a component is fast enough to be called inline, on the threads that serve
//! connections.
//!
//! An inline call saves two thread switches, which take longer than the scores of a case. But it
//! blocks the other requests of its thread. So a component must earn inline calls, and a single
//! call that overruns loses them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Maximum expected time of an inline call.
const INLINE_BUDGET: Duration = Duration::from_micros(300);
/// Time limit of an inline call. A call that exceeds it starts again on a blocking thread.
pub(super) const INLINE_TIMEOUT: Duration = Duration::from_millis(5);
/// Successful calls that a new component needs before inline calls.
const PROBATION: u32 = 16;
/// Successful calls that a component needs after a failure. A bad component then wastes little time
/// inline, and a good one that a busy machine interrupted soon recovers.
const PENALTY: u32 = 1_000;

/// A call may take this many times the component's best time per row.
const SLACK: u32 = 8;
/// A component must score at least this many rows in half of its caller's time. Otherwise a slow
/// component would be measured only by its own best time.
const USUAL_ROWS: u32 = 100;
/// Time that a call may take regardless of its rows: the components' clock ticks in milliseconds.
const OVERHEAD: Duration = Duration::from_millis(2);

/// The times of one component's calls.
#[derive(Debug)]
pub(super) struct Pace {
    /// Nanoseconds per row in recent calls. It falls at once, but rises by at most an eighth per
    /// call, so that one call on a busy machine changes little.
    per_row: AtomicU32,
    /// Nanoseconds per row in the best call ever.
    best: AtomicU32,
    /// Successful calls that are still needed before inline calls.
    probation: AtomicU32,
}

/// The value before the first call.
const UNKNOWN: u32 = u32::MAX;

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            per_row: AtomicU32::new(UNKNOWN),
            best: AtomicU32::new(UNKNOWN),
            probation: AtomicU32::new(PROBATION),
        }
    }
}

impl Pace {
    /// Whether a call for this many rows may be inline.
    pub(super) fn is_quick(&self, rows: usize) -> bool {
        let expected = u128::from(self.per_row.load(Ordering::Relaxed)) * rows as u128;
        self.probation.load(Ordering::Relaxed) == 0 && expected <= INLINE_BUDGET.as_nanos()
    }

    /// The time per row now; `None` before the first call.
    pub(super) fn per_row(&self) -> Option<Duration> {
        let per_row = self.per_row.load(Ordering::Relaxed);
        (per_row != UNKNOWN).then(|| Duration::from_nanos(per_row.into()))
    }

    /// How long a call for this many rows may take before its timeout is the component's fault.
    /// `total` is the caller's whole time.
    pub(super) fn allowance(&self, rows: usize, total: Duration) -> Duration {
        let best = Duration::from_nanos(self.best.load(Ordering::Relaxed).into());
        let per_row = (best * SLACK).min(total / 2 / USUAL_ROWS);
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        per_row.saturating_mul(rows) + OVERHEAD.min(total / 4)
    }

    /// Records a call that gave scores.
    pub(super) fn record_success(&self, rows: usize, took: Duration) {
        let per_row = u32::try_from(took.as_nanos() / rows.max(1) as u128).unwrap_or(UNKNOWN - 1);
        // Concurrent calls may overwrite each other's update; these numbers tolerate that.
        let known = self.per_row.load(Ordering::Relaxed);
        let raised = known.saturating_add(known / 8 + 1);
        self.per_row.store(per_row.min(raised), Ordering::Relaxed);
        if per_row < self.best.load(Ordering::Relaxed) {
            self.best.store(per_row, Ordering::Relaxed);
        }
        let remaining = self.probation.load(Ordering::Relaxed);
        if remaining > 0 {
            self.probation.store(remaining - 1, Ordering::Relaxed);
        }
    }

    /// Records a call that failed or was cut off.
    pub(super) fn record_failure(&self) {
        self.probation.store(PENALTY, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(pace: &Pace, calls: u32) {
        for _ in 0..calls {
            pace.record_success(10, Duration::from_micros(20));
        }
    }

    #[test]
    fn successes_earn_inline_calls_and_one_failure_loses_them() {
        let pace = Pace::default();
        assert!(!pace.is_quick(1));
        good(&pace, PROBATION - 1);
        assert!(!pace.is_quick(1));
        good(&pace, 1);
        assert!(pace.is_quick(1));
        pace.record_failure();
        good(&pace, PENALTY - 1);
        assert!(!pace.is_quick(1));
        good(&pace, 1);
        assert!(pace.is_quick(1));
    }

    #[test]
    fn a_large_case_is_not_inline_and_one_slow_call_changes_little() {
        let pace = Pace::default();
        good(&pace, PROBATION);
        assert!(pace.is_quick(150));
        assert!(!pace.is_quick(151), "300 us at 2 us per row");
        pace.record_success(10, Duration::from_millis(50));
        assert!(pace.is_quick(100));
        for _ in 0..100 {
            pace.record_success(10, Duration::from_millis(50));
        }
        assert!(!pace.is_quick(1), "many slow calls raise the time per row");
    }

    #[test]
    fn the_allowance_grows_with_the_rows_and_excuses_no_slow_component() {
        let total = Duration::from_millis(100);
        let pace = Pace::default();
        // A case of usual size that takes all the time is a failure, also before the first call.
        assert!(pace.allowance(100, total) <= total);
        good(&pace, 1);
        assert_eq!(pace.allowance(100, total), Duration::from_micros(2_000 + 8 * 2 * 100));
        assert!(pace.allowance(20_000, total) > total, "too many rows are not its fault");
        let slow = Pace::default();
        for _ in 0..100 {
            slow.record_success(1, Duration::from_secs(1));
        }
        assert!(slow.allowance(100, total) <= total);
        for milliseconds in 1..200 {
            let total = Duration::from_millis(milliseconds);
            assert!(slow.allowance(100, total) <= total, "{total:?}");
        }
    }

    #[test]
    fn slow_calls_do_not_raise_the_allowance() {
        let pace = Pace::default();
        good(&pace, 1);
        let before = pace.allowance(1_000, Duration::from_secs(10));
        for _ in 0..1_000 {
            pace.record_success(10, Duration::from_secs(1));
        }
        assert_eq!(pace.allowance(1_000, Duration::from_secs(10)), before);
        assert_eq!(pace.per_row(), Some(Duration::from_millis(100)));
    }
}

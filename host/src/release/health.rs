//! Counts the requests that LTR should have answered, for the technical watch.
//!
//! Only as much is kept as the watch can need: the last seconds, and behind them as many requests as
//! it takes to decide at all.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ranking::release::watch::{Counts, Limits, Stretch};

/// Length of a stretch.
const STRETCH: Duration = Duration::from_secs(1);

/// What a model's serving is counted under: the model, and since which version of the state it has
/// served without a break.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// The version of the model.
    pub version: String,
    /// See [`ranking::release::Champion::serving_since`].
    pub since: u64,
}

/// The counts of this gateway.
pub struct Health {
    limits: Limits,
    slow: Duration,
    counts: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    of: Option<Served>,
    /// The latest first, each with its beginning.
    stretches: VecDeque<(Instant, Counts)>,
}

impl Health {
    /// Nothing counted yet.
    pub fn new(limits: Limits) -> Health {
        Health {
            slow: Duration::from_secs_f64(limits.latency_p95_ms / 1_000.0),
            limits,
            counts: Mutex::default(),
        }
    }

    /// What is counted from now on; `None`: nothing. What was counted of anything else is forgotten.
    pub fn expect(&self, of: Option<Served>) {
        let mut ring = self.counts.lock();
        if ring.of != of {
            *ring = Ring { of, ..Ring::default() };
        }
    }

    /// A request that LTR answered after scoring for `took`; `None`: legacy answered in its place.
    pub fn record(&self, of: &Served, took: Option<Duration>, now: Instant) {
        let mut ring = self.counts.lock();
        // A request that began before the model was replaced says nothing of the new one.
        if ring.of.as_ref() != Some(of) {
            return;
        }
        let is_current = ring
            .stretches
            .front()
            .is_some_and(|(begin, _)| now.saturating_duration_since(*begin) < STRETCH);
        if !is_current {
            ring.stretches.push_front((now, Counts::default()));
            self.forget(&mut ring, now);
        }
        let (_, counts) = ring.stretches.front_mut().expect("one was pushed if there was none");
        match took {
            Some(took) => {
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                counts.scored(micros, took > self.slow);
            }
            None => counts.fell_back(),
        }
    }

    /// Drops what the watch cannot need: the others alone are enough, and it is older than the window.
    fn forget(&self, ring: &mut Ring, now: Instant) {
        let mut requests: u64 = ring.stretches.iter().map(|(_, counts)| counts.requests).sum();
        let mut scorings: u64 = ring.stretches.iter().map(|(_, counts)| counts.scorings()).sum();
        while let Some((begin, oldest)) = ring.stretches.back() {
            let age = now.saturating_duration_since(*begin).as_secs_f64();
            let without = (requests - oldest.requests, scorings - oldest.scorings());
            let needed = without.0 < self.limits.min_requests || without.1 < self.limits.min_requests;
            // Without a single scoring left there is nothing to wait for, so that fallbacks alone do
            // not grow the list for ever.
            let grows = ring.stretches.len() as u64 <= 4 * self.limits.min_requests;
            if age <= self.limits.window_seconds + 2.0 * STRETCH.as_secs_f64() || (needed && grows) {
                return;
            }
            (requests, scorings) = without;
            ring.stretches.pop_back();
        }
    }

    /// What was counted, the latest first.
    pub fn report(&self, now: Instant) -> (Option<Served>, Vec<Stretch>) {
        let ring = self.counts.lock();
        let stretches = ring.stretches.iter().map(|(begin, counts)| Stretch {
            age_seconds: now
                .saturating_duration_since(*begin)
                .saturating_sub(STRETCH)
                .as_secs_f64(),
            counts: counts.clone(),
        });
        (ring.of.clone(), stretches.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health::new(Limits {
            latency_p95_ms: 25.0,
            fallback_rate: 0.02,
            broken_gateways: 0.02,
            min_requests: 20,
            window_seconds: 10.0,
        })
    }

    fn served(since: u64) -> Served {
        Served {
            version: "v".into(),
            since,
        }
    }

    #[test]
    fn the_last_seconds_are_kept_and_as_many_requests_as_a_decision_needs() {
        let (health, start) = (health(), Instant::now());
        health.expect(Some(served(1)));
        let at = |second: u64| start + Duration::from_secs(second);
        for second in 0..3_600 {
            health.record(&served(1), Some(Duration::from_millis(1)), at(second));
        }
        let (_, stretches) = health.report(at(3_600));
        assert!((20..=24).contains(&stretches.len()), "{}", stretches.len());
        assert!(stretches[0].age_seconds < 1.5 && stretches[19].age_seconds > 15.0);
    }

    #[test]
    fn a_request_of_a_model_that_was_replaced_is_not_counted_for_its_successor() {
        let (health, now) = (health(), Instant::now());
        health.record(&served(1), None, now);
        health.expect(Some(served(2)));
        health.record(&served(2), Some(Duration::ZERO), now);
        health.record(&served(1), None, now);
        let (of, stretches) = health.report(now);
        assert_eq!(
            (of, stretches[0].counts.requests, stretches[0].counts.fallbacks),
            (Some(served(2)), 1, 0)
        );
    }

    #[test]
    fn fallbacks_alone_are_bounded_too() {
        let (health, start) = (health(), Instant::now());
        health.expect(Some(served(1)));
        for second in 0..10_000 {
            health.record(&served(1), None, start + Duration::from_secs(second));
        }
        assert!(health.report(start).1.len() <= 90);
    }
}

//! The injected clock (`host.clock = "header"`): the controller is stepped by the times that requests
//! carry, and never sleeps in simulated time.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

/// Requests of one replay arrive out of order by less than this.
const ANEW: TimeDelta = TimeDelta::days(1);

/// The latest simulated time, and how far the controller has evaluated.
pub(super) struct Stepped {
    every: TimeDelta,
    /// The time up to which an evaluation is wanted.
    wanted: watch::Sender<Option<DateTime<Utc>>>,
    /// The time up to which it was made.
    evaluated: watch::Sender<Option<DateTime<Utc>>>,
}

impl Stepped {
    /// An evaluation is due every `every` of simulated time.
    pub(super) fn new(every: Duration) -> Stepped {
        Stepped {
            every: TimeDelta::from_std(every).unwrap_or(TimeDelta::MAX),
            wanted: watch::Sender::new(None),
            evaluated: watch::Sender::new(None),
        }
    }

    /// A request had this time.
    pub(super) fn saw(&self, now: DateTime<Utc>) {
        self.want(now, self.every);
    }

    /// The latest time that an evaluation was wanted for.
    pub(super) fn latest(&self) -> Option<DateTime<Utc>> {
        *self.wanted.borrow()
    }

    /// Wants an evaluation at `now`, if that is at least `after` later than the last one wanted.
    ///
    /// A time long before it is another replay, or the one before was wrong: time begins anew there.
    fn want(&self, now: DateTime<Utc>, after: TimeDelta) {
        self.wanted.send_if_modified(|wanted| {
            let passed = wanted.map(|before| now.signed_duration_since(before));
            let is_anew = passed.is_some_and(|passed| passed < -ANEW);
            if is_anew {
                self.evaluated.send_replace(None);
            }
            let is_due = is_anew || passed.is_none_or(|passed| passed >= after);
            if is_due {
                *wanted = Some(now);
            }
            is_due
        });
    }

    /// Wants an evaluation at `now`, and waits until one was made then or later.
    pub(super) async fn step_to(&self, now: DateTime<Utc>) {
        self.want(now, TimeDelta::milliseconds(1));
        let mut evaluated = self.evaluated.subscribe();
        // The sender lives as long as `self`.
        let _ = evaluated
            .wait_for(|evaluated| evaluated.is_some_and(|time| time >= now))
            .await;
    }

    /// Waits until an evaluation is wanted, and returns the time for it.
    pub(super) async fn due(&self) -> DateTime<Utc> {
        let done = *self.evaluated.borrow();
        let mut wanted = self.wanted.subscribe();
        let due = wanted.wait_for(|wanted| wanted.is_some() && *wanted > done).await;
        let due = due.ok().and_then(|time| *time);
        match due {
            Some(time) => time,
            // The sender lives as long as `self`.
            None => std::future::pending().await,
        }
    }

    /// An evaluation was made at this time, or was tried and failed.
    ///
    /// Not if time has begun anew meanwhile: what was evaluated is then another replay, and would hold up
    /// the evaluations of this one.
    pub(super) fn evaluated(&self, now: DateTime<Utc>) {
        let wanted = self.wanted.borrow();
        if wanted.is_some_and(|wanted| now <= wanted) {
            self.evaluated.send_replace(Some(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn an_evaluation_of_a_wrong_time_that_ends_late_does_not_stop_those_of_the_right_one() {
        let stepped = Stepped::new(Duration::from_secs(60));
        stepped.saw(time("9999-12-31T23:59:59Z"));
        let wrong = stepped.due().await;
        let right = time("2026-10-01T00:00:00Z");
        stepped.saw(right);
        stepped.evaluated(wrong);
        let due = tokio::time::timeout(Duration::from_secs(60), stepped.due());
        assert_eq!(due.await, Ok(right));
        stepped.evaluated(right);
        stepped.step_to(right).await;
        stepped.saw(right + TimeDelta::seconds(59));
        stepped.saw(right + TimeDelta::seconds(60));
        assert_eq!(stepped.due().await, right + TimeDelta::seconds(60));
    }
}

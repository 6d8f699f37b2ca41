//! Counts how the challenger ranks the requests that the champion answers: see [`ranking::release::replacement`].

use std::time::Duration;

use parking_lot::Mutex;
use ranking::Ranked;
use ranking::release::replacement::Drift;
use serde::{Deserialize, Serialize};

/// Two models and their counts, as a gateway reports them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Compared {
    /// The version that answers.
    pub champion: String,
    /// The version that is compared.
    pub challenger: String,
    /// The counts.
    pub drift: Drift,
}

/// The counts of this gateway, of the two models that are here now.
pub struct Drifting {
    slow: Duration,
    compared: Mutex<Compared>,
}

impl Drifting {
    /// Nothing counted yet. `slow_ms`: what the technical watch calls slow.
    pub fn new(slow_ms: f64) -> Drifting {
        Drifting {
            slow: Duration::from_secs_f64(slow_ms / 1_000.0),
            compared: Mutex::default(),
        }
    }

    /// Counts a request: the champion's ranking, and the challenger's with the time that it took. `None`: the challenger
    /// did not answer. What was counted of other models is forgotten.
    pub fn record(&self, versions: [&str; 2], champion: &[Ranked], challenger: Option<(&[Ranked], Duration)>) {
        let mut compared = self.compared.lock();
        if [&*compared.champion, &*compared.challenger] != versions {
            *compared = Compared {
                champion: versions[0].to_owned(),
                challenger: versions[1].to_owned(),
                drift: Drift::default(),
            };
        }
        match challenger {
            None => compared.drift.fell_back(),
            Some((ranked, took)) => {
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                compared.drift.ranked(champion, ranked, micros, took > self.slow);
            }
        }
    }

    /// What was counted.
    pub(super) fn report(&self) -> Compared {
        self.compared.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_model_is_counted_anew() {
        let drifting = Drifting::new(25.0);
        let ranked = [Ranked {
            index: 0,
            score: 1.0,
            fair: 1.0,
            merits: None,
        }];
        let took = Duration::from_millis(30);
        drifting.record(["a", "b"], &ranked, Some((&ranked, took)));
        drifting.record(["a", "b"], &ranked, None);
        let report = drifting.report();
        assert_eq!((&*report.champion, &*report.challenger), ("a", "b"));
        let counts = &report.drift.counts;
        assert_eq!(
            (counts.requests, counts.fallbacks, counts.slow, report.drift.requests),
            (2, 1, 1, 1)
        );
        drifting.record(["a", "c"], &ranked, None);
        assert_eq!(drifting.report().drift.counts.requests, 1);
    }
}

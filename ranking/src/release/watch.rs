//! The technical watch: the fleet's pooled figures of the model that serves, and the criteria that
//! they must meet.

use serde::{Deserialize, Serialize};

use crate::criterion::Criterion;

/// Buckets of scoring times: eight per doubling, from 16 microseconds to over a second.
const BUCKETS: usize = 130;
const PER_DOUBLING: f64 = 8.0;
const SMALLEST_US: f64 = 16.0;
/// Share of the scorings that the 95th percentile leaves above it.
const BEYOND_P95: f64 = 0.05;

/// Requests that LTR should have answered, in one stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// How many.
    pub requests: u64,
    /// How many of them legacy answered instead.
    pub fallbacks: u64,
    /// How many were scored, and took longer than the limit of the watch.
    pub slow: u64,
    /// Scorings by time, as (bucket, number); empty buckets are left out.
    pub times: Vec<(u8, u64)>,
}

impl Counts {
    /// One request that LTR answered.
    pub fn scored(&mut self, micros: u64, is_slow: bool) {
        self.requests += 1;
        self.slow += u64::from(is_slow);
        self.add_times(bucket(micros), 1);
    }

    /// One request that legacy answered in LTR's place.
    pub fn fell_back(&mut self) {
        self.requests += 1;
        self.fallbacks += 1;
    }

    /// Adds others.
    pub fn add(&mut self, other: &Counts) {
        self.requests = self.requests.saturating_add(other.requests);
        self.fallbacks = self.fallbacks.saturating_add(other.fallbacks);
        self.slow = self.slow.saturating_add(other.slow);
        for (bucket, number) in &other.times {
            self.add_times(*bucket, *number);
        }
    }

    fn add_times(&mut self, bucket: u8, number: u64) {
        match self.times.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.times[at].1 = self.times[at].1.saturating_add(number),
            Err(at) => self.times.insert(at, (bucket, number)),
        }
    }

    /// How many were scored.
    pub fn scorings(&self) -> u64 {
        self.times
            .iter()
            .fold(0, |sum, (_, number)| sum.saturating_add(*number))
    }

    /// Share of the requests that legacy answered; 0 without requests.
    pub fn fallback_rate(&self) -> f64 {
        share(self.fallbacks, self.requests)
    }

    /// Share of the scorings above the limit; 0 without scorings.
    pub fn slow_rate(&self) -> f64 {
        share(self.slow, self.scorings())
    }

    /// The 95th percentile of the scoring time in milliseconds, to the next edge of a bucket (9 % at
    /// most above); `None` without scorings.
    pub fn p95_ms(&self) -> Option<f64> {
        let below = (self.scorings() as f64 * (1.0 - BEYOND_P95)).ceil() as u64;
        let mut seen = 0;
        self.times.iter().find_map(|(bucket, number)| {
            seen += number;
            (seen >= below).then(|| SMALLEST_US * 2_f64.powf((f64::from(*bucket) + 1.0) / PER_DOUBLING) / 1_000.0)
        })
    }
}

fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

fn bucket(micros: u64) -> u8 {
    let doublings = (micros as f64 / SMALLEST_US).max(1.0).log2();
    ((doublings * PER_DOUBLING) as usize).min(BUCKETS - 1) as u8
}

/// Counts of a stretch of time that ended some seconds ago.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// Seconds since its end.
    pub age_seconds: f64,
    /// What was counted in it.
    pub counts: Counts,
}

/// How a gateway stands to the model that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It answers.
    Serving,
    /// It is being loaded.
    Loading,
    /// Its breaker is open.
    BreakerOpen,
    /// It is not loaded, and could not be.
    Lost,
}

/// What one gateway reports of the model that serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// How it stands to the model.
    pub condition: Condition,
    /// The latest first.
    pub stretches: Vec<Stretch>,
}

/// When the technical watch rolls back. The numbers are those of the seed's section 12 and of its
/// alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Most that the 95th percentile of the scoring time may be, in milliseconds.
    pub latency_p95_ms: f64,
    /// Most that the share of fallbacks may be.
    pub fallback_rate: f64,
    /// Most that the share of gateways may be whose breaker is open, or who lost the model.
    pub broken_gateways: f64,
    /// Fewer requests than this decide nothing.
    pub min_requests: u64,
    /// The youngest figures of at least so many seconds are pooled; older ones only as far as
    /// `min_requests` needs them.
    pub window_seconds: f64,
}

/// The fleet's figures: of the last seconds, or from as far back as it takes to have enough requests.
pub fn pool(reports: &[Report], limits: &Limits) -> Counts {
    let mut stretches: Vec<&Stretch> = reports.iter().flat_map(|report| &report.stretches).collect();
    stretches.sort_by(|a, b| a.age_seconds.total_cmp(&b.age_seconds));
    let mut pooled = Counts::default();
    for stretch in stretches {
        if stretch.age_seconds > limits.window_seconds && pooled.requests >= limits.min_requests {
            break;
        }
        pooled.add(&stretch.counts);
    }
    pooled
}

/// Judges the fleet's figures: `latency`, `fallbacks`, `breaker` and `model`. Each passes while there
/// is too little to decide by.
pub fn judge(reports: &[Report], limits: &Limits) -> Vec<Criterion> {
    let pooled = pool(reports, limits);
    let enough = pooled.requests >= limits.min_requests;
    let broken = |condition| {
        let broken = reports.iter().filter(|report| report.condition == condition).count();
        (
            broken,
            share(broken as u64, reports.len() as u64) > limits.broken_gateways,
        )
    };
    let (open, too_many_open) = broken(Condition::BreakerOpen);
    let (lost, too_many_lost) = broken(Condition::Lost);
    let of = |broken: usize| format!("{broken} of {} gateways", reports.len());
    let most = format!("at most {} % of the gateways", limits.broken_gateways * 100.0);
    let basis = format!("{} requests; a decision needs {}", pooled.requests, limits.min_requests);
    let enough_scored = pooled.scorings() >= limits.min_requests;
    vec![
        Criterion {
            name: "latency".into(),
            passed: !enough_scored || pooled.slow_rate() <= BEYOND_P95,
            value: match pooled.p95_ms() {
                Some(p95) => format!(
                    "p95 {p95:.1} ms, {:.2} % slower than the limit",
                    pooled.slow_rate() * 100.0
                ),
                None => "nothing scored".to_owned(),
            },
            required: format!("p95 <= {} ms", limits.latency_p95_ms),
            reason: Some(basis.clone()),
            ..Criterion::default()
        },
        Criterion {
            name: "fallbacks".into(),
            passed: !enough || pooled.fallback_rate() <= limits.fallback_rate,
            value: format!("{:.2} %", pooled.fallback_rate() * 100.0),
            required: format!("<= {} %", limits.fallback_rate * 100.0),
            reason: Some(basis),
            ..Criterion::default()
        },
        Criterion {
            name: "breaker".into(),
            passed: !too_many_open,
            value: of(open),
            required: most.clone(),
            ..Criterion::default()
        },
        Criterion {
            name: "model".into(),
            passed: !too_many_lost,
            value: of(lost),
            required: most,
            ..Criterion::default()
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            latency_p95_ms: 25.0,
            fallback_rate: 0.02,
            broken_gateways: 0.02,
            min_requests: 200,
            window_seconds: 10.0,
        }
    }

    /// `slow` of the `scored` requests took 40 ms, the others 1 ms. `fallbacks` more fell back.
    fn counts(scored: u64, slow: u64, fallbacks: u64) -> Counts {
        let mut counts = Counts::default();
        (0..scored - slow).for_each(|_| counts.scored(1_000, false));
        (0..slow).for_each(|_| counts.scored(40_000, true));
        (0..fallbacks).for_each(|_| counts.fell_back());
        counts
    }

    fn report(condition: Condition, stretches: Vec<(f64, Counts)>) -> Report {
        let stretch = |(age_seconds, counts)| Stretch { age_seconds, counts };
        Report {
            condition,
            stretches: stretches.into_iter().map(stretch).collect(),
        }
    }

    fn failing(reports: &[Report]) -> Vec<String> {
        let criteria = judge(reports, &limits());
        crate::criterion::failed(&criteria)
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn one_gateway_of_three_decides_as_far_as_it_weighs_in_the_fleet() {
        let good = || report(Condition::Serving, vec![(1.0, counts(100, 0, 0))]);
        let slow = report(Condition::Serving, vec![(1.0, counts(100, 100, 0))]);
        assert_eq!(failing(&[good(), good(), slow]), ["latency"]);
        let failing_one = report(Condition::Serving, vec![(1.0, counts(0, 0, 100))]);
        assert_eq!(failing(&[good(), good(), failing_one]), ["fallbacks"]);
        // Four of three hundred are not five per cent, nor two.
        let hardly = report(Condition::Serving, vec![(1.0, counts(96, 4, 4))]);
        assert!(failing(&[good(), good(), hardly]).is_empty());
    }

    #[test]
    fn too_few_requests_decide_nothing_and_older_ones_fill_them_up() {
        let bad = |age, requests| (age, counts(0, 0, requests));
        assert!(failing(&[report(Condition::Serving, vec![bad(1.0, 1)])]).is_empty());
        assert!(failing(&[report(Condition::Serving, vec![bad(1.0, 199)])]).is_empty());
        let filled = report(Condition::Serving, vec![bad(1.0, 1), bad(3_000.0, 199)]);
        assert_eq!(failing(&[filled]), ["fallbacks"]);
    }

    #[test]
    fn what_is_long_over_does_not_outweigh_the_last_seconds() {
        let recovered = report(
            Condition::Serving,
            vec![(1.0, counts(250, 0, 0)), (60.0, counts(0, 0, 9_000))],
        );
        assert!(failing(&[recovered]).is_empty());
    }

    #[test]
    fn an_open_breaker_and_a_lost_model_need_no_requests() {
        let quiet = |condition| report(condition, Vec::new());
        assert_eq!(
            failing(&[quiet(Condition::BreakerOpen), quiet(Condition::Serving)]),
            ["breaker"]
        );
        assert_eq!(failing(&[quiet(Condition::Lost)]), ["model"]);
        assert!(failing(&[quiet(Condition::Loading)]).is_empty());
        // One of a hundred is less than two per cent.
        let mut fleet: Vec<Report> = (0..99).map(|_| quiet(Condition::Serving)).collect();
        fleet.push(quiet(Condition::Lost));
        assert!(failing(&fleet).is_empty());
    }

    #[test]
    fn the_percentile_is_right_to_a_bucket() {
        let mut counts = Counts::default();
        (1..=1_000).for_each(|ms| counts.scored(ms * 100, false));
        let p95 = counts.p95_ms().unwrap();
        assert!((95.0..=95.0 * 1.1).contains(&p95), "{p95}");
        assert_eq!(Counts::default().p95_ms(), None);
        assert_eq!(bucket(u64::MAX), (BUCKETS - 1) as u8);
    }
}

//! A change detector with a stated rate of false alarms: has the mean risen above a bound?

use serde::{Deserialize, Serialize};

use super::day::{Day, OutOfRange, strictly_between};

/// The Shiryaev-Roberts e-detector of E\[X | past\] > m, for observations X in [0, 1], restarted by the day (Shin, Ramdas,
/// Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", NEJSDS 2024, arXiv 2203.03532):
///
/// ```text
/// M_d = (1 + M_{d-1}) * product over the day of (1 + lambda (X / m - 1)),   M_0 = 0
/// ```
///
/// averaged over a few `lambda`; the alarm is M_d >= c. **To watch for a drop, feed 1 - X.**
///
/// M_d is the sum of the evidence that gamblers hold who began on day 1, 2, ..., d with one unit each. While E\[X | past\]
/// <= m, each of them keeps at most one unit in expectation, so M_d - d is a supermartingale. Stopped at the first alarm
/// or after D days, E\[M\] <= D; hence P(an alarm within D days without a change) <= D / c. At c = 365 / 0.05 = 7300 at most
/// one year in twenty has a false alarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    m: f64,
    level: f64,
    bets: Vec<Gamblers>,
    days: u64,
    observations: u64,
    alarmed_on: Option<u64>,
}

/// The gamblers of one `lambda`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Gamblers {
    lambda: f64,
    /// Their share in M; the shares sum to 1.
    weight: f64,
    /// ln(1 + M): 0 at the beginning, where ln M is not finite. M itself overflows within weeks of a large change.
    log_one_plus: f64,
}

impl Gamblers {
    fn log_value(&self) -> f64 {
        // ln(e^l - 1), without the overflow.
        self.log_one_plus + (-(-self.log_one_plus).exp_m1()).ln()
    }

    fn add(&mut self, day: &Day, m: f64) {
        let log_value = self.log_one_plus + day.sum(|x| (self.lambda * (x / m - 1.0)).ln_1p());
        self.log_one_plus = log_value.max(0.0) + (-log_value.abs()).exp().ln_1p();
    }
}

impl Detector {
    /// Stakes as shares of wealth, with their weights. The one that finds a rise of a share from m to p soonest is a bit
    /// below (p - m) / (1 - m): the middle one suits rises of 6 to 9 points at m = 1/3. One that is three times too small
    /// or too large still finds the change, later. More of them find nothing sooner: a stake's weight has to be won first.
    const STAKES: [(f64, f64); 3] = [(0.03, 0.25), (0.09, 0.5), (0.27, 0.25)];

    /// A detector of E\[X | past\] > `m` that has a false alarm in at most the share `false_alarms` of years of 365 days.
    ///
    /// # Errors
    /// A parameter that is not between 0 and 1.
    pub fn new(m: f64, false_alarms: f64) -> Result<Detector, OutOfRange> {
        Ok(Detector {
            m: strictly_between("m", m, 0.0, 1.0)?,
            level: 365.0 / strictly_between("false_alarms", false_alarms, 0.0, 1.0)?,
            bets: Detector::STAKES
                .map(|(lambda, weight)| Gamblers {
                    lambda,
                    weight,
                    log_one_plus: 0.0,
                })
                .to_vec(),
            days: 0,
            observations: 0,
            alarmed_on: None,
        })
    }

    /// From the next day on, the bound is `m`: known from days before, such as a baseline that has grown. The bounds on false
    /// alarms hold as long as the mean of each day is below the bound of that day.
    ///
    /// # Errors
    /// `m` is not between 0 and 1; the bound stays.
    pub fn rebase(&mut self, m: f64) -> Result<(), OutOfRange> {
        self.m = strictly_between("m", m, 0.0, 1.0)?;
        Ok(())
    }

    /// Counts a closed day: each value with how often it was observed. A day without observations counts, too: a gambler
    /// begins.
    ///
    /// # Errors
    /// A value outside [0, 1], or NaN; nothing is counted.
    pub fn add_day(&mut self, observations: &[(f64, u64)]) -> Result<(), OutOfRange> {
        let day = Day::of_shares(observations)?;
        self.bets.iter_mut().for_each(|bet| bet.add(&day, self.m));
        self.days += 1;
        self.observations += day.len();
        if self.alarmed_on.is_none() && self.log_value() >= self.level.ln() {
            self.alarmed_on = Some(self.days);
        }
        Ok(())
    }

    /// ln M now; minus infinity before the first day.
    pub fn log_value(&self) -> f64 {
        let largest = self
            .bets
            .iter()
            .map(Gamblers::log_value)
            .fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            return largest;
        }
        let shares = self
            .bets
            .iter()
            .map(|bet| bet.weight * (bet.log_value() - largest).exp());
        largest + shares.sum::<f64>().ln()
    }

    /// M at which there is an alarm.
    pub fn level(&self) -> f64 {
        self.level
    }

    /// The day of the first alarm, counted from 1; it stays. A detector begins anew by being made anew.
    pub fn alarmed_on(&self) -> Option<u64> {
        self.alarmed_on
    }

    /// An upper bound on the probability of an alarm so far if there was no change.
    pub fn false_alarm_bound(&self) -> f64 {
        (self.days as f64 / self.level).min(1.0)
    }

    /// Days so far.
    pub fn days(&self) -> u64 {
        self.days
    }

    /// Observations so far.
    pub fn n(&self) -> u64 {
        self.observations
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::simulated::{Binomial, Draws};

    /// The day of the alarm among `days` days of 300 cases, which `ones` has.
    fn alarm(draws: &mut Draws, m: f64, ones: &Binomial, days: u64) -> Option<u64> {
        let mut detector = Detector::new(m, 0.05).unwrap();
        for _ in 0..days {
            let ones = ones.draw(draws);
            detector.add_day(&[(1.0, ones), (0.0, 300 - ones)]).unwrap();
            if detector.alarmed_on().is_some() {
                break;
            }
        }
        detector.alarmed_on()
    }

    #[test]
    fn at_most_one_year_in_twenty_has_a_false_alarm_without_any_margin() {
        let ones = Binomial::new(300, 0.30);
        let mut draws = Draws::new(4);
        let alarmed = (0..1000)
            .filter(|_| alarm(&mut draws, 0.30, &ones, 365).is_some())
            .count();
        println!("{alarmed} of 1000 years with a false alarm");
        // 50 expected at most; four standard deviations above it.
        assert!(alarmed <= 77, "{alarmed}");
    }

    #[test]
    fn a_fall_of_ten_points_is_found_within_1250_cases_in_nine_of_ten() {
        // Contracts a case fall from .70 to .60: cases without one rise from .30 to .40; margin 2 points.
        let (before, after) = (Binomial::new(300, 0.30), Binomial::new(300, 0.40));
        let mut cases: Vec<u64> = (0..500)
            .map(|run| {
                let mut draws = Draws::new(run);
                let mut detector = Detector::new(0.32, 0.05).unwrap();
                let quiet = 60;
                for day in 1..=120 {
                    let ones = if day <= quiet { &before } else { &after }.draw(&mut draws);
                    detector.add_day(&[(1.0, ones), (0.0, 300 - ones)]).unwrap();
                }
                let day = detector.alarmed_on().expect("it is found");
                assert!(day > quiet, "a false alarm in run {run}");
                (day - quiet) * 300
            })
            .collect();
        cases.sort_unstable();
        println!("median {}, p90 {}, p95 {} cases", cases[249], cases[449], cases[474]);
        assert!(cases[449] <= 1250, "p90 {}", cases[449]);
    }

    #[test]
    fn what_no_observation_can_be_is_refused_and_no_parameter_is_silly() {
        let mut detector = Detector::new(0.3, 0.05).unwrap();
        assert!(detector.add_day(&[(1.01, 1)]).is_err());
        assert_eq!((detector.days(), detector.n(), detector.level()), (0, 0, 7300.0));
        assert_eq!(detector.log_value(), f64::NEG_INFINITY);
        assert!(detector.rebase(1.0).is_err() && detector.rebase(0.4).is_ok());
        for (m, rate) in [(0.0, 0.05), (1.0, 0.05), (0.3, 0.0), (0.3, f64::NAN)] {
            assert!(Detector::new(m, rate).is_err());
        }
    }

    #[test]
    fn it_neither_overflows_nor_forgets_over_years() {
        let mut detector = Detector::new(0.01, 0.05).unwrap();
        for _ in 0..2000 {
            detector.add_day(&[(1.0, 100_000)]).unwrap();
        }
        assert!(detector.log_value().is_finite() && detector.log_value() > 1e8);
        assert_eq!(detector.alarmed_on(), Some(1));
        for _ in 0..20_000 {
            detector.add_day(&[(0.0, 100_000)]).unwrap();
        }
        assert!(detector.log_value().is_finite());
        assert_eq!((detector.alarmed_on(), detector.false_alarm_bound()), (Some(1), 1.0));
    }

    proptest! {
        #[test]
        fn it_is_the_weighted_mean_over_stakes_of_the_recursion(
            days in proptest::collection::vec(proptest::collection::vec((0.0..=1.0, 0u64..4), 0..5), 1..8)
        ) {
            let mut detector = Detector::new(0.3, 0.05).unwrap();
            let mut values = [0.0; 3];
            for (day, m) in days.iter().zip([0.3, 0.2, 0.4].into_iter().cycle()) {
                detector.rebase(m).unwrap();
                detector.add_day(day).unwrap();
                for (value, (lambda, _)) in values.iter_mut().zip(Detector::STAKES) {
                    let factors = day.iter().map(|(x, count)| (1.0 + lambda * (x / m - 1.0)).powi(*count as i32));
                    *value = (1.0 + *value) * factors.product::<f64>();
                }
            }
            let mean = (values[0] + 2.0 * values[1] + values[2]) / 4.0;
            prop_assert!((detector.log_value() - mean.ln()).abs() < 1e-9);
            let stored: Detector = serde_json::from_str(&serde_json::to_string(&detector).unwrap()).unwrap();
            prop_assert_eq!(stored, detector);
        }
    }
}

//! The budget of a stream of tests: which evidence each needs so that few rejections are false.

use std::f64::consts::PI;

use chrono::{Datelike, NaiveDate};
use serde::{Deserialize, Serialize};

/// e-LOND (Xu and Ramdas, "Online multiple testing with e-values", AISTATS 2024): each hypothesis of a stream is rejected
/// at evidence
///
/// ```text
/// e >= 1 / (alpha gamma_t (R + 1)),   gamma_t = 6 / (pi^2 t^2)
/// ```
///
/// where t counts hypotheses from 1, and R those already rejected. The gammas sum to 1. The expected share of false ones
/// among rejections (FDR) is then at most alpha, however the tests depend on each other; if no hypothesis is false, so is
/// the probability of any rejection.
///
/// A hypothesis is an *epoch of evidence*: a frozen challenger, or one configuration of the pipeline, from its first day
/// to its decision. It is not a night. The evidence at the decision must be that of an e-process, as [`super::betting`]
/// has it, whose epoch may end at any time.
///
/// **Renewal.** A budget for life would ask ever more of later epochs. It begins again at t = 1, R = 0 on the first day of
/// each calendar year (UTC): alpha bounds the FDR among the epochs that are *decided in one year*, and years add up. An
/// epoch that is undecided at the turn of the year is the first one of the new year and keeps its evidence: it is
/// decided once, against the budget of one year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// t, from 1.
    epoch: u32,
    /// R.
    rejections: u32,
    year: i32,
}

impl Default for Budget {
    /// Of a year that is over: [`Budget::renew`] begins the present one.
    fn default() -> Budget {
        Budget {
            epoch: 1,
            rejections: 0,
            year: 0,
        }
    }
}

impl Budget {
    /// The budget of the year that `day` (UTC) is in, at its first epoch.
    pub fn new(day: NaiveDate) -> Budget {
        Budget {
            year: day.year(),
            ..Budget::default()
        }
    }

    /// The level of the current epoch: `alpha gamma_t (R + 1)`, where `alpha` is the level of the year. The epoch's
    /// hypothesis is rejected at evidence (e, not its logarithm) of one over it.
    pub fn level(&self, alpha: f64) -> f64 {
        let t = f64::from(self.epoch.max(1));
        let gamma = 6.0 / (PI * PI * t * t);
        // Never above alpha: R + 1 is at most t.
        alpha * gamma * f64::from(self.rejections.min(self.epoch.saturating_sub(1)) + 1)
    }

    /// Begins the next epoch: the current one was decided, or given up.
    pub fn next_epoch(&mut self, rejected: bool) {
        self.epoch = self.epoch.saturating_add(1);
        self.rejections = self.rejections.saturating_add(u32::from(rejected));
    }

    /// Begins again if `day` (UTC) is in a later year. To be called on each day, before its decision. Returns whether
    /// it did.
    pub fn renew(&mut self, day: NaiveDate) -> bool {
        let is_later = day.year() > self.year;
        if is_later {
            (self.epoch, self.rejections, self.year) = (1, 0, day.year());
        }
        is_later
    }

    /// As it is on `day`: see [`Budget::renew`].
    pub fn on(mut self, day: NaiveDate) -> Budget {
        self.renew(day);
        self
    }

    /// The current epoch of the year, from 1.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Epochs of the year that were rejected.
    pub fn rejections(&self) -> u32 {
        self.rejections
    }

    /// The year that the budget is for.
    pub fn year(&self) -> i32 {
        self.year
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::betting::Betting;
    use crate::statistics::simulated::{Binomial, Draws};

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn budget() -> Budget {
        Budget::new(day("2026-03-01"))
    }

    fn threshold(budget: &Budget) -> f64 {
        budget.level(0.05).recip()
    }

    /// Whether an epoch of 30 days of 20 coins of this mean is rejected at evidence `threshold`.
    fn is_rejected(draws: &mut Draws, coins: &Binomial, threshold: f64) -> bool {
        let mut test = Betting::new(0.5).unwrap();
        (0..30).any(|_| {
            let ones = coins.draw(draws);
            test.add_day(&[(1.0, ones), (0.0, 20 - ones)]).unwrap();
            test.ever(threshold.recip())
        })
    }

    #[test]
    fn thresholds_grow_with_epochs_and_fall_with_rejections() {
        let mut budget = budget();
        let pi_squared = PI * PI;
        assert!((threshold(&budget) - pi_squared / 6.0 / 0.05).abs() < 1e-9);
        budget.next_epoch(false);
        assert!((threshold(&budget) - 4.0 * pi_squared / 6.0 / 0.05).abs() < 1e-9);
        budget.next_epoch(true);
        assert!((threshold(&budget) - 9.0 * pi_squared / 6.0 / 0.05 / 2.0).abs() < 1e-9);
        assert_eq!((budget.epoch(), budget.rejections()), (3, 1));
    }

    #[test]
    fn a_year_in_which_nothing_works_has_no_rejection_in_nineteen_of_twenty() {
        let coins = Binomial::new(20, 0.5);
        let (mut years, mut at_alpha) = (0, 0);
        for run in 0..600 {
            let mut draws = Draws::new(run);
            let mut budget = budget();
            let mut plain = false;
            for _ in 0..50 {
                let rejected = is_rejected(&mut draws, &coins, threshold(&budget));
                budget.next_epoch(rejected);
                plain |= is_rejected(&mut draws, &coins, 20.0);
            }
            years += usize::from(budget.rejections() > 0);
            at_alpha += usize::from(plain);
        }
        println!("years with a rejection: {years} of 600; at alpha each time: {at_alpha}");
        // 30 expected at most; four standard deviations above it.
        assert!(years <= 51, "{years}");
        assert!(at_alpha > 200, "without a budget it would not be needed: {at_alpha}");
    }

    #[test]
    fn few_rejections_are_false_and_true_effects_are_found() {
        let (nothing, effect) = (Binomial::new(20, 0.5), Binomial::new(20, 0.65));
        let (mut proportion, mut found) = (0.0, 0);
        for run in 0..300 {
            let mut draws = Draws::new(run);
            let mut budget = budget();
            let mut wrong = 0;
            for epoch in 0..20 {
                let is_true = epoch % 2 == 1;
                let coins = if is_true { &effect } else { &nothing };
                let rejected = is_rejected(&mut draws, coins, threshold(&budget));
                budget.next_epoch(rejected);
                wrong += u32::from(rejected && !is_true);
            }
            found += budget.rejections() - wrong;
            proportion += f64::from(wrong) / f64::from(budget.rejections().max(1)) / 300.0;
        }
        println!("false discovery rate {proportion:.4}, found {found} of 3000");
        assert!(proportion <= 0.05);
        assert!(found > 2500);
    }

    #[test]
    fn the_budget_begins_again_with_the_year_and_with_nothing_else() {
        let mut budget = budget();
        let first = budget;
        budget.next_epoch(true);
        budget.next_epoch(false);
        let used = budget;
        assert!(!budget.renew(day("2026-12-31")) && !budget.renew(day("2025-06-01")));
        assert_eq!(budget, used);
        assert!(budget.renew(day("2027-01-01")));
        assert_eq!((threshold(&budget), budget.year()), (threshold(&first), 2027));
        assert!(!budget.renew(day("2027-01-02")));
        let stored: Budget = serde_json::from_str(&serde_json::to_string(&budget).unwrap()).unwrap();
        assert_eq!(stored, budget);
    }
}

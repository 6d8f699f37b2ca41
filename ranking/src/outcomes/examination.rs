//! What the closed days say of position bias, and on which day it will be known.

use super::{OutcomeDay, PlaceClicks};
use crate::bootstrap::Interval;
use crate::propensities::{PlannedPair, Propensities, Swaps, TossedPair, planned_days};
use crate::swaps::Pair;

/// How many of the last closed days say what a day brings at present.
const PRESENT: usize = 7;
/// What plans take eta to be before anything was tossed: attention falls as 1/rank.
const PLANNED_ETA: f64 = 1.0;

/// When propensities are known, and what is tossed for them.
#[derive(Clone, Debug, PartialEq)]
pub struct ExaminationRules {
    /// They are known once the interval of eta is narrower than this.
    pub width: f64,
    /// Confidence of the interval.
    pub confidence: f64,
    /// Share of the users for whom neighbours are swapped.
    pub share: f64,
    /// The pairs that are swapped.
    pub pairs: Vec<Pair>,
}

/// What is known of position bias: theta_k = k^-eta.
#[derive(Clone, Debug, PartialEq)]
pub struct Examination {
    /// eta with its interval; `None`: it cannot be estimated yet.
    pub eta: Option<Interval>,
    /// Standard error of eta.
    pub standard_error: Option<f64>,
    /// Whether the interval is narrow enough. Until then, what is divided by propensities says nothing.
    pub identified: bool,
    /// How many coins were tossed over neighbours on purpose.
    pub swaps: u64,
    /// How many coins of drafts arranged neighbours. They say the same, and count together with the swaps.
    pub drafts: u64,
    /// By pair of places, both kinds of coin.
    pub pairs: Vec<TossedPair>,
    /// Days until it is identified if all goes on as in the last closed days; `None`: never.
    pub days_missing: Option<u64>,
    /// How it stands, in a sentence.
    pub reason: String,
}

/// Looks at closed days, ascending by date.
pub fn examination(days: &[OutcomeDay], rules: &ExaminationRules) -> Examination {
    let swaps = merged(days, |day| &day.swaps);
    let drafts = merged(days, |day| &day.drafts);
    let mut both = swaps.clone();
    both.merge(&drafts);
    let fit = Propensities::fit(&both, rules.confidence);
    let identified = fit.as_ref().is_ok_and(|fit| fit.identified(rules.width));
    let days_missing = match &fit {
        Ok(fit) => fit.days_until(rules.width, tosses_a_day(days)),
        Err(_) => planned(days, rules),
    };
    let reason = match &fit {
        _ if days.is_empty() => "no day is closed yet".to_owned(),
        _ if both.tosses() == 0 && rules.share == 0.0 => "no coin is tossed; swaps.share is 0".to_owned(),
        _ if both.tosses() == 0 => "no coin was tossed yet".to_owned(),
        Err(reason) => reason.to_string(),
        Ok(fit) => {
            let (width, least) = (fit.eta.high - fit.eta.low, rules.width);
            let compared = if identified { "below" } else { "not below" };
            format!("the interval of eta is {width:.2} wide, {compared} swaps.width, {least}")
        }
    };
    let fit = fit.ok();
    Examination {
        eta: fit.map(|fit| fit.eta),
        standard_error: fit.map(|fit| fit.standard_error),
        identified,
        swaps: swaps.tosses(),
        drafts: drafts.tosses(),
        pairs: both.pairs().to_vec(),
        days_missing,
        reason,
    }
}

fn merged(days: &[OutcomeDay], of: impl Fn(&OutcomeDay) -> &Swaps) -> Swaps {
    let mut all = Swaps::default();
    days.iter().for_each(|day| all.merge(of(day)));
    all
}

fn present(days: &[OutcomeDay]) -> &[OutcomeDay] {
    &days[days.len().saturating_sub(PRESENT)..]
}

/// Tosses a day at present.
fn tosses_a_day(days: &[OutcomeDay]) -> f64 {
    let present = present(days);
    let tosses = present.iter().map(|day| day.swaps.tosses() + day.drafts.tosses());
    tosses.sum::<u64>() as f64 / present.len().max(1) as f64
}

/// Days that the design takes, by the users and the clicks of the present, before there is an estimate. It takes every toss
/// to be allowed; where the re-rank's promises stop some, it takes longer.
fn planned(days: &[OutcomeDay], rules: &ExaminationRules) -> Option<u64> {
    let present = present(days);
    let mut places = PlaceClicks::default();
    present.iter().for_each(|day| places.merge(&day.places));
    // Those in the share are not among the users of the arms.
    let swapped: u64 = present.iter().map(|day| day.swaps.tosses()).sum();
    let users_a_day = (places.users + swapped) as f64 / present.len().max(1) as f64;
    let weights: f64 = rules.pairs.iter().map(|pair| pair.weight).sum();
    let pairs = rules.pairs.iter().map(|pair| PlannedPair {
        pair: pair.places(),
        tosses: users_a_day * rules.share * pair.weight / weights,
        clicks_a_toss: pair.places().map(|place| places.rate(place)).iter().sum(),
    });
    planned_days(&pairs.collect::<Vec<_>>(), PLANNED_ETA, rules.width, rules.confidence)
}

#[cfg(test)]
mod tests;

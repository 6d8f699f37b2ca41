//! The verdict of interleaving.

use serde::{Deserialize, Serialize};

use super::{OutcomeDay, REST_DAYS};
use crate::bootstrap::Interval;
use crate::statistics::betting::{Betting, from_difference};
use crate::statistics::sequence::Sequence;

/// What interleaving must show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrialRules {
    /// Confidence of each finding, however often one looks.
    pub confidence: f64,
    /// Level of the test that LTR is preferred, in (0, 1): what the year's budget has for this trial, because each trial of
    /// a year is one more chance to be wrong; see [`Budget`](crate::statistics::elond::Budget).
    pub level: f64,
    /// An interleaved ranking may cost less than this share of the users' contracts, shown with the same confidence.
    pub margin: f64,
}

/// How a trial stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// LTR is preferred, and contracts are not lost.
    Better,
    /// Legacy is preferred.
    Worse,
    /// It cannot be said yet.
    #[default]
    Undecided,
}

/// Nothing is decided by fewer users with a preference, beside any single one: nobody decides alone, and no handful does.
pub const LEAST_DECIDED: u64 = 30;

/// What an interleaved slice of the traffic shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Users who were shown an interleaved ranking.
    pub users: u64,
    /// Those who signed with somebody whom one of the two brought in: the others say nothing.
    pub decided: u64,
    /// The same without those that may be one user: whoever comes back after [`REST_DAYS`] counts again.
    pub decided_by_others: u64,
    /// Mean preference, 1 for LTR and -1 for legacy, of those who decided, with its confidence sequence.
    pub credit: Interval,
    /// Logarithm of the evidence that LTR is preferred, and that legacy is.
    pub log_e: [f64; 2],
    /// Contracts a user, interleaved minus legacy, in blocks, with the confidence sequence.
    pub contracts: Interval,
    /// Blocks.
    pub blocks: u64,
    /// Logarithm of the evidence that contracts are not worse by more than the margin.
    pub contracts_log_e: f64,
    /// The decision.
    pub verdict: Verdict,
}

/// Users a day for whom the confidence sequences are made; with others they hold, and are a little wider.
const USERS_A_DAY: u64 = 20;
/// What the tests take: credits and differences of shares are between -1 and 1, and rules are checked where they are read.
const NEVER: &str = "a credit, a margin or a confidence out of range";

/// Judges a trial by its closed days. `is_of`: whether a version of a model is judged, because the credit of others does
/// not count.
pub fn trial<'a>(
    days: impl IntoIterator<Item = &'a OutcomeDay>,
    is_of: impl Fn(&str) -> bool,
    rules: &TrialRules,
) -> Trial {
    let even = from_difference(0.0);
    let [mut for_ltr, mut for_legacy] = [(); 2].map(|()| Betting::new(even).expect(NEVER));
    let mut credit = Sequence::new((-1.0, 1.0), rules.confidence, USERS_A_DAY).expect(NEVER);
    let mut contracts = Sequence::new((-1.0, 1.0), rules.confidence, USERS_A_DAY).expect(NEVER);
    let mut not_worse = Betting::new(from_difference(-rules.margin)).expect(NEVER);
    let mut trial = Trial::default();
    let (mut first, mut last) = (None, None);
    for day in days {
        (first, last) = (first.or(Some(day.date)), Some(day.date));
        let of_day = day.credit.iter().filter(|(version, _)| is_of(version));
        let (mut ltr, mut legacy) = (0, 0);
        for (_, counts) in of_day {
            (ltr, legacy) = (ltr + counts.ltr, legacy + counts.legacy);
            trial.users += counts.ltr + counts.legacy + counts.neither;
        }
        trial.decided += ltr + legacy;
        for_ltr.add_day(&[(1.0, ltr), (0.0, legacy)]).expect(NEVER);
        for_legacy.add_day(&[(1.0, legacy), (0.0, ltr)]).expect(NEVER);
        credit.add_day(&[(1.0, ltr), (-1.0, legacy)]).expect(NEVER);
        let differences: Vec<(f64, u64)> = day
            .blocks
            .iter()
            .map(|&(legacy, interleaved, blocks)| {
                (f64::from(u8::from(interleaved)) - f64::from(u8::from(legacy)), blocks)
            })
            .collect();
        let bets: Vec<(f64, u64)> = differences
            .iter()
            .map(|&(gap, blocks)| (from_difference(gap), blocks))
            .collect();
        contracts.add_day(&differences).expect(NEVER);
        not_worse.add_day(&bets).expect(NEVER);
    }
    let span = first
        .zip(last)
        .map_or(0, |(first, last)| (last - first).num_days().unsigned_abs());
    trial.decided_by_others = trial.decided.saturating_sub(most_of_one_user(span));
    let alpha = 1.0 - rules.confidence;
    trial.credit = credit.interval();
    trial.log_e = [for_ltr.log_e(), for_legacy.log_e()];
    trial.contracts = contracts.interval();
    trial.blocks = not_worse.n();
    trial.contracts_log_e = not_worse.log_e();
    trial.verdict = match (for_ltr.ever(rules.level), for_legacy.ever(alpha)) {
        _ if trial.decided_by_others < LEAST_DECIDED => Verdict::Undecided,
        (_, true) => Verdict::Worse,
        (true, _) if not_worse.ever(alpha) => Verdict::Better,
        _ => Verdict::Undecided,
    };
    trial
}

/// How often a user can count between two days that are so many days apart.
fn most_of_one_user(span: u64) -> u64 {
    1 + span / (REST_DAYS + 1)
}

//! The contracts of each closed day, which the test that stands daily looks counts once.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate};
use serde::{Deserialize, Serialize};

use super::cases::Contract;
use crate::bootstrap::Interval;
use crate::statistics::betting::{Betting, from_difference};
use crate::statistics::sequence::Sequence;

/// The contracts of one day, as whole numbers: counted again from the log, they are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractDay {
    /// The day on which the cases were first compared, in UTC.
    pub date: NaiveDate,
    /// The contracted lawyer's rank by legacy, that by LTR, and how many users. A user counts once, on their first day:
    /// their cases are alike, and whoever has many, or comes daily, would have many votes.
    pub ranks: Vec<(u16, u16, u64)>,
}

/// A paired difference as it stands after each closed day, however often it is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sequential {
    /// Closed days with a contract.
    pub days: u64,
    /// Users on these days.
    pub users: u64,
    /// The mean over them, LTR minus legacy, with the confidence sequence around it: with the configured probability the
    /// truth was inside on all days so far.
    pub gap: Interval,
    /// Mean square of the difference.
    pub square: f64,
    /// Logarithm of the wealth of who bets that the difference is above 0, from 1 (see [`Betting`]).
    pub log_e: f64,
    /// The highest it was on any day. The difference is above 0 at a level, if this has reached minus the level's logarithm.
    #[serde(default)]
    pub highest_log_e: f64,
}

/// The days before `closed` with contracts that count: each user's first. Days up to the last of `counted` stay as they
/// were counted.
pub(super) fn by_day<'a>(
    firsts: impl Iterator<Item = &'a Contract>,
    closed: NaiveDate,
    counted: &[ContractDay],
) -> Vec<ContractDay> {
    // A look at the past counts no day that was open then.
    let counted = &counted[..counted.partition_point(|day| day.date < closed)];
    let after = counted.last().map(|day| day.date);
    let mut days: BTreeMap<NaiveDate, BTreeMap<(u16, u16), u64>> = BTreeMap::new();
    for contract in firsts {
        let date = date(contract.day);
        if date < closed && after.is_none_or(|after| date > after) {
            let ranks = (contract.ranks.legacy, contract.ranks.ltr);
            *days.entry(date).or_default().entry(ranks).or_default() += 1;
        }
    }
    let new = days.into_iter().map(|(date, ranks)| ContractDay {
        date,
        ranks: ranks
            .into_iter()
            .map(|((legacy, ltr), users)| (legacy, ltr, users))
            .collect(),
    });
    counted.iter().cloned().chain(new).collect()
}

fn date(day: u16) -> NaiveDate {
    DateTime::from_timestamp(i64::from(day) * 86_400, 0).map_or(NaiveDate::MIN, |time| time.date_naive())
}

/// The MRR gap, day by day: the difference of 1 / rank lies in (-1, 1).
#[derive(Clone, Debug)]
pub struct Sequencing {
    betting: Betting,
    sequence: Sequence,
    squares: f64,
    days: u64,
}

/// Users a day for whom the confidence sequence is made; with others it holds, and is a little wider.
const USERS_A_DAY: u64 = 20;
/// What both tests take: differences of reciprocal ranks are within -1 and 1, and a confidence is between 0 and 1.
const NEVER: &str = "a difference of reciprocal ranks, or a confidence, out of range";

impl Sequencing {
    /// Without any day. `confidence`: of the confidence sequence.
    pub fn new(confidence: f64) -> Sequencing {
        Sequencing {
            betting: Betting::new(from_difference(0.0)).expect(NEVER),
            sequence: Sequence::new((-1.0, 1.0), confidence, USERS_A_DAY).expect(NEVER),
            squares: 0.0,
            days: 0,
        }
    }

    /// Counts a closed day.
    pub fn add(&mut self, day: &ContractDay) {
        let gap = |&(legacy, ltr, users): &(u16, u16, u64)| (reciprocal(ltr) - reciprocal(legacy), users);
        let gaps: Vec<(f64, u64)> = day.ranks.iter().map(gap).collect();
        let bets: Vec<(f64, u64)> = gaps.iter().map(|&(gap, users)| (from_difference(gap), users)).collect();
        self.betting.add_day(&bets).expect(NEVER);
        self.sequence.add_day(&gaps).expect(NEVER);
        self.squares += gaps.iter().map(|&(gap, users)| gap * gap * users as f64).sum::<f64>();
        self.days += 1;
    }

    /// What the days so far show.
    pub fn so_far(&self) -> Sequential {
        Sequential {
            days: self.days,
            users: self.betting.n(),
            gap: self.sequence.interval(),
            square: self.squares / self.betting.n().max(1) as f64,
            log_e: self.betting.log_e(),
            highest_log_e: self.betting.highest_log_e(),
        }
    }
}

/// The MRR gap after these days.
pub(super) fn mrr_gap(days: &[ContractDay], confidence: f64) -> Sequential {
    let mut sequencing = Sequencing::new(confidence);
    days.iter().for_each(|day| sequencing.add(day));
    sequencing.so_far()
}

fn reciprocal(rank: u16) -> f64 {
    1.0 / f64::from(rank.max(1))
}

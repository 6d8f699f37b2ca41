//! Years in shadow: on which day would each rule promote the challenger?

use std::collections::HashSet;

use chrono::NaiveDate;
use ranking::statistics::elond::Budget;
use ranking::verdict::{ContractDay, Sequencing};
use ranking::{Criteria, Evidence, Interval, decide};

use crate::chance::Chance;

/// Days of a year.
pub const YEAR: u32 = 365;
/// Compared cases for each one with a contract.
const CASES_A_CONTRACT: u64 = 4;
/// How much busier some days are than others: standard deviation of the logarithm.
const SHOCK: f64 = 0.3;
/// Share of a day's contracts, at most, of clients who knew before whom they want: rankings do not matter. It differs by
/// day, and is half as much on average.
const DECIDED: f64 = 0.4;
/// Share of the contracts of users who signed before.
const REPEATED: f64 = 0.3;
/// And of those, how many sign with a lawyer at the same ranks as before.
const ALIKE: f64 = 0.8;
/// Users who may come again.
const RECENT: usize = 200;
/// Share of the labels that come after their day was closed, and are lost.
const TOO_LATE: f64 = 0.02;

/// The gain that the pool of ranks must have, so that the gain of a year's contracts is this one.
pub fn gain_of_pool(gain: f64) -> f64 {
    gain / (1.0 - DECIDED / 2.0)
}

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Matured contracts a day.
    pub contracts_a_day: f64,
    /// Ranks of contracted lawyers to draw from.
    pub pool: &'a [(u16, u16)],
    /// How long a challenger is compared before the next one takes its place; `None`: the pipeline is judged as a whole.
    pub patience_days: Option<u32>,
    /// Level of the year: the probability that anything without effect is promoted in it.
    pub alpha: f64,
}

/// On which day each rule promoted, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Promoted {
    /// [`ranking::decide`].
    pub verdict: Option<u32>,
    /// The one-sided 95 % interval of the gain in Hit@3 lies above 0.
    pub naive: Option<u32>,
    /// Gain of 5 points, and the 95 % interval of the MRR gap above 0.
    pub fixed_n: Option<u32>,
    /// When Hit@3 of the challenger over two weeks lay a point below that of the first two weeks, which would roll it back.
    pub minus_one_point: Option<u32>,
}

/// Sums of a paired difference.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    n: f64,
    sum: f64,
    squares: f64,
}

impl Sums {
    fn add(&mut self, value: f64) {
        self.n += 1.0;
        self.sum += value;
        self.squares += value * value;
    }

    fn mean(self) -> f64 {
        self.sum / self.n.max(1.0)
    }

    /// Standard error of the mean.
    fn error(self) -> f64 {
        let variance = (self.squares / self.n.max(1.0) - self.mean().powi(2)).max(0.0);
        (variance / self.n.max(1.0)).sqrt()
    }

    fn interval(self, errors: f64) -> Interval {
        Interval {
            estimate: self.mean(),
            low: self.mean() - errors * self.error(),
            high: self.mean() + errors * self.error(),
        }
    }
}

/// What was seen of one challenger, or of the pipeline.
#[derive(Default)]
struct Seen {
    days: u32,
    cases: u64,
    hit3: Sums,
    hit3_of_users: Sums,
    mrr: Sums,
    users: HashSet<u64>,
    sequencing: Option<Sequencing>,
}

impl Seen {
    fn evidence(&self) -> Evidence {
        Evidence {
            cases: self.cases,
            days: f64::from(self.days),
            contracts: self.hit3.n as u64,
            users: self.users.len() as u64,
            hit3_gain: self.hit3.interval(1.96),
            hit3_gain_of_users: self.hit3_of_users.mean(),
            mrr_gap: self.mrr.interval(1.96),
            mrr_sequence: self.sequencing.as_ref().map(Sequencing::so_far).unwrap_or_default(),
            latency_p95_ms: Some(1.0),
            ..Evidence::default()
        }
    }
}

/// Simulates a year.
pub fn year(plan: &Plan, chance: &mut Chance) -> Promoted {
    let mut clients = Clients {
        pool: plan.pool,
        recent: Vec::new(),
        next: 0,
    };
    let mut promoted = Promoted::default();
    let mut seen = Seen::default();
    let mut budget = Budget::new(date(1));
    let mut hits = Hits::default();
    for day in 1..=YEAR {
        if plan.patience_days.is_some_and(|patience| seen.days >= patience) {
            seen = Seen::default();
            budget.next_epoch(false);
        }
        let contracts = clients.day(plan.contracts_a_day, chance);
        count(&contracts, day, &mut seen);
        if hits.fell(&contracts) {
            promoted.minus_one_point = promoted.minus_one_point.or(Some(day));
        }
        let rules = rules(&seen, budget.level(plan.alpha));
        for (first, holds) in [
            (&mut promoted.verdict, rules[0]),
            (&mut promoted.naive, rules[1]),
            (&mut promoted.fixed_n, rules[2]),
        ] {
            *first = first.or(holds.then_some(day));
        }
    }
    promoted
}

/// Hit@3 of the challenger alone, as the seed's rule for a rollback looks at it.
#[derive(Default)]
struct Hits {
    /// Hits and contracts of each day.
    days: Vec<(u64, u64)>,
}

impl Hits {
    /// Whether the last two weeks lie a point below the first two.
    fn fell(&mut self, contracts: &[(u64, (u16, u16))]) -> bool {
        const WEEKS: usize = 14;
        let hits = contracts.iter().filter(|(_, (_, ltr))| *ltr <= 3).count() as u64;
        self.days.push((hits, contracts.len() as u64));
        let rate = |days: &[(u64, u64)]| {
            let (hits, all) = days.iter().fold((0, 0), |(hits, all), day| (hits + day.0, all + day.1));
            hits as f64 / all.max(1) as f64
        };
        let is_long = self.days.len() >= 2 * WEEKS;
        is_long && rate(&self.days[self.days.len() - WEEKS..]) < rate(&self.days[..WEEKS]) - 0.01
    }
}

fn rules(seen: &Seen, level: f64) -> [bool; 3] {
    let criteria = Criteria::default();
    let evidence = seen.evidence();
    let is_long = f64::from(seen.days) >= criteria.min_days || seen.cases >= criteria.min_cases;
    let has_some = seen.hit3.n >= 30.0;
    [
        decide(&evidence, &criteria, level).promote,
        is_long && has_some && seen.hit3.mean() - 1.645 * seen.hit3.error() > 0.0,
        is_long && seen.hit3.mean() >= 0.05 && seen.mrr.mean() - 1.96 * seen.mrr.error() > 0.0,
    ]
}

fn count(contracts: &[(u64, (u16, u16))], day: u32, seen: &mut Seen) {
    seen.days += 1;
    seen.cases += CASES_A_CONTRACT * contracts.len() as u64;
    let mut counts = std::collections::BTreeMap::new();
    for &(user, (legacy, ltr)) in contracts {
        let hit = |rank: u16| f64::from(u8::from(rank <= 3));
        seen.hit3.add(hit(ltr) - hit(legacy));
        seen.mrr.add(1.0 / f64::from(ltr) - 1.0 / f64::from(legacy));
        if seen.users.insert(user) {
            seen.hit3_of_users.add(hit(ltr) - hit(legacy));
            *counts.entry((legacy, ltr)).or_insert(0) += 1;
        }
    }
    let ranks = counts.into_iter().map(|((legacy, ltr), users)| (legacy, ltr, users));
    let sequencing = seen
        .sequencing
        .get_or_insert_with(|| Sequencing::new(Criteria::default().confidence));
    sequencing.add(&ContractDay {
        date: date(day),
        ranks: ranks.collect(),
    });
}

fn date(day: u32) -> NaiveDate {
    NaiveDate::from_yo_opt(2027, day).unwrap_or_default()
}

/// Clients, of whom some come again.
struct Clients<'a> {
    pool: &'a [(u16, u16)],
    recent: Vec<(u64, (u16, u16))>,
    next: u64,
}

impl Clients<'_> {
    /// The contracts of a day whose labels come in time: user, and ranks of the contracted lawyer.
    fn day(&mut self, mean: f64, chance: &mut Chance) -> Vec<(u64, (u16, u16))> {
        let mean = mean * chance.shock(SHOCK);
        let number = chance.poisson(mean);
        let decided = DECIDED * chance.uniform();
        let contracts: Vec<_> = (0..number).map(|_| self.contract(decided, chance)).collect();
        contracts.into_iter().filter(|_| !chance.happens(TOO_LATE)).collect()
    }

    fn contract(&mut self, decided: f64, chance: &mut Chance) -> (u64, (u16, u16)) {
        let drawn = self.pool[chance.below(self.pool.len())];
        let mut ranks = if chance.happens(decided) {
            (drawn.0, drawn.0)
        } else {
            drawn
        };
        if !self.recent.is_empty() && chance.happens(REPEATED) {
            let (user, before) = self.recent[chance.below(self.recent.len())];
            if chance.happens(ALIKE) {
                ranks = before;
            }
            return (user, ranks);
        }
        self.next += 1;
        if self.recent.len() == RECENT {
            self.recent.swap_remove(chance.below(RECENT));
        }
        self.recent.push((self.next, ranks));
        (self.next, ranks)
    }
}

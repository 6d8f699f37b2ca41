use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;

use super::{Arm, ArmCounts, Credit, Displayed, OutcomeDay, PlaceClicks};
use crate::events::{Coin, Policy, Source};
use crate::interleaving::{credit, tosses};
use crate::labels::Grade;
use crate::propensities::Swaps;
use crate::swaps;

impl Arm {
    /// Of a ranking that this sampler chose; `None`: it is evidence of none, because somebody asked for it, or the user is
    /// in the share for whom neighbours are swapped. That share is outside the arms as a whole: see [`crate::swaps`].
    ///
    /// Users of an interleaved share are of its arm also where LTR failed and they saw legacy's: arms are compared as they
    /// were intended.
    pub fn of(policy: Policy, source: Source) -> Option<Arm> {
        match (policy, source) {
            (Policy::Forced | Policy::Swap, _) => None,
            (Policy::None, Source::Legacy) => Some(Arm::Everybody),
            (Policy::HoldOut, _) => Some(Arm::HoldOut),
            (Policy::Interleaved, _) | (_, Source::Interleaved) => Some(Arm::Interleaved),
            (_, Source::Ltr) => Some(Arm::Ltr),
            (_, Source::Legacy) => Some(Arm::Legacy),
        }
    }
}

impl Displayed {
    /// The arm, as [`Arm::of`].
    pub fn arm(&self) -> Option<Arm> {
        Arm::of(self.policy, self.source)
    }

    fn strongest(&self) -> Grade {
        let grades = self.acted.iter().map(|(_, grade)| *grade);
        grades.max().unwrap_or(Grade::Shown)
    }

    /// Whether the client clicked, contacted or signed with the lawyer at this place.
    fn is_clicked(&self, place: u32) -> bool {
        self.acted
            .iter()
            .any(|(at, grade)| *at == place && *grade >= Grade::Clicked)
    }

    /// 1: the client signed with whom LTR brought in, -1: with whom legacy did. Clicks are no credit: a list that draws
    /// clicks need not lead to contracts.
    fn preference(&self) -> i8 {
        let mut grades = vec![Grade::Shown; self.drafted_by.len()];
        for &(place, grade) in &self.acted {
            let at = (place as usize).checked_sub(1);
            if let Some(kept) = at.and_then(|at| grades.get_mut(at)) {
                *kept = grade.max(*kept);
            }
        }
        credit(&self.drafted_by, &grades, Grade::Contracted)
    }
}

/// Counts the closed cases of a day; their order changes nothing.
pub fn count_day(date: NaiveDate, cases: &[Displayed]) -> OutcomeDay {
    let mut cases: Vec<&Displayed> = cases.iter().collect();
    cases.sort_by_key(|case| (case.ts_utc, case.case_id));
    let mut day = OutcomeDay {
        swaps: count_swaps(&cases),
        ..OutcomeDay::new(date)
    };
    let mut seen = BTreeSet::new();
    let mut signed: BTreeMap<Arm, Vec<bool>> = BTreeMap::new();
    for case in cases {
        let Some(arm) = case.arm() else { continue };
        if !seen.insert((arm, case.user)) {
            continue;
        }
        if arm != Arm::Interleaved {
            // Clients who come again look at places too, and are tossed for.
            day.places.add(case);
        }
        if case.came_before {
            continue;
        }
        let grade = case.strongest();
        let counts: &mut ArmCounts = day.arms.entry(arm).or_default();
        counts.users += 1;
        counts.contracts += u64::from(grade == Grade::Contracted);
        counts.tenths += (grade.label() * 10.0).round() as u64;
        signed.entry(arm).or_default().push(grade == Grade::Contracted);
        if arm == Arm::Interleaved {
            toss(&mut day.drafts, case, &tosses(&case.drafted_by));
        }
        if let (Arm::Interleaved, Some(version)) = (arm, &case.model_version) {
            let credit: &mut Credit = day.credit.entry(version.clone()).or_default();
            match case.preference() {
                1 => credit.ltr += 1,
                -1 => credit.legacy += 1,
                _ => credit.neither += 1,
            }
        }
    }
    let [legacy, interleaved] = [Arm::Legacy, Arm::Interleaved].map(|arm| signed.remove(&arm).unwrap_or_default());
    let mut blocks: BTreeMap<(bool, bool), u64> = BTreeMap::new();
    for pair in legacy.into_iter().zip(interleaved) {
        *blocks.entry(pair).or_default() += 1;
    }
    let blocks = blocks
        .into_iter()
        .map(|((legacy, interleaved), users)| (legacy, interleaved, users));
    day.blocks = blocks.collect();
    day
}

/// Of each user the first case with a coin: cases whose promises allowed no toss say nothing. Ascending by time.
fn count_swaps(cases: &[&Displayed]) -> Swaps {
    let mut swaps = Swaps::default();
    let mut seen = BTreeSet::new();
    for case in cases.iter().filter(|case| case.policy == Policy::Swap) {
        if let Some(coin) = case.coin
            && seen.insert(case.user)
        {
            toss(&mut swaps, case, &[coin]);
        }
    }
    swaps
}

fn toss(swaps: &mut Swaps, case: &Displayed, coins: &[Coin]) {
    for coin in coins {
        // A coin that was not fair is of a program that is not known here, and says nothing.
        let _ = swaps.add(coin, |place| case.is_clicked(place));
    }
}

impl PlaceClicks {
    fn add(&mut self, case: &Displayed) {
        self.users += 1;
        for place in (1..=swaps::LOWEST + 1).filter(|place| case.is_clicked(*place)) {
            let at = place as usize - 1;
            if self.clicks.len() <= at {
                self.clicks.resize(at + 1, 0);
            }
            self.clicks[at] += 1;
        }
    }

    /// Adds another day's.
    pub fn merge(&mut self, other: &PlaceClicks) {
        self.users += other.users;
        self.clicks.resize(self.clicks.len().max(other.clicks.len()), 0);
        for (clicks, more) in self.clicks.iter_mut().zip(&other.clicks) {
            *clicks += more;
        }
    }

    /// Clicks at a place, from 1, for each user; 0 without users.
    pub fn rate(&self, place: u32) -> f64 {
        let at = (place as usize).checked_sub(1);
        let clicks = at.and_then(|at| self.clicks.get(at)).copied().unwrap_or(0);
        clicks as f64 / self.users.max(1) as f64
    }
}

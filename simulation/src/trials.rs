//! Trials by interleaving, and the watch on a model that is live, in towns whose clients look at lists from above.

use chrono::NaiveDate;
use ranking::outcomes::{OutcomeDay, TrialRules, Verdict, WatchRules, confirm, suspect, trial};

use ranking::statistics::elond::Budget;

use crate::chance::Chance;
use crate::market::{Challenger, Client, contract_rate};
use crate::shadow::YEAR;
use crate::town::{Exposure, Town};

/// As configured by default.
pub const TRIAL: TrialRules = TrialRules {
    confidence: 0.95,
    // Of the year's first trial: the shadow figures before it were the first test of the year, and e-LOND gives the second
    // one 6 / (4 pi^2) of the year's 5 %.
    level: 0.0076,
    margin: 0.1,
};
/// As configured by default.
pub const WATCH: WatchRules = WatchRules {
    baseline_users: 700,
    margin: 0.02,
    false_alarms: 0.05,
    confirm_days: 10,
};
const SHARE: f64 = 0.5;
const CONFIRM_SHARE: f64 = 0.9;
const HOLD_OUT: f64 = 0.05;
/// Days after which a trial that has decided nothing ends.
const PATIENCE: u32 = 60;
/// Days in shadow before a trial begins.
const SHADOW: u32 = 14;
/// Days that LTR has been live before something happens.
const CALM: u32 = 60;

/// How a trial ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ended {
    /// The day on which the challenger was promoted.
    pub promoted: Option<u32>,
    /// The day on which it was rejected, also for having decided nothing.
    pub rejected: Option<u32>,
    /// Contracts with somebody whom one of the two rankings had brought in, until then.
    pub decided: u64,
    /// Users who were shown both rankings, until then.
    pub users: u64,
}

/// A trial of a challenger.
pub fn trial_of(challenger: Challenger, client: Client, cases_a_day: f64, chance: &mut Chance) -> Ended {
    trial_in(&mut Town::new(challenger, client, cases_a_day), &TRIAL, chance)
}

/// The days of a year on which one trial after the other first promoted a challenger, each after a fortnight in which
/// raw figures decided nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct YearOfTrials {
    /// With the year's budget for all its tests.
    pub budgeted: Option<u32>,
    /// With the level of the whole year for each trial.
    pub each: Option<u32>,
}

/// Simulates a year in which every challenger is of this kind.
pub fn year_of_trials(challenger: Challenger, client: Client, cases_a_day: f64, chance: &mut Chance) -> YearOfTrials {
    const ALPHA: f64 = 0.05;
    let mut budget = Budget::new(NaiveDate::from_ymd_opt(2027, 1, 1).unwrap_or_default());
    let mut year = YearOfTrials::default();
    let mut day = SHADOW;
    while day + PATIENCE <= YEAR {
        budget.next_epoch(false);
        let mut town = Town::new(challenger, client, cases_a_day);
        let each = TrialRules { level: ALPHA, ..TRIAL };
        let seen = trial_in(&mut town, &each, &mut chance.clone());
        let budgeted = TrialRules {
            level: budget.level(ALPHA),
            ..TRIAL
        };
        let mut town = Town::new(challenger, client, cases_a_day);
        let ended = trial_in(&mut town, &budgeted, chance);
        let on = |promoted: Option<u32>| promoted.map(|after| day + after);
        year.each = year.each.or(on(seen.promoted));
        year.budgeted = year.budgeted.or(on(ended.promoted));
        if year.budgeted.is_some() {
            break;
        }
        budget.next_epoch(false);
        day += ended.rejected.unwrap_or(PATIENCE) + SHADOW;
    }
    year
}

fn trial_in(town: &mut Town, rules: &TrialRules, chance: &mut Chance) -> Ended {
    let exposure = Exposure::Interleaved {
        share: SHARE,
        hold_out: HOLD_OUT,
    };
    let mut days: Vec<OutcomeDay> = Vec::new();
    for day in 1..=PATIENCE {
        days.push(town.day(exposure, chance));
        let so_far = trial(&days, |_| true, rules);
        let (promoted, rejected) = match so_far.verdict {
            Verdict::Better => (Some(day), None),
            Verdict::Worse => (None, Some(day)),
            Verdict::Undecided if day == PATIENCE => (None, Some(day)),
            Verdict::Undecided => continue,
        };
        return Ended {
            promoted,
            rejected,
            decided: so_far.decided,
            users: so_far.users,
        };
    }
    Ended::default()
}

/// What happens to a model that is live.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Incident {
    /// Nothing.
    None,
    /// The model becomes as bad as this.
    Falls(Challenger),
    /// Clients ask for so much more of any lawyer.
    Dip(f64),
    /// The model was this bad from the first day, because somebody forced it.
    Forced(Challenger),
}

/// What the watch did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Watched {
    /// Users who were shown LTR from the incident to the suspicion.
    pub users: Option<u64>,
    /// Days from the suspicion to the decision.
    pub days: Option<u32>,
    /// Whether LTR was rolled back.
    pub rolled_back: bool,
}

/// Watches a model for a year, or until it is rolled back. The first suspicion is reported.
pub fn watched(incident: Incident, live: Challenger, client: Client, cases_a_day: f64, chance: &mut Chance) -> Watched {
    let mut town = Town::new(live, client, cases_a_day);
    let before: Vec<OutcomeDay> = (0..14).map(|_| town.day(Exposure::Legacy, chance)).collect();
    if let Incident::Forced(challenger) = incident {
        town.challenger = challenger;
    }
    let mut result = Watched::default();
    let (mut usual, mut since) = (before, Vec::new());
    let mut users = 0;
    for day in 1..=365 {
        if day == CALM {
            match incident {
                Incident::Falls(challenger) => town.challenger = challenger,
                Incident::Dip(more) => town.client.enough += more,
                Incident::None | Incident::Forced(_) => {}
            }
        }
        let today = town.day(Exposure::Live { hold_out: HOLD_OUT }, chance);
        let shown = today
            .arms
            .get(&ranking::outcomes::Arm::Ltr)
            .map_or(0, |counts| counts.users);
        users += if day >= CALM || matches!(incident, Incident::Forced(_)) {
            shown
        } else {
            0
        };
        since.push(today);
        if !suspect(&usual, &since, &WATCH).is_raised {
            continue;
        }
        let (days, rolled_back, confirming) = confirmed(&mut town, chance);
        if result.days.is_none() {
            (result.users, result.days) = (Some(users), Some(days));
        }
        if rolled_back {
            result.rolled_back = true;
            return result;
        }
        // Live again: what was before the suspicion is not usual any more.
        (usual, since) = (confirming, Vec::new());
    }
    result
}

/// Most users are shown both rankings until it is decided: in how many days, and whether LTR is rolled back.
fn confirmed(town: &mut Town, chance: &mut Chance) -> (u32, bool, Vec<OutcomeDay>) {
    let exposure = Exposure::Interleaved {
        share: CONFIRM_SHARE,
        hold_out: HOLD_OUT,
    };
    let mut days: Vec<OutcomeDay> = Vec::new();
    loop {
        days.push(town.day(exposure, chance));
        let seen: Vec<&OutcomeDay> = days.iter().collect();
        if let (Some(is_harm), _) = confirm(&seen, &WATCH, &TRIAL) {
            return (days.len() as u32, is_harm, days);
        }
    }
}

/// Draws for a search of what brings the contracts of a model's cases down by so much.
const SEARCH: usize = 60_000;

/// How bad a model is whose contracts a case are by so much fewer than those of this one.
pub fn worse_by(points: f64, live: Challenger, client: Client) -> Challenger {
    let rate = |challenger| contract_rate(challenger, client, SEARCH, &mut Chance::new(3, 0));
    let aim = rate(live) - points;
    Challenger::Error(halved((0.1, 8.0), |error| rate(Challenger::Error(error)) > aim))
}

/// How much more clients ask for in a market whose contracts a case are by so much fewer.
pub fn dip_by(points: f64, live: Challenger, client: Client) -> f64 {
    let rate = |more: f64| {
        let client = Client {
            enough: client.enough + more,
            ..client
        };
        contract_rate(live, client, SEARCH, &mut Chance::new(3, 0))
    };
    let aim = rate(0.0) - points;
    halved((0.0, 2.0), |more| rate(more) > aim)
}

/// Where in an interval this stops being so.
fn halved((mut low, mut high): (f64, f64), holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..20 {
        let middle = f64::midpoint(low, high);
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

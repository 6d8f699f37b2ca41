//! The watch on relevance: LTR's own outcomes raise a suspicion, and interleaving decides.
//!
//! LTR against its own earlier rate is the fastest alarm, and cannot tell a dip of the market from a bad model. Whoever is
//! preferred in one list is told from the other whatever the market does.

use serde::{Deserialize, Serialize};

use super::trial::{Trial, TrialRules, Verdict, trial};
use super::{Arm, ArmCounts, OutcomeDay};
use crate::statistics::detector::Detector;

/// When outcomes raise a suspicion, and how it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WatchRules {
    /// Users from whose contracts the usual rate is taken, at first; later days add to it. Without so many there is no alarm.
    pub baseline_users: u64,
    /// A fall of the share of users with a contract by less than this is none.
    pub margin: f64,
    /// Share of the years with a false alarm, at most.
    pub false_alarms: f64,
    /// Days after which a suspicion is decided by what is most likely, if nothing else decides it before.
    pub confirm_days: u64,
}

/// What LTR's outcomes are compared with: of two, the one that says more against it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// Its own earlier outcomes.
    #[default]
    Itself,
    /// The legacy ranking's, before LTR went live.
    Legacy,
}

/// LTR's outcomes beside what they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// What LTR's outcomes are compared with.
    pub reference: Reference,
    /// Users of the baseline, 0 until there are enough.
    pub baseline_users: u64,
    /// Share of them with a contract.
    pub baseline: f64,
    /// Users since the first baseline was known.
    pub users: u64,
    /// Share of them with a contract.
    pub contracts: f64,
    /// Logarithm of the detector's evidence that the share fell by more than the margin.
    pub log_evidence: f64,
    /// Logarithm of the evidence at which there is an alarm.
    pub log_level: f64,
    /// Whether there was one.
    pub is_raised: bool,
    /// How many contracts it would take, before and after, to see that Hit@3 fell by one point: at 5 % one-sided and with a
    /// power of 80 %.
    pub contracts_for_one_point: u64,
}

/// In each of two stretches of time, for a share of standard deviation 1/2: 2 (1.645 + 0.842)^2 (0.5 / 0.01)^2.
const CONTRACTS_FOR_ONE_POINT: u64 = 30_900;
const NEVER: &str = "a share, or a configured level, out of range";

/// A day is part of the baseline when so many days have passed without an alarm: a fall is found before it is usual.
const BASELINE_DELAY: usize = 14;
/// The baseline ends at so many times [`WatchRules::baseline_users`], so that a slow decline does not become usual.
const BASELINE_GROWTH: u64 = 20;

/// The usual rate.
#[derive(Default)]
struct Baseline {
    users: u64,
    contracts: u64,
    days: usize,
}

impl Baseline {
    fn add(&mut self, counts: ArmCounts) {
        self.users += counts.users;
        self.contracts += counts.contracts;
        self.days += 1;
    }

    fn rate(&self) -> f64 {
        self.contracts as f64 / self.users.max(1) as f64
    }

    /// The share of users without a contract that is no fall yet. The rate that is known from so many users may be a
    /// standard error higher than the truth.
    fn bound(&self, margin: f64) -> f64 {
        let rate = self.rate();
        let error = (rate * (1.0 - rate) / self.users.max(1) as f64).sqrt();
        (1.0 - rate + error + margin).clamp(0.01, 0.99)
    }
}

/// The days before LTR went live from which the legacy ranking's rate is taken.
const DAYS_BEFORE: usize = 14;

/// Watches the closed days since LTR went live, in order, against two rates: its own, once that is known, and from the first
/// day on the one that the legacy ranking had on the last days before. A model that was never any good has no better days
/// to fall from.
pub fn suspect(before: &[OutcomeDay], days: &[OutcomeDay], rules: &WatchRules) -> Alarm {
    let each = WatchRules {
        false_alarms: rules.false_alarms / 2.0,
        ..*rules
    };
    let own = against_itself(days, &each);
    let legacy = against_legacy(before, days, &each);
    let is_nearer = legacy.is_raised || (legacy.log_evidence > own.log_evidence && !own.is_raised);
    if is_nearer { legacy } else { own }
}

/// The legacy ranking's rate in the last days before; of a market that has changed since, it says nothing.
fn against_legacy(before: &[OutcomeDay], days: &[OutcomeDay], rules: &WatchRules) -> Alarm {
    let mut usual = Baseline::default();
    for day in &before[before.len().saturating_sub(DAYS_BEFORE)..] {
        // Beside users whom chance chose, those who could be shown nothing else are a selection.
        let is_split = day.arms.contains_key(&Arm::Legacy);
        let legacy = if is_split { Arm::Legacy } else { Arm::Everybody };
        [legacy, Arm::HoldOut]
            .iter()
            .filter_map(|arm| day.arms.get(arm))
            .for_each(|counts| usual.add(*counts));
    }
    let mut alarm = Alarm::quiet(Reference::Legacy);
    if usual.users < rules.baseline_users {
        return alarm;
    }
    let mut detector = Detector::new(usual.bound(rules.margin), rules.false_alarms).expect(NEVER);
    let mut since = Baseline::default();
    for day in days {
        let counts = day.arms.get(&Arm::Ltr).copied().unwrap_or_default();
        since.add(counts);
        let without = counts.users - counts.contracts;
        detector
            .add_day(&[(1.0, without), (0.0, counts.contracts)])
            .expect(NEVER);
    }
    alarm.fill(&usual, &since, &detector);
    alarm
}

fn against_itself(days: &[OutcomeDay], rules: &WatchRules) -> Alarm {
    let of_ltr = |day: &OutcomeDay| day.arms.get(&Arm::Ltr).copied().unwrap_or_default();
    let days: Vec<ArmCounts> = days.iter().map(of_ltr).collect();
    let (mut usual, mut since) = (Baseline::default(), Baseline::default());
    let mut detector: Option<Detector> = None;
    for (at, counts) in days.iter().enumerate() {
        let Some(detector) = &mut detector else {
            usual.add(*counts);
            if usual.users >= rules.baseline_users {
                detector = Some(Detector::new(usual.bound(rules.margin), rules.false_alarms).expect(NEVER));
            }
            continue;
        };
        while usual.days + BASELINE_DELAY <= at && usual.users < BASELINE_GROWTH * rules.baseline_users {
            usual.add(days[usual.days]);
        }
        detector.rebase(usual.bound(rules.margin)).expect(NEVER);
        since.add(*counts);
        let without = counts.users - counts.contracts;
        detector
            .add_day(&[(1.0, without), (0.0, counts.contracts)])
            .expect(NEVER);
    }
    let mut alarm = Alarm::quiet(Reference::Itself);
    if let Some(detector) = detector {
        alarm.fill(&usual, &since, &detector);
    }
    alarm
}

impl Alarm {
    fn quiet(reference: Reference) -> Alarm {
        Alarm {
            reference,
            contracts_for_one_point: CONTRACTS_FOR_ONE_POINT,
            ..Alarm::default()
        }
    }

    fn fill(&mut self, usual: &Baseline, since: &Baseline, detector: &Detector) {
        (self.baseline_users, self.baseline) = (usual.users, usual.rate());
        (self.users, self.contracts) = (since.users, since.rate());
        self.log_evidence = detector.log_value().max(0.0);
        self.log_level = detector.level().ln();
        self.is_raised = detector.alarmed_on().is_some();
    }
}

/// Decides a suspicion by the closed days since it was raised, on which most users were shown an interleaved ranking.
/// `Some(true)`: legacy is preferred, so that LTR does harm; `Some(false)`: it does none; `None`: not yet.
pub fn confirm(days: &[&OutcomeDay], rules: &WatchRules, of_trial: &TrialRules) -> (Option<bool>, Trial) {
    // Every version that serves meanwhile is LTR.
    let trial = trial(days.iter().copied(), |_| true, of_trial);
    let is_preferred = trial.log_e[0] >= -(1.0 - of_trial.confidence).ln();
    let decided = match trial.verdict {
        Verdict::Worse => Some(true),
        Verdict::Better => Some(false),
        Verdict::Undecided if is_preferred => Some(false),
        // At the end the safe side is the legacy ranking.
        Verdict::Undecided if days.len() as u64 >= rules.confirm_days => Some(trial.credit.estimate <= 0.0),
        Verdict::Undecided => None,
    };
    (decided, trial)
}

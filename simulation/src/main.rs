//! `ltr-evidence`: how often, and how soon, each rule decides in simulated years.

mod report;

use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;
use simulation::chance::Chance;
use simulation::logs::{Counted, Displayed, ips};
use simulation::market::{Challenger, Client, contracted, hit3_gain, with_gain};
use simulation::shadow::{Plan, Promoted, YEAR, gain_of_pool, year};
use simulation::shares::{median, quantile, share, years};
use simulation::trials::{Incident, dip_by, trial_of, watched, worse_by, year_of_trials};

const EXAMPLES: &str = "Examples:
  ltr-evidence                    tables
  ltr-evidence --years 1000 --json";
/// The gain in Hit@3 of a challenger that is better.
const GAIN: f64 = 0.08;
/// The probability that a year promotes what has no effect.
const ALPHA: f64 = 0.05;
/// Days after which an undecided challenger makes room for the next one, where each is judged by itself.
const PATIENCE: u32 = 45;
/// Cases with a contract that ranks are drawn from.
const POOL: usize = 60_000;
const POOL_SEED: u64 = 7;
/// Clients who look at rank k with the probability 1/k.
const FROM_ABOVE: Client = Client { eta: 1.0, enough: 0.0 };
/// Of which about 300 a day sign a contract.
const CASES_A_DAY: f64 = 430.0;
/// Points of contracts a case that are lost.
const LOST: f64 = 0.1;

/// Simulates years, and says how often and how soon each rule decides.
#[derive(Debug, Parser)]
#[command(name = "ltr-evidence", version, after_help = EXAMPLES)]
struct Args {
    /// Years of each kind
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    years: u64,
    /// Seed of the draws
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// All that came out.
#[derive(Serialize)]
struct Report {
    shadow: Vec<Line>,
    /// Share of the years without a change in which the rule of one point of Hit@3 rolls back, by contracts a day.
    minus_one_point: Vec<(f64, f64)>,
    trials: Vec<Trials>,
    /// Years of one trial after the other.
    years_of_trials: Vec<YearsOfTrials>,
    logs: Vec<OfLogs>,
    watch: Vec<Watch>,
}

/// What logs say of two rankers of the same quality.
#[derive(Serialize)]
struct OfLogs {
    displayed: &'static str,
    counted: &'static str,
    /// LTR minus legacy, outcomes a case, with its 95 % interval.
    difference: f64,
    low: f64,
    high: f64,
}

/// What a rule did in the years of one kind.
#[derive(Serialize)]
struct Line {
    unit: &'static str,
    contracts_a_day: f64,
    gain: f64,
    rule: &'static str,
    /// Shares of the years.
    promoted_by_day_14: f64,
    promoted_by_day_45: f64,
    promoted_in_the_year: f64,
    median_day: Option<u32>,
}

/// Trials of one challenger.
#[derive(Serialize)]
struct Trials {
    challenger: &'static str,
    /// Gain in Hit@3 that the log of a shadow shows, with the legacy ranking displayed.
    raw_gain: f64,
    promoted: f64,
    rejected: f64,
    median_day: Option<u32>,
    /// Contracts with a preference until the end, in the middle and in nine of ten trials.
    decided: [u64; 2],
}

/// Years in which every challenger is of one kind.
#[derive(Serialize)]
struct YearsOfTrials {
    challenger: &'static str,
    /// Share of the years with a promotion, where the trials of a year share one budget.
    budgeted: f64,
    /// The same where each has the level of the whole year.
    each: f64,
}

/// What the watch did in the years of one kind.
#[derive(Serialize)]
struct Watch {
    incident: &'static str,
    suspected: f64,
    /// Users until the suspicion, in the middle and in nine of ten years.
    users: [u64; 2],
    /// Days from the suspicion to the decision, in the middle and in nine of ten years.
    days: [u64; 2],
    rolled_back: f64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let (shadow, minus_one_point) = shadow(&args);
    let report = Report {
        shadow,
        minus_one_point,
        trials: trials(&args),
        years_of_trials: years_of_trials(&args),
        logs: logs(&args),
        watch: watch(&args),
    };
    if !args.json {
        report::print(&report);
        return ExitCode::SUCCESS;
    }
    match serde_json::to_string_pretty(&report) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Years in shadow at several rates of contracts, without and with an effect.
fn shadow(args: &Args) -> (Vec<Line>, Vec<(f64, f64)>) {
    let (mut lines, mut minus_one_point) = (Vec::new(), Vec::new());
    for gain in [0.0, GAIN] {
        let pool = with_gain(gain_of_pool(gain), POOL, POOL_SEED);
        for (unit, patience_days) in [("pipeline", None), ("model", Some(PATIENCE))] {
            for contracts_a_day in [3.0, 10.0, 30.0, 300.0] {
                let plan = Plan {
                    contracts_a_day,
                    pool: &pool,
                    patience_days,
                    alpha: ALPHA,
                };
                let promoted = years(args.years, args.seed, |chance| year(&plan, chance));
                lines.extend(of_rules(unit, contracts_a_day, gain, &promoted));
                if unit == "pipeline" && gain == 0.0 {
                    let fell = share(promoted.iter().map(|year| year.minus_one_point), YEAR);
                    minus_one_point.push((contracts_a_day, fell));
                }
            }
        }
    }
    (lines, minus_one_point)
}

fn of_rules(unit: &'static str, contracts_a_day: f64, gain: f64, promoted: &[Promoted]) -> [Line; 3] {
    type Rule = (&'static str, fn(&Promoted) -> Option<u32>);
    let rules: [Rule; 3] = [
        ("the verdict", |promoted| promoted.verdict),
        ("5 points, bootstrap looked at daily", |promoted| promoted.fixed_n),
        ("95 % interval looked at daily", |promoted| promoted.naive),
    ];
    rules.map(|(rule, day)| Line {
        unit,
        contracts_a_day,
        gain,
        rule,
        promoted_by_day_14: share(promoted.iter().map(day), 14),
        promoted_by_day_45: share(promoted.iter().map(day), 45),
        promoted_in_the_year: share(promoted.iter().map(day), YEAR),
        median_day: median(promoted.iter().map(day)),
    })
}

/// Trials of rankers that the raw figures of a shadow cannot tell apart.
fn trials(args: &Args) -> Vec<Trials> {
    let challengers = [
        ("equal", Challenger::Equal),
        ("better", Challenger::Better),
        ("random", Challenger::Random),
    ];
    let run = |(name, challenger)| {
        let ended = years(args.years, args.seed, |chance| {
            trial_of(challenger, FROM_ABOVE, CASES_A_DAY, chance)
        });
        let ranks = contracted(challenger, FROM_ABOVE, POOL, &mut Chance::new(POOL_SEED, 0));
        let decided: Vec<u64> = ended.iter().map(|ended| ended.decided).collect();
        Trials {
            challenger: name,
            raw_gain: hit3_gain(&ranks),
            promoted: share(ended.iter().map(|ended| ended.promoted), YEAR),
            rejected: share(ended.iter().map(|ended| ended.rejected), YEAR),
            median_day: median(ended.iter().map(|ended| ended.promoted.or(ended.rejected))),
            decided: [quantile(&decided, 0.5), quantile(&decided, 0.9)],
        }
    };
    challengers.into_iter().map(run).collect()
}

/// Years of trials, at about 30 contracts a day.
fn years_of_trials(args: &Args) -> Vec<YearsOfTrials> {
    let run = |(name, challenger)| {
        let years = years(args.years, args.seed, |chance| {
            year_of_trials(challenger, FROM_ABOVE, CASES_A_DAY / 10.0, chance)
        });
        YearsOfTrials {
            challenger: name,
            budgeted: share(years.iter().map(|year| year.budgeted), YEAR),
            each: share(years.iter().map(|year| year.each), YEAR),
        }
    };
    [("equal", Challenger::Equal), ("better", Challenger::Better)]
        .into_iter()
        .map(run)
        .collect()
}

/// What inverse propensities make of two rankers of the same quality, whichever was displayed.
fn logs(args: &Args) -> Vec<OfLogs> {
    let mut lines = Vec::new();
    for (counted, outcome) in [("clicks", Counted::Clicks), ("contracts", Counted::Contracts)] {
        for (displayed, ranking) in [("legacy", Displayed::Legacy), ("LTR", Displayed::Ltr)] {
            let mut chance = Chance::new(args.seed, 0);
            let value = ips(Challenger::Equal, ranking, outcome, FROM_ABOVE, POOL, &mut chance);
            lines.push(OfLogs {
                displayed,
                counted,
                difference: value.difference.estimate,
                low: value.difference.low,
                high: value.difference.high,
            });
        }
    }
    lines
}

/// Years of a model that is live, at about 300 contracts a day.
fn watch(args: &Args) -> Vec<Watch> {
    let live = Challenger::Better;
    let worse = worse_by(LOST, live, FROM_ABOVE);
    let dip = dip_by(LOST, live, FROM_ABOVE);
    let incidents = [
        ("none", Incident::None),
        ("LTR falls by 10 points", Incident::Falls(worse)),
        ("the market falls by 10 points", Incident::Dip(dip)),
        ("a random model is forced", Incident::Forced(Challenger::Random)),
    ];
    let run = |(name, incident)| {
        let years = years(args.years, args.seed, |chance| {
            watched(incident, live, FROM_ABOVE, CASES_A_DAY, chance)
        });
        let users: Vec<u64> = years.iter().filter_map(|year| year.users).collect();
        let days: Vec<u64> = years.iter().filter_map(|year| year.days.map(u64::from)).collect();
        let of = |number: usize| number as f64 / years.len().max(1) as f64;
        Watch {
            incident: name,
            suspected: of(users.len()),
            users: [quantile(&users, 0.5), quantile(&users, 0.9)],
            days: [quantile(&days, 0.5), quantile(&days, 0.9)],
            rolled_back: of(years.iter().filter(|year| year.rolled_back).count()),
        }
    };
    incidents.into_iter().map(run).collect()
}

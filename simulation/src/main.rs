//! `ltr-evidence`: how often, and how soon, each rule decides in simulated years.

use std::process::ExitCode;

use clap::Parser;
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde::Serialize;
use simulation::market::with_gain;
use simulation::shadow::{Plan, Promoted, YEAR, gain_of_pool, year};
use simulation::shares::{median, share, years};

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

/// Simulates years, and says how often and how soon each rule promotes a challenger.
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

fn main() -> ExitCode {
    let args = Args::parse();
    let lines = shadow(&args);
    if args.json {
        match serde_json::to_string_pretty(&lines) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        }
    } else {
        print(&lines);
    }
    ExitCode::SUCCESS
}

/// Years in shadow at several rates of contracts, without and with an effect.
fn shadow(args: &Args) -> Vec<Line> {
    let mut lines = Vec::new();
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
            }
        }
    }
    lines
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

fn print(lines: &[Line]) {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header([
        "effect",
        "unit",
        "contracts a day",
        "rule",
        "by day 14",
        "by day 45",
        "in the year",
        "median day",
    ]);
    for line in lines {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        table.add_row([
            format!("{:+.0} points", line.gain * 100.0),
            line.unit.to_owned(),
            format!("{:.0}", line.contracts_a_day),
            line.rule.to_owned(),
            percent(line.promoted_by_day_14),
            percent(line.promoted_by_day_45),
            percent(line.promoted_in_the_year),
            line.median_day.map_or_else(|| "-".to_owned(), |day| day.to_string()),
        ]);
    }
    println!("Share of simulated years in which a challenger was promoted, in days of closed evidence:\n{table}");
}

//! The report as tables.

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;

use crate::{Line, OfLogs, Report, Trials, Watch, YearsOfTrials};

pub(crate) fn print(report: &Report) {
    println!("In shadow: the share of the years in which a challenger was promoted, by days of closed evidence");
    println!("{}\n", shadow(&report.shadow));
    println!(
        "A rollback as soon as two weeks lie a point of Hit@3 below the first two: the share of the years in which"
    );
    println!("that happens although nothing has changed");
    println!("{}\n", minus_one_point(&report.minus_one_point));
    println!(
        "By interleaving, where clients look at rank k with the probability 1/k: of a half of the users, {} cases a day",
        crate::CASES_A_DAY
    );
    println!("{}\n", trials(&report.trials));
    println!("Years of one trial after the other, at a tenth of that traffic: the share with a promotion");
    println!("{}\n", years_of_trials(&report.years_of_trials));
    println!(
        "Two rankers of the same quality, from logs by inverse propensities: on contracts the displayed one seems better"
    );
    println!("{}\n", logs(&report.logs));
    println!("The watch on a model that is live, over a year or until it is rolled back");
    println!("{}", watch(&report.watch));
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    table
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn day(day: Option<u32>) -> String {
    day.map_or_else(|| "-".to_owned(), |day| day.to_string())
}

fn shadow(lines: &[Line]) -> Table {
    let mut table = table([
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
        table.add_row([
            format!("{:+.0} points", line.gain * 100.0),
            line.unit.to_owned(),
            format!("{:.0}", line.contracts_a_day),
            line.rule.to_owned(),
            percent(line.promoted_by_day_14),
            percent(line.promoted_by_day_45),
            percent(line.promoted_in_the_year),
            day(line.median_day),
        ]);
    }
    table
}

fn trials(trials: &[Trials]) -> Table {
    let mut table = table([
        "challenger",
        "Hit@3 gain in shadow",
        "promoted",
        "rejected",
        "median day",
        "contracts with a preference, median",
        "9 of 10",
    ]);
    for trial in trials {
        table.add_row([
            trial.challenger.to_owned(),
            format!("{:+.1} points", trial.raw_gain * 100.0),
            percent(trial.promoted),
            percent(trial.rejected),
            day(trial.median_day),
            trial.decided[0].to_string(),
            trial.decided[1].to_string(),
        ]);
    }
    table
}

fn years_of_trials(years: &[YearsOfTrials]) -> Table {
    let mut table = table(["every challenger is", "one budget for the year", "5 % for each trial"]);
    for line in years {
        table.add_row([line.challenger.to_owned(), percent(line.budgeted), percent(line.each)]);
    }
    table
}

fn minus_one_point(lines: &[(f64, f64)]) -> Table {
    let mut table = table(["contracts a day", "rolled back"]);
    for (contracts_a_day, share) in lines {
        table.add_row([format!("{contracts_a_day:.0}"), percent(*share)]);
    }
    table
}

fn logs(lines: &[OfLogs]) -> Table {
    let mut table = table(["counted", "displayed", "LTR minus legacy, a case", "95 % interval"]);
    for line in lines {
        table.add_row([
            line.counted.to_owned(),
            line.displayed.to_owned(),
            format!("{:+.4}", line.difference),
            format!("{:+.4} to {:+.4}", line.low, line.high),
        ]);
    }
    table
}

fn watch(watch: &[Watch]) -> Table {
    let mut table = table([
        "incident",
        "suspected",
        "users until then, median",
        "9 of 10",
        "days to the decision, median",
        "9 of 10",
        "rolled back",
    ]);
    for line in watch {
        table.add_row([
            line.incident.to_owned(),
            percent(line.suspected),
            line.users[0].to_string(),
            line.users[1].to_string(),
            line.days[0].to_string(),
            line.days[1].to_string(),
            percent(line.rolled_back),
        ]);
    }
    table
}

//! Prints data checks as tables.

use std::fmt;

use comfy_table::Cell;

use super::{Check, DataChecks, DataProfile, FeatureProfile, Finding, Limit};
use crate::console;

/// Prints the features, then each check that warns or refuses.
pub fn print_checks(profile: &DataProfile, checks: &DataChecks) {
    println!(
        "data: {} cases, {} rows, {} days; rows by grade {:?}",
        profile.cases,
        profile.rows,
        profile.days.len(),
        profile.grades
    );
    let mut table = console::table(&["feature", "missing", "min", "p05", "median", "p95", "max", "drift"]);
    for (name, feature) in &profile.features {
        table.add_row(feature_row(name, feature, profile.rows));
    }
    println!("{table}");
    match &checks.reference {
        None => println!("no earlier run to compare with"),
        Some(reference) => {
            let what = if reference.published {
                "published"
            } else {
                "not published"
            };
            println!("compared with {} ({what})", reference.run.display());
        }
    }
    print_findings(checks);
    let of = |finding: Finding| checks.checks.iter().filter(|check| check.finding == finding).count();
    println!(
        "checks: {} passed, {} warnings, {} refused, {} without a reference",
        of(Finding::Passed),
        of(Finding::Warned),
        of(Finding::Refused),
        of(Finding::NoReference)
    );
    if !checks.passed {
        println!("checks: FAILED; nothing is trained ([checks] has the limits; --no-reference accepts a change)");
    }
}

fn print_findings(checks: &DataChecks) {
    let mut table = console::table(&["check", "column", "value", "limit", "", ""]);
    let to_show = |check: &&Check| matches!(check.finding, Finding::Warned | Finding::Refused);
    let mut is_empty = true;
    for check in checks.checks.iter().filter(to_show) {
        is_empty = false;
        table.add_row(vec![
            Cell::new(check.check.name()),
            Cell::new(check.column.as_deref().unwrap_or("-")),
            Cell::new(check.value.map_or_else(|| "-".to_owned(), number)),
            Cell::new(check.limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string())),
            match check.finding {
                Finding::Refused => console::verdict(false),
                _ => Cell::new("warning"),
            },
            Cell::new(check.note.as_deref().unwrap_or_default()),
        ]);
    }
    if !is_empty {
        println!("{table}");
    }
}

fn feature_row(name: &str, feature: &FeatureProfile, rows: u64) -> Vec<String> {
    let some = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
    let quantile = |name: &str| some(feature.quantiles.get(name).copied());
    vec![
        name.to_owned(),
        number(feature.nulls as f64 / rows.max(1) as f64),
        some(feature.min),
        quantile("p05"),
        quantile("p50"),
        quantile("p95"),
        some(feature.max),
        some(feature.stability_index),
    ]
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::AtLeast(limit) => write!(f, ">= {limit}"),
            Limit::AtMost(limit) => write!(f, "<= {limit}"),
            Limit::Above(limit) => write!(f, "> {limit}"),
        }
    }
}

/// Whole numbers as they are, others with four places.
fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value}")
    } else {
        format!("{value:.4}")
    }
}

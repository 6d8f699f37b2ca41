//! Judges the profile of a run's data, check by check.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use settings::Checks;

use super::{DataProfile, FeatureProfile};

/// How many days a note lists.
const DAYS_LISTED: usize = 5;

/// What a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckName {
    /// The number of cases.
    Cases,
    /// The share of the last run's cases that is gone.
    CasesLost,
    /// The number of rows.
    Rows,
    /// The share of the last run's rows that is gone.
    RowsLost,
    /// Days without cases between the first and the last.
    MissingDays,
    /// Rows with a label above 0.
    Positives,
    /// The change of the share of rows with a grade or a better one, as a share of what it was.
    LabelShift,
    /// The share of rows without the feature.
    Nulls,
    /// How much that grew.
    NullRise,
    /// The share of the feature's values outside of the allowed range.
    Range,
    /// The distance of the feature's least and greatest value.
    Spread,
    /// The feature's population stability index.
    Drift,
}

impl CheckName {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            CheckName::Cases => "cases",
            CheckName::CasesLost => "cases_lost",
            CheckName::Rows => "rows",
            CheckName::RowsLost => "rows_lost",
            CheckName::MissingDays => "missing_days",
            CheckName::Positives => "positives",
            CheckName::LabelShift => "label_shift",
            CheckName::Nulls => "nulls",
            CheckName::NullRise => "null_rise",
            CheckName::Range => "range",
            CheckName::Spread => "spread",
            CheckName::Drift => "drift",
        }
    }
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Nothing to say.
    Passed,
    /// For people to look at; stops nothing.
    Warned,
    /// Nothing is trained.
    Refused,
    /// There is nothing to compare with.
    NoReference,
}

/// What is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// More than this.
    Above(f64),
}

/// One check of one column, or of all data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What it looks at.
    pub check: CheckName,
    /// The column; `None`: not one alone.
    pub column: Option<String>,
    /// What it came to.
    pub finding: Finding,
    /// What was found; `None`: not compared.
    pub value: Option<f64>,
    /// The limit that was broken, or else the first one that could be.
    pub limit: Option<Limit>,
    /// More for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Check {
    fn new(check: CheckName, column: Option<&str>, finding: Finding, value: f64, limit: Limit) -> Check {
        Check {
            check,
            column: column.map(str::to_owned),
            finding,
            value: Some(value),
            limit: Some(limit),
            note: None,
        }
    }

    /// Refused below a number.
    fn at_least(check: CheckName, value: u64, least: u64) -> Check {
        let finding = if value < least {
            Finding::Refused
        } else {
            Finding::Passed
        };
        Check::new(check, None, finding, value as f64, Limit::AtLeast(least as f64))
    }

    /// A warning above one number, refused above another.
    fn at_most(check: CheckName, column: Option<&str>, value: f64, warn: f64, stop: f64) -> Check {
        let (finding, limit) = if value > stop {
            (Finding::Refused, stop)
        } else if value > warn {
            (Finding::Warned, warn)
        } else {
            (Finding::Passed, warn.min(stop))
        };
        Check::new(check, column, finding, value, Limit::AtMost(limit))
    }

    fn not_compared(check: CheckName, column: Option<&str>, note: &str) -> Check {
        Check {
            check,
            column: column.map(str::to_owned),
            finding: Finding::NoReference,
            value: None,
            limit: None,
            note: Some(note.to_owned()),
        }
    }

    fn noted(self, note: String) -> Check {
        Check {
            note: Some(note),
            ..self
        }
    }
}

/// Why a comparison was not made.
const NO_RUN: &str = "no earlier run";
const NO_FEATURE: &str = "the earlier run had no such feature";

/// Judges a profile, and what changed since `reference`.
pub fn judge(profile: &DataProfile, reference: Option<&DataProfile>, limits: &Checks) -> Vec<Check> {
    let lost = |check, now: u64, before: fn(&DataProfile) -> u64| match reference {
        None => Check::not_compared(check, None, NO_RUN),
        Some(reference) => {
            let before = before(reference);
            let gone = share(before.saturating_sub(now), before);
            Check::at_most(check, None, gone, limits.shrink_warn, limits.shrink_stop)
                .noted(format!("{now}, and {before} in the last run"))
        }
    };
    let mut checks = vec![
        Check::at_least(CheckName::Cases, profile.cases, limits.min_cases),
        lost(CheckName::CasesLost, profile.cases, |reference| reference.cases),
        Check::at_least(CheckName::Rows, profile.rows, limits.min_rows),
        lost(CheckName::RowsLost, profile.rows, |reference| reference.rows),
        missing_days(profile, reference, limits),
        Check::at_least(CheckName::Positives, reached(profile, 1), limits.min_positives),
    ];
    checks.extend((1..4).map(|grade| label_shift(grade, profile, reference, limits)));
    for (name, feature) in &profile.features {
        let (earlier, why_not) = match reference {
            None => (None, NO_RUN),
            Some(reference) => (
                reference.features.get(name).map(|feature| (feature, reference.rows)),
                NO_FEATURE,
            ),
        };
        checks.extend(of_feature(name, feature, profile.rows, earlier, why_not, limits));
    }
    checks
}

/// A part of a whole; 0 of nothing.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Rows with at least this grade.
fn reached(profile: &DataProfile, grade: usize) -> u64 {
    profile.grades[grade..].iter().sum()
}

/// Days without cases, also at the end if the last run had them. A day that the last run lacked, too, is old news:
/// it stops nothing, or a gap would stop every night for as long as it is in the window.
fn missing_days(profile: &DataProfile, reference: Option<&DataProfile>, limits: &Checks) -> Check {
    let no_days = Default::default();
    let before = reference.map_or(&no_days, |reference| &reference.days);
    let days = profile
        .days
        .first_key_value()
        .zip(profile.days.keys().chain(before.keys()).max());
    let missing: Vec<NaiveDate> = days.map_or(Vec::new(), |((first, _), last)| {
        let all = first.iter_days().take_while(|day| day <= last);
        all.filter(|day| !profile.days.contains_key(day)).collect()
    });
    let known = before.keys().next().zip(before.keys().next_back());
    let is_new =
        |day: &&NaiveDate| before.contains_key(day) || known.is_none_or(|(first, last)| *day < first || *day > last);
    let news = missing.iter().filter(is_new).count();
    let stop = f64::from(limits.missing_days_stop);
    let check = if news as f64 > stop {
        Check::at_most(CheckName::MissingDays, None, news as f64, 0.0, stop)
    } else {
        Check::at_most(CheckName::MissingDays, None, missing.len() as f64, 0.0, f64::INFINITY)
    };
    if missing.is_empty() {
        return check;
    }
    let listed: Vec<String> = missing.iter().take(DAYS_LISTED).map(NaiveDate::to_string).collect();
    let more = missing.len().saturating_sub(DAYS_LISTED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    check.noted(format!("{}{more}; {news} of them new", listed.join(", ")))
}

fn label_shift(grade: usize, profile: &DataProfile, reference: Option<&DataProfile>, limits: &Checks) -> Check {
    let check = CheckName::LabelShift;
    let column = ["", "click", "contact", "contract"][grade];
    let Some(reference) = reference else {
        return Check::not_compared(check, Some(column), NO_RUN);
    };
    let before = reached(reference, grade);
    if before < limits.min_positives || profile.rows == 0 {
        let note = format!("{before} rows in the last run are too few");
        return Check::not_compared(check, Some(column), &note);
    }
    let (now, before) = (
        share(reached(profile, grade), profile.rows),
        share(before, reference.rows),
    );
    let shift = (now / before - 1.0).abs();
    Check::at_most(
        check,
        Some(column),
        shift,
        limits.label_shift_warn,
        limits.label_shift_stop,
    )
    .noted(format!("{now:.4} of the rows, and {before:.4} in the last run"))
}

/// The checks of a feature; `earlier`: its profile in the last run, and the rows of that.
fn of_feature(
    name: &str,
    feature: &FeatureProfile,
    rows: u64,
    earlier: Option<(&FeatureProfile, u64)>,
    why_not: &str,
    limits: &Checks,
) -> [Check; 5] {
    let column = Some(name);
    let nulls = share(feature.nulls, rows);
    let null_rise = match earlier {
        None => Check::not_compared(CheckName::NullRise, column, why_not),
        Some((earlier, before)) => {
            let rise = (nulls - share(earlier.nulls, before)).max(0.0);
            Check::at_most(
                CheckName::NullRise,
                column,
                rise,
                limits.null_rise_warn,
                limits.null_rise_stop,
            )
        }
    };
    let outside = share(feature.outside, rows.saturating_sub(feature.nulls));
    let mut range = Check::at_most(CheckName::Range, column, outside, 0.0, limits.outside_stop);
    if let (Some(min), Some(max)) = (feature.min, feature.max) {
        let (least, most) = (limits.value_least, limits.value_most);
        range = range.noted(format!("{min} to {max}; allowed: {least} to {most}"));
    }
    let spread = feature.max.zip(feature.min).map_or(0.0, |(max, min)| max - min);
    let varies = if spread > 0.0 { Finding::Passed } else { Finding::Warned };
    let never = if limits.psi_stop == 0.0 {
        f64::INFINITY
    } else {
        limits.psi_stop
    };
    let drift = match earlier.and(feature.stability_index) {
        None => Check::not_compared(CheckName::Drift, column, why_not),
        Some(index) => Check::at_most(CheckName::Drift, column, index, limits.psi_warn, never),
    };
    [
        Check::at_most(CheckName::Nulls, column, nulls, limits.null_warn, limits.null_stop),
        null_rise,
        range,
        Check::new(CheckName::Spread, column, varies, spread, Limit::Above(0.0)),
        drift,
    ]
}

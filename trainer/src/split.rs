//! The temporal split: the past trains, a later part stops the training, the latest part judges.

use std::ops::Range;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::matrix::Case;

/// Which cases are which part. A case is in one part only, and every case of a part was shown
/// before every case of the next: cases of one instant are never cut apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What the trees and the scaler are fit on.
    pub train: Range<usize>,
    /// What early stopping watches.
    pub valid: Range<usize>,
    /// What the gate judges.
    pub test: Range<usize>,
}

/// What one part holds; `start` and `end` are the times of its first and last case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Time of the first case.
    pub start: DateTime<Utc>,
    /// Time of the last case.
    pub end: DateTime<Utc>,
    /// Cases (queries).
    pub cases: usize,
    /// Rows (lawyers shown).
    pub rows: usize,
}

/// A data set that cannot be split.
#[derive(Debug, thiserror::Error)]
#[error("the {part} part of the matrix has {problem}; needed: at least one case with a label above 0 in each part")]
pub struct SplitError {
    part: &'static str,
    problem: String,
}

/// Cuts `cases`, ordered by time, into parts. The fractions are of cases and leave a training part.
///
/// # Errors
/// A part without a single positive label.
pub fn split(cases: &[Case], valid_fraction: f64, test_fraction: f64) -> Result<Split, SplitError> {
    let count = cases.len() as f64;
    let test_from = instant_start(cases, (count * (1.0 - test_fraction)).round() as usize);
    let valid_from = count * (1.0 - test_fraction - valid_fraction);
    let valid_from = instant_start(cases, (valid_from.round() as usize).min(test_from));
    let split = Split {
        train: 0..valid_from,
        valid: valid_from..test_from,
        test: test_from..cases.len(),
    };
    split.check(cases)?;
    Ok(split)
}

/// The first case of the instant that the cut would fall into.
fn instant_start(cases: &[Case], mut cut: usize) -> usize {
    while cut > 0 && cut < cases.len() && cases[cut - 1].ts == cases[cut].ts {
        cut -= 1;
    }
    cut
}

impl Split {
    fn check(&self, cases: &[Case]) -> Result<(), SplitError> {
        for (part, range) in [("train", &self.train), ("valid", &self.valid), ("test", &self.test)] {
            let cases = &cases[range.clone()];
            let positive = |case: &Case| case.grades().into_iter().any(|grade| grade > 0);
            let problem = match cases {
                [] => "no case".to_owned(),
                [.., last] if !cases.iter().any(positive) => format!(
                    "{} cases up to {} and no label above 0",
                    cases.len(),
                    last.ts.to_rfc3339()
                ),
                _ => continue,
            };
            return Err(SplitError { part, problem });
        }
        Ok(())
    }
}

impl Part {
    /// Describes a part, which [`split`] has made sure is not empty.
    pub fn of(cases: &[Case]) -> Part {
        Part {
            start: cases[0].ts,
            end: cases[cases.len() - 1].ts,
            cases: cases.len(),
            rows: cases.iter().map(|case| case.rows.len()).sum(),
        }
    }
}

#[cfg(test)]
mod tests;

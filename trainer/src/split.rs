//! Splits cases by time into a training, a validation and a test part, oldest first.

use std::ops::Range;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::matrix::IndexedCase;

/// Case indices of each part. Every case of a part was shown before every case of the next part:
/// cases with the same timestamp are never separated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The trees and the scaler are fit on these.
    pub train: Range<usize>,
    /// Early stopping uses these.
    pub valid: Range<usize>,
    /// Held out for the evaluation and the gate.
    pub test: Range<usize>,
}

/// Time span and size of one part.
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

/// A part that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the {part} part of the matrix has {problem}; needed: at least one case with a label above 0 in each part")]
pub struct SplitError {
    part: &'static str,
    problem: String,
}

/// Splits `cases`, which are ordered by time. The fractions count cases; together they are below 1.
///
/// # Errors
/// A part without a single positive label.
pub fn split(cases: &[IndexedCase], valid_fraction: f64, test_fraction: f64) -> Result<Split, SplitError> {
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

/// Moves a cut back to the first case with the same timestamp.
fn instant_start(cases: &[IndexedCase], mut cut: usize) -> usize {
    while cut > 0 && cut < cases.len() && cases[cut - 1].ts == cases[cut].ts {
        cut -= 1;
    }
    cut
}

impl Split {
    fn check(&self, cases: &[IndexedCase]) -> Result<(), SplitError> {
        for (part, range) in [("train", &self.train), ("valid", &self.valid), ("test", &self.test)] {
            let cases = &cases[range.clone()];
            let problem = match cases {
                [] => "no case".to_owned(),
                [.., last] if !cases.iter().any(|case| case.has_positive) => format!(
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
    /// Describes a part. `cases` must not be empty, which [`split`] ensures.
    pub fn of(cases: &[IndexedCase]) -> Part {
        Part {
            start: cases[0].ts,
            end: cases[cases.len() - 1].ts,
            cases: cases.len(),
            rows: cases.iter().map(|case| case.rows).sum(),
        }
    }
}

#[cfg(test)]
mod tests;

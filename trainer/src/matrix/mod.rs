//! The matrix, which is the training data: the lawyers shown for each case, as served, with labels.
//!
//! On disk it is one Parquet file with one row per lawyer shown. The rows of a case are adjacent,
//! and cases are in order of event time:
//!
//! | column | type | |
//! |---|---|---|
//! | `qid` | text | the case's UUID |
//! | `lawyer_id` | text | |
//! | `label` | f32 | 0, 0.3, 0.6 or 1 |
//! | `grade` | i64 | 0 to 3, the integer form of the label |
//! | one column per feature | f64 | null: missing |
//! | `position` | i64 | position shown at, from 1 |
//! | `legacy_score` | f64 | as logged; null where the impression had none |
//! | `groups` | text | a JSON object, attribute -> group |
//! | `cases_30d`, `monthly_capacity` | i64 | as logged, or null |
//! | `last_offered_at` | timestamp (us, UTC) | null: never, or not logged |
//! | `source` | text | `legacy`, `ltr` or `interleaved`: what ranked the list shown |
//! | `event_date` | date | of `ts` |
//! | `ts` | timestamp (us, UTC) | when the case was first shown |
//! | `mature` | bool | whether its labels can change no more; absent: they cannot |

mod check;
pub mod days;
mod read;
mod stored;
mod write;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use ranking::{Candidate, Grade, Schema, Source};
use uuid::Uuid;

pub use check::MatrixError;
pub use read::read_columns;
pub(crate) use read::{instant, number, text};
pub use stored::{Index, IndexedCase, StoredMatrix};
pub use write::encode;

/// Columns before the features.
const BEFORE: [&str; 4] = ["qid", "lawyer_id", "label", "grade"];
/// Columns after the features.
const AFTER: [&str; 9] = [
    "position",
    "legacy_score",
    "groups",
    "cases_30d",
    "monthly_capacity",
    "last_offered_at",
    "source",
    "event_date",
    "ts",
];

/// Every case of the data set, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// The feature columns, in order.
    pub schema: Schema,
    /// Ordered by (`ts`, `qid`).
    pub cases: Vec<Case>,
}

/// One query, in learning-to-rank terms: the lawyers shown for one case.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The case's id.
    pub qid: Uuid,
    /// When the case was first shown, to the microsecond.
    pub ts: DateTime<Utc>,
    /// What ranked the list shown.
    pub source: Source,
    /// The lawyers, at least two, in the order shown.
    pub rows: Vec<Shown>,
}

/// One lawyer as shown, with a grade.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// The lawyer's id.
    pub lawyer_id: String,
    /// The client's strongest action.
    pub grade: Grade,
    /// Feature values as served, in schema order; NaN = missing.
    pub features: Vec<f64>,
    /// 1-based position.
    pub position: u32,
    /// The legacy score as served; `None`: not logged.
    pub legacy_score: Option<f64>,
    /// Attribute -> group.
    pub groups: BTreeMap<String, String>,
    /// Load (cases in the last 30 days); `None`: not logged.
    pub cases_30d: Option<u32>,
    /// Capacity; `None`: not logged.
    pub monthly_capacity: Option<u32>,
    /// `None`: never offered, or not logged.
    pub last_offered_at: Option<DateTime<Utc>>,
}

impl Matrix {
    /// Number of rows in all cases.
    pub fn rows(&self) -> usize {
        self.cases.iter().map(|case| case.rows.len()).sum()
    }
}

impl Case {
    /// The lawyers as input of the fairness re-rank. `None` if load or capacity was not logged: the
    /// order that a user would see is then unknown.
    pub fn candidates(&self) -> Option<Vec<Candidate>> {
        self.rows
            .iter()
            .map(|row| {
                Some(Candidate {
                    lawyer_id: row.lawyer_id.clone(),
                    features: row.features.clone(),
                    cases_30d: row.cases_30d?,
                    monthly_capacity: row.monthly_capacity?,
                    groups: row.groups.clone(),
                    last_offered_at: row.last_offered_at,
                })
            })
            .collect()
    }

    /// Grade and position of each lawyer, in the order shown.
    pub fn shown(&self) -> Vec<(Grade, u32)> {
        self.rows.iter().map(|row| (row.grade, row.position)).collect()
    }
}

/// The features of these cases, row-major, in the order shown.
pub fn values(cases: &[Case]) -> Vec<f64> {
    cases
        .iter()
        .flat_map(|case| &case.rows)
        .flat_map(|row| &row.features)
        .copied()
        .collect()
}

/// All column names of a matrix with this schema, in order.
fn columns(schema: &Schema) -> impl Iterator<Item = &str> {
    let features = schema.names().iter().map(String::as_str);
    BEFORE.into_iter().chain(features).chain(AFTER)
}

#[cfg(test)]
pub(crate) mod tests;

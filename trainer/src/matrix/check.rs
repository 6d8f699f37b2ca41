//! The rules for a matrix that span rows, and the errors for a matrix that breaks a rule.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::Case;

/// Why a matrix is invalid. Rows are counted from 1.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// The bytes are not Parquet or are damaged.
    #[error("not a readable Parquet file: {0}")]
    Parquet(String),
    /// A required column is missing.
    #[error("column {column}: missing; needed: {needed}")]
    MissingColumn {
        /// Its name.
        column: String,
        /// All columns a matrix has.
        needed: String,
    },
    /// An unknown column, e.g. a feature that is not in the schema.
    #[error("column {column}: not part of a matrix; allowed: {allowed}")]
    UnknownColumn {
        /// Its name.
        column: String,
        /// All columns a matrix has.
        allowed: String,
    },
    /// A column has the wrong type.
    #[error("column {column}: {found}; allowed: {allowed}")]
    ColumnType {
        /// Its name.
        column: String,
        /// Its type.
        found: String,
        /// The allowed types.
        allowed: &'static str,
    },
    /// A value is not allowed.
    #[error("row {row}, column {column}: {value}; allowed: {allowed}")]
    Value {
        /// Counted from 1.
        row: usize,
        /// The column's name.
        column: String,
        /// The value.
        value: String,
        /// The allowed values.
        allowed: String,
    },
    /// The matrix as a whole is unusable.
    #[error("column {column}: {problem}; needed: {needed}")]
    Whole {
        /// The column with the problem.
        column: &'static str,
        /// What is wrong.
        problem: String,
        /// What is needed.
        needed: &'static str,
    },
}

impl MatrixError {
    pub(crate) fn value(row: usize, column: &str, value: impl ToString, allowed: impl ToString) -> MatrixError {
        MatrixError::Value {
            row: row + 1,
            column: column.to_owned(),
            value: value.to_string(),
            allowed: allowed.to_string(),
        }
    }
}

/// Checks the rules that span rows of a file.
///
/// The rows of a case are adjacent, and cases are in time order. A case has at least two rows, each
/// of another lawyer, with ascending positions.
pub(super) fn check_cases(cases: &[Case]) -> Result<(), MatrixError> {
    let mut first_row: HashMap<Uuid, usize> = HashMap::new();
    let mut row = 0;
    let mut before: Option<&Case> = None;
    for case in cases {
        in_order(case, before, row, &mut first_row)?;
        rows_fit(case, row)?;
        row += case.rows.len();
        before = Some(case);
    }
    Ok(())
}

/// Checks that something can be learned: there are cases, and a label above 0. Of a list of days that holds for
/// all together, because the newest have no mature case.
pub(super) fn check_whole(cases: &[Case]) -> Result<(), MatrixError> {
    if cases.is_empty() {
        return Err(MatrixError::Whole {
            column: "qid",
            problem: "no rows of mature cases".to_owned(),
            needed: "at least one case with two lawyers shown",
        });
    }
    let positive = |case: &Case| case.rows.iter().any(|r| r.grade.value() > 0);
    if !cases.iter().any(positive) {
        return Err(MatrixError::Whole {
            column: "label",
            problem: format!(
                "0 in all {} rows",
                cases.iter().map(|case| case.rows.len()).sum::<usize>()
            ),
            needed: "at least one label above 0, because nothing can be learned without one",
        });
    }
    Ok(())
}

fn in_order(
    case: &Case,
    before: Option<&Case>,
    row: usize,
    first_row: &mut HashMap<Uuid, usize>,
) -> Result<(), MatrixError> {
    if let Some(earlier) = first_row.insert(case.qid, row) {
        let allowed = format!("adjacent rows for each case; this case began at row {}", earlier + 1);
        return Err(MatrixError::value(row, "qid", case.qid, allowed));
    }
    let Some(before) = before else {
        return Ok(());
    };
    if case.ts < before.ts {
        let allowed = format!("{} (the case before it) or later", before.ts.to_rfc3339());
        return Err(MatrixError::value(row, "ts", case.ts.to_rfc3339(), allowed));
    }
    if case.ts == before.ts && case.qid < before.qid {
        let allowed = format!("above {}, the case before it at the same time", before.qid);
        return Err(MatrixError::value(row, "qid", case.qid, allowed));
    }
    Ok(())
}

fn rows_fit(case: &Case, first: usize) -> Result<(), MatrixError> {
    if case.rows.len() < 2 {
        let value = format!("{} has one row", case.qid);
        let allowed = "at least two lawyers per case, because one cannot be ranked";
        return Err(MatrixError::value(first, "qid", value, allowed));
    }
    let mut lawyers = HashSet::new();
    let mut position = 0;
    for (at, row) in case.rows.iter().enumerate() {
        if !lawyers.insert(row.lawyer_id.as_str()) {
            let allowed = "each lawyer only once per case";
            let value = format!("{:?}", row.lawyer_id);
            return Err(MatrixError::value(first + at, "lawyer_id", value, allowed));
        }
        if row.position <= position {
            let allowed = format!("above {position}, the position of the row before it");
            return Err(MatrixError::value(first + at, "position", row.position, allowed));
        }
        position = row.position;
    }
    Ok(())
}

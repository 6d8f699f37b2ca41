//! The rules for a matrix that span rows, and the errors for a matrix that breaks a rule.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
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

    /// The same error, its row counted from `rows` rows earlier on.
    pub(super) fn behind(mut self, rows: usize) -> MatrixError {
        if let MatrixError::Value { row, .. } = &mut self {
            *row += rows;
        }
        self
    }
}

/// Checks the rules that span rows, case by case.
///
/// The rows of a case are adjacent, and cases are in time order, also across files. A case has at
/// least two rows, each of another lawyer, with ascending positions.
///
/// That there are cases, and a label above 0, holds for all files together: the newest days of a list
/// have no mature case.
#[derive(Debug, Default)]
pub(super) struct Checker {
    /// Time and id of the case before.
    before: Option<(DateTime<Utc>, Uuid)>,
    /// The first row of each case of this file, counted from 0.
    first_row: HashMap<Uuid, usize>,
    /// Rows of this file.
    row: usize,
    /// Rows of all files.
    rows: usize,
    has_positive: bool,
}

impl Checker {
    /// The next file begins: rows are counted from 1 again.
    pub(super) fn next_file(&mut self) {
        self.row = 0;
        self.first_row.clear();
    }

    /// Checks the next case.
    pub(super) fn case(&mut self, case: &Case) -> Result<(), MatrixError> {
        self.in_order(case)?;
        rows_fit(case, self.row)?;
        self.row += case.rows.len();
        self.rows += case.rows.len();
        self.has_positive |= case.rows.iter().any(|row| row.grade.value() > 0);
        self.before = Some((case.ts, case.qid));
        Ok(())
    }

    /// Checks the rules on the whole, after the last case.
    pub(super) fn whole(&self) -> Result<(), MatrixError> {
        if self.rows == 0 {
            return Err(MatrixError::Whole {
                column: "qid",
                problem: "no rows of mature cases".to_owned(),
                needed: "at least one case with two lawyers shown",
            });
        }
        if !self.has_positive {
            return Err(MatrixError::Whole {
                column: "label",
                problem: format!("0 in all {} rows", self.rows),
                needed: "at least one label above 0, because nothing can be learned without one",
            });
        }
        Ok(())
    }

    fn in_order(&mut self, case: &Case) -> Result<(), MatrixError> {
        if let Some(earlier) = self.first_row.insert(case.qid, self.row) {
            let allowed = format!("adjacent rows for each case; this case began at row {}", earlier + 1);
            return Err(MatrixError::value(self.row, "qid", case.qid, allowed));
        }
        let Some((ts, qid)) = self.before else {
            return Ok(());
        };
        if case.ts < ts {
            let allowed = format!("{} (the case before it) or later", ts.to_rfc3339());
            return Err(MatrixError::value(self.row, "ts", case.ts.to_rfc3339(), allowed));
        }
        if case.ts == ts && case.qid < qid {
            let allowed = format!("above {qid}, the case before it at the same time");
            return Err(MatrixError::value(self.row, "qid", case.qid, allowed));
        }
        Ok(())
    }
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

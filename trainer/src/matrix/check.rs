//! What a matrix must be, and what is said when it is not.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::Case;

/// Why a matrix was refused. Rows are counted from 1.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// The bytes are not Parquet, or are damaged.
    #[error("not a readable Parquet file: {0}")]
    Parquet(String),
    /// A column that has to be there is not.
    #[error("column {column}: missing; needed: {needed}")]
    MissingColumn {
        /// Its name.
        column: String,
        /// All columns a matrix has.
        needed: String,
    },
    /// A column that a matrix does not have: a feature outside the schema, or something else.
    #[error("column {column}: not part of a matrix; allowed: {allowed}")]
    UnknownColumn {
        /// Its name.
        column: String,
        /// All columns a matrix has.
        allowed: String,
    },
    /// A column of the wrong type.
    #[error("column {column}: {found}; allowed: {allowed}")]
    ColumnType {
        /// Its name.
        column: String,
        /// The type it has.
        found: String,
        /// The types it may have.
        allowed: &'static str,
    },
    /// One value.
    #[error("row {row}, column {column}: {value}; allowed: {allowed}")]
    Value {
        /// Counted from 1.
        row: usize,
        /// The column's name.
        column: String,
        /// What stands there.
        value: String,
        /// What may stand there.
        allowed: String,
    },
    /// The matrix as a whole.
    #[error("column {column}: {problem}; needed: {needed}")]
    Whole {
        /// The column that shows it.
        column: &'static str,
        /// What is wrong.
        problem: String,
        /// What a matrix needs.
        needed: &'static str,
    },
}

impl MatrixError {
    pub(super) fn value(row: usize, column: &str, value: impl ToString, allowed: impl ToString) -> MatrixError {
        MatrixError::Value {
            row: row + 1,
            column: column.to_owned(),
            value: value.to_string(),
            allowed: allowed.to_string(),
        }
    }
}

/// Holds the rules that span rows: cases together and in time order, lawyers once, positions
/// ascending, at least two rows a case and one positive label in all.
pub(super) fn check(cases: &[Case]) -> Result<(), MatrixError> {
    if cases.is_empty() {
        return Err(MatrixError::Whole {
            column: "qid",
            problem: "no rows".to_owned(),
            needed: "at least one case with two lawyers shown",
        });
    }
    let mut first_row: HashMap<Uuid, usize> = HashMap::new();
    let mut row = 0;
    let mut before: Option<&Case> = None;
    for case in cases {
        in_order(case, before, row, &mut first_row)?;
        rows_fit(case, row)?;
        row += case.rows.len();
        before = Some(case);
    }
    let positive = |case: &Case| case.rows.iter().any(|r| r.grade.value() > 0);
    if !cases.iter().any(positive) {
        return Err(MatrixError::Whole {
            column: "label",
            problem: format!("0 in all {row} rows"),
            needed: "at least one label above 0: nothing can be learned from shown lawyers alone",
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
        let allowed = format!("the rows of one case together; this case began at row {}", earlier + 1);
        return Err(MatrixError::value(row, "qid", case.qid, allowed));
    }
    let Some(before) = before else {
        return Ok(());
    };
    if case.ts < before.ts {
        let allowed = format!("not before the case above it, {}", before.ts.to_rfc3339());
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
        let allowed = "at least two lawyers a case: one alone cannot be ranked";
        return Err(MatrixError::value(first, "qid", value, allowed));
    }
    let mut lawyers = HashSet::new();
    let mut position = 0;
    for (at, row) in case.rows.iter().enumerate() {
        if !lawyers.insert(row.lawyer_id.as_str()) {
            let allowed = "each lawyer once a case";
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

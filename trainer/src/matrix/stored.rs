//! A matrix on disk. It is read in passes, some rows at a time: the features never are in memory as
//! a whole. What else a training needs of each row is small, and is held ([`Index`]).

use std::ops::Range;
use std::path::Path;

use anyhow::Context;
use chrono::{DateTime, Utc};
use ranking::{Grade, Schema};
use uuid::Uuid;

use super::Case;
use super::check::Checker;
use super::days::MatrixFiles;
use super::read::{Cases, Features};

/// A matrix in one file, or in those that a list of days names.
#[derive(Debug)]
pub struct StoredMatrix {
    files: MatrixFiles,
    /// Where each file begins.
    starts: Vec<Start>,
    schema: Schema,
    index: Index,
}

/// What lies before a file.
#[derive(Debug, Clone, Copy)]
struct Start {
    /// Mature cases.
    case: usize,
    /// Mature rows.
    row: usize,
}

/// Everything but the features: about 5 bytes a row and 40 a case.
#[derive(Debug, Default)]
pub struct Index {
    /// The cases, oldest first.
    pub cases: Vec<IndexedCase>,
    /// The grade of each row.
    pub grades: Vec<Grade>,
    /// The position of each row.
    pub positions: Vec<u32>,
}

/// One case, without its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexedCase {
    /// The case's id.
    pub qid: Uuid,
    /// When the ranking was shown.
    pub ts: DateTime<Utc>,
    /// The first row.
    pub first_row: usize,
    /// Lawyers shown.
    pub rows: usize,
    /// Whether a label is above 0.
    pub has_positive: bool,
}

impl Index {
    pub(super) fn add(&mut self, case: &Case) {
        self.cases.push(IndexedCase {
            qid: case.qid,
            ts: case.ts,
            first_row: self.grades.len(),
            rows: case.rows.len(),
            has_positive: case.rows.iter().any(|row| row.grade > Grade::Shown),
        });
        self.grades.extend(case.rows.iter().map(|row| row.grade));
        self.positions.extend(case.rows.iter().map(|row| row.position));
    }

    /// The rows of these cases.
    pub fn rows(&self, cases: &Range<usize>) -> Range<usize> {
        let start = |case: usize| self.cases.get(case).map_or(self.grades.len(), |case| case.first_row);
        start(cases.start)..start(cases.end)
    }

    /// Grade and position of each lawyer shown, for each of these cases.
    pub fn shown(&self, cases: Range<usize>) -> impl Iterator<Item = Vec<(Grade, u32)>> {
        self.cases[cases].iter().map(|case| {
            let rows = case.first_row..case.first_row + case.rows;
            let positions = self.positions[rows.clone()].iter().copied();
            self.grades[rows].iter().copied().zip(positions).collect()
        })
    }
}

impl StoredMatrix {
    /// Reads the matrix at `path` once, or those that the list of days at `path` names, from
    /// `window_days` before the newest of them on (0: all). Checks all rules, and keeps the index. Cases
    /// that are not mature are left out, because their labels may still change.
    ///
    /// # Errors
    /// A file that cannot be read or breaks a rule; a matrix that was made again since it was listed;
    /// no mature case; no label above 0.
    pub fn open(path: &Path, window_days: u32, schema: &Schema) -> anyhow::Result<StoredMatrix> {
        let files = MatrixFiles::of(path, window_days)?;
        let (mut checker, mut index, mut starts) = (Checker::default(), Index::default(), Vec::new());
        files.each(|file| {
            starts.push(Start {
                case: index.cases.len(),
                row: index.grades.len(),
            });
            checker.next_file();
            for cases in Cases::of(file, schema)? {
                for case in &cases? {
                    checker.case(case)?;
                    index.add(case);
                }
            }
            Ok(())
        })?;
        checker.whole().with_context(|| files.reading_all())?;
        Ok(StoredMatrix {
            files,
            starts,
            schema: schema.clone(),
            index,
        })
    }

    /// SHA-256 of the file at the path: of the matrix, or of the list that has the matrices' hashes.
    pub fn sha256(&self) -> &str {
        self.files.sha256()
    }

    /// The feature columns, in order.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Everything but the features.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Reads these cases as a whole.
    ///
    /// # Errors
    /// A file that cannot be read, or that changed since the matrix was opened.
    pub fn cases(&self, wanted: Range<usize>) -> anyhow::Result<Vec<Case>> {
        let mut found = Vec::with_capacity(wanted.len());
        for (at, start) in self.starts.iter().enumerate() {
            let end = self.starts.get(at + 1).map_or(self.index.cases.len(), |next| next.case);
            if start.case >= wanted.end || end <= wanted.start {
                continue;
            }
            let mut number = start.case;
            let reading = || self.files.reading(at);
            for cases in Cases::of(self.files.open(at)?, &self.schema).with_context(reading)? {
                for case in cases.with_context(reading)? {
                    if wanted.contains(&number) {
                        found.push(case);
                    }
                    number += 1;
                }
            }
        }
        Ok(found)
    }

    /// Calls `take` with the number and the features of each of these rows, in order.
    ///
    /// # Errors
    /// A file that cannot be read, or that changed since the matrix was opened; an error of `take`.
    pub fn each_row(
        &self,
        wanted: Range<usize>,
        mut take: impl FnMut(usize, &[f64]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for (at, start) in self.starts.iter().enumerate() {
            let end = self.starts.get(at + 1).map_or(self.index.grades.len(), |next| next.row);
            if start.row >= wanted.end || end <= wanted.start {
                continue;
            }
            let mut row = start.row;
            let reading = || self.files.reading(at);
            for values in Features::of(self.files.open(at)?, &self.schema).with_context(reading)? {
                let values = values.with_context(reading)?;
                for features in values.chunks_exact(self.schema.len()) {
                    if wanted.contains(&row) {
                        take(row, features)?;
                    }
                    row += 1;
                }
                if row >= wanted.end {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The features of these rows, which are in ascending order: row-major values.
    ///
    /// # Errors
    /// As [`StoredMatrix::each_row`].
    pub fn features(&self, rows: &[usize]) -> anyhow::Result<Vec<f64>> {
        let mut values = Vec::with_capacity(rows.len() * self.schema.len());
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(values);
        };
        let mut missing = rows.iter().peekable();
        self.each_row(*first..last + 1, |row, features| {
            if missing.next_if_eq(&&row).is_some() {
                values.extend_from_slice(features);
            }
            Ok(())
        })?;
        Ok(values)
    }
}

#[cfg(test)]
mod tests;

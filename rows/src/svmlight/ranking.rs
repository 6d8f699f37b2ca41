//! Ranking data: rows in query groups, and what stands in files beside them.

use std::collections::HashSet;
use std::path::Path;

use super::beside::{self, Beside};
use super::{Sparse, all_or_none, parse};
use crate::error::ReadError;
use crate::{RowsError, open};

/// Rows of a ranking data set, query after query.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// Columns a row.
    pub width: usize,
    /// Row-major.
    pub values: Vec<f64>,
    /// The label of each row, finite.
    pub labels: Vec<f64>,
    /// Rows of each query, in order; they sum to the number of rows.
    pub groups: Vec<u32>,
    /// `qid:` of each query, where the rows have it.
    pub qids: Option<Vec<u64>>,
    /// Line of each row, from 1.
    pub lines: Vec<u64>,
    /// Of each row, from `<path>.weight`.
    pub weights: Option<Vec<f32>>,
    /// Where each row was shown, from `<path>.position`: equal texts have equal numbers.
    pub positions: Option<Vec<u32>>,
    /// From `<path>.init`: those of the first output, row by row, then those of the next.
    pub initial_scores: Option<Vec<f64>>,
}

/// Reads `path` and the files beside it that LightGBM loads with it: `<path>.query` with query sizes, `<path>.weight`,
/// `<path>.position` and `<path>.init`.
///
/// Queries are also told by the rows' `qid:`, equal ones side by side; where both are there, they must agree.
///
/// # Errors
/// What cannot be read; a row without a label or a query; a file beside that does not fit the rows; a query whose rows
/// are apart.
pub fn read_ranking(path: &Path) -> Result<Ranking, RowsError> {
    let in_rows = |error: ReadError| error.in_file(path);
    let sparse = parse(open(path)?, None).map_err(in_rows)?;
    let labels = all_or_none(&sparse.labels, &sparse.lines, "a label")
        .and_then(|labels| labels.ok_or_else(|| unlabelled(&sparse)))
        .map_err(in_rows)?;
    let rows = sparse.ends.len();
    let qids = all_or_none(&sparse.qids, &sparse.lines, "a qid:").map_err(in_rows)?;
    let query = Beside::read(path, ".query")?;
    let groups = match (&query, &qids) {
        (Some(query), None) => query.queries(rows)?.into_iter().map(|(_, size)| size).collect(),
        (Some(query), Some(qids)) => both_ways(query, qids, path)?,
        (None, Some(qids)) => by_qid(qids, &sparse.lines).map_err(in_rows)?,
        (None, None) => return Err(in_rows(ungrouped(&sparse, path))),
    };
    let weights = Beside::read(path, ".weight")?;
    let positions = Beside::read(path, ".position")?;
    let initial_scores = Beside::read(path, ".init")?;
    Ok(Ranking {
        width: sparse.width,
        values: sparse.dense(sparse.width).map_err(in_rows)?,
        labels,
        groups,
        qids: qids.map(|qids| qids.chunk_by(|a, b| a == b).map(|query| query[0]).collect()),
        weights: weights.map(|file| file.weights(rows)).transpose()?,
        positions: positions.map(|file| file.positions(rows)).transpose()?,
        initial_scores: initial_scores.map(|file| file.initial_scores(rows)).transpose()?,
        lines: sparse.lines,
    })
}

fn unlabelled(sparse: &Sparse) -> ReadError {
    ReadError::refused(sparse.lines[0], None, "a row without a label", "a label on every row")
}

fn ungrouped(sparse: &Sparse, path: &Path) -> ReadError {
    let query = beside::name(path, ".query");
    let mut allowed = format!("qid:N on every row, or {} beside the file", query.display());
    let group = beside::name(path, ".group");
    if group.exists() {
        allowed += &format!(", which is LightGBM's name for {}", group.display());
    }
    ReadError::refused(sparse.lines[0], None, "a row without a query", allowed)
}

/// The sizes that the file beside gives, if the rows' own ids change at the same places.
fn both_ways(query: &Beside, qids: &[u64], path: &Path) -> Result<Vec<u32>, RowsError> {
    let sizes = query.queries(qids.len())?;
    let mut runs = qids.chunk_by(|a, b| a == b);
    for &(line, size) in &sizes {
        // Sizes and runs have the same sum: one that ends too early differs before.
        let run = runs.next().unwrap_or_default();
        if run.len() != size as usize {
            let allowed = match run.first() {
                Some(qid) => format!("{}, the rows of qid:{qid} in {}", run.len(), path.display()),
                None => format!("no further query, as in {}", path.display()),
            };
            let allowed = format!("{allowed}; take one of the two out");
            return Err(query.refused(line, &format!("a query of {size} rows"), allowed));
        }
    }
    Ok(sizes.into_iter().map(|(_, size)| size).collect())
}

fn by_qid(qids: &[u64], lines: &[u64]) -> Result<Vec<u32>, ReadError> {
    let mut groups = Vec::new();
    let mut done = HashSet::new();
    let mut row = 0;
    for group in qids.chunk_by(|a, b| a == b) {
        if !done.insert(group[0]) {
            let allowed = "the rows of a query side by side";
            return Err(ReadError::refused(
                lines[row],
                None,
                &format!("qid:{} again", group[0]),
                allowed,
            ));
        }
        row += group.len();
        groups.push(u32::try_from(group.len()).expect("a file has fewer rows than 2^32"));
    }
    Ok(groups)
}

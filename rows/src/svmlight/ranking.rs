//! Ranking data: rows in query groups.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Sparse, all_or_none, parse};
use crate::error::Trouble;
use crate::{RowsError, open};

/// Rows of a ranking data set, query after query.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// Columns a row.
    pub width: usize,
    /// Row-major.
    pub values: Vec<f64>,
    /// The grade of each row, an integer of at least 0.
    pub labels: Vec<f64>,
    /// Rows of each query, in order; they sum to the number of rows.
    pub groups: Vec<u32>,
}

/// Longest `.query` file that is read.
const MAX_QUERY_BYTES: u64 = 1 << 30;

/// Reads `path` with the query sizes of `<path>.query` beside it (one size a line), or, where there is no such file,
/// by the rows' `qid:`, equal ones side by side.
///
/// # Errors
/// What cannot be read; a row without a label; sizes that do not sum to the rows; a query whose rows are apart.
pub fn read_ranking(path: &Path) -> Result<Ranking, RowsError> {
    let in_rows = |trouble: Trouble| trouble.in_file(path);
    let sparse = parse(open(path)?, None).map_err(in_rows)?;
    let labels = grades(&sparse).map_err(in_rows)?;
    let query = query_file(path);
    let groups = if query.exists() {
        sizes(&query, sparse.ends.len()).map_err(|trouble| trouble.in_file(&query))?
    } else {
        by_qid(&sparse, &query).map_err(in_rows)?
    };
    Ok(Ranking {
        width: sparse.width,
        values: sparse.dense(sparse.width).map_err(in_rows)?,
        labels,
        groups,
    })
}

fn query_file(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".query");
    name.into()
}

fn grades(sparse: &Sparse) -> Result<Vec<f64>, Trouble> {
    let allowed = "a grade, an integer of at least 0";
    let rows = sparse.labels.iter().zip(&sparse.lines);
    rows.map(|(label, &line)| match *label {
        Some(grade) if grade >= 0.0 && grade.fract() == 0.0 => Ok(grade),
        Some(other) => Err(Trouble::refused(line, None, &format!("label {other}"), allowed)),
        None => Err(Trouble::refused(line, None, "a row without a label", allowed)),
    })
    .collect()
}

fn sizes(query: &Path, rows: usize) -> Result<Vec<u32>, Trouble> {
    let mut text = String::new();
    std::fs::File::open(query)?
        .take(MAX_QUERY_BYTES)
        .read_to_string(&mut text)?;
    let mut sizes = Vec::new();
    let mut sum = 0usize;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let size: Option<u32> = line.parse().ok().filter(|size| *size > 0);
        let size =
            size.ok_or_else(|| Trouble::refused(number, None, line, "the size of a query, an integer of at least 1"))?;
        sizes.push(size);
        sum += size as usize;
    }
    if sum != rows {
        let value = format!("sizes that sum to {sum}");
        return Err(Trouble::refused(
            0,
            None,
            &value,
            format!("a sum of {rows}, the rows of the data file"),
        ));
    }
    Ok(sizes)
}

fn by_qid(sparse: &Sparse, query: &Path) -> Result<Vec<u32>, Trouble> {
    let Some(qids) = all_or_none(&sparse.qids, &sparse.lines, "a qid:")? else {
        let allowed = format!("qid:N on every row, or {} beside the file", query.display());
        return Err(Trouble::refused(
            sparse.lines[0],
            None,
            "a row without a query",
            allowed,
        ));
    };
    let mut groups = Vec::new();
    let mut done = HashSet::new();
    let mut row = 0;
    for group in qids.chunk_by(|a, b| a == b) {
        if !done.insert(group[0]) {
            let allowed = "the rows of a query side by side";
            return Err(Trouble::refused(
                sparse.lines[row],
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

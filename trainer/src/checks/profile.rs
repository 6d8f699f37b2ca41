//! What a run's data looks like: sizes, days, labels, and the distribution of each feature.

use std::collections::BTreeMap;
use std::fs::File;

use arrow::array::{Array, Float64Array};
use chrono::NaiveDate;
use ranking::statistics::quantile;
use ranking::{Bins, Schema, stability_index};
use serde::{Deserialize, Serialize};
use settings::Checks;

use crate::matrix::days::MatrixFiles;
use crate::matrix::{self, MatrixError};
use crate::progress;

/// Which quantiles a profile has.
const QUANTILES: [(&str, f64); 5] = [("p01", 0.01), ("p05", 0.05), ("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

/// What the mature cases of some days look like.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DataProfile {
    /// SHA-256 of the list of days, or of the matrix.
    pub matrix_sha256: String,
    /// Cases (queries).
    pub cases: u64,
    /// Rows (lawyers shown).
    pub rows: u64,
    /// Rows by grade, 0 to 3.
    pub grades: [u64; 4],
    /// Cases by the day (UTC) on which they were first shown; days without cases are left out.
    pub days: BTreeMap<NaiveDate, u64>,
    /// By name.
    pub features: BTreeMap<String, FeatureProfile>,
}

/// The distribution of a feature.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FeatureProfile {
    /// Rows without it.
    pub nulls: u64,
    /// Values below `checks.value_least` or above `checks.value_most`.
    pub outside: u64,
    /// The least value; `None`: no row has one.
    pub min: Option<f64>,
    /// The greatest value.
    pub max: Option<f64>,
    /// `p01` to `p99`.
    pub quantiles: BTreeMap<String, f64>,
    /// Between its deciles: what the next run counts its own values in.
    pub bins: Bins,
    /// Rows in each bin; the last are those without the feature.
    pub counts: Vec<u64>,
    /// The population stability index against the reference; `None`: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stability_index: Option<f64>,
}

/// Describes the data in `files`. Holds one column at a time, so that the whole never has to fit into memory.
pub(super) fn of(
    files: &MatrixFiles,
    features: &Schema,
    reference: Option<&DataProfile>,
    limits: &Checks,
) -> anyhow::Result<DataProfile> {
    let mut profile = DataProfile {
        matrix_sha256: files.sha256().to_owned(),
        ..DataProfile::default()
    };
    files.each(|file| profile.add(file))?;
    let bar = progress::bar("check", features.len());
    for name in features.names() {
        bar.set_message(name.clone());
        let mut column = Column::default();
        files.each(|file| column.add(file, name))?;
        let earlier = reference.and_then(|reference| reference.features.get(name));
        profile.features.insert(name.clone(), column.profile(earlier, limits));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(profile)
}

impl DataProfile {
    /// Adds the mature rows of a matrix.
    fn add(&mut self, file: File) -> Result<(), MatrixError> {
        let batch = matrix::read_columns(file, &["qid", "grade", "ts"])?;
        let (qid, grade) = (matrix::text(&batch, "qid")?, matrix::number(&batch, "grade")?);
        let ts = matrix::instant(&batch, "ts")?;
        for row in 0..batch.num_rows() {
            let of_grade = grade.is_valid(row).then(|| grade.value(row));
            let Some(at) = (0..4_u8).find(|at| of_grade == Some(f64::from(*at))) else {
                let value = of_grade.map_or("null".to_owned(), |grade| grade.to_string());
                return Err(MatrixError::value(row, "grade", value, "0, 1, 2 or 3"));
            };
            self.grades[usize::from(at)] += 1;
            // The rows of a case are adjacent.
            if row == 0 || qid.value(row) != qid.value(row - 1) {
                let time = ts.is_valid(row).then(|| ts.value_as_datetime(row)).flatten();
                let time = time.ok_or_else(|| MatrixError::value(row, "ts", "null", "a time within the calendar"))?;
                *self.days.entry(time.date()).or_default() += 1;
                self.cases += 1;
            }
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }
}

/// A feature's values in all rows.
#[derive(Default)]
struct Column {
    values: Vec<f64>,
    nulls: u64,
}

impl Column {
    fn add(&mut self, file: File, name: &str) -> Result<(), MatrixError> {
        let batch = matrix::read_columns(file, &[name])?;
        let column: Float64Array = matrix::number(&batch, name)?;
        for (row, value) in column.iter().enumerate() {
            match value {
                Some(value) if value.is_infinite() => {
                    let allowed = "a finite number, or null where the feature is missing";
                    return Err(MatrixError::value(row, name, value, allowed));
                }
                Some(value) if !value.is_nan() => self.values.push(value),
                _ => self.nulls += 1,
            }
        }
        Ok(())
    }

    fn profile(mut self, reference: Option<&FeatureProfile>, limits: &Checks) -> FeatureProfile {
        self.values.sort_by(f64::total_cmp);
        let sorted = &self.values;
        let is_outside = |value: &&f64| **value < limits.value_least || **value > limits.value_most;
        let bins = Bins::between_deciles(sorted);
        let quantiles = QUANTILES.iter();
        FeatureProfile {
            nulls: self.nulls,
            outside: sorted.iter().filter(is_outside).count() as u64,
            min: sorted.first().copied(),
            max: sorted.last().copied(),
            quantiles: quantiles
                .filter_map(|(name, p)| Some(((*name).to_owned(), quantile(sorted, *p)?)))
                .collect(),
            counts: bins.counts(sorted, self.nulls),
            bins,
            stability_index: reference.and_then(|reference| {
                let counts = reference.bins.counts(sorted, self.nulls);
                stability_index(&reference.counts, &counts)
            }),
        }
    }
}

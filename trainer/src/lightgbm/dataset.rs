//! LightGBM's data sets.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use lightgbm3_sys as sys;

use super::{Error, Parameters, argument, c_int_of, c_string, check, log};

/// A binned data set: rows, and the fields per row that learning to rank needs.
#[derive(Debug)]
pub struct Dataset {
    handle: sys::DatasetHandle,
    rows: usize,
    width: usize,
}

impl Dataset {
    /// Bins `values` (row-major, `rows * width`, NaN = missing). For a validation set, `reference`
    /// is the training set, so that both share their bins.
    ///
    /// # Errors
    /// A shape that does not fit, more than 2^31 - 1 rows or columns, or a failure of LightGBM.
    pub fn new(
        values: &[f64],
        width: usize,
        parameters: &Parameters,
        reference: Option<&Dataset>,
    ) -> Result<Dataset, Error> {
        if width == 0 || values.is_empty() || !values.len().is_multiple_of(width) {
            return Err(argument(
                "number of values",
                values.len(),
                format!("a positive multiple of the width, {width}"),
            ));
        }
        if let Some(reference) = reference
            && reference.width != width
        {
            return Err(argument("width", width, reference.width));
        }
        let rows = values.len() / width;
        let (nrow, ncol) = (c_int_of("rows", rows)?, c_int_of("columns", width)?);
        let parameters = c_string("parameters", &parameters.to_string())?;
        let mut handle: sys::DatasetHandle = ptr::null_mut();
        log::route();
        // SAFETY: `values` holds exactly nrow * ncol f64 values, row-major, as announced, and is
        // only read during the call (LightGBM copies into bins). `parameters` is NUL-terminated.
        // `reference` is null or a live handle: `Dataset` frees its handle only when dropped.
        let status = unsafe {
            sys::LGBM_DatasetCreateFromMat(
                values.as_ptr().cast::<c_void>(),
                sys::C_API_DTYPE_FLOAT64 as c_int,
                nrow,
                ncol,
                1,
                parameters.as_ptr(),
                reference.map_or(ptr::null_mut(), |r| r.handle),
                &mut handle,
            )
        };
        check("LGBM_DatasetCreateFromMat", status)?;
        Ok(Dataset::from_handle(handle, rows, width))
    }

    /// Owns a live handle that LightGBM has just made for that many rows and columns.
    pub(super) fn from_handle(handle: sys::DatasetHandle, rows: usize, width: usize) -> Dataset {
        Dataset { handle, rows, width }
    }

    /// Rows in the set.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Sets one label per row; a ranking objective needs integer grades.
    ///
    /// # Errors
    /// A length other than the number of rows.
    pub fn set_labels(&mut self, labels: &[f32]) -> Result<(), Error> {
        self.same_length("labels", labels.len())?;
        self.set_field(c"label", labels.as_ptr().cast(), labels.len(), sys::C_API_DTYPE_FLOAT32)
    }

    /// Sets one weight per row.
    ///
    /// # Errors
    /// A length other than the number of rows, or a negative weight.
    pub fn set_weights(&mut self, weights: &[f32]) -> Result<(), Error> {
        self.same_length("weights", weights.len())?;
        self.set_field(
            c"weight",
            weights.as_ptr().cast(),
            weights.len(),
            sys::C_API_DTYPE_FLOAT32,
        )
    }

    /// Sets the scores that the trees correct: all rows' scores of the first output, then those of
    /// the next.
    ///
    /// # Errors
    /// A length that is not a multiple of the number of rows. Only the booster knows the number of
    /// outputs.
    pub fn set_initial_scores(&mut self, scores: &[f64]) -> Result<(), Error> {
        if scores.is_empty() || !scores.len().is_multiple_of(self.rows) {
            let allowed = format!("a multiple of the rows, {}", self.rows);
            return Err(argument("initial scores", format!("{} values", scores.len()), allowed));
        }
        self.set_field(
            c"init_score",
            scores.as_ptr().cast(),
            scores.len(),
            sys::C_API_DTYPE_FLOAT64,
        )
    }

    /// Sets the sizes of the queries, in row order; their sum must be the number of rows.
    ///
    /// # Errors
    /// An empty query, or a sum other than the number of rows.
    pub fn set_groups(&mut self, sizes: &[u32]) -> Result<(), Error> {
        let sum: u64 = sizes.iter().map(|&n| u64::from(n)).sum();
        if sum != self.rows as u64 {
            return Err(argument(
                "sum of the query sizes",
                sum,
                format!("the number of rows, {}", self.rows),
            ));
        }
        if let Some(at) = sizes.iter().position(|&n| n == 0) {
            return Err(argument("query size", format!("0 (query {at})"), ">= 1"));
        }
        // Each size is at most the number of rows, which fits c_int.
        let sizes: Vec<i32> = sizes.iter().map(|&n| n as i32).collect();
        self.set_field(c"group", sizes.as_ptr().cast(), sizes.len(), sys::C_API_DTYPE_INT32)
    }

    /// Sets the position at which each row was shown. `lambdarank` then models position bias and
    /// removes it from the scores (`rank_objective.hpp`, `UpdatePositionBiasFactors`).
    ///
    /// # Errors
    /// A length other than the number of rows, a position beyond the 32-bit range.
    pub fn set_positions(&mut self, positions: &[u32]) -> Result<(), Error> {
        self.same_length("positions", positions.len())?;
        let positions = positions
            .iter()
            .map(|&p| i32::try_from(p).map_err(|_| argument("position", p, "at most 2147483647")))
            .collect::<Result<Vec<i32>, Error>>()?;
        self.set_field(
            c"position",
            positions.as_ptr().cast(),
            positions.len(),
            sys::C_API_DTYPE_INT32,
        )
    }

    /// Sets the names of the columns, in order. The model contains them.
    ///
    /// # Errors
    /// A number of names other than the width, or a name that LightGBM rejects (JSON characters,
    /// duplicates).
    pub fn set_feature_names(&mut self, names: &[String]) -> Result<(), Error> {
        if names.len() != self.width {
            return Err(argument("number of feature names", names.len(), self.width));
        }
        let names = names
            .iter()
            .map(|name| c_string("feature name", name))
            .collect::<Result<Vec<_>, Error>>()?;
        let mut pointers: Vec<*const c_char> = names.iter().map(|n| n.as_ptr()).collect();
        let count = c_int_of("number of feature names", pointers.len())?;
        // SAFETY: `pointers` holds `count` NUL-terminated texts owned by `names`, which outlives
        // the call; LightGBM copies them. The handle is live.
        let status = unsafe { sys::LGBM_DatasetSetFeatureNames(self.handle, pointers.as_mut_ptr(), count) };
        check("LGBM_DatasetSetFeatureNames", status)
    }

    fn same_length(&self, what: &'static str, len: usize) -> Result<(), Error> {
        if len == self.rows {
            return Ok(());
        }
        Err(argument(
            what,
            format!("{len} values"),
            format!("one per row, {}", self.rows),
        ))
    }

    /// Sets a field. `data` points at `len` values of the C type that `dtype` names: every caller
    /// passes the pointer and length of a slice and the dtype of its elements.
    fn set_field(&mut self, field: &std::ffi::CStr, data: *const c_void, len: usize, dtype: u32) -> Result<(), Error> {
        let len = c_int_of("field length", len)?;
        // SAFETY: by the callers above `data` is valid for `len` values of that type for the
        // whole call, and LightGBM copies them; `field` is NUL-terminated; the handle is live.
        let status = unsafe { sys::LGBM_DatasetSetField(self.handle, field.as_ptr(), data, len, dtype as c_int) };
        check("LGBM_DatasetSetField", status)
    }

    /// Columns of the set.
    pub fn width(&self) -> usize {
        self.width
    }

    pub(super) fn handle(&self) -> sys::DatasetHandle {
        self.handle
    }
}

impl Drop for Dataset {
    fn drop(&mut self) {
        // SAFETY: the handle came from LightGBM and is freed only here. No pointer to it remains: a `Booster` owns its data sets and frees itself first.
        unsafe { sys::LGBM_DatasetFree(self.handle) };
    }
}

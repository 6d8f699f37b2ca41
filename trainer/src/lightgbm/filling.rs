//! Data sets that are filled row by row, so that the values are in memory only as bins.

use std::ffi::{c_int, c_void};
use std::ptr;

use lightgbm3_sys as sys;

use super::{Dataset, Error, Parameters, argument, c_int_of, c_string, check, log};

/// Values that are handed over at once: 1 MiB, far more than a call costs.
const BATCH_VALUES: usize = 1 << 17;

/// The rows from which LightGBM finds the bins of a data set of `rows` rows: all of them, or
/// `bin_construct_sample_cnt` by chance. They are the same that [`Dataset::new`] takes.
///
/// # Errors
/// More than 2^31 - 1 rows, or a failure of LightGBM.
pub fn bin_rows(rows: usize, parameters: &Parameters) -> Result<Vec<usize>, Error> {
    let rows = c_int_of("rows", rows)?;
    let parameters = c_string("parameters", &parameters.to_string())?;
    log::route();
    let mut count: c_int = 0;
    // SAFETY: `parameters` is NUL-terminated; one integer is written.
    let status = unsafe { sys::LGBM_GetSampleCount(rows, parameters.as_ptr(), &mut count) };
    check("LGBM_GetSampleCount", status)?;
    let mut sample = vec![0_i32; usize::try_from(count).unwrap_or(0)];
    let mut written = 0_i32;
    // SAFETY: LightGBM writes as many i32 as it has just said for the same arguments.
    let status = unsafe {
        sys::LGBM_SampleIndices(
            rows,
            parameters.as_ptr(),
            sample.as_mut_ptr().cast::<c_void>(),
            &mut written,
        )
    };
    check("LGBM_SampleIndices", status)?;
    sample.truncate(usize::try_from(written).unwrap_or(0));
    Ok(sample.into_iter().map(|row| row as usize).collect())
}

/// A data set that still lacks rows.
#[derive(Debug)]
pub struct Filling {
    dataset: Dataset,
    /// Values of whole rows that LightGBM does not have yet.
    waiting: Vec<f64>,
    /// Rows that LightGBM has.
    pushed: usize,
    batch_values: usize,
}

impl Filling {
    /// An empty data set for `rows` rows of `width` columns. Its bins are found from `sample`, the
    /// row-major values of [`bin_rows`] of all `all_rows` rows. These are more than `rows` if several
    /// machines share the data; with one sample, all machines have the same bins.
    ///
    /// # Errors
    /// A shape that does not fit, more than 2^31 - 1 rows, or a failure of LightGBM.
    pub fn new(
        sample: &[f64],
        width: usize,
        rows: usize,
        all_rows: usize,
        parameters: &Parameters,
    ) -> Result<Filling, Error> {
        if width == 0 || sample.is_empty() || !sample.len().is_multiple_of(width) {
            let allowed = format!("a positive multiple of the width, {width}");
            return Err(argument("number of sampled values", sample.len(), allowed));
        }
        let mut columns = SampledColumns::of(sample, width);
        let (nrow, ncol) = (c_int_of("rows", rows)?, c_int_of("columns", width)?);
        let sampled = c_int_of("sampled rows", sample.len() / width)?;
        let text = c_string("parameters", &parameters.to_string())?;
        let mut values: Vec<*mut f64> = columns.values.iter_mut().map(Vec::as_mut_ptr).collect();
        let mut places: Vec<*mut c_int> = columns.rows.iter_mut().map(Vec::as_mut_ptr).collect();
        let counts: Vec<c_int> = columns.rows.iter().map(|rows| rows.len() as c_int).collect();
        let mut handle: sys::DatasetHandle = ptr::null_mut();
        log::route();
        // SAFETY: each of the `ncol` pointers is to as many values (and row numbers below `sampled`)
        // as `counts` says; `columns` owns them and outlives the call, and LightGBM keeps none of
        // the pointers. `text` is NUL-terminated.
        let status = unsafe {
            sys::LGBM_DatasetCreateFromSampledColumn(
                values.as_mut_ptr(),
                places.as_mut_ptr(),
                ncol,
                counts.as_ptr(),
                sampled,
                nrow,
                all_rows as i64,
                text.as_ptr(),
                &mut handle,
            )
        };
        check("LGBM_DatasetCreateFromSampledColumn", status)?;
        Ok(Filling::of(Dataset::from_handle(handle, rows, width), parameters))
    }

    /// An empty data set for `rows` rows with the bins of `reference`, for validation.
    ///
    /// # Errors
    /// More than 2^31 - 1 rows, or a failure of LightGBM.
    pub fn like(reference: &Dataset, rows: usize, parameters: &Parameters) -> Result<Filling, Error> {
        let count = i64::from(c_int_of("rows", rows)?);
        let mut handle: sys::DatasetHandle = ptr::null_mut();
        // SAFETY: the reference's handle is live: `Dataset` frees it only when dropped.
        let status = unsafe { sys::LGBM_DatasetCreateByReference(reference.handle(), count, &mut handle) };
        check("LGBM_DatasetCreateByReference", status)?;
        Ok(Filling::of(
            Dataset::from_handle(handle, rows, reference.width()),
            parameters,
        ))
    }

    fn of(dataset: Dataset, parameters: &Parameters) -> Filling {
        let width = dataset.width();
        // Linear trees need the values, too. LightGBM resizes its copy of them to the rows of each
        // call (`LGBM_DatasetPushRows`), so all rows must come in one.
        let at_once = parameters.get("linear_tree").is_some_and(|value| value != "false");
        Filling {
            batch_values: if at_once {
                dataset.rows() * width
            } else {
                (BATCH_VALUES / width).max(1) * width
            },
            dataset,
            waiting: Vec::new(),
            pushed: 0,
        }
    }

    /// Adds the next row.
    ///
    /// # Errors
    /// A number of values other than the width, one row too many, or a failure of LightGBM.
    pub fn push(&mut self, row: &[f64]) -> Result<(), Error> {
        let width = self.dataset.width();
        if row.len() != width {
            return Err(argument("values of a row", row.len(), width));
        }
        if self.pushed + self.waiting.len() / width == self.dataset.rows() {
            return Err(argument(
                "rows",
                "one row too many",
                format!("{}, as announced", self.dataset.rows()),
            ));
        }
        self.waiting.extend_from_slice(row);
        if self.waiting.len() >= self.batch_values {
            self.flush()?;
        }
        Ok(())
    }

    /// The data set, once it has all rows.
    ///
    /// # Errors
    /// Rows that are missing, or a failure of LightGBM.
    pub fn finish(mut self) -> Result<Dataset, Error> {
        if !self.waiting.is_empty() {
            self.flush()?;
        }
        if self.pushed != self.dataset.rows() {
            let allowed = format!("{}, as announced", self.dataset.rows());
            return Err(argument("rows", self.pushed, allowed));
        }
        Ok(self.dataset)
    }

    fn flush(&mut self) -> Result<(), Error> {
        let width = self.dataset.width();
        let rows = self.waiting.len() / width;
        // SAFETY: `waiting` holds `rows` rows of `width` f64, row-major, and `push` lets no more rows
        // in than the set has room for. LightGBM turns them into bins during the call.
        let status = unsafe {
            sys::LGBM_DatasetPushRows(
                self.dataset.handle(),
                self.waiting.as_ptr().cast::<c_void>(),
                sys::C_API_DTYPE_FLOAT64 as c_int,
                c_int_of("rows", rows)?,
                c_int_of("columns", width)?,
                c_int_of("rows", self.pushed)?,
            )
        };
        check("LGBM_DatasetPushRows", status)?;
        self.pushed += rows;
        self.waiting.clear();
        Ok(())
    }
}

/// Of each column of the sample, the values other than zero and the rows they are in.
struct SampledColumns {
    values: Vec<Vec<f64>>,
    rows: Vec<Vec<c_int>>,
}

impl SampledColumns {
    fn of(sample: &[f64], width: usize) -> SampledColumns {
        /// LightGBM's `kZeroThreshold`: the f32 1e-35, as f64.
        const ZERO_THRESHOLD: f64 = 1e-35_f32 as f64;
        let mut columns = SampledColumns {
            values: vec![Vec::new(); width],
            rows: vec![Vec::new(); width],
        };
        for (row, values) in sample.chunks_exact(width).enumerate() {
            for (column, &value) in values.iter().enumerate() {
                if value.abs() > ZERO_THRESHOLD || value.is_nan() {
                    columns.values[column].push(value);
                    columns.rows[column].push(row as c_int);
                }
            }
        }
        columns
    }
}

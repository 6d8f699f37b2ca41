//! LightGBM's boosters, for training and for prediction.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use lightgbm3_sys as sys;

use super::{Dataset, Error, Parameters, argument, c_int_of, c_string, check, log, read_text};

/// One evaluation metric of a booster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// LightGBM's name of the metric, e.g. `ndcg@5`.
    pub name: String,
}

impl Metric {
    /// Whether a larger value is better; same rule as Python's `lightgbm.basic`.
    pub fn higher_is_better(&self) -> bool {
        ["auc", "ndcg@", "map@", "average_precision"]
            .iter()
            .any(|prefix| self.name.starts_with(prefix))
    }
}

/// A model in training. It owns its data sets, because LightGBM keeps pointers to them.
#[derive(Debug)]
pub struct Booster {
    handle: sys::BoosterHandle,
    valid: Vec<Dataset>,
    train: Dataset,
    metrics: Vec<Metric>,
}

impl Booster {
    /// Creates a booster without trees for the training set `train`.
    ///
    /// # Errors
    /// LightGBM rejects the parameters or the data (labels, groups, sizes).
    pub fn new(train: Dataset, parameters: &Parameters) -> Result<Booster, Error> {
        let text = c_string("parameters", &parameters.to_string())?;
        let mut handle: sys::BoosterHandle = ptr::null_mut();
        log::route();
        // SAFETY: the data set's handle is live and is moved into the booster below, so that it
        // outlives LightGBM's pointer to it; `text` is NUL-terminated and read only now.
        let status = unsafe { sys::LGBM_BoosterCreate(train.handle(), text.as_ptr(), &mut handle) };
        check("LGBM_BoosterCreate", status)?;
        let mut booster = Booster {
            handle,
            valid: Vec::new(),
            train,
            metrics: Vec::new(),
        };
        booster.metrics = booster.read_metrics()?;
        Ok(booster)
    }

    /// Adds a validation set, which must have the training set as its reference.
    ///
    /// # Errors
    /// A failure of LightGBM, e.g. because the set has other bins.
    pub fn add_valid(&mut self, valid: Dataset) -> Result<(), Error> {
        // SAFETY: both handles are live; the data set is owned by the booster from here on.
        let status = unsafe { sys::LGBM_BoosterAddValidData(self.handle, valid.handle()) };
        self.valid.push(valid);
        check("LGBM_BoosterAddValidData", status)
    }

    /// Rows of the training set.
    pub fn train_rows(&self) -> usize {
        self.train.rows()
    }

    /// The metrics evaluated on each set, in LightGBM's order.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// Trains one iteration. `true`: no split was possible, so nothing was added.
    ///
    /// # Errors
    /// A failure of LightGBM.
    pub fn update(&mut self) -> Result<bool, Error> {
        let mut finished: c_int = 0;
        // SAFETY: the handle is live, and so are the data sets it points into.
        let status = unsafe { sys::LGBM_BoosterUpdateOneIter(self.handle, &mut finished) };
        check("LGBM_BoosterUpdateOneIter", status)?;
        Ok(finished != 0)
    }

    /// Values of [`Booster::metrics`] on the `nth` validation set (0-based).
    ///
    /// # Errors
    /// An unknown set, or a failure of LightGBM.
    pub fn evaluate(&self, nth: usize) -> Result<Vec<f64>, Error> {
        if nth >= self.valid.len() {
            return Err(argument("validation set", nth, format!("below {}", self.valid.len())));
        }
        let mut values = vec![0.0; self.metrics.len()];
        let mut len: c_int = 0;
        // SAFETY: LightGBM writes one f64 per metric, and `values` has room for the number of
        // metrics it reported; data set 0 is the training set, so validation sets start at 1.
        let status = unsafe {
            sys::LGBM_BoosterGetEval(
                self.handle,
                c_int_of("validation set", nth + 1)?,
                &mut len,
                values.as_mut_ptr(),
            )
        };
        check("LGBM_BoosterGetEval", status)?;
        values.truncate(usize::try_from(len).unwrap_or(0));
        Ok(values)
    }

    /// Predictions of the current model for the `nth` validation set (0-based), in row order.
    /// LightGBM keeps them during training, so this computes nothing.
    ///
    /// # Errors
    /// An unknown set, or a failure of LightGBM.
    pub fn valid_predictions(&self, nth: usize) -> Result<Vec<f64>, Error> {
        if nth >= self.valid.len() {
            return Err(argument("validation set", nth, format!("below {}", self.valid.len())));
        }
        // Data set 0 is the training set.
        let set = c_int_of("validation set", nth + 1)?;
        let mut expected: i64 = 0;
        // SAFETY: the handle is live; one integer is written.
        let status = unsafe { sys::LGBM_BoosterGetNumPredict(self.handle, set, &mut expected) };
        check("LGBM_BoosterGetNumPredict", status)?;
        let mut out = vec![0.0_f64; usize::try_from(expected).unwrap_or(0)];
        let mut written: i64 = 0;
        // SAFETY: `out` has room for the count that LightGBM returned for this set.
        let status = unsafe { sys::LGBM_BoosterGetPredict(self.handle, set, &mut written, out.as_mut_ptr()) };
        check("LGBM_BoosterGetPredict", status)?;
        out.truncate(usize::try_from(written).unwrap_or(0));
        Ok(out)
    }

    /// The model as text, up to `iterations` (0: all).
    ///
    /// # Errors
    /// A failure of LightGBM.
    pub fn to_text(&self, iterations: usize) -> Result<String, Error> {
        let iterations = c_int_of("iterations", iterations)?;
        read_text("LGBM_BoosterSaveModelToString", |capacity, needed, buffer| {
            // SAFETY: `buffer` has `capacity` bytes; LightGBM writes only if all of it fits.
            unsafe {
                sys::LGBM_BoosterSaveModelToString(
                    self.handle,
                    0,
                    iterations,
                    sys::C_API_FEATURE_IMPORTANCE_SPLIT as c_int,
                    capacity,
                    needed,
                    buffer.as_mut_ptr().cast::<c_char>(),
                )
            }
        })
    }

    /// Total gain of the splits on each feature, up to `iterations` (0: all).
    ///
    /// # Errors
    /// A failure of LightGBM.
    pub fn gain_importance(&self, iterations: usize) -> Result<Vec<f64>, Error> {
        let mut gains = vec![0.0; width_of(self.handle)?];
        // SAFETY: LightGBM writes one f64 per feature, and `gains` has that many.
        let status = unsafe {
            sys::LGBM_BoosterFeatureImportance(
                self.handle,
                c_int_of("iterations", iterations)?,
                sys::C_API_FEATURE_IMPORTANCE_GAIN as c_int,
                gains.as_mut_ptr(),
            )
        };
        check("LGBM_BoosterFeatureImportance", status)?;
        Ok(gains)
    }

    fn read_metrics(&self) -> Result<Vec<Metric>, Error> {
        const NAME_BYTES: usize = 256;
        let mut count: c_int = 0;
        // SAFETY: the handle is live; one integer is written.
        let status = unsafe { sys::LGBM_BoosterGetEvalCounts(self.handle, &mut count) };
        check("LGBM_BoosterGetEvalCounts", status)?;
        let mut names = vec![[0_u8; NAME_BYTES]; usize::try_from(count).unwrap_or(0)];
        let mut pointers: Vec<*mut c_char> = names.iter_mut().map(|n| n.as_mut_ptr().cast()).collect();
        let (mut written, mut longest): (c_int, usize) = (0, 0);
        // SAFETY: `pointers` holds `count` buffers of NAME_BYTES each; LightGBM copies at most
        // that many bytes into each, the last one a NUL.
        let status = unsafe {
            sys::LGBM_BoosterGetEvalNames(
                self.handle,
                count,
                &mut written,
                NAME_BYTES as _,
                (&raw mut longest).cast(),
                pointers.as_mut_ptr(),
            )
        };
        check("LGBM_BoosterGetEvalNames", status)?;
        let text = |name: &[u8; NAME_BYTES]| {
            let end = name.iter().position(|&b| b == 0).unwrap_or(NAME_BYTES);
            String::from_utf8_lossy(&name[..end]).into_owned()
        };
        Ok(names.iter().map(|n| Metric { name: text(n) }).collect())
    }
}

impl Drop for Booster {
    fn drop(&mut self) {
        // SAFETY: the handle came from LGBM_BoosterCreate and is freed once, here; the data sets
        // it points into are fields and are dropped after this body.
        unsafe { sys::LGBM_BoosterFree(self.handle) };
    }
}

/// A finished model, read from its text, for prediction by LightGBM itself.
#[derive(Debug)]
pub struct Predictor {
    handle: sys::BoosterHandle,
    width: usize,
}

impl Predictor {
    /// Reads a model in LightGBM's text format.
    ///
    /// # Errors
    /// LightGBM rejects the text.
    pub fn from_text(model: &str) -> Result<Predictor, Error> {
        let model = c_string("model", model)?;
        let mut handle: sys::BoosterHandle = ptr::null_mut();
        let mut iterations: c_int = 0;
        log::route();
        // SAFETY: `model` is NUL-terminated and read only during the call.
        let status = unsafe { sys::LGBM_BoosterLoadModelFromString(model.as_ptr(), &mut iterations, &mut handle) };
        check("LGBM_BoosterLoadModelFromString", status)?;
        let mut predictor = Predictor { handle, width: 0 };
        predictor.width = width_of(handle)?;
        Ok(predictor)
    }

    /// Number of features.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Scores of row-major `rows` of `width()` values, with the objective's output conversion, as
    /// LightGBM's `predict`.
    ///
    /// # Errors
    /// A number of values that is not a multiple of the width, or a failure of LightGBM.
    pub fn predict(&self, rows: &[f64]) -> Result<Vec<f64>, Error> {
        self.predict_as(rows, sys::C_API_PREDICT_NORMAL as c_int)
    }

    /// As [`Predictor::predict`], without the output conversion.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub fn predict_raw(&self, rows: &[f64]) -> Result<Vec<f64>, Error> {
        self.predict_as(rows, sys::C_API_PREDICT_RAW_SCORE as c_int)
    }

    /// Each feature's contribution to the raw score, then the expected value (`pred_contrib`):
    /// `width() + 1` numbers for each output of each row.
    ///
    /// # Errors
    /// As [`Predictor::predict`], and for a model with linear trees.
    pub fn predict_contributions(&self, rows: &[f64]) -> Result<Vec<f64>, Error> {
        self.predict_as(rows, sys::C_API_PREDICT_CONTRIB as c_int)
    }

    fn predict_as(&self, rows: &[f64], kind: c_int) -> Result<Vec<f64>, Error> {
        if self.width == 0 || !rows.len().is_multiple_of(self.width) {
            return Err(argument(
                "number of values",
                rows.len(),
                format!("a multiple of the width, {}", self.width),
            ));
        }
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let nrow = c_int_of("rows", rows.len() / self.width)?;
        let mut expected: i64 = 0;
        // SAFETY: the handle is live; one integer is written.
        let status = unsafe { sys::LGBM_BoosterCalcNumPredict(self.handle, nrow, kind, 0, -1, &mut expected) };
        check("LGBM_BoosterCalcNumPredict", status)?;
        let mut out = vec![0.0_f64; usize::try_from(expected).unwrap_or(0)];
        let mut written: i64 = 0;
        // SAFETY: `rows` holds nrow * width f64 values as announced; `out` has room for the count
        // that LightGBM computed for the same arguments; the parameters are NUL-terminated.
        let status = unsafe {
            sys::LGBM_BoosterPredictForMat(
                self.handle,
                rows.as_ptr().cast::<c_void>(),
                sys::C_API_DTYPE_FLOAT64 as c_int,
                nrow,
                c_int_of("columns", self.width)?,
                1,
                kind,
                0,
                -1,
                c"num_threads=1".as_ptr(),
                &mut written,
                out.as_mut_ptr(),
            )
        };
        check("LGBM_BoosterPredictForMat", status)?;
        out.truncate(usize::try_from(written).unwrap_or(0));
        Ok(out)
    }
}

impl Drop for Predictor {
    fn drop(&mut self) {
        // SAFETY: the handle came from LGBM_BoosterLoadModelFromString and is freed once, here.
        unsafe { sys::LGBM_BoosterFree(self.handle) };
    }
}

/// Number of features of the model behind a live handle.
fn width_of(handle: sys::BoosterHandle) -> Result<usize, Error> {
    let mut width: c_int = 0;
    // SAFETY: both callers pass the live handle of the value they are a method of.
    let status = unsafe { sys::LGBM_BoosterGetNumFeature(handle, &mut width) };
    check("LGBM_BoosterGetNumFeature", status)?;
    Ok(usize::try_from(width).unwrap_or(0))
}

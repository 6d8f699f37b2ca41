//! A small safe face for the parts of LightGBM's C API that training a ranker needs.
//!
//! `lightgbm3` has no setter for query groups or positions, so this speaks to `lightgbm3-sys`
//! itself. All of the crate's `unsafe` is in this folder, and each block says why it is sound.
//!
//! LightGBM keeps its last error, its log level and its log callback per thread. The handles here
//! hold raw pointers and are therefore neither `Send` nor `Sync`: a call and the reading of its
//! error cannot end up on two threads.

mod booster;
mod dataset;
mod log;
mod parameters;

pub use booster::{Booster, Metric, Predictor};
pub use dataset::Dataset;
pub use parameters::{ParameterError, Parameters};

use std::ffi::{CStr, CString, c_int};

/// A call that LightGBM refused, with LightGBM's own words.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// LightGBM itself reported a failure.
    #[error("LightGBM: {message} ({call})")]
    Refused {
        /// The C function that failed.
        call: &'static str,
        /// What `LGBM_GetLastError` said.
        message: String,
    },
    /// The arguments cannot be handed to LightGBM: caught here, before any pointer crosses over.
    #[error("{what}: {value}; allowed: {allowed}")]
    Argument {
        /// Which argument.
        what: &'static str,
        /// What it was.
        value: String,
        /// What it may be.
        allowed: String,
    },
}

fn argument(what: &'static str, value: impl ToString, allowed: impl ToString) -> Error {
    Error::Argument {
        what,
        value: value.to_string(),
        allowed: allowed.to_string(),
    }
}

/// Turns a C status into a result. To be called on the thread that made the call, at once.
fn check(call: &'static str, status: c_int) -> Result<(), Error> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: LGBM_GetLastError takes nothing and returns a pointer to a NUL-terminated buffer
    // that is thread-local and lives as long as the thread; it is copied before any other call.
    let message = unsafe { CStr::from_ptr(lightgbm3_sys::LGBM_GetLastError()) }
        .to_string_lossy()
        .into_owned();
    Err(Error::Refused { call, message })
}

fn c_string(what: &'static str, text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| argument(what, format!("{text:?}"), "text without NUL bytes"))
}

fn c_int_of(what: &'static str, n: usize) -> Result<c_int, Error> {
    c_int::try_from(n).map_err(|_| argument(what, n, format!("at most {}", c_int::MAX)))
}

/// Reads a text that LightGBM writes into a caller's buffer: once to learn the length, once more
/// if the first buffer was too small. `fill` gets (capacity, where to write the needed length
/// including the NUL, buffer).
fn read_text(call: &'static str, mut fill: impl FnMut(i64, &mut i64, &mut [u8]) -> c_int) -> Result<String, Error> {
    let mut buffer = vec![0_u8; 1 << 16];
    let mut needed = 0_i64;
    check(call, fill(buffer.len() as i64, &mut needed, &mut buffer))?;
    if needed as usize > buffer.len() {
        buffer = vec![0_u8; needed as usize];
        check(call, fill(buffer.len() as i64, &mut needed, &mut buffer))?;
    }
    let end = buffer.iter().position(|&b| b == 0).unwrap_or(buffer.len());
    Ok(String::from_utf8_lossy(&buffer[..end]).into_owned())
}

#[cfg(test)]
mod tests;

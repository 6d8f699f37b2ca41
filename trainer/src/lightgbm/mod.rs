//! A small safe wrapper around the parts of LightGBM's C API that training a ranker needs.
//!
//! It calls `lightgbm3-sys` directly, because `lightgbm3` cannot set query groups or positions. All
//! `unsafe` of this crate is in this folder, and each block says why it is sound.
//!
//! LightGBM keeps its last error, its log level and its log callback per thread. The handles here
//! hold raw pointers, so they are neither `Send` nor `Sync`. A call and the reading of its error
//! therefore always happen on the same thread.

mod booster;
mod dataset;
mod filling;
mod log;
mod network;
mod parameters;

pub use booster::{Booster, Metric, Predictor};
pub use dataset::Dataset;
pub use filling::{Filling, bin_rows};
pub use network::{Network, Online};
pub use parameters::{ParameterError, Parameters};

use std::ffi::{CStr, CString, c_int};

/// A failed call to LightGBM.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// LightGBM reported a failure.
    #[error("LightGBM: {message} ({call})")]
    Refused {
        /// The C function that failed.
        call: &'static str,
        /// The text of `LGBM_GetLastError`.
        message: String,
    },
    /// An argument is invalid. This is checked before any pointer is passed to LightGBM.
    #[error("{what}: {value}; allowed: {allowed}")]
    Argument {
        /// The argument's name.
        what: &'static str,
        /// Its value.
        value: String,
        /// The allowed values.
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

/// Turns a C status into a result. Must be called right after the C call, on the same thread.
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

/// Reads a text that LightGBM writes into a buffer. Calls `fill` again with a larger buffer if the
/// first was too small.
///
/// `fill` takes the capacity, a place for the needed length (including the NUL), and the buffer.
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

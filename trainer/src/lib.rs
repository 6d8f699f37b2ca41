//! The learning half of the system: logged events become a matrix, the matrix a LambdaMART
//! model, the model a WebAssembly component that the gateway loads.
//!
//! ```text
//! etl -> train -> evaluate -> gate -> publish
//! ```
//!
//! Each step is a module of that name, callable on its own and, all in order, from [`nightly`].
//! Below them: [`attribution`] (events to labels), [`matrix`] (the data set), [`split`],
//! [`boosting`] and, at the bottom, [`lightgbm`], the only place that speaks to LightGBM's C API.

pub mod attribution;
pub mod boosting;
pub mod bypass;
pub mod compile;
pub mod component;
pub mod console;
pub mod etl;
pub mod evaluate;
pub mod examination;
pub mod feature_map;
pub mod files;
pub mod gate;
pub mod keygen;
pub mod lightgbm;
pub mod matrix;
pub mod nightly;
pub mod outcome;
pub mod progress;
pub mod publish;
pub mod scaling;
pub mod simulate;
pub mod split;
pub mod train;
pub mod trained;

//! The learning half of the system: logged events become a matrix, the matrix a LambdaMART
//! model, the model a WebAssembly component that the gateway loads.
//!
//! ```text
//! etl -> train -> evaluate -> gate -> publish
//! ```
//!
//! Each step is a module of that name, callable on its own and from `train-daily`; the bottom
//! layer is [`lightgbm`], the only place that speaks to LightGBM's C API.

pub mod lightgbm;

//! Offline training: turns logged events into a matrix, the matrix into a LambdaMART model, and the
//! model into a WebAssembly component that the gateway loads.
//!
//! ```text
//! etl -> check -> train -> evaluate -> gate -> publish
//! ```
//!
//! Each step is a module of that name ([`checks`] of `check`) and a command of its own; [`nightly`] runs all of them in
//! order. [`night`] says where they find each other's files, and [`lineage`] keeps a record of each run.
//! The steps use [`lake`] (events to labels), [`matrix`] (the data set), [`split`]
//! and [`boosting`]. Only [`lightgbm`] calls LightGBM's C API.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests make, read and time what they like"
    )
)]

pub mod binning;
pub mod boosting;
pub mod bypass;
pub mod checks;
pub mod compile;
pub mod console;
pub mod etl;
pub mod evaluate;
pub mod examination;
pub mod feature_map;
pub mod files;
pub mod gate;
pub mod keygen;
pub mod lake_commands;
pub mod lightgbm;
pub mod lineage;
pub mod machines;
pub mod matrix;
pub mod night;
pub mod nightly;
pub mod outcome;
pub mod progress;
pub mod publish;
pub mod scaling;
pub mod simulate;
pub mod split;
pub mod train;
pub mod training_run;

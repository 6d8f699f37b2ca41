//! The data lake: what was logged, as flat Parquet tables by day, and the training matrix that is made
//! from them by SQL.
//!
//!     {lake}/ltr/raw/YYYY/MM/DD/{table}/{from}-{to}.parquet    events of a day (UTC), in the order of arrival
//!     {lake}/ltr/rejected/YYYY/MM/DD/{from}-{to}.parquet       what no reader understands, and why
//!     {lake}/ltr/processed/YYYY-MM-DD/matrix.parquet           the cases first shown on that day, with labels
//!     {lake}/ltr/processed/YYYY-MM-DD/matrix.json              what it was made from
//!
//! A file's name says which rows of its day's table it has, so the files are the only record of how far
//! the lake has got: a put is atomic, and whoever continues begins behind the last row that is there.
//!
//! `layout` has the names, `place` reads and writes them, `tables` turns events into rows, `sink` fills
//! the raw tables, `engine` runs the SQL in `lake/sql`, `days` decides which matrices are made again, and
//! `inspect` shows what there is.

mod days;
mod engine;
mod error;
mod inspect;
mod layout;
mod place;
mod sink;
mod tables;

pub use days::{DayReport, Etl, Labelled, MATRIX, Refreshed, Rules};
pub use error::LakeError;
pub use inspect::{Partition, inspect};
pub use layout::{RawFile, Table};
pub use place::Lake;
pub use sink::{Sank, sink};

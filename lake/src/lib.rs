//! The data lake: what was logged, as flat Parquet tables by day, and the training matrix that is made
//! from them by SQL.
//!
//! ```text
//! {lake}/ltr/raw/YYYY/MM/DD/{table}/{from}.parquet         records of a day (UTC), in the order of arrival
//! {lake}/ltr/raw/YYYY/MM/DD/{table}/{from}-{to}.parquet    several such files as one
//! {lake}/ltr/rejected/YYYY/MM/DD/{from}.parquet            what no reader understands, and why
//! {lake}/ltr/lawyers.parquet                               what is known of lawyers from a time on, if somebody puts it there
//! {lake}/ltr/processed/YYYY-MM-DD/matrix.parquet           the cases first shown on that day, with labels
//! {lake}/ltr/processed/YYYY-MM-DD/matrix.json              what it was made from
//! ```
//!
//! A file's name says where in its day's table it begins, so the files are the only record of how far the
//! lake has got: a put is atomic, and whoever continues begins behind the last record that is there.
//!
//! `layout` has the names, `place` reads and writes them, `tables` turns records into rows, `sink` takes
//! them from the database and `topic` from the bus, `add` adds each once, `compact` makes few files of many,
//! `engine` runs the SQL in `lake/sql`, `days` decides which matrices are made again, `displayed` has the
//! outcomes of what was displayed, and `inspect` shows what there is.

mod add;
mod compact;
mod compared;
mod days;
mod displayed;
mod engine;
mod error;
mod footer;
mod inspect;
mod lawyers;
mod layout;
mod place;
mod read;
mod sink;
mod tables;
mod topic;

pub use add::{Sank, add_events};
pub use compact::{Compacted, compact};
pub use days::{DayReport, Etl, Labelled, MATRIX, Refreshed, Rules};
pub use error::LakeError;
pub use inspect::{Partition, files, inspect};
pub use layout::{RawFile, Table};
pub use place::Lake;
pub use sink::sink;
pub use topic::TopicSink;

//! Changes what serves: the controller makes every change, the watch finds new publications.

mod controller;
pub mod watch;

pub use controller::{Action, Change, Controller, MAX_LOADS, Record};

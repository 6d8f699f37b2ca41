//! Changes what serves: the controller makes every change, the watch finds new publications, the
//! courier tells webhooks of changes.

mod controller;
pub mod courier;
pub mod watch;

pub use controller::{Action, Change, Controller, MAX_LOADS, Record};

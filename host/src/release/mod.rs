//! What serves, and how that changes: the controller makes every change, the watch finds what was published.

mod controller;
pub mod watch;

pub use controller::{Change, Controller, MOST_LOADS, Record};

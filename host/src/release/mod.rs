//! Changes what serves: the controller makes every change, the watch finds new publications, and
//! Envoys that score are offered the filter of what serves.

mod controller;
mod edge;
pub mod watch;

pub use controller::{Action, Change, Controller, MAX_LOADS, Record};
pub use edge::{EdgeDir, EdgeFilter, Offer, Offered};

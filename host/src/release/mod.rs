//! What serves, in the whole fleet: the state on record is followed, and changed by the rules of
//! [`ranking::release`] alone.
//!
//! - `controller` writes transitions, and keeps what this gateway serves in step with the record;
//! - `publications` finds and loads published models;
//! - `evaluation` is what the lease holder does regularly: judge, watch, decide;
//! - `health` counts for the technical watch;
//! - `pending` keeps a rollback that the database does not have yet;
//! - `snapshot` is what `GET /rollout` shows;
//! - `edge` and `offering` give Envoys the filter of what serves;
//! - `courier` tells webhooks of every transition;
//! - `tasks` runs all of it in the background.

mod controller;
pub mod courier;
mod edge;
mod evaluation;
mod health;
mod offering;
mod pending;
mod publications;
mod snapshot;
mod stepped;
pub mod tasks;

pub use controller::{Config, Controller, OrderError, Ordered};
pub use edge::{EdgeDir, EdgeFilter, Offer, Offered};
pub use health::{Health, Served};
pub use offering::keep_offering;
pub use pending::PendingRollback;
pub use publications::MAX_LOADS;

//! What serves, in the whole fleet: the state on record is followed, and changed by the rules of
//! [`ranking::release`] alone.
//!
//! - `controller` writes transitions; `record` reads and checks what is on record; `known` is what a
//!   gateway knows of it, and `followed` what its next run must know;
//! - `rollback` acts from memory first; `pending` keeps what the database does not have yet;
//! - `publications` finds and loads published models;
//! - `evaluation` is what the lease holder does regularly: judge, watch, decide;
//! - `outcomes` judges what was displayed: a trial, the model that is live, a suspicion;
//! - `drift` counts how the challenger ranks what the champion answers;
//! - `propensities` says what is known of position bias, which decides nothing;
//! - `evidence` is what is shown beside the verdict and decides nothing but whether samplers can be trusted;
//! - `health` counts for the technical watch; `reports` is what gateways tell each other;
//! - `snapshot` makes what `GET /rollout` shows from the parts in `shown`;
//! - `edge` and `offering` give Envoys the filter of what serves;
//! - `courier` tells webhooks of every transition;
//! - `stepped` is the injected clock;
//! - `tasks` runs all of it in the background.

mod controller;
pub mod courier;
mod drift;
mod edge;
mod evaluation;
mod evidence;
mod followed;
mod health;
mod known;
mod offering;
mod outcomes;
mod pending;
mod propensities;
mod publications;
mod record;
mod reports;
mod rollback;
mod shown;
mod snapshot;
mod stepped;
pub mod tasks;

pub use controller::{Config, Controller, OrderError, Ordered, Seen};
pub use edge::{EdgeDir, EdgeFilter, Offer, Offered, Outcome, Turn};
pub use health::{Health, Served};
pub use pending::PendingRollback;
pub use publications::MAX_LOADS;

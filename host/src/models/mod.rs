//! The loaded models, and how a new one is loaded under traffic. This module knows neither requests
//! nor the rules of the rollout.

mod batch;
mod breaker;
mod edge_filter;
mod inline_policy;
mod lane;
mod loader;
mod model;
mod registry;
mod source;
mod tried;

pub use batch::BatchError;
pub use breaker::{Breaker, BreakerFacts, Position};
pub use lane::{GRACE, Scored};
pub use loader::{FileFingerprint, Keys, Load, Loader, Refusal, Trigger};
pub use model::{Model, max_instances};
pub use registry::{LoadedModel, Models, Serving};
pub use source::Source;
pub use tried::Tried;

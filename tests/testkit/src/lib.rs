//! What the tests and benchmarks of several crates share: seeded randomness, one patience, and with the feature `gateway`
//! a publisher of models and gateways as programs.

#[cfg(feature = "gateway")]
mod publisher;
mod random;
#[cfg(feature = "gateway")]
mod serving;

use std::time::Duration;

#[cfg(feature = "gateway")]
pub use publisher::{Publisher, golden_of_first_feature};
pub use random::Random;
#[cfg(feature = "gateway")]
pub use serving::{Serving, http};

/// How long a test waits for what must happen. Nothing is expected to take near that long: it is only against a test that
/// hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

//! What the tests and benchmarks of all crates share: seeded randomness, and one patience. No dependencies, so that the
//! tests of the smallest crate wait for nothing. Beside it lie `gateway` (a publisher, gateways as programs), `servers`
//! (real servers) and `evil` (hostile components).

mod random;

use std::time::Duration;

pub use random::Random;

/// How long a test waits for what must happen. It only ends tests that hang: nothing takes near that
/// long.
pub const PATIENCE: Duration = Duration::from_secs(60);

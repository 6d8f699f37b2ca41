//! What the tests and benchmarks of all crates share: seeded randomness, and one patience. No dependencies, so that the
//! tests of the smallest crate wait for nothing. Beside it lie `gateway` (a publisher, gateways as programs), `servers`
//! (real servers) and `evil` (hostile components).

mod random;

use std::time::Duration;

pub use random::Random;

/// How long a test waits for what must happen. Nothing is expected to take near that long: it is only against a test that
/// hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

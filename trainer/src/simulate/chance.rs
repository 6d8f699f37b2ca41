//! Named random streams: each case, each client and the set of lawyers has its own. So no draw
//! depends on other draws or on the order of the gateway's responses.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The random stream named by a kind of thing, a day (or an empty text) and a number.
pub(super) fn stream(seed: u64, kind: &str, day: &str, index: u64) -> ChaCha8Rng {
    let name = format!("{seed}/{kind}/{day}/{index}");
    ChaCha8Rng::from_seed(Sha256::digest(name).into())
}

/// A version 4 UUID.
pub(super) fn uuid(rng: &mut ChaCha8Rng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}

/// A uniform draw from (0, 1], so that its logarithm is finite.
fn above_zero(rng: &mut ChaCha8Rng) -> f64 {
    1.0 - rng.random::<f64>()
}

/// Standard normal, by the Box-Muller method.
pub(super) fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * above_zero(rng).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// Standard Gumbel: the maximum of `utility + gumbel` is a draw from the softmax of the utilities.
pub(super) fn gumbel(rng: &mut ChaCha8Rng) -> f64 {
    // The smallest positive double keeps the outer logarithm finite if the draw is exactly 1.
    -(-above_zero(rng).ln()).max(f64::MIN_POSITIVE).ln()
}

/// Exponential with this mean.
pub(super) fn exponential(rng: &mut ChaCha8Rng, mean: f64) -> f64 {
    -mean * above_zero(rng).ln()
}

/// 1 / (1 + e^-x).
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

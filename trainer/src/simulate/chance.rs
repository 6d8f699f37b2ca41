//! Randomness by name: every case, client and lawyer draws from a stream of its own, so that no draw depends on
//! what else was drawn or on the order in which answers come back.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The stream of one thing: its kind, the day (or nothing) and its number.
pub fn stream(seed: u64, kind: &str, day: &str, index: u64) -> ChaCha8Rng {
    let name = format!("{seed}/{kind}/{day}/{index}");
    ChaCha8Rng::from_seed(Sha256::digest(name).into())
}

/// A version 4 UUID.
pub fn uuid(rng: &mut ChaCha8Rng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}

/// A uniform draw from (0, 1]: its logarithm is finite.
fn above_zero(rng: &mut ChaCha8Rng) -> f64 {
    1.0 - rng.random::<f64>()
}

/// Standard normal, by Box and Muller.
pub fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * above_zero(rng).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// Standard Gumbel: the highest of `utility + gumbel` is a draw from the softmax of the utilities.
pub fn gumbel(rng: &mut ChaCha8Rng) -> f64 {
    // The smallest positive double keeps the outer logarithm finite where the draw is exactly 1.
    -(-above_zero(rng).ln()).max(f64::MIN_POSITIVE).ln()
}

/// Exponential with this mean.
pub fn exponential(rng: &mut ChaCha8Rng, mean: f64) -> f64 {
    -mean * above_zero(rng).ln()
}

/// 1 / (1 + e^-x).
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

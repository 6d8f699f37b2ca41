//! Draws from a seed.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A stream of draws. Each simulated year has one of its own, so that years can be simulated in any order.
#[derive(Clone)]
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// The stream with this seed and number.
    pub fn new(seed: u64, stream: u64) -> Chance {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Chance(rng)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.0.random()
    }

    /// Whether something happens that has this probability.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// An index below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.uniform() * n as f64) as usize).min(n - 1)
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Poisson with this mean, which is not far above a thousand: the number of events before the sum of their exponential
    /// waits exceeds it.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        let mut waited = 0.0;
        let mut events = 0;
        loop {
            waited -= (1.0 - self.uniform()).ln();
            if waited > mean {
                return events;
            }
            events += 1;
        }
    }

    /// A factor around 1 that makes a day busier or quieter: log-normal with mean 1.
    pub fn shock(&mut self, spread: f64) -> f64 {
        (spread * self.normal() - spread * spread / 2.0).exp()
    }
}

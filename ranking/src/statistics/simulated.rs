//! What tests of statistics share: seeded draws, and the reference vectors.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Draws that a seed decides.
pub(crate) struct Draws(ChaCha8Rng);

impl Draws {
    pub(crate) fn new(seed: u64) -> Draws {
        Draws(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// An integer below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }
}

/// The number of successes among `n`, one uniform draw each: by its cumulative distribution.
pub(crate) struct Binomial(Vec<f64>);

impl Binomial {
    pub(crate) fn new(n: u64, p: f64) -> Binomial {
        let mut mass = (1.0 - p).powi(n as i32);
        let mut below = 0.0;
        let cumulative = (0..=n).map(|k| {
            below += mass;
            mass *= (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
            below
        });
        Binomial(cumulative.collect())
    }

    pub(crate) fn draw(&self, draws: &mut Draws) -> u64 {
        let u = draws.uniform();
        self.0
            .partition_point(|cumulative| *cumulative <= u)
            .min(self.0.len() - 1) as u64
    }
}

/// What confseq says of one sequence; `vectors/make_confseq.py` makes it.
#[derive(serde::Deserialize)]
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) x: Vec<f64>,
    /// By `m`.
    pub(crate) betting: BTreeMap<String, Bets>,
    pub(crate) low: Vec<f64>,
    pub(crate) high: Vec<f64>,
    pub(crate) one_sided_low: Vec<f64>,
}

#[derive(serde::Deserialize)]
pub(crate) struct Bets {
    pub(crate) bet: Vec<f64>,
    pub(crate) log_e: Vec<f64>,
}

pub(crate) fn confseq() -> Vec<Vector> {
    serde_json::from_str(include_str!("../../vectors/confseq.json")).unwrap()
}

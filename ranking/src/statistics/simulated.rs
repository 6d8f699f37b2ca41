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

/// Lawyers that a client may want, and rankers that know something about it.
pub(crate) struct Market {
    pub(crate) draws: Draws,
    lawyers: usize,
}

impl Market {
    pub(crate) fn new(seed: u64) -> Market {
        Market {
            draws: Draws::new(seed),
            lawyers: 12,
        }
    }

    /// How probable the client of a new case is to act on each lawyer, once examined.
    pub(crate) fn case(&mut self) -> Vec<f64> {
        (0..self.lawyers).map(|_| 0.6 * self.draws.uniform().powi(2)).collect()
    }

    /// The lawyers by their relevance plus noise between -`noise` and `noise`, best first.
    pub(crate) fn ranked(&mut self, relevance: &[f64], noise: f64) -> Vec<usize> {
        let scores: Vec<f64> = relevance
            .iter()
            .map(|r| r + noise * (2.0 * self.draws.uniform() - 1.0))
            .collect();
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        order
    }

    /// Whether the client acted on each lawyer, in displayed order. Rank k is examined with probability 1/k.
    pub(crate) fn clicks(&mut self, relevance: &[f64], displayed: &[usize]) -> Vec<bool> {
        let places = displayed.iter().zip(1_u32..);
        places
            .map(|(&at, rank)| self.draws.uniform() < relevance[at] / f64::from(rank))
            .collect()
    }

    /// As [`Market::clicks`], for one contract at most: with the first.
    pub(crate) fn contracts(&mut self, relevance: &[f64], displayed: &[usize]) -> Vec<bool> {
        let mut acted = self.clicks(relevance, displayed);
        if let Some(first) = acted.iter().position(|acted| *acted) {
            acted[first + 1..].fill(false);
        }
        acted
    }
}

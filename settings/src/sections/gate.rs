//! Offline evaluation, the gate and publication.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use crate::section::Rule::{Number, Whole, Words};
use crate::section::{CONFIDENCE, MILLISECONDS, PATH, RESAMPLES, ROWS, SEED, SHARE, section};

section! {
    /// Offline evaluation.
    ["evaluate"] Evaluate {
        /// Bootstrap draws.
        resamples: usize = 2000, RESAMPLES;
        /// Confidence level of the intervals.
        confidence: f64 = 0.95, CONFIDENCE;
        /// Seed of the bootstrap.
        seed: u64 = 42, SEED;
        /// Minimum grade that MRR counts: 1 click, 2 contact, 3 contract.
        mrr_min_grade: u8 = 2, Whole(1, 3);
        /// Groups with fewer rows are left out of the fair gap.
        fair_min_rows: usize = 30, ROWS;
        /// Number of scorer calls that latency is measured over.
        latency_calls: usize = 500, Whole(20, 1_000_000);
        /// Lawyers in each of those calls.
        latency_rows: usize = 100, Whole(1, 10_000);
        /// How fast clients stop looking: rank k is looked at k^-eta times as often as rank 1. Weighted metrics
        /// divide by it. Empty: not known.
        #[serde(deserialize_with = "number_as_text")]
        eta: String = String::new(), Words("empty, or a number, 0 to 10");
    }
}

impl Evaluate {
    /// The exponent of examination; `None`: not known.
    pub fn eta(&self) -> Option<f64> {
        self.eta.parse().ok()
    }

    pub(crate) fn has_usable_eta(&self) -> bool {
        self.eta.is_empty() || self.eta().is_some_and(|eta| (0.0..=10.0).contains(&eta))
    }
}

/// A text, or a number as one: `eta = 1` and `eta = "1"` say the same.
fn number_as_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match toml::Value::deserialize(deserializer)? {
        toml::Value::String(text) => Ok(text),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        other => Err(serde::de::Error::custom(format!("{other} is no number"))),
    }
}

section! {
    /// Offline gate: a model is published only if it passes.
    ["gate"] Gate {
        /// Minimum gain in nDCG@5 over legacy, as a share.
        ndcg5_gain: f64 = 0.03, Number(-1.0, 1.0);
        /// The gain in MRR@5 over legacy must exceed this.
        mrr5_gain: f64 = 0.0, Number(-1.0, 1.0);
        /// Maximum fair gap.
        fair_gap: f64 = 0.05, SHARE;
        /// The 95th percentile of the scoring time must be below this.
        latency_p95_ms: f64 = 15.0, MILLISECONDS;
        /// Maximum loss of nDCG@5, and of MRR@5, against the champion, for a model that may replace it without
        /// a trial; the loss must not be significant either (evaluate.confidence).
        champion_margin: f64 = 0.01, SHARE;
        /// By how much the fair gap of such a model may exceed the champion's.
        champion_fair_gap: f64 = 0.02, SHARE;
    }
}

section! {
    /// Publication.
    ["publish"] Publish {
        /// Private key (64 hex characters) that signs the manifest.
        signing_key: PathBuf = "var/keys/publish.key".into(), PATH;
        /// URL that publish calls to tell the gateway of a new model; empty: none.
        notify_url: String = "http://127.0.0.1:8080/models/notify".into(), Words("empty, or http[s]://HOST[:PORT]/PATH");
    }
}

//! The ranking domain: what a case, a lawyer, an impression and a verdict are, and every rule about them.
//!
//! Pure: no I/O, no clock, no randomness of its own. Times and seeds are parameters, so that the gateway,
//! the trainer and a test reach the same answer from the same input.
//!
//! A feature that is missing is `f64::NAN` inside and `null` in JSON; missing is not zero.

pub mod bootstrap;
pub mod candidates;
pub mod counterfactual;
pub mod criterion;
pub mod events;
pub mod evidence;
pub mod fairness;
pub mod fallback;
pub mod features;
pub mod interleaving;
pub mod labels;
pub mod metrics;
pub mod outcomes;
pub mod propensities;
pub mod pseudonym;
pub mod release;
pub mod sampling;
pub mod stability;
pub mod statistics;
pub mod swaps;
pub mod verdict;
pub mod weights;

pub use bootstrap::{Interval, bootstrap, mean_interval};
pub use candidates::Candidate;
pub use criterion::Criterion;
pub use events::{
    Action, ActionKind, Body, Coin, Event, EventError, Impression, Origin, Policy, Source, UnreadableEvent,
};
pub use fairness::{Fairness, Ranked, min_max, rank_legacy, rank_ltr, rerank};
pub use fallback::{Fallback, ShadowOutcome, Unscored};
pub use features::{Schema, SchemaError};
pub use labels::{Attribution, Grade, Windows, grade};
pub use metrics::{FairGap, GroupMean, fair_gap, hit_at, ndcg_at, reciprocal_rank_at};
pub use pseudonym::{pseudonym, pseudonym_of_text, salt_id};
pub use sampling::{Sampler, SamplerError, unrewritten};
pub use stability::{Bins, stability_index};
pub use verdict::{Criteria, Evidence, Gathering, ShadowCase, ShadowRow, Trigger, Verdict, decide, gather};
pub use weights::{Presets, Weights, WeightsError};

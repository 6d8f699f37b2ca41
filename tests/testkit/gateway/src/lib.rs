//! Gateways for tests and benchmarks: a publisher of models, and `ltr-host serve` as a program.

mod publisher;
mod serving;

pub use publisher::{Publisher, golden_of_first_feature};
pub use serving::{Serving, http};

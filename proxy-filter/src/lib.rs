//! What the Envoy filter decides about requests, without Envoy: marks for the gateway, copies for a shadow cluster,
//! scores by the model that is baked in.
//!
//! `envoy/` is the filter as Envoy loads it, and only passes on what Envoy says and what is decided here. The
//! [`Proxy`] is all that a decision can ask for or do.
//!
//! ```text
//! Config --> bypass: what Envoy need not call for, and marks by itself
//!
//! Envoy's callbacks --> Exchange (one request) --> mark: a header
//!                          |                       score: an answer
//!                          +--> Draft (a copy) --> Mirror (bounded) --tick--> shadow cluster
//! ```

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "a test may panic"
    )
)]

mod bypass;
mod config;
mod exchange;
mod mirror;
mod pairs;
mod proxy;
mod roots;
mod route;
mod sampling;
mod score;
#[cfg(test)]
mod testing;
mod trust;

pub use bypass::{INTERNAL_HEADERS, MARK};
pub use config::{Config, ConfigError};
pub use exchange::{Exchange, Filter};
pub use pairs::HeaderPairs;
pub use proxy::{Call, Counter, Gauge, Next, Proxy};
pub use roots::Roots;
pub use score::Model;

//! The decisions of the Envoy filter, without Envoy: marks for the gateway, copies for a shadow
//! cluster, scores by the built-in model.
//!
//! `envoy/` is the filter that Envoy loads. It forwards Envoy's callbacks to this crate, which
//! calls Envoy only through the [`Proxy`] trait.
//!
//! ```text
//! Config --> bypass: the condition under which Envoy skips the filter
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

pub use bypass::INTERNAL_HEADERS;
pub use config::{Config, ConfigError};
pub use exchange::{Exchange, Filter};
pub use pairs::HeaderPairs;
pub use proxy::{Call, Counter, Gauge, Next, Proxy};
pub use roots::Roots;
pub use score::Model;

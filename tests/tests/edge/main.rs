//! The Envoy filter in a real Envoy, and nginx beside it, with a real gateway behind them.

mod answers;
mod client;
mod configuration;
#[allow(dead_code, reason = "the gateway's own tests need more of it")]
#[path = "../gateway/harness.rs"]
mod gateway;
mod model;
mod origin;
mod sampling;

use std::time::Duration;

/// Only against a test that hangs; nothing here is expected to take that long.
const PATIENCE: Duration = Duration::from_secs(60);

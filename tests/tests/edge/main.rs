//! The Envoy filter in a real Envoy, and nginx beside it, with a real gateway behind them.

mod answers;
mod breaking;
mod client;
mod configuration;
mod edge_copy;
#[allow(dead_code, reason = "the gateway's own tests need more of it")]
#[path = "../gateway/harness.rs"]
mod gateway;
mod losing;
mod marking;
mod model;
mod origin;
mod pressure;
mod publishing;
mod sampling;
mod score;
mod shipped;
mod trust;

use std::time::{Duration, Instant};

use servers::Envoy;
use testkit::PATIENCE;

/// Waits until the filter has no copy under way.
async fn settled(envoy: &Envoy) {
    let start = Instant::now();
    while envoy.stat("ltr_edge_mirror_in_flight") != Some(0) {
        assert!(start.elapsed() < PATIENCE, "{}", envoy.admin("/stats?filter=ltr_edge"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until Envoy has taken so many configurations of a filter that a file describes.
async fn reloaded(envoy: &Envoy, times: u64) {
    let start = Instant::now();
    while envoy.stat("http_filter.ltr.config_reload") < Some(times) {
        let discovery = || envoy.admin("/stats?filter=config_discovery");
        assert!(start.elapsed() < PATIENCE, "{}", discovery());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

//! Envoy behind the [`Proxy`] that the filter knows.

use std::cell::OnceCell;
use std::time::Duration;

use proxy_filter::{Call, Counter, Gauge, Proxy};
use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, MetricType};

/// Between a copy's completion and its sending, which needs a callback outside of requests.
const TICK: Duration = Duration::from_millis(1);

/// Envoy, in the middle of a callback. That a call of it fails is never a reason to fail: what is missing is absent.
pub struct Envoy;

impl Proxy for Envoy {
    fn header(&self, name: &str) -> Option<Vec<u8>> {
        hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, name)
            .ok()
            .flatten()
    }

    fn set_header(&self, name: &str, value: &str) {
        let _ = hostcalls::set_map_value(MapType::HttpRequestHeaders, name, Some(value));
    }

    fn remove_header(&self, name: &str) {
        let _ = hostcalls::remove_map_value(MapType::HttpRequestHeaders, name);
    }

    fn attribute(&self, path: &[&str]) -> Option<Vec<u8>> {
        hostcalls::get_property(path.to_vec()).ok().flatten()
    }

    fn body(&self, bytes: usize) -> Option<Vec<u8>> {
        hostcalls::get_buffer(BufferType::HttpRequestBody, 0, bytes)
            .ok()
            .flatten()
    }

    fn answer(&self, status: u32, headers: &[(&str, &str)], body: &[u8]) {
        let _ = hostcalls::send_http_response(status, headers.to_vec(), Some(body));
    }

    fn tick_soon(&self) {
        let _ = hostcalls::set_tick_period(TICK);
    }

    fn send(&self, call: &Call) -> bool {
        let headers = call.headers.to_vec();
        hostcalls::dispatch_http_call(call.cluster, headers, Some(call.body), Vec::new(), call.timeout).is_ok()
    }

    fn count(&self, counter: Counter) {
        move_metric(|metrics| metrics.counters.get(counter as usize), 1);
    }

    fn gauge(&self, gauge: Gauge, by: i64) {
        move_metric(|metrics| metrics.gauges.get(gauge as usize), by);
    }
}

/// The status of the answer to a call.
pub fn call_status() -> Option<u16> {
    let status = hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, ":status").ok()??;
    std::str::from_utf8(&status).ok()?.parse().ok()
}

pub fn stop_ticking() {
    let _ = hostcalls::set_tick_period(Duration::ZERO);
}

thread_local! {
    /// Once in each virtual machine, however many configurations it sees: Envoy never forgets one.
    static METRICS: OnceCell<Metrics> = const { OnceCell::new() };
}

/// What Envoy calls each metric, in the order of `ALL`.
struct Metrics {
    counters: Vec<Option<u32>>,
    gauges: Vec<Option<u32>>,
}

/// Makes the metrics known to Envoy, so that they are there before the first request.
pub fn define_metrics() {
    let define = |kind, name| hostcalls::define_metric(kind, name).ok();
    METRICS.with(|metrics| {
        metrics.get_or_init(|| Metrics {
            counters: Counter::ALL
                .iter()
                .map(|counter| define(MetricType::Counter, counter.name()))
                .collect(),
            gauges: Gauge::ALL
                .iter()
                .map(|gauge| define(MetricType::Gauge, gauge.name()))
                .collect(),
        });
    });
}

fn move_metric(find: impl Fn(&Metrics) -> Option<&Option<u32>>, by: i64) {
    METRICS.with(|metrics| {
        if let Some(Some(id)) = metrics.get().and_then(find) {
            let _ = hostcalls::increment_metric(*id, by);
        }
    });
}

//! Implements [`Proxy`] with calls to Envoy.

use std::cell::{OnceCell, RefCell};
use std::ptr::null_mut;
use std::time::Duration;

use proxy_filter::{Call, Counter, Gauge, HeaderPairs, Proxy};
use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, MetricType};

/// The delay before a complete copy is sent. Sending needs a callback outside of requests.
const TICK: Duration = Duration::from_millis(1);

/// Envoy during one callback. A failed call is treated as a missing value, never as an error.
#[derive(Default)]
pub(crate) struct Envoy {
    /// All request headers, read at the first lookup. Reading all of them costs Envoy less than two
    /// lookups by name. A change of a header clears them; a new callback starts without them.
    headers: RefCell<Option<HeaderPairs>>,
}

impl Proxy for Envoy {
    fn header(&self, name: &str) -> Option<Vec<u8>> {
        let mut headers = self.headers.borrow_mut();
        headers
            .get_or_insert_with(request_headers)
            .get(name)
            .map(<[u8]>::to_vec)
    }

    fn set_header(&self, name: &str, value: &str) {
        self.headers.take();
        let _ = hostcalls::set_map_value(MapType::HttpRequestHeaders, name, Some(value));
    }

    fn remove_header(&self, name: &str) {
        self.headers.take();
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

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    /// Writes the address and the size of the headers. Returns zero on success.
    fn proxy_get_header_map_pairs(map: MapType, data: *mut *mut u8, size: *mut usize) -> u32;
}

/// The request headers; empty if Envoy has none.
fn request_headers() -> HeaderPairs {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: Envoy writes only to `data` and `size`.
    let status = unsafe { proxy_get_header_map_pairs(MapType::HttpRequestHeaders, &mut data, &mut size) };
    if status != 0 || data.is_null() {
        return HeaderPairs::default();
    }
    // SAFETY: Envoy got `data` from `proxy_on_memory_allocate`, which leaks a boxed slice of
    // exactly this size. Envoy has filled it and does not use it again.
    HeaderPairs::new(unsafe { Vec::from_raw_parts(data, size, size) })
}

/// The status of the response to a call.
pub(crate) fn call_status() -> Option<u16> {
    let status = hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, ":status").ok()??;
    std::str::from_utf8(&status).ok()?.parse().ok()
}

/// Whether Envoy still has the context with this id. Later calls in the same callback apply to that
/// context.
pub(crate) fn has_context(id: u32) -> bool {
    hostcalls::set_effective_context(id).is_ok()
}

pub(crate) fn stop_ticking() {
    let _ = hostcalls::set_tick_period(Duration::ZERO);
}

thread_local! {
    /// Defined once per virtual machine, for all its configurations: Envoy never deletes a metric.
    static METRICS: OnceCell<Metrics> = const { OnceCell::new() };
}

/// Envoy's ids of the metrics, in the order of `ALL`.
struct Metrics {
    counters: Vec<Option<u32>>,
    gauges: Vec<Option<u32>>,
}

/// Defines the metrics, so that they exist before the first request.
pub(crate) fn define_metrics() {
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

//! Envoy's configuration as tests need it: listeners that differ in their filters, in front of clusters.

use std::net::SocketAddr;
use std::path::Path;

use proxy_filter::{Config, INTERNAL_HEADERS};
use serde_json::{Value, json};

const TYPES: &str = "type.googleapis.com/envoy";

/// Where nobody answers.
pub(crate) const NOBODY: ([u8; 4], u16) = ([127, 0, 0, 1], 9);

/// What users are pseudonyms under.
pub(crate) const SALT: &str = "0123456789abcdef0123456789abcdef";

/// An Envoy with an admin port; listeners and clusters are added.
pub(crate) struct Configuration {
    inline_headers: Vec<Value>,
    listeners: Vec<Value>,
    clusters: Vec<Value>,
}

impl Configuration {
    pub(crate) fn new() -> Configuration {
        Configuration {
            inline_headers: Vec::new(),
            listeners: Vec::new(),
            clusters: Vec::new(),
        }
    }

    /// As in deploy/envoy, Envoy knows the internal headers by a pointer, and joins those that come twice.
    pub(crate) fn inline_headers(mut self) -> Configuration {
        let inline = |name| json!({ "inline_header_name": name, "inline_header_type": "REQUEST_HEADER" });
        self.inline_headers = INTERNAL_HEADERS.map(inline).into();
        self
    }

    /// A listener that leads every request through `filters` to `route`, Envoy's RouteAction.
    pub(crate) fn listener(self, name: &str, filters: &[Value], route: Value) -> Configuration {
        self.listener_with(name, filters, route, json!({}))
    }

    /// As [`Configuration::listener`], with more fields of the connection manager.
    pub(crate) fn listener_with(mut self, name: &str, filters: &[Value], route: Value, more: Value) -> Configuration {
        let mut filters = filters.to_vec();
        filters.push(typed(
            "envoy.filters.http.router",
            "extensions.filters.http.router.v3.Router",
            json!({}),
        ));
        let mut manager = json!({
            "stat_prefix": name,
            "codec_type": "AUTO",
            "http_filters": filters,
            "http_protocol_options": { "enable_trailers": true },
            // A peer is who it is, and not who a header says.
            "use_remote_address": true,
            // The id is the client's, as behind a load balancer that gives it.
            "preserve_external_request_id": true,
            "upgrade_configs": [{ "upgrade_type": "websocket" }],
            "route_config": {
                "virtual_hosts": [{ "name": name, "domains": ["*"], "routes": [{ "match": { "prefix": "/" }, "route": route }] }],
            },
        });
        merge(&mut manager, more);
        let manager = typed(
            "envoy.filters.network.http_connection_manager",
            "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            manager,
        );
        self.listeners.push(json!({
            "name": name,
            "address": address(SocketAddr::from(([127, 0, 0, 1], 0))),
            "filter_chains": [{ "filters": [manager] }],
        }));
        self
    }

    /// A cluster of one server that speaks HTTP/1.1.
    pub(crate) fn cluster(self, name: &str, server: SocketAddr) -> Configuration {
        self.cluster_with(
            name,
            server,
            json!({ "http_protocol_options": { "enable_trailers": true } }),
        )
    }

    /// A cluster of one server that speaks HTTP/2.
    pub(crate) fn http2_cluster(self, name: &str, server: SocketAddr) -> Configuration {
        self.cluster_with(name, server, json!({ "http2_protocol_options": {} }))
    }

    fn cluster_with(mut self, name: &str, server: SocketAddr, protocol: Value) -> Configuration {
        const MANY: u32 = 1_000_000;
        let options = json!({
            "@type": format!("{TYPES}.extensions.upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": protocol,
        });
        let cluster = json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(server) } }] }],
            },
            "circuit_breakers": { "thresholds": [{
                "max_connections": MANY, "max_pending_requests": MANY, "max_requests": MANY, "max_retries": MANY,
            }] },
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options,
            },
        });
        self.clusters.push(cluster);
        self
    }

    pub(crate) fn to_json(&self) -> String {
        json!({
            "node": { "id": "edge", "cluster": "edge" },
            "admin": { "address": address(SocketAddr::from(([127, 0, 0, 1], 0))) },
            "inline_headers": self.inline_headers,
            "static_resources": { "listeners": self.listeners, "clusters": self.clusters },
        })
        .to_string()
    }
}

/// A route to one cluster, which may take its time.
pub(crate) fn to(cluster: &str) -> Value {
    json!({ "cluster": cluster, "timeout": "60s" })
}

/// For [`Configuration::listener_with`]: as in deploy/envoy, requests that the filter would not
/// change skip it. `own` is the filter's configuration.
pub(crate) fn past(own: &Value, route: &Value) -> Value {
    let through = json!({ "match": { "prefix": "/" }, "route": route });
    let mut past = through.clone();
    past["typed_per_filter_config"] = json!({ "ltr": {
        "@type": format!("{TYPES}.config.route.v3.FilterConfig"), "disabled": true,
    } });
    let to = |route: Value| {
        let routes = json!({ "@type": format!("{TYPES}.config.route.v3.RouteList"), "routes": [route] });
        json!({ "action": { "name": "routes", "typed_config": routes } })
    };
    let config = Config::read(own.to_string().as_bytes(), |_| Some(SALT.to_owned())).unwrap();
    let skip = json!({ "predicate": config.bypass().unwrap(), "on_match": to(past) });
    let matcher = json!({ "matcher_list": { "matchers": [skip] }, "on_no_match": to(through) });
    json!({ "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "matcher": matcher }] } })
}

/// Marks this share of all requests.
pub(crate) fn mark(fraction: f64) -> Value {
    sampled(fraction, &["mark"])
}

/// Marks all requests, and copies them to the cluster `shadow`.
pub(crate) fn mark_and_mirror() -> Value {
    let mut own = sampled(1.0, &["mark", "mirror"]);
    own["mirror"] = mirror();
    own
}

/// Copies all requests to the cluster `shadow`.
pub(crate) fn mirror_all() -> Value {
    let mut own = sampled(1.0, &["mirror"]);
    own["mirror"] = mirror();
    own
}

/// Scores for those who have the token with this hash.
pub(crate) fn score(token_sha256: &str) -> Value {
    json!({
        "routes": [{ "path_prefix": "/ltr/score", "method": "POST", "modes": ["score"] }],
        "score": {
            "max_body_bytes": 524_288, "max_rows": 1_000, "max_json_depth": 32, "tokens_sha256": [token_sha256],
        },
    })
}

fn sampled(fraction: f64, modes: &[&str]) -> Value {
    let route = |method: &str| json!({ "path_prefix": "/", "method": method, "modes": modes });
    json!({
        "sampling": { "salt": "ltr-shadow-v1", "fraction": fraction, "bypass_above": fraction },
        "routes": [route("GET"), route("POST")],
    })
}

fn mirror() -> Value {
    json!({
        "cluster": "shadow", "headers": [], "max_body_bytes": 1 << 20, "max_in_flight": 30, "timeout_ms": 5_000,
        "personal": {},
    })
}

/// The filter, from a file, with this configuration of its own.
pub(crate) fn filter(file: &Path, own: &Value) -> Value {
    let mut wasm = plugin(file, own);
    wasm["@type"] = format!("{TYPES}.extensions.filters.http.wasm.v3.Wasm").into();
    json!({ "name": "ltr", "typed_config": wasm })
}

/// The filter as what the ECDS file in `folder` says.
pub(crate) fn discovered_filter(folder: &Path) -> Value {
    json!({
        "name": "ltr",
        "config_discovery": {
            "type_urls": [format!("{TYPES}.extensions.filters.http.wasm.v3.Wasm")],
            "config_source": { "path_config_source": {
                "path": folder.join("ecds.json"),
                "watched_directory": { "path": folder },
            } },
        },
    })
}

/// Makes `file` with `own` what [`discovered_filter`] is, at one stroke.
pub(crate) fn discover(folder: &Path, version: &str, file: &Path, own: &Value) {
    let new = folder.join("new");
    std::fs::write(&new, discovery(version, file, own).to_string()).unwrap();
    std::fs::rename(&new, folder.join("ecds.json")).unwrap();
}

/// What a file says to Envoy about the filter.
pub(crate) fn discovery(version: &str, file: &Path, own: &Value) -> Value {
    let mut wasm = plugin(file, own);
    wasm["@type"] = format!("{TYPES}.extensions.filters.http.wasm.v3.Wasm").into();
    let resource = json!({
        "@type": format!("{TYPES}.config.core.v3.TypedExtensionConfig"), "name": "ltr", "typed_config": wasm,
    });
    json!({ "version_info": version, "resources": [resource] })
}

fn plugin(file: &Path, own: &Value) -> Value {
    json!({ "config": {
        "name": "ltr",
        "root_id": "ltr",
        "failure_policy": "FAIL_OPEN",
        "allow_on_headers_stop_iteration": true,
        "vm_config": {
            "vm_id": "ltr",
            "runtime": "envoy.wasm.runtime.v8",
            "code": { "local": { "filename": file } },
            "environment_variables": { "key_values": { "LTR_PRIVACY_SALT": SALT } },
        },
        "configuration": { "@type": "type.googleapis.com/google.protobuf.StringValue", "value": own.to_string() },
    } })
}

/// Traces of this share of the requests (in percent), to a collector that is not there.
pub(crate) fn traced(percent: f64) -> Value {
    let provider = json!({
        "@type": format!("{TYPES}.config.trace.v3.OpenTelemetryConfig"),
        "grpc_service": { "envoy_grpc": { "cluster_name": "collector" } },
        "service_name": "edge",
    });
    json!({ "tracing": {
        "random_sampling": { "value": percent },
        "provider": { "name": "envoy.tracers.opentelemetry", "typed_config": provider },
    } })
}

fn typed(name: &str, kind: &str, mut configuration: Value) -> Value {
    configuration["@type"] = format!("{TYPES}.{kind}").into();
    json!({ "name": name, "typed_config": configuration })
}

fn address(at: SocketAddr) -> Value {
    json!({ "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } })
}

fn merge(into: &mut Value, more: Value) {
    let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) else {
        unreachable!("both are objects");
    };
    into.extend(more);
}

//! Envoys that differ in one thing each.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Result, ensure};
use ltr_trainer::compile;
use proxy_filter::{Config, INTERNAL_HEADERS};
use serde_json::{Value, json};

use crate::gateway::processes::{Site, free_address};

const TYPES: &str = "type.googleapis.com/envoy";

/// The servers behind an Envoy.
pub(super) struct Behind {
    /// Whom it asks.
    pub app: SocketAddr,
    /// Who gets copies.
    pub shadow: SocketAddr,
    pub gateway: SocketAddr,
}

/// What an Envoy does besides passing requests on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    Plain,
    /// The filter marks; requests that it would not change skip it.
    Mark,
    /// The filter marks; every request goes through it.
    MarkWithoutBypass,
    Mirror,
    /// Envoy's own mirroring.
    Native,
    /// Nothing; the gateway scores.
    Hop,
    Score,
}

impl Edge {
    /// Starts one, with a worker a processor.
    pub(super) fn start(self, program: &Path, dir: &Path, filters: &Filters, behind: &Behind) -> Result<Site> {
        ensure!(
            program.exists(),
            "{} is missing: `make setup-servers` installs Envoy",
            program.display()
        );
        let address = free_address()?;
        let path = dir.join("envoy.json");
        fs::write(&path, self.configuration(address, filters, behind)?.to_string())?;
        let mut command = Command::new(std::path::absolute(program)?);
        command
            .arg("--config-path")
            .arg(&path)
            .args(["--use-dynamic-base-id", "--log-level", "warning"]);
        command.args(["--concurrency", &thread::available_parallelism()?.to_string()]);
        Site::start(command, address, &dir.join("envoy.log"))
    }

    fn configuration(self, address: SocketAddr, filters: &Filters, behind: &Behind) -> Result<Value> {
        let router = typed("envoy.filters.http.router", "filters.http.router.v3.Router", json!({}));
        let chain: Vec<Value> = self.filter(filters).into_iter().chain([router]).collect();
        let manager = typed(
            "envoy.filters.network.http_connection_manager",
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            json!({
                "stat_prefix": "edge", "http_filters": chain, "use_remote_address": true,
                "route_config": { "virtual_hosts": [self.virtual_host()?] },
            }),
        );
        Ok(json!({
            "admin": { "address": socket(SocketAddr::from(([127, 0, 0, 1], 0))) },
            "inline_headers": self.inline_headers(),
            "static_resources": {
                "listeners": [{
                    "name": "edge", "address": socket(address), "filter_chains": [{ "filters": [manager] }],
                }],
                "clusters": [
                    cluster("app", behind.app), cluster("shadow", behind.shadow), cluster("gateway", behind.gateway),
                ],
            },
        }))
    }

    /// As in deploy/envoy where the filter is.
    fn inline_headers(self) -> Vec<Value> {
        let names = INTERNAL_HEADERS.iter().filter(|_| self.own().is_some());
        let inline = |name| json!({ "inline_header_name": name, "inline_header_type": "REQUEST_HEADER" });
        names.map(inline).collect()
    }

    /// One route; as in deploy/envoy, requests that the filter would not change skip it.
    fn virtual_host(self) -> Result<Value> {
        let route = json!({ "match": { "prefix": "/" }, "route": self.route() });
        let mut host = json!({ "name": "all", "domains": ["*"] });
        let (Edge::Mark | Edge::Mirror, Some(own)) = (self, self.own()) else {
            host["routes"] = json!([route]);
            return Ok(host);
        };
        let config = Config::read(own.to_string().as_bytes(), |_| None)?;
        let mut past = route.clone();
        past["typed_per_filter_config"] = json!({ "ltr": {
            "@type": format!("{TYPES}.config.route.v3.FilterConfig"), "disabled": true,
        } });
        let to = |route: Value| {
            let routes = json!({ "@type": format!("{TYPES}.config.route.v3.RouteList"), "routes": [route] });
            json!({ "action": { "name": "routes", "typed_config": routes } })
        };
        let matcher = json!({ "predicate": config.bypass()?, "on_match": to(past) });
        host["matcher"] = json!({ "matcher_list": { "matchers": [matcher] }, "on_no_match": to(route) });
        Ok(host)
    }

    fn route(self) -> Value {
        match self {
            Edge::Hop | Edge::Score => json!({ "cluster": "gateway" }),
            Edge::Native => json!({
                "cluster": "app",
                "request_mirror_policies": [{
                    "cluster": "shadow",
                    "runtime_fraction": { "default_value": { "numerator": 10, "denominator": "HUNDRED" } },
                }],
            }),
            Edge::Plain | Edge::Mark | Edge::MarkWithoutBypass | Edge::Mirror => json!({ "cluster": "app" }),
        }
    }

    /// The filter's own configuration, with one mode.
    fn own(self) -> Option<Value> {
        let route = |path: &str, mode: &str| json!([{ "path_prefix": path, "method": "POST", "modes": [mode] }]);
        let sampling = json!({ "salt": "ltr-shadow-v1", "fraction": 0.10, "bypass_above": 0.10 });
        match self {
            Edge::Plain | Edge::Native | Edge::Hop => None,
            Edge::Mark | Edge::MarkWithoutBypass => {
                Some(json!({ "sampling": sampling, "routes": route("/rank", "mark") }))
            }
            Edge::Mirror => Some(json!({
                "sampling": sampling,
                "routes": route("/rank", "mirror"),
                // As native mirroring does: the body as it is.
                "mirror": {
                    "cluster": "shadow", "headers": ["authorization"], "max_body_bytes": 1 << 20,
                    "max_in_flight": 1_000, "timeout_ms": 1_000, "personal": {},
                },
            })),
            Edge::Score => Some(json!({
                "routes": route("/ltr/score", "score"),
                "score": {
                    "max_body_bytes": 1 << 19, "max_rows": 1_000, "max_json_depth": 32, "tokens_sha256": [],
                },
            })),
        }
    }

    fn filter(self, filters: &Filters) -> Option<Value> {
        let own = self.own()?;
        let file = match self {
            Edge::Mark | Edge::MarkWithoutBypass => &filters.mark,
            _ => &filters.whole,
        };
        let plugin = json!({ "config": {
            "name": "ltr", "root_id": "ltr", "failure_policy": "FAIL_OPEN", "allow_on_headers_stop_iteration": true,
            "vm_config": {
                "vm_id": "ltr", "runtime": "envoy.wasm.runtime.v8", "code": { "local": { "filename": file } },
            },
            "configuration": { "@type": "type.googleapis.com/google.protobuf.StringValue", "value": own.to_string() },
        } });
        Some(typed("ltr", "filters.http.wasm.v3.Wasm", plugin))
    }
}

/// The filters, as they are published.
pub(super) struct Filters {
    /// With a model.
    whole: PathBuf,
    /// For those who only mark.
    mark: PathBuf,
}

impl Filters {
    /// Writes all; `text` is the model.
    pub(super) fn write(dir: &Path, text: &str) -> Result<Filters> {
        let filters = Filters {
            whole: dir.join("edge-filter.wasm"),
            mark: dir.join("edge-mark.wasm"),
        };
        let whole = compile::edge_filter(&compile::Request {
            model: text.as_bytes(),
            feature_map: None,
            model_version: "benchmark",
            training_window: None,
        })?;
        fs::write(&filters.whole, whole)?;
        fs::write(&filters.mark, compile::edge_mark()?)?;
        Ok(filters)
    }
}

fn cluster(name: &str, server: SocketAddr) -> Value {
    json!({
        "name": name, "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket(server) } }] }],
        },
    })
}

fn typed(name: &str, kind: &str, mut configuration: Value) -> Value {
    configuration["@type"] = format!("{TYPES}.extensions.{kind}").into();
    json!({ "name": name, "typed_config": configuration })
}

fn socket(at: SocketAddr) -> Value {
    json!({ "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } })
}

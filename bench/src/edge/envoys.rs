//! Envoys that differ in one thing each.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};
use ltr_trainer::compile;
use serde_json::{Value, json};

use super::empty;
use crate::gateway::sites::{Site, free_address};

const TYPES: &str = "type.googleapis.com/envoy";

/// The servers behind an Envoy.
pub struct Behind {
    /// Whom it asks.
    pub app: SocketAddr,
    /// Who gets copies.
    pub shadow: SocketAddr,
    pub gateway: SocketAddr,
}

/// What an Envoy does besides passing requests on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    Plain,
    /// Calls a filter that does nothing.
    Empty,
    Mark,
    Mirror,
    /// Envoy's own mirroring.
    Native,
    /// Nothing; the gateway scores.
    Hop,
    Score,
}

impl Edge {
    /// Starts one, with a worker a processor.
    pub fn start(self, program: &Path, dir: &Path, filters: &Filters, behind: &Behind) -> Result<Site> {
        let address = free_address()?;
        let path = dir.join("envoy.json");
        fs::write(&path, self.configuration(address, filters, behind).to_string())?;
        let mut command = Command::new(std::path::absolute(program)?);
        command
            .arg("--config-path")
            .arg(&path)
            .args(["--use-dynamic-base-id", "--log-level", "warning"]);
        command.args(["--concurrency", &thread::available_parallelism()?.to_string()]);
        let site = Site::start(command, address, &dir.join("envoy.log"));
        site.with_context(|| format!("{}: `make setup-servers` installs Envoy", program.display()))
    }

    fn configuration(self, address: SocketAddr, filters: &Filters, behind: &Behind) -> Value {
        let router = typed("envoy.filters.http.router", "filters.http.router.v3.Router", json!({}));
        let chain: Vec<Value> = self.filter(filters).into_iter().chain([router]).collect();
        let manager = typed(
            "envoy.filters.network.http_connection_manager",
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            json!({
                "stat_prefix": "edge", "http_filters": chain, "use_remote_address": true,
                "route_config": { "virtual_hosts": [{
                    "name": "all", "domains": ["*"], "routes": [{ "match": { "prefix": "/" }, "route": self.route() }],
                }] },
            }),
        );
        json!({
            "admin": { "address": socket(SocketAddr::from(([127, 0, 0, 1], 0))) },
            "static_resources": {
                "listeners": [{
                    "name": "edge", "address": socket(address), "filter_chains": [{ "filters": [manager] }],
                }],
                "clusters": [
                    cluster("app", behind.app), cluster("shadow", behind.shadow), cluster("gateway", behind.gateway),
                ],
            },
        })
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
            Edge::Plain | Edge::Empty | Edge::Mark | Edge::Mirror => json!({ "cluster": "app" }),
        }
    }

    /// The filter with, in its configuration, one mode.
    fn filter(self, filters: &Filters) -> Option<Value> {
        let route = |path: &str, mode: &str| json!([{ "path_prefix": path, "method": "POST", "modes": [mode] }]);
        let sampling = json!({ "salt": "ltr-shadow-v1", "fraction": 0.10 });
        let own = match self {
            Edge::Plain | Edge::Native | Edge::Hop => return None,
            Edge::Empty => json!({}),
            Edge::Mark => json!({ "sampling": sampling, "routes": route("/rank", "mark") }),
            Edge::Mirror => json!({
                "sampling": sampling,
                "routes": route("/rank", "mirror"),
                // As native mirroring does: the body as it is.
                "mirror": {
                    "cluster": "shadow", "headers": ["authorization"], "max_body_bytes": 1 << 20,
                    "max_in_flight": 1_000, "timeout_ms": 1_000, "personal": {},
                },
            }),
            Edge::Score => json!({
                "routes": route("/ltr/score", "score"),
                "score": {
                    "max_body_bytes": 1 << 19, "max_rows": 1_000, "max_json_depth": 32, "tokens_sha256": [],
                },
            }),
        };
        let file = match self {
            Edge::Empty => &filters.empty,
            Edge::Mark => &filters.mark,
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

/// The filters: ours as they are published, and one to compare them with.
pub struct Filters {
    empty: PathBuf,
    /// With a model.
    whole: PathBuf,
    /// For those who only mark.
    mark: PathBuf,
}

impl Filters {
    /// Writes all; `text` is the model.
    pub fn write(dir: &Path, text: &str) -> Result<Filters> {
        let filters = Filters {
            empty: dir.join("empty.wasm"),
            whole: dir.join("edge-filter.wasm"),
            mark: dir.join("edge-mark.wasm"),
        };
        let whole = compile::edge_filter(&compile::Request {
            model: text.as_bytes(),
            feature_map: None,
            model_version: "benchmark",
            training_window: None,
        })?;
        fs::write(&filters.empty, empty::module())?;
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

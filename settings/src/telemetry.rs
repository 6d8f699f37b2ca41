//! The gateway's log, traces and error reports.

use serde::{Deserialize, Serialize};

use crate::Secret;

/// The log, on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
    /// One line per request.
    pub requests: bool,
}

impl Default for Log {
    fn default() -> Log {
        Log {
            format: LogFormat::Text,
            level: LogLevel::Info,
            requests: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    Text,
    /// One object per line.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Off => "off",
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// Export of traces and error reports; each is off while its address is empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// An OpenTelemetry collector; `/v1/traces` is appended.
    pub otlp_endpoint: String,
    /// Share of the requests that are traced, unless the caller's trace decides.
    pub trace_ratio: f64,
    pub sentry_dsn: Secret,
}

impl Default for Telemetry {
    fn default() -> Telemetry {
        Telemetry {
            otlp_endpoint: String::new(),
            trace_ratio: 0.1,
            sentry_dsn: Secret::default(),
        }
    }
}

impl Telemetry {
    /// Whether the endpoint is `http[s]://HOST[:PORT][/PATH]`. It must hold no password, because it
    /// is shown.
    pub(crate) fn endpoint_is_usable(&self) -> bool {
        let url = &self.otlp_endpoint;
        let server = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        server.is_some_and(|server| {
            let host = server.split(['/', ':']).next().unwrap_or_default();
            !host.is_empty() && server.bytes().all(|b| b.is_ascii_graphic()) && !server.contains(['@', '?', '#'])
        })
    }

    /// Whether the DSN is `http[s]://KEY@HOST[:PORT]/PROJECT`.
    pub(crate) fn dsn_is_usable(&self) -> bool {
        let dsn = self.sentry_dsn.expose();
        let rest = dsn.strip_prefix("http://").or_else(|| dsn.strip_prefix("https://"));
        let parts = rest.and_then(|rest| {
            let (key, server) = rest.split_once('@')?;
            let (host, project) = server.rsplit_once('/')?;
            Some([key, host, project])
        });
        parts.is_some_and(|parts| parts.iter().all(|part| !part.is_empty()))
            && dsn.bytes().all(|b| b.is_ascii_graphic())
            && !dsn.contains(Secret::HIDDEN)
    }
}

//! The gateway's log, traces and error reports.

use crate::Secret;
use crate::section::Rule::{Flag, OneOf, Words};
use crate::section::{SHARE, choice, section};

section! {
    /// The gateway's log, on standard error. It names no user, case or lawyer.
    ["log"] Log {
        /// text is for people, coloured on a terminal; json is one object per line, with timestamp, level,
        /// target, message, fields, and request_id while a request is served.
        format: LogFormat = LogFormat::Text, OneOf(LogFormat::NAMES);
        /// Minimum severity to log; the environment variable RUST_LOG overrides it, as
        /// RUST_LOG=warn,ltr_host=debug.
        level: LogLevel = LogLevel::Info, OneOf(LogLevel::NAMES);
        /// One line per request: method, route, status, milliseconds.
        requests: bool = false, Flag;
    }
}

choice! {
    /// How the gateway writes its log: `log.format`.
    LogFormat {
        /// For people; coloured on a terminal.
        Text = "text";
        /// One object per line.
        Json = "json";
    }
}

choice! {
    /// Minimum severity to log: `log.level`. Each level includes those before it.
    LogLevel {
        /// Nothing is logged.
        Off = "off";
        /// Errors only.
        Error = "error";
        /// Warnings too.
        Warn = "warn";
        /// Normal events too; the default.
        Info = "info";
        /// Details for finding faults too.
        Debug = "debug";
        /// Everything.
        Trace = "trace";
    }
}

section! {
    /// Export of traces and error reports. Undeliverable ones are dropped (ltr_telemetry_lost_total).
    ["telemetry"] Telemetry {
        /// OpenTelemetry collector for the spans of requests, by OTLP over HTTP; /v1/traces is appended.
        /// Empty: no traces.
        otlp_endpoint: String = String::new(), Words("empty, or http://HOST[:PORT][/PATH] or https://...");
        /// Share of the requests that are traced, unless the caller's traceparent decides.
        trace_ratio: f64 = 0.1, SHARE;
        /// Sentry project for errors and panics. A report holds no users, cases, lawyers, bodies, headers
        /// or addresses. Empty: no reports. Secret.
        sentry_dsn: Secret = Secret::default(), Words("empty, or http[s]://KEY@HOST[:PORT]/PROJECT");
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
